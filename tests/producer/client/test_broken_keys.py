"""A key of ours holds something else: whoever needs it is told in words, and `verify` names it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from mailspool import Message, Spool
from mailspool.client.verify import verify
from mailspool.errors import MailspoolError
from mailspool.redis_server.broken import BrokenRecords, broken, is_broken

HELLO = Message(from_="shop@x.test", subject="Hello", text="Hello\n")
OF_THE_SPOOL = (
    *("batches", "ids", "deadline", "retire", "loading", "workers", "paused", "suppressed", "chores", "turn", "erase"),
    *(f"{kind}:bulk" for kind in ("open", "later", "flight", "apart", "aside", "totals")),
)
OF_THE_BATCH = ("batch:{b}", "due:{b}", "rows:{b}", "run:{b}", "lost:{b}", "odd:{b}", "out:{b}:0", "uploads:{b}")


@pytest.fixture
async def spool(spool: Spool) -> AsyncIterator[Spool]:
    """What a test has broken is gone before somebody looks for orphans."""
    yield spool
    await (await spool.connection()).command("FLUSHALL")


async def spoil(spool: Spool, key: str) -> None:
    connection = await spool.connection()
    await connection.command("DEL", key)
    await connection.command("RPUSH", key, "x")  # none of ours is a list


@pytest.mark.parametrize("name", [*OF_THE_SPOOL, *OF_THE_BATCH])
async def test_whoever_needs_it_is_told_in_words(spool: Spool, name: str) -> None:
    batch = await spool.send_batch(HELLO, ["a@x.test", "b@x.test"], key="k")
    connection = await spool.connection()
    key = f"ms:{name.format(b=batch.id)}"
    await spoil(spool, key)

    async def again() -> object:
        return await spool.send_batch(HELLO, ["c@x.test"], key="k")

    async def another() -> object:
        return await spool.send(HELLO.replace(to="d@x.test"))

    async def shown() -> object:
        return [message async for message in (await spool.batch(batch.id)).messages()]

    asked: tuple[Callable[[], Awaitable[object]], ...] = (
        spool.status, spool.relays, spool.why, batch.status, batch.hold, batch.release, shown, batch.retry,
        again, another, batch.cancel,
    )  # fmt: skip
    refused: list[MailspoolError] = []
    for ask in asked:
        try:
            await ask()
        except MailspoolError as error:
            refused.append(error)
    for refusal in refused:
        assert refusal.exit_code != 70
        assert "verify" in refusal.hint or refusal.code == "no_such_batch", refusal
    report = await verify(connection)
    told = [one.detail for one in report.wrong]
    stays = await connection.command("EXISTS", key)  # a batch at its end deletes some of its keys, whatever they are
    assert not stays or any(key in words and "cannot be read" in words for words in told), told


async def test_totals_that_are_no_numbers_keep_no_mail_from_being_queued(spool: Spool) -> None:
    connection = await spool.connection()
    for value in ("x", "nan", "9" * 30, str((1 << 63) - 1)):
        await connection.command("HSET", "ms:totals:bulk", "total", value)
        batch = await spool.send_batch(HELLO, ["a@x.test"])
        assert (await batch.status()).queued == 1
    assert not (await verify(connection)).ok
    assert (await verify(connection, repair=True)).ok
    assert (await spool.status()).queued == 4


async def test_the_key_is_named_where_it_is_known(spool: Spool) -> None:
    await spoil(spool, "ms:paused")
    with pytest.raises(BrokenRecords, match=r"the key ms:paused of .* is broken") as caught:
        await spool.status()
    assert (caught.value.exit_code, caught.value.code) == (78, "broken_records")


def test_other_refusals_are_none_of_it() -> None:
    assert broken(ResponseError("ERR unknown command"), "here") is None
    assert not is_broken(NoPermissionError("WRONGTYPE"))
    assert not is_broken(ValueError("WRONGTYPE"))
