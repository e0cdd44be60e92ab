"""Two workers, one of them stopped (SIGSTOP) for two lease times under load, then let go.

The other one takes its chunks over when the lease is out. What repeats is exactly what the frozen sessions had
delivered and not recorded, one each; the thawed worker changes nothing of that any more, and goes on with new work.
Each worker has a receiver of its own, so that their sessions can be told apart.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest

from mailspool import Batch
from mailspool.contract.states import LEASE_MS
from tests.support.blows import freeze_worker
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, row_of, rows
from tests.support.oracle import contents, is_receipt, union
from tests.support.waiting import until

MAILS = pick(short=8_000, full=40_000)
LEASE_S = pick(short=4.5, full=None)
FROZEN_S = 2 * (LEASE_S or LEASE_MS / 1000)
AFTERWARDS = 2_000
MOMENTS = 10


async def freeze_with_bodies(worker: Background, receiver: ReceiverProcess, batch: Batch) -> list[str]:
    """Stops it at a moment when sessions hold a body; the mails that these had delivered, not known as sent.

    A moment without any proves nothing: then it goes on at once, and another moment is taken.
    """

    async def is_sent(name: str) -> bool:
        return (await batch.message(row_of(name))).state == "sent"

    for _ in range(MOMENTS):
        if holding := await freeze_worker(worker, receiver, is_sent):
            return holding
        worker.send(signal.SIGCONT)
        await one_more(receiver)
    raise AssertionError("no session ever holds a body")


async def one_more(receiver: ReceiverProcess) -> None:
    seen = receiver.log.count()
    await until(lambda: receiver.log.count() > seen, "it goes on")


@pytest.mark.storm
async def test_the_other_one_takes_over_and_the_thawed_one_changes_nothing(ground: Ground) -> None:
    seed = random.randrange(1_000_000)
    cold, warm = ground.receiver("cold"), ground.receiver("warm")
    faults = {"lease_s": LEASE_S}
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS), key="storm")
        frozen = ground.worker("frozen", faults, relay_url=cold.url)
        ground.worker("other", faults, relay_url=warm.url)
        enough = random.Random(seed).randint(MAILS // 20, MAILS // 8)
        await until(lambda: cold.log.count() >= enough, f"{enough} mails over the one to be frozen")
        holding = await freeze_with_bodies(frozen, cold, batch)
        frozen_at_s, received_cold = time.monotonic(), cold.log.received
        sessions = len(cold.log.open_sessions())
        await until(lambda: time.monotonic() > frozen_at_s + FROZEN_S, "two lease times", limit_s=3 * FROZEN_S)
        before = await batch.status()
        afterwards = await spool.send_batch(letter(), rows(AFTERWARDS, "later"), key="later", hold=True)
        frozen.send(signal.SIGCONT)
        await until(lambda: frozen.state() != "T", "it runs")
        await afterwards.release()
        status, after = await batch.wait(120), await afterwards.wait(120)
    receipts = union([cold.log, warm.log])
    brought = [record.recipient or "" for record in cold.log.records if is_receipt(record)][received_cold:]
    of_new_work = sum(name.startswith("later-") for name in brought)
    repeats = Counter({name: times - 1 for name, times in receipts.items() if times > 1})
    show(
        f"frozen for {FROZEN_S:g} s (seed {seed})",
        mails=MAILS,
        sessions=sessions,
        held_a_body=len(holding),
        repeats=repeats.total(),
        sent_when_thawed=before.sent,
        old_mails_from_the_thawed_one=len(brought) - of_new_work,
        new_ones=of_new_work,
        lost=MAILS + AFTERWARDS - len(receipts),
    )
    assert status.sent == status.total == before.sent == MAILS
    assert after.sent == AFTERWARDS
    expected = {recipient(n) for n in range(1, MAILS + 1)} | {recipient(n, "later") for n in range(1, AFTERWARDS + 1)}
    assert set(receipts) == expected
    assert repeats == Counter(holding)
    assert len(holding) <= sessions
    assert len(brought) == of_new_work
    assert of_new_work > 0, "the thawed worker does not work any more"
    assert all(len(hashes) == 1 for hashes in contents([cold.log, warm.log]).values())
