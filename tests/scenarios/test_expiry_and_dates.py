"""A deadline means it: nothing is sent behind it, whatever a mail waits for: a rate, a later try, a worker, a person.

And what is on the wire when the time is over is told as it ends. All by the receiver's log.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from mailspool import BatchStatus
from mailspool.sandbox import LogRecord
from tests.support.edition import show
from tests.support.ground import Ground, now_ms
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import is_receipt
from tests.support.waiting import until

LATE_MS = 500
"""Between a deadline and the receiver's note of what had begun before it, on a busy machine."""


def deadline_ms(status: BatchStatus) -> float:
    assert status.expires_at is not None
    return status.expires_at.timestamp() * 1000


def behind(records: Iterable[LogRecord], at_ms: float) -> list[float]:
    """By how much these records are later than that."""
    return [record.at_ms - at_ms for record in records if record.at_ms > at_ms]


async def test_what_a_rate_holds_back_expires(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.shared.update(relay_url=None, relays={"main": {"url": receiver.url, "rate": "50/s"}})
    ground.worker()
    mails, seconds = 600, 3
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(mails), expires_after=timedelta(seconds=seconds))
        status = await batch.wait(60)
        expired = {message.recipient async for message in batch.messages("expired")}
        unsent = [message.row async for message in batch.unsent()]
    receipts = receiver.log.receipts()
    late = behind([r for r in receiver.log.records if is_receipt(r)], deadline_ms(status))
    show("expired behind a rate", mails=mails, sent=status.sent, expired=status.expired, late=len(late))
    assert (status.state, status.done, status.ok) == ("done", True, False)
    assert (status.sent, status.expired) == (len(receipts), mails - len(receipts))
    assert 0 < status.sent <= 50 * seconds + 5
    assert expired.isdisjoint(receipts)
    assert len(expired) == len(unsent) == status.expired
    assert len(late) <= 1, "no more than the one that was on the wire then: a mail leaves every 20 ms"


async def test_what_is_greylisted_for_too_long_expires(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker(retry_schedule="1s*")
    table = [*rows(50), *rows(50, "450", start=51)]
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table, expires_after=timedelta(seconds=3))
        status = await batch.wait(60)
        expired = [message async for message in batch.messages("expired")]
    receiver.log.read()
    tries = [record for record in receiver.log.records if record.stage == "rcpt" and (record.reply[:1] == "4")]
    late = behind(tries, deadline_ms(status))
    show("expired while greylisted", sent=status.sent, expired=status.expired, tries=len(tries), late=len(late))
    assert (status.sent, status.expired, status.queued, status.deferred) == (50, 50, 0, 0)
    assert len(tries) >= 100, "each was tried, and tried again"
    assert max(late, default=0) < LATE_MS
    assert all(message.reason == "expired" and (message.reply or "").startswith("450") for message in expired)
    assert all(message.attempts >= 2 for message in expired)


async def test_a_reset_mail_that_nobody_could_send_in_time_is_never_sent(ground: Ground) -> None:
    """No worker runs until its time is over; one that starts then sends its neighbour alone."""
    receiver = ground.receiver()
    reset = letter().replace(subject="Your reset link", text="https://acme.test/r/1\n")
    async with ground.spool() as spool:
        late = await spool.send(reset, to="ali@y.test", expires_after=timedelta(milliseconds=800))
        held = await spool.send(reset, to="held@y.test", expires_after=timedelta(milliseconds=800), hold=True)
        fine = await spool.send(reset, to="zahra@y.test", expires_after=timedelta(minutes=15))
        waiting = await late.status()
        over_ms = deadline_ms(await held.status())
        await until(lambda: now_ms() > over_ms, "the time of both is over")
        ground.worker()
        statuses = [await batch.wait(30) for batch in (late, held, fine)]
    receiver.log.read()
    tried = {record.recipient for record in receiver.log.records if record.stage == "rcpt"}
    show("reset mails", tried=sorted(filter(None, tried)), states=[str(status) for status in statuses])
    assert waiting.waiting_for == "no worker is running"
    assert [(status.sent, status.expired) for status in statuses] == [(0, 1), (0, 1), (1, 0)]
    assert tried == {"zahra@y.test"}


async def test_a_lifetime_counts_from_the_date(ground: Ground) -> None:
    """Longer than the lifetime before its date, and all of it is sent."""
    receiver = ground.receiver()
    ground.worker()
    date = datetime.now().astimezone() + timedelta(seconds=2.5)
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(200), send_at=date, expires_after=timedelta(seconds=2))
        first = await batch.status()
        status = await batch.wait(30)
    receiver.log.read()
    tries = [record.at_ms for record in receiver.log.records if record.stage == "rcpt"]
    early_ms = date.timestamp() * 1000 - min(tries)
    show("date and lifetime", sent=status.sent, first_try_after_the_date_ms=f"{-early_ms:.0f}")
    assert first.state == "scheduled"
    assert (first.waiting_for or "").startswith("starts ")
    assert first.expires_at is not None
    assert abs(first.expires_at - date - timedelta(seconds=2)) < timedelta(milliseconds=2)
    assert status.sent == 200
    assert early_ms <= 0


async def test_what_is_on_the_wire_then_is_told_as_it_ends(ground: Ground) -> None:
    receiver = ground.receiver(pipelining=False)  # or another one's envelope would wait behind each slow reply
    ground.worker()
    table = [*rows(3, "slow-3s"), *rows(3, "450", start=4)]
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table, expires_after=timedelta(seconds=1.5))
        status = await batch.wait(30)
        states = [message.state async for message in batch.messages()]
    receipts = receiver.log.receipts()
    late = behind([r for r in receiver.log.records if is_receipt(r)], deadline_ms(status))
    show("accepted after the deadline", sent=status.sent, expired=status.expired, replies_after_it_ms=sorted(late))
    assert set(receipts) == {recipient(n, "slow-3s") for n in (1, 2, 3)}
    assert len(late) == 3, "their replies come after the deadline"
    assert states == ["sent"] * 3 + ["expired"] * 3
    assert (status.sent, status.expired, status.queued, status.deferred) == (3, 3, 0, 0)
