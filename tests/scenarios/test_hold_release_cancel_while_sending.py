"""Somebody holds, releases, cancels or retries a batch while it is being sent; or its date comes, or its deadline.

A hold and a cancel act within one mail a session, whatever has been sent stays sent, and every count is the receiver's.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from mailspool import Batch, BatchStatus, Spool
from mailspool.contract.keys import Keys
from tests.support.edition import show
from tests.support.ground import Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import Log, is_receipt
from tests.support.waiting import until, until_async

MAILS = 15_000
ENOUGH = 1_500
LATE_MS = 1_000
"""Between a deadline and the receiver's note of a mail that was on the wire then, on a busy machine."""


async def at_rest(spool: Spool, batch: Batch) -> None:
    """No worker has anything of it in its hands."""
    connection = await spool.connection()
    run = f"{Keys().prefix}:run:{batch.id}"

    async def nothing_runs() -> bool:
        fed = await connection.fields(run)
        return not any(state.startswith("run:") for state in fed.values())

    await until_async(nothing_runs, "what was on the wire is recorded and settled")


def received_after(log: Log, records: int) -> Counter[int]:
    """Mails by session, behind so many records."""
    log.read()
    return Counter(record.session for record in log.records[records:] if is_receipt(record))


async def halfway(receiver: ReceiverProcess) -> None:
    await until(lambda: receiver.log.count() >= ENOUGH, f"{ENOUGH} mails received")


def counts_fit(status: BatchStatus, **expected: int) -> None:
    names = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")
    counts = {name: getattr(status, name) for name in names}
    assert sum(counts.values()) == status.total
    assert {name: number for name, number in counts.items() if number} == {k: v for k, v in expected.items() if v}


async def test_hold_stops_within_one_mail_a_session_and_release_goes_on(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        await halfway(receiver)
        touched = await batch.hold()
        receiver.log.read()
        seen = len(receiver.log.records)
        await at_rest(spool, batch)
        after = received_after(receiver.log, seen)
        held = await batch.status()
        assert await batch.hold() == 0, "it is idempotent"
        assert await batch.release() == held.queued
        status = await batch.wait(60)
    show(
        "hold",
        mails=MAILS,
        left_at_the_hold=touched,
        received_after_it=after.total(),
        by_one_session=max(after.values(), default=0),
        sent_while_held=held.sent,
        sent_in_the_end=status.sent,
    )
    assert held.state == "held"
    assert held.waiting_for == "held by you"
    assert max(after.values(), default=0) <= 1
    assert touched >= held.queued > 0
    counts_fit(held, sent=held.sent, queued=MAILS - held.sent)
    counts_fit(status, sent=MAILS)
    assert receiver.log.receipts() == Counter(recipient(n) for n in range(1, MAILS + 1))


async def test_cancel_leaves_sent_ones_alone(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        await halfway(receiver)
        touched = await batch.cancel()
        receiver.log.read()
        seen = len(receiver.log.records)
        status = await batch.wait(60)
        after = received_after(receiver.log, seen)
        assert await batch.cancel() == 0, "it is idempotent"
        sent = {message.recipient async for message in batch.messages("sent")}
        cancelled = {message.recipient async for message in batch.messages("cancelled")}
    receipts = receiver.log.receipts()
    show(
        "cancel",
        mails=MAILS,
        open_at_the_cancel=touched,
        received_after_it=after.total(),
        by_one_session=max(after.values(), default=0),
        sent=status.sent,
        cancelled=status.cancelled,
    )
    assert (status.state, status.done, status.ok) == ("cancelled", True, True)
    assert max(after.values(), default=0) <= 1
    assert 0 < status.cancelled <= touched
    counts_fit(status, sent=len(receipts), cancelled=MAILS - len(receipts))
    assert sent == set(receipts)
    assert cancelled.isdisjoint(receipts)
    assert receipts.total() == len(receipts)


async def test_a_deadline_in_the_middle_ends_it_and_nothing_is_late(ground: Ground) -> None:
    """Each mail takes its session 20 ms, so that most of the batch is still there when its time is over."""
    receiver = ground.receiver()
    ground.worker(max_sessions=2)
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(2_000, "slow-20ms"), expires_after=timedelta(seconds=3))
        status = await batch.wait(60)
        expired = {message.recipient async for message in batch.messages("expired")}
    assert status.expires_at is not None
    deadline_ms = status.expires_at.timestamp() * 1000
    receipts = receiver.log.receipts()
    late = [r.at_ms - deadline_ms for r in receiver.log.records if is_receipt(r) and r.at_ms > deadline_ms]
    show("expiry", mails=2_000, sent=status.sent, expired=status.expired, last_reply_after_it_ms=max(late, default=0))
    assert (status.state, status.done, status.ok) == ("done", True, False)
    assert 0 < len(receipts) < 2_000
    counts_fit(status, sent=len(receipts), expired=2_000 - len(receipts))
    assert expired.isdisjoint(receipts)
    assert len(late) <= 2, "at most the mail that each session had on the wire"
    assert max(late, default=0) < LATE_MS


async def test_a_date_is_not_anticipated(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker()
    async with ground.spool() as spool:
        date = (datetime.now().astimezone() + timedelta(seconds=3)).replace(microsecond=0)
        later = await spool.send_batch(letter(), rows(300), send_at=date)
        first = await later.status()
        at_once = await spool.send_batch(letter(), rows(300, "now"))
        assert (await at_once.wait(30)).sent == 300
        status = await later.wait(30)
    assert receiver.log.receipts().total() == 600
    dated = {recipient(n) for n in range(1, 301)}
    tries = [record.at_ms for record in receiver.log.records if record.stage == "rcpt" and record.recipient in dated]
    early_ms = min(tries) - date.timestamp() * 1000
    show("send_at", first_try_after_it_ms=f"{early_ms:.0f}")
    assert (first.state, first.waiting_for is not None) == ("scheduled", True)
    assert status.sent == 300
    assert early_ms >= 0


async def test_failed_ones_are_tried_again_when_somebody_asks(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker()
    table = [*rows(300), *rows(40, "550-5.1.1-1", start=301)]
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table)
        first = await batch.wait(30)
        failed = [message async for message in batch.failed()]
        moved = await batch.retry("failed")
        status = await batch.wait(30)
        again = [message async for message in batch.messages() if message.row > 300]
    show("retry", failed=len(failed), moved=moved, sent=status.sent)
    counts_fit(first, sent=300, failed=40)
    assert {message.row for message in failed} == set(range(301, 341))
    assert moved == 40
    counts_fit(status, sent=340)
    assert status.ok
    assert all((message.state, message.attempts) == ("sent", 1) for message in again)
    assert receiver.log.receipts() == Counter(str(row["email"]) for row in table)
