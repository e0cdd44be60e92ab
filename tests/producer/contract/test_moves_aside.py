"""What cannot be read is set aside: out of the window, told by name, looked at again in a minute."""

from __future__ import annotations

from mailspool import Message, Spool
from mailspool.contract.moves import Leased, Refused
from mailspool.contract.states import FEED_GRACE_MS, VERSIONS_SERVED
from tests.support.waiting import until

A_MINUTE_MS = 60_000
WORKER: dict[str, str | bytes | int] = {
    "versions": VERSIONS_SERVED[0],
    "relays": "main",
    "slots:bulk": 10,
    "slots:transactional": 10,
}


async def test_a_fed_chunk_waits_aside_until_its_record_is_whole_again(spool: Spool) -> None:
    connection = await spool.connection()
    moves, keys = connection.moves, connection.keys
    now_ms = await moves.beat("w1", WORKER)
    batch = await spool.send_batch(Message(from_="a@x.test", subject="s", text="t"), ["b@x.test"], hold=True)
    await until(lambda: not connection._waking, "what its commit fed")
    await moves.release(batch.id)
    (job,) = (await moves.feed("bulk", FEED_GRACE_MS)).ids
    gen = int(job.rpartition(":")[2])
    await connection.command("HDEL", keys.batch(batch.id), "class")

    refused = await moves.lease(batch.id, 0, gen, "w1.1", ["main"])
    assert refused == Refused("broken", "its record has no class")
    assert await connection.command("ZCARD", keys.flight("bulk")) == 0
    assert (await moves.drained("bulk")).busy == 0
    assert await moves.lease(batch.id, 0, gen, "w1.1", ["main"]) == refused
    assert (await moves.sweep("bulk", now_ms=now_ms + A_MINUTE_MS * 2)).aside == (
        (f"{batch.id}:0", "no batch of this class"),
    )

    await connection.command("HSET", keys.batch(batch.id), "class", "bulk")
    swept = await moves.sweep("bulk", now_ms=now_ms + A_MINUTE_MS * 4)
    assert (swept.freed, swept.aside) == (1, ())
    assert await connection.command("ZCARD", keys.aside("bulk")) == 0
    await moves.beat("w1", WORKER, now_ms=now_ms + A_MINUTE_MS * 4)
    (job,) = (await moves.feed("bulk", FEED_GRACE_MS, now_ms=now_ms + A_MINUTE_MS * 4)).ids
    assert isinstance(await moves.lease(batch.id, 0, int(job.rpartition(":")[2]), "w1.2", ["main"]), Leased)
    await connection.command("FLUSHALL")


async def test_a_batch_that_cannot_be_fed_is_told_with_its_reason(spool: Spool) -> None:
    connection = await spool.connection()
    moves, keys = connection.moves, connection.keys
    await moves.beat("w1", WORKER)
    batch = await spool.send_batch(Message(from_="a@x.test", subject="s", text="t"), ["b@x.test"], hold=True)
    await until(lambda: not connection._waking, "what its commit fed")
    await moves.release(batch.id)
    await connection.command("DEL", f"{keys.prefix}:run:{batch.id}")
    await connection.command("SET", f"{keys.prefix}:run:{batch.id}", "x")
    ((name, why),) = (await moves.feed("bulk", FEED_GRACE_MS)).aside
    assert name == batch.id
    assert "WRONGTYPE" in why
    assert await connection.command("ZCARD", keys.due(batch.id)) == 1, "it would be stranded"
    await connection.command("FLUSHALL")
