"""`kill -9` of a worker at random moments, at full speed, with default settings: embedded server, every write fsynced.

The receiver's log is the truth. A session holds a body at a kill when the receiver has the whole mail and the spool
does not know yet that it was sent. Exactly these mails come again, one a session at most, with the same bytes.
The short edition shortens the lease, to wait less at its end.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mailspool import Batch
from tests.support.blows import Blow, kill_worker, speeds
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, row_of, rows
from tests.support.oracle import contents, is_receipt
from tests.support.waiting import until

KILLS = pick(short=3, full=10)
MAILS = pick(short=12_000, full=60_000)
LEASE_S = pick(short=6.0, full=None)
BETWEEN = pick(short=(800, 2_500), full=(1_500, 5_000))
"""Mails between the first one of a worker and its end."""
AGAIN_WITHIN_S = 30.0


async def kill_at_random(receiver: ReceiverProcess, batch: Batch, worker: Background, chance: random.Random) -> Blow:
    """Kills it somewhere on its way."""

    async def is_sent(name: str) -> bool:
        return (await batch.message(row_of(name))).state == "sent"

    first = len(receiver.log.records)
    enough = receiver.log.count() + chance.randint(*BETWEEN)
    await until(lambda: receiver.log.count() >= enough, f"{enough} mails received")
    return await kill_worker(worker, receiver, is_sent, first=first)


def going_again_after_s(receiver: ReceiverProcess, blow: Blow) -> float:
    """From the kill to the next mail over a session that began after it."""
    closing = {record.session for record in receiver.log.records if record.at_ms <= blow.at_ms}
    later = (r.at_ms for r in receiver.log.records if is_receipt(r) and r.session not in closing)
    return (min(later) - blow.at_ms) / 1000


@pytest.mark.storm
async def test_nothing_is_lost_and_each_session_repeats_one_mail_at_most(ground: Ground) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    receiver = ground.receiver()
    faults = {"lease_s": LEASE_S}
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS), key="storm")
        blows = []
        for number in range(KILLS):
            worker = ground.worker(f"worker{number}", faults)
            blows.append(await kill_at_random(receiver, batch, worker, chance))
        ground.worker("last", faults)
        status = await batch.wait(300)
    receipts = receiver.log.receipts()
    held = Counter(name for blow in blows for name in blow.holding)
    repeats = Counter({name: times - 1 for name, times in receipts.items() if times > 1})
    again_s = [going_again_after_s(receiver, blow) for blow in blows]
    show(
        f"{KILLS} kills (seed {seed})",
        mails=MAILS,
        mails_a_second_at_the_kills=speeds(blows),
        sessions=[blow.sessions for blow in blows],
        held_a_body=[len(blow.holding) for blow in blows],
        ended_between_354_and_dot=[blow.cut for blow in blows],
        repeats=repeats.total(),
        lost=MAILS - len(receipts),
        going_again_s=f"{max(again_s):.1f} at most",
    )
    assert status.sent == status.total == MAILS
    assert set(receipts) == {recipient(number) for number in range(1, MAILS + 1)}
    assert repeats == held
    assert all(len(blow.holding) <= blow.sessions for blow in blows)
    assert repeats.total() >= 1, "no kill met a body on the wire: this run proves nothing"
    assert max(again_s) < AGAIN_WITHIN_S
    assert all(len(hashes) == 1 for hashes in contents([receiver.log]).values())
