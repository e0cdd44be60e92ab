"""Several relays: by weight, by the sender's domain, pinned, one only as a backup, one with a rate.

Each relay is a receiver with a log of its own, so that who got what is known from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from mailspool import InputError
from tests.support.edition import show
from tests.support.ground import Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import is_receipt, union
from tests.support.waiting import until_async


def two(
    ground: Ground, main: Mapping[str, object] | None = None, other: Mapping[str, object] | None = None
) -> tuple[ReceiverProcess, ReceiverProcess]:
    """Receivers `main` and `other`, and relays of these names with these settings for all processes."""
    first, second = ground.receiver("main"), ground.receiver("other")
    tables = {"main": {"url": first.url, **(main or {})}, "other": {"url": second.url, **(other or {})}}
    ground.shared.update(relay_url=None, relays=tables)
    return first, second


async def test_weights_share_the_mails(ground: Ground) -> None:
    heavy, light = two(ground, {"weight": 3}, {"weight": 1})
    mails = 2_000
    ground.worker()
    async with ground.spool() as spool:
        status = await (await spool.send_batch(letter(), rows(mails))).wait(60)
    shares = heavy.log.count(), light.log.count()
    show("weights 3 and 1", mails=mails, received=shares)
    assert status.sent == mails
    assert union([heavy.log, light.log]) == Counter(recipient(n) for n in range(1, mails + 1))
    sigma = (mails * 0.75 * 0.25) ** 0.5
    assert abs(shares[0] - mails * 0.75) < 6 * sigma


async def test_a_backup_works_only_while_the_other_is_closed(ground: Ground) -> None:
    main, spare = two(ground, None, {"backup": True})
    faults = {"breaker_s": 1.0, "later_limit_s": 1.0}
    ground.worker("worker", faults, retry_schedule="1s*")
    each = 500
    async with ground.spool() as spool:
        before = await (await spool.send_batch(letter(), rows(each, "before"))).wait(60)
        spare_before = spare.log.count()
        main.kill()
        during = await (await spool.send_batch(letter(), rows(each, "during"))).wait(60)
        spare_during = spare.log.count() - spare_before
        again = ground.receiver("again", port=main.port)
        probes = 0

        async def main_is_used_again() -> bool:
            nonlocal probes
            probes += 1
            await (await spool.send_batch(letter(), rows(1, f"probe{probes}"))).wait(60)
            return again.log.count() > 0

        await until_async(main_is_used_again, "the main relay is used again")
        spare_then = spare.log.count()
        after = await (await spool.send_batch(letter(), rows(each, "after"))).wait(60)
    show(
        "backup",
        before=(main.log.count(), spare_before),
        while_main_is_down=(0, spare_during),
        probes_until_it_is_used_again=probes,
        after=(again.log.count() - 1, spare.log.count() - spare_then),
    )
    assert (before.sent, during.sent, after.sent) == (each, each, each)
    assert (main.log.count(), spare_before) == (each, 0)
    assert spare_during == each
    assert (again.log.count(), spare.log.count() - spare_then) == (each + 1, 0)
    assert union([main.log, spare.log, again.log]).most_common(1)[0][1] == 1


async def test_the_sender_chooses_by_its_domain(ground: Ground) -> None:
    one, other = two(ground, {"from_domains": "one.test"}, {"from_domains": "two.test, three.test"})
    ground.worker()
    async with ground.spool() as spool:
        batches = [
            await spool.send_batch(letter().replace(from_=f"News <news@{domain}>"), rows(200, domain[:3]))
            for domain in ("one.test", "two.test", "three.test")
        ]
        sent = [(await batch.wait(60)).sent for batch in batches]
    counts = one.log.count(), other.log.count()
    senders = [{r.mail_from for r in receiver.log.records if is_receipt(r)} for receiver in (one, other)]
    show("from_domains", main=(counts[0], senders[0]), other=(counts[1], senders[1]))
    assert sent == [200, 200, 200]
    assert counts == (200, 400)
    assert senders == [{"news@one.test"}, {"news@two.test", "news@three.test"}]


async def test_a_pinned_relay_takes_the_whole_batch(ground: Ground) -> None:
    main, other = two(ground, {"weight": 100}, None)
    ground.worker()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(300), relay="other")
        status = await batch.wait(60)
        relays = {message.relay async for message in batch.messages("sent")}
        with pytest.raises(InputError, match="third"):
            await spool.send_batch(letter(), rows(1), relay="third")
        assert [known.id async for known in spool.batches()] == [batch.id], "the refused one queued nothing"
    show("pinned", main=main.log.count(), other=other.log.count())
    assert status.sent == 300
    assert (main.log.count(), other.log.count()) == (0, 300)
    assert relays == {"other"}


async def test_a_rate_is_never_exceeded(ground: Ground) -> None:
    rate, mails = 100, 400
    burst = rate / 20
    limited, free = two(ground, {"rate": f"{rate}/s"}, None)
    ground.worker()
    async with ground.spool() as spool:
        slow = await spool.send_batch(letter(), rows(mails // 2), relay="main")
        slow_too = await spool.send_batch(letter(), rows(mails // 2, "too"), relay="main")
        quick = await (await spool.send_batch(letter(), rows(1_000, "quick"), relay="other")).wait(60)
        open_then = (await slow.status()).queued + (await slow_too.status()).queued
        sent = (await slow.wait(60)).sent + (await slow_too.wait(60)).sent
    limited.log.read()
    times = [record.at_ms for record in limited.log.records if is_receipt(record)]
    took_s = (times[-1] - times[0]) / 1000
    windows = [sum(at <= t < at + 1000 for t in times) for at in times]
    show(
        f"rate {rate}/s",
        mails=len(times),
        took_s=f"{took_s:.2f}",
        mails_a_second=f"{len(times) / took_s:.1f}",
        most_in_a_second=max(windows),
        open_when_the_quick_one_was_done=open_then,
    )
    assert sent == len(times) == mails
    assert quick.sent == 1_000 == free.log.count()
    assert open_then > 0, "a rate held up the batch of another relay"
    assert len(times) <= rate * took_s + burst + 1
    assert max(windows) <= rate + burst + rate / 10, "what a busy machine held up may come together"


async def test_a_later_try_stays_where_it_was_greylisted(ground: Ground) -> None:
    mails = 400
    main, other = two(ground)
    ground.worker(retry_schedule="1s*")
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(mails, "450-1"))
        status = await batch.wait(60)
        tries = Counter([message.attempts async for message in batch.messages("sent")])
    receipts = union([main.log, other.log])
    tried = [Counter(r.recipient for r in receiver.log.records if r.stage == "rcpt") for receiver in (main, other)]
    show("450, then again", main=len(tried[0]), other=len(tried[1]), at_both=len(tried[0].keys() & tried[1].keys()))
    assert status.sent == mails
    assert tries == {2: mails}
    assert receipts == Counter(recipient(n, "450-1") for n in range(1, mails + 1))
    assert not tried[0].keys() & tried[1].keys()
    assert all(tried)
    assert set(tried[0].values()) == set(tried[1].values()) == {2}
