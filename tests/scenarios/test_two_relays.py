"""Several relays: shared by weight, a backup, one for some senders only, one that a batch is pinned to, and a rate.

Each relay is a receiver of its own, so its log tells who got what, and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mailspool import Batch, Message
from tests.support.edition import show
from tests.support.ground import Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import is_receipt, union
from tests.support.waiting import until

MAILS = 1_200
PER_S = 50
"""The rate of the slow relay."""
BURST = 1
"""What a token bucket may let through beside the rate, one mail and the one that it starts with."""


def relays(ground: Ground, **tables: Mapping[str, object]) -> dict[str, ReceiverProcess]:
    """A receiver each, and the settings that name them."""
    receivers = {name: ground.receiver(name) for name in tables}
    ground.relay_url = None
    ground.shared["relays"] = {name: {"url": receivers[name].url, **table} for name, table in tables.items()}
    return receivers


def everything(receivers: Mapping[str, ReceiverProcess]) -> Counter[str]:
    return union(receiver.log for receiver in receivers.values())


def whole(count: int = MAILS) -> Counter[str]:
    return Counter(recipient(n) for n in range(1, count + 1))


async def sent(batch: Batch, count: int = MAILS) -> None:
    status = await batch.wait(60)
    assert status.sent == status.total == count


async def test_weights_share_the_work(ground: Ground) -> None:
    receivers = relays(ground, big={"weight": 3}, small={"weight": 1})
    ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        await sent(batch)
        by_relay = Counter([message.relay async for message in batch.messages("sent")])
    counted = {name: receiver.log.count() for name, receiver in receivers.items()}
    show("weights 3 to 1", **counted)
    assert everything(receivers) == whole()
    assert dict(by_relay) == counted
    assert 0.65 < counted["big"] / MAILS < 0.85


async def test_the_backup_is_used_only_while_no_other_is_open(ground: Ground) -> None:
    receivers = relays(ground, main={}, spare={"backup": True})
    ground.worker(faults={"breaker_s": 2.0, "later_limit_s": 1.0})
    async with ground.spool() as spool:
        await sent(await spool.send_batch(letter(), rows(MAILS)))
        first = {name: receiver.log.count() for name, receiver in receivers.items()}
        receivers["main"].close()
        await sent(await spool.send_batch(letter(), rows(MAILS, "second")))
        second = {name: receiver.log.count() for name, receiver in receivers.items()}
    show("backup", while_main_works=first, main_down=second)
    assert first == {"main": MAILS, "spare": 0}
    assert second == {"main": MAILS, "spare": MAILS}
    assert everything(receivers).total() == len(everything(receivers)) == 2 * MAILS


async def test_a_relay_for_some_senders_only(ground: Ground) -> None:
    receivers = relays(ground, news={"from_domains": ["news.test"]}, bills={"from_domains": ["bills.test"]})
    ground.worker()
    async with ground.spool() as spool:
        for name in receivers:
            mail = Message(from_=f"A <a@{name}.test>", subject="Hello", text="Hello {{ name }}\n")
            await sent(await spool.send_batch(mail, rows(MAILS // 2, name)), MAILS // 2)
    senders = {
        name: {record.mail_from for record in receiver.log.records if is_receipt(record)}
        for name, receiver in receivers.items()
        if receiver.log.count()
    }
    show("from_domains", **{name: len(receiver.log.receipts()) for name, receiver in receivers.items()})
    assert senders == {"news": {"a@news.test"}, "bills": {"a@bills.test"}}


async def test_a_pinned_batch_takes_no_other(ground: Ground) -> None:
    receivers = relays(ground, left={}, right={})
    ground.worker()
    async with ground.spool() as spool:
        await sent(await spool.send_batch(letter(), rows(MAILS), relay="right"))
    counted = {name: receiver.log.count() for name, receiver in receivers.items()}
    show("pinned to right", **counted)
    assert counted == {"left": 0, "right": MAILS}


async def test_a_pinned_batch_waits_for_a_worker_that_has_its_relay(ground: Ground) -> None:
    receivers = relays(ground, left={}, right={})
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(100), relay="right")
        both = ground.shared["relays"]
        assert isinstance(both, dict)
        ground.shared["relays"] = {"left": both["left"]}
        ground.worker("left-only")
        free = await spool.send_batch(letter(), rows(100, "free"))
        await sent(free, 100)
        waiting = await batch.status()
        ground.shared["relays"] = both
        ground.worker("both")
        await sent(batch, 100)
    show("no worker has it", waiting_for=repr(waiting.waiting_for))
    assert waiting.queued == 100
    assert waiting.waiting_for == "no running worker has the relay right"
    assert set(receivers["right"].log.receipts()) >= set(whole(100))


async def test_no_window_holds_more_than_the_rate(ground: Ground) -> None:
    mails = 4 * PER_S
    receivers = relays(ground, slow={"rate": f"{PER_S}/s"})
    ground.worker()
    async with ground.spool() as spool:
        await sent(await spool.send_batch(letter(), rows(mails)), mails)
    log = receivers["slow"].log
    assert log.receipts() == whole(mails)
    # The receiver notes what it reads when it reads it: a busy machine delays notes, so they may come closer together
    # than the mails left. Over a second that is little.
    times = sorted(record.at_ms for record in log.records if record.stage == "rcpt")
    windows = [sum(start <= at < start + 1000 for at in times) for start in times]
    took_s = (times[-1] - times[0]) / 1000
    show(f"rate {PER_S}/s", mails=mails, took_s=took_s, most_in_a_second=max(windows))
    assert took_s >= (mails - 1 - BURST) / PER_S * 0.98
    assert max(windows) <= (PER_S + BURST) * 1.1


async def test_a_slow_relay_keeps_nobody_else_waiting(ground: Ground) -> None:
    """A batch that is pinned to a slow relay comes first; another one overtakes it over the fast relay."""
    receivers = relays(ground, slow={"rate": "5/s"}, fast={})
    ground.worker()
    async with ground.spool() as spool:
        slow = await spool.send_batch(letter(), rows(5_000), relay="slow")
        await until(lambda: receivers["slow"].log.count() > 0, "the slow batch is on its way")
        fast = await spool.send_batch(letter(), rows(MAILS, "fast"), relay="fast")
        await sent(fast)
        status = await slow.status()
    show("beside a slow relay", fast_sent=MAILS, slow_sent_meanwhile=status.sent)
    assert status.sent < 500
    assert receivers["fast"].log.count() == MAILS
