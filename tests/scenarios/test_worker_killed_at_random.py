"""`kill -9` of a worker at random moments, at full speed, with default settings: embedded server, every write fsynced.

The receiver's log is the truth. A session holds a body at a kill when the receiver has the whole mail and the spool
does not know yet that it was sent. Exactly these mails come again, one a session at most, with the same bytes.
The short edition shortens the lease, to wait less at its end.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import dataclass

import pytest

from mailspool import Batch
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground, ReceiverProcess, now_ms
from tests.support.mailing import letter, recipient, row_of, rows
from tests.support.oracle import contents, is_receipt
from tests.support.waiting import until

KILLS = pick(short=3, full=10)
MAILS = pick(short=12_000, full=60_000)
LEASE_S = pick(short=6.0, full=None)
BETWEEN = pick(short=(800, 2_500), full=(1_500, 5_000))
"""Mails between the first one of a worker and its end."""
AGAIN_WITHIN_S = 30.0


@dataclass
class Blow:
    """What one kill met, by the receiver's log and by what the spool knew then."""

    at_ms: int
    rate_per_s: float
    sessions: int
    holding: list[str]
    cut: int


async def kill_at_random(
    ground: Ground, receiver: ReceiverProcess, batch: Batch, worker: Background, chance: random.Random
) -> Blow:
    """Kills it somewhere on its way; what it held then is known before another worker starts."""
    log = receiver.log
    first = len(log.records)
    enough = log.count() + chance.randint(*BETWEEN)
    await until(lambda: log.count() >= enough, f"{enough} mails received")
    ended_before = {session.number for session in log.sessions.values() if session.closed}
    at_ms = now_ms()
    worker.kill()
    await until(lambda: not log.open_sessions(), "the receiver sees every session end")
    ended = [session for session in log.sessions.values() if session.number not in ended_before]
    last = [session.last for session in ended if session.last is not None]
    holding = [name for name in last if (await batch.message(row_of(name))).state != "sent"]
    times = [record.at_ms for record in log.records[first:] if is_receipt(record)]
    rate = (len(times) - 1) * 1000 / max(1, times[-1] - times[0])
    return Blow(at_ms, rate, len(ended), holding, sum(session.cut is not None for session in ended))


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
            blows.append(await kill_at_random(ground, receiver, batch, worker, chance))
        ground.worker("last", faults)
        status = await batch.wait(300)
    receipts = receiver.log.receipts()
    held = Counter(name for blow in blows for name in blow.holding)
    repeats = Counter({name: times - 1 for name, times in receipts.items() if times > 1})
    again_s = [going_again_after_s(receiver, blow) for blow in blows]
    show(
        f"{KILLS} kills (seed {seed})",
        mails=MAILS,
        mails_a_second_at_the_kills=f"{min(b.rate_per_s for b in blows):.0f} to {max(b.rate_per_s for b in blows):.0f}"
        f" (median {statistics.median(b.rate_per_s for b in blows):.0f})",
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
