"""SIGTERM and SIGINT let a worker finish what is on the wire and leave with 0; a second one ends it at once with 130.

And the other ways to end: `--drain` with something left for later, `--until-done` with 0, 1 and 75.
"""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from mailspool import Batch
from tests.support.edition import show
from tests.support.ground import Background, Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.waiting import until, until_quiet

MAILS = 10_000
ENOUGH = 1_500


async def in_full_flow(receiver: ReceiverProcess, batch: Batch) -> None:
    await until(lambda: receiver.log.count() >= ENOUGH, f"{ENOUGH} mails received")
    assert not (await batch.status()).done, "it was too fast to be stopped on its way"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_one_signal_finishes_what_is_on_the_wire(ground: Ground, number: signal.Signals) -> None:
    receiver = ground.receiver()
    worker = ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        await in_full_flow(receiver, batch)
        worker.send(number)
        code = worker.wait()
        stopped = await batch.status()
        received = receiver.log.count()
        ended = [session.quit for session in receiver.log.sessions.values()]
        ground.worker("next")
        status = await batch.wait(60)
    show(
        number.name,
        exit_code=code,
        sent_then=stopped.sent,
        received_then=received,
        repeats=receiver.log.receipts().total() - MAILS,
        sessions_that_said_QUIT=f"{sum(ended)} of {len(ended)}",
    )
    assert code == 0, worker.words()
    assert stopped.sent == received < MAILS
    assert status.sent == MAILS
    assert receiver.log.receipts() == Counter(recipient(n) for n in range(1, MAILS + 1))


async def test_chunks_are_given_back_at_a_stop(ground: Ground) -> None:
    """The next worker waits for no lease and no grace: a chunk is free, or its job lies ready for whoever comes."""
    receiver = ground.receiver()
    worker = ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        await in_full_flow(receiver, batch)
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        connection = await spool.connection()
        keys = connection.keys
        left = await connection.fields(f"{keys.prefix}:run:{batch.id}")
        fed = {keys.job_id(batch.id, int(k), int(run[4:])) for k, run in left.items() if run.startswith("fed:")}
        ready = set(await connection.strings("ZRANGE", keys.queue("bulk"), 0, -1))
        taken = set(await connection.strings("KEYS", "arq:in-progress:*"))
        status = await spool.status()
    show("given back", still_running=len(left) - len(fed), fed=len(fed), of_them_ready=len(ready & fed))
    assert len(left) == len(fed)
    assert ready == fed
    assert not taken
    assert status.workers == 0


async def test_a_second_signal_ends_it_at_once(ground: Ground) -> None:
    """A mail whose last reply takes a minute keeps it from leaving."""
    receiver = ground.receiver()
    worker = ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(10, "slow-60s"))
        await until(lambda: tried(receiver), "a mail is on the wire")
        await until_quiet(lambda: len(receiver.log.records), "all sessions wait for their reply")
        sessions = len(receiver.log.open_sessions())
        worker.send(signal.SIGTERM)
        await until_quiet(lambda: len(receiver.log.records), "it waits for them")
        drains = worker.alive
        worker.send(signal.SIGTERM)
        code = worker.wait(10)
        assert (await batch.status()).queued == 10
    show("second signal", sessions_that_waited=sessions, exit_code=code)
    assert drains, "the first signal did not let it finish"
    assert code == 130
    assert "may be sent again" in worker.words()


def tried(receiver: ReceiverProcess) -> bool:
    receiver.log.read()
    return any(record.stage == "rcpt" for record in receiver.log.records)


async def test_drain_leaves_what_is_for_later(ground: Ground) -> None:
    receiver = ground.receiver()
    async with ground.spool() as spool:
        now = await spool.send_batch(letter(), rows(1_000))
        later = await spool.send_batch(letter(), rows(20, "450"))
        held = await spool.send_batch(letter(), rows(20, "held"), hold=True)
        worker = ground.start_worker("drains", {"drain": True})
        code = worker.wait()
        statuses = [await batch.status() for batch in (now, later, held)]
    show("--drain", exit_code=code, left=[status.deferred + status.queued for status in statuses])
    assert code == 0, worker.words()
    assert (statuses[0].sent, statuses[1].deferred, statuses[2].queued) == (1_000, 20, 20)
    assert receiver.log.receipts().total() == 1_000
    told = f'"event":"drained","batch":"{held.id}","waiting":20,"why":"held by you"'
    assert told in worker.words()


def until_done(ground: Ground, name: str, batches: list[str], timeout_s: float | None = None) -> Background:
    return ground.start_worker(name, {"until_done": batches, "timeout_s": timeout_s}, retry_schedule="1s*")


async def test_until_done_tells_how_it_ended(ground: Ground) -> None:
    ground.receiver()
    async with ground.spool() as spool:
        good = await spool.send_batch(letter(), rows(200, "450-1"))
        bad = await spool.send_batch(letter(), [*rows(100), *rows(3, "550-5.1.1")])
        endless = await spool.send_batch(letter(), rows(3, "450"))
        codes = {
            "ok": until_done(ground, "ok", [good.id]).wait(),
            "not ok": until_done(ground, "not-ok", [good.id, bad.id]).wait(),
            "time is over": until_done(ground, "over", [endless.id], 3.0).wait(),
            "every batch, time is over": until_done(ground, "every", [], 2.0).wait(),
        }
        assert (await good.status()).sent == 200
        assert (await bad.status()).failed == 3
        assert (await endless.status()).deferred == 3
    show("--until-done", **codes)
    assert codes == {"ok": 0, "not ok": 1, "time is over": 75, "every batch, time is over": 75}
