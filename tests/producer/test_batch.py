"""`Batch`: what it shows, how it waits, what can be done about it."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest

from mailspool import Attachment, Batch, InputError, Message, NotFound, Spool, WaitTimeout
from mailspool.client.connection import patiently
from mailspool.client.patience import Patience
from mailspool.contract.states import State
from mailspool.redis_server.link import Link
from tests.support.hand import Hand

NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Dear {{ name }}\n")
COUNTED: tuple[State, ...] = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")


async def queue(spool: Spool, count: int, **common: object) -> Batch:
    rows = [{"email": f"u{n}@y{n % 3}.test", "name": f"Anna {n}"} for n in range(1, count + 1)]
    return await spool.send_batch(NEWS, rows, **common)  # type: ignore[arg-type]  # the common arguments


async def rows(batch: Batch, *states: State, **chosen: str) -> list[int]:
    return [message.row async for message in batch.messages(states or None, **chosen)]


MIXED: dict[int, State] = {2: "failed", 3: "deferred", 105: "uncertain", 106: "suppressed", 250: "failed"}


# -- looking


async def test_status_is_one_round_trip(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    await hand.beat()
    connection = await spool.connection()

    async def commands() -> int:
        info = await connection.command("INFO", "commandstats")
        assert isinstance(info, dict)
        return sum(stats["calls"] for name, stats in info.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))

    await batch.status()
    before = await commands()
    await batch.status()
    assert await commands() - before == 1


async def test_every_state_is_shown_and_adds_up(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, MIXED)
    status = await batch.status()
    assert str(status) == "250: 245 sent, 1 deferred, 2 failed, 1 suppressed, 1 uncertain"
    assert sum(getattr(status, name) for name in COUNTED) == status.total
    assert (status.state, status.done, status.ok) == ("active", False, False)
    assert status.next_try is not None
    assert status.waiting_for is not None
    assert status.waiting_for.startswith("a later try at ")
    for name in COUNTED:
        assert len(await rows(batch, name)) == getattr(status, name), name
    assert [message.row async for message in batch.failed()] == [2, 250]
    assert [message.row async for message in batch.unsent()] == [2, 105, 106, 250]


async def test_messages_come_in_row_order_with_what_happened(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, MIXED)
    assert await rows(batch) == list(range(1, 251))
    second = await batch.message(2)
    assert (second.id, second.batch, second.recipient, second.state) == (
        f"{batch.id}-2",
        batch.id,
        "u2@y2.test",
        "failed",
    )
    assert (second.reply, second.reason, second.attempts) == ("550 5.1.1 no such user", "mailbox_unknown", 1)
    first = await batch.message(1)
    assert (first.remote_id, first.size_bytes, first.relay) == ("4F1C2", 812, "main")
    assert first.message_id.startswith(f"<{batch.id}.1.")
    assert first.message_id.endswith("@x.test>")
    for row in (0, 251, 10_000):
        with pytest.raises(NotFound, match=f'no message "{batch.id}-{row}"'):
            await batch.message(row)


async def test_messages_of_a_batch_with_attachments(spool: Spool) -> None:
    mail = NEWS.replace(attachments=[Attachment(b"%PDF", name="a.pdf"), Attachment(b"GIF", name="b.gif", inline=True)])
    batch = await spool.send_batch(mail.replace(html="<img src='cid:b.gif'>"), [{"email": "a@x.test", "name": "A"}])
    assert [message.state async for message in batch.messages()] == ["queued"]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"recipient": "u2@y2.test"}, [2]),
        ({"recipient": " U2@Y2.TEST "}, [2]),
        ({"recipient": "u2@y1.test"}, []),
        ({"recipient": "nobody"}, []),
        ({"domain": "Y2.test"}, [2, 5, 8]),
        ({"domain": "test"}, []),
        ({"reply": "NO SUCH USER"}, [2]),
        ({"reply": ""}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"domain": "y2.test", "reply": "greylisted"}, [5]),
    ],
)
async def test_filters(spool: Spool, hand: Hand, chosen: dict[str, str], found: list[int]) -> None:
    batch = await queue(spool, 9)
    await hand.work(batch.id, {2: "failed", 5: "deferred"})
    assert await rows(batch, **chosen) == found


async def test_a_domain_is_compared_as_it_is_stored(spool: Spool) -> None:
    batch = await spool.send_batch(NEWS.replace(text="T\n"), ["a@bücher.test", "b@x.test"])
    assert await rows(batch, domain="BÜCHER.test") == await rows(batch, domain="xn--bcher-kva.test") == [1]
    assert await rows(batch, recipient="a@bücher.test") == [1]


async def test_a_state_that_there_is_not(spool: Spool) -> None:
    batch = await queue(spool, 1)
    with pytest.raises(InputError, match=r'no state "open": queued, sent, deferred'):
        await rows(batch, "open")  # type: ignore[arg-type]  # the mistake


async def test_ten_thousand_messages_are_streamed_in_few_round_trips_and_little_memory(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await queue(spool, 10_000)
    round_trips = 0

    async def counting(
        link: Link, work: Callable[[], Awaitable[object]], key: str = "", queues: bool = False
    ) -> object:
        nonlocal round_trips
        round_trips += 1
        return await patiently(link, work, key=key, queues=queues)

    monkeypatch.setattr("mailspool.client.connection.patiently", counting)
    tracemalloc.start()
    try:
        count = 0
        async for _ in batch.messages():
            count += 1
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak_bytes < 1_500_000
    assert round_trips <= 15


async def test_large_rows_are_streamed_in_little_memory_too(spool: Spool) -> None:
    rows = ({"email": f"u{n}@x.test", "name": "x" * 20_000} for n in range(2_000))
    batch = await spool.send_batch(NEWS, rows)
    tracemalloc.start()
    try:
        async for _ in batch.messages():
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20_000_000


async def test_a_batch_that_is_gone_says_so(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 1)
    await hand.work(batch.id)
    connection = await spool.connection()
    await connection.command("ZADD", connection.keys.retire, 1, batch.id)
    while await connection.moves.purge(batch.id) == "MORE":
        pass
    with pytest.raises(NotFound, match=f"does not know batch {batch.id} any more: its retention is over, or"):
        await batch.status()
    with pytest.raises(NotFound, match=f"does not know batch {batch.id} any more"):
        await rows(batch)
    assert (await batch.hold(), await batch.release(), await batch.cancel()) == (0, 0, 0)


async def test_a_server_that_lost_its_data_is_not_called_a_retention(spool: Spool) -> None:
    batch = await queue(spool, 1)
    await (await spool.connection()).command("FLUSHALL")
    with pytest.raises(NotFound, match=r"or the server has lost its data") as caught:
        await batch.status()
    assert caught.value.code == "no_such_batch"


# -- waiting


async def test_wait_returns_what_came_to_rest(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    waiting = asyncio.create_task(batch.wait())
    await hand.work(batch.id, {1: "failed"})
    status = await waiting
    assert (status.done, status.ok, status.failed) == (True, False, 1)
    assert status.finished_at is not None


async def test_wait_gives_up_with_the_last_status(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 1_250)
    await hand.work(batch.id, dict.fromkeys(range(1, 1_101), "deferred"))
    await hand.beat()
    with pytest.raises(WaitTimeout) as caught:
        await batch.wait(timeout=0)
    status = caught.value.status
    assert str(caught.value).startswith(f"{batch.id}: 150 of 1,250 after 0 s, still going (a later try at ")
    assert getattr(status, "sent", None) == 150
    assert isinstance(caught.value, TimeoutError)


async def test_wait_says_what_it_waits_for(spool: Spool) -> None:
    batch = await queue(spool, 3)
    with pytest.raises(WaitTimeout, match=rf"^{batch.id}: 0 of 3 after 0.05 s, still going \(no worker is running\)$"):
        await batch.wait(0.05)
    await batch.hold()
    with pytest.raises(WaitTimeout, match=r"held by you"):
        await batch.wait(0)


async def test_wait_warns_once_that_nobody_works(
    spool: Spool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailspool.batch.Patience", partial(Patience, waited_s=0.05))
    batch = await queue(spool, 3)
    with caplog.at_level(logging.WARNING, "mailspool"), pytest.raises(WaitTimeout):
        await batch.wait(0.5)
    assert caplog.messages == [f"{batch.id} waits: no worker is running. Start one: mailspool worker"]


async def test_wait_warns_of_later_tries(
    spool: Spool, hand: Hand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailspool.batch.Patience", partial(Patience, waited_s=0.05))
    batch = await queue(spool, 3)
    await hand.work(batch.id, {2: "deferred", 3: "deferred"})
    await hand.beat()
    with caplog.at_level(logging.WARNING, "mailspool"), pytest.raises(WaitTimeout):
        await batch.wait(0.5)
    (told,) = caplog.messages
    assert told.startswith(f"{batch.id} waits: 2 wait for a later try (4")
    assert "next at " in told


async def test_progress_ends_with_the_one_that_is_done(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    seen = []
    async for status in batch.progress(every=0.01):
        seen.append(status)
        if len(seen) == 2:
            await hand.work(batch.id)
    assert [status.done for status in seen] == [False, False, True]


# -- changing


async def test_hold_release_and_cancel_can_be_said_twice(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 5)
    assert (await batch.hold(), await batch.hold()) == (5, 0)
    assert (await batch.status()).state == "held"
    assert await hand.work(batch.id) == 0
    assert (await batch.release(), await batch.release()) == (5, 0)
    await hand.work(batch.id, {1: "deferred", 2: "deferred"})
    assert (await batch.cancel(), await batch.cancel()) == (2, 0)
    status = await batch.status()
    assert (status.state, status.done, status.ok, status.cancelled, status.sent) == ("cancelled", True, True, 2, 3)
    assert await rows(batch, "cancelled") == [1, 2]
    assert [message.row async for message in batch.unsent()] == [1, 2]


async def test_what_was_never_tried_is_cancelled_too(spool: Spool) -> None:
    batch = await queue(spool, 250)
    assert await batch.cancel() == 250
    assert await rows(batch, "cancelled") == list(range(1, 251))
    assert [message.row async for message in batch.unsent()] == list(range(1, 251))


async def test_cancel_leaves_what_is_on_the_wire(spool: Spool) -> None:
    batch = await queue(spool, 1)
    hand = Hand(await spool.connection())
    await hand.beat()
    connection = await spool.connection()
    fed = [*(await connection.moves.feed("bulk", 10_000)).ids]
    runs = await connection.fields(f"ms:run:{batch.id}")
    gen = int(runs["0"].split(":")[1])
    assert len(fed) <= 1
    await connection.moves.lease(batch.id, 0, gen, "hand", ["main"])
    assert await batch.cancel() == 1
    status = await batch.status()
    assert (status.state, status.done, status.queued, status.cancelled) == ("cancelled", False, 1, 0)
    assert await rows(batch, "cancelled") == []


async def test_retry_tries_deferred_ones_now(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, MIXED)
    assert (await batch.retry(), await batch.retry("deferred", domain="y1.test")) == (1, 0)
    await hand.work(batch.id)
    status = await batch.status()
    assert (status.deferred, status.done) == (0, True)
    assert await batch.retry() == 0
    assert (await batch.message(2)).state == "failed"


async def test_retry_brings_failed_and_uncertain_ones_back(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, {**MIXED, 3: "sent"})
    assert (await batch.status()).done
    assert await batch.retry("failed", recipient="u250@y1.test") == 1
    status = await batch.status()
    assert (status.failed, status.deferred, status.state) == (1, 1, "active")
    assert (await batch.message(250)).attempts == 0
    assert await batch.retry("failed", reply="no such user", domain="y2.test") == 1
    assert await batch.retry("uncertain") == 1
    await hand.work(batch.id)
    assert str(await batch.status()) == "250: 249 sent, 1 suppressed"


async def test_a_filter_that_fits_nobody_moves_nobody(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 5)
    await hand.work(batch.id, {1: "failed", 2: "failed"})
    for chosen in ({"recipient": ""}, {"domain": ""}, {"reply": "something else"}):
        assert await batch.retry("failed", **chosen) == 0
    assert await batch.retry("failed", recipient="u2@y2.test") == 1
    assert await rows(batch, "failed") == [1]


@pytest.mark.parametrize("state", ["sent", "queued", "suppressed", "expired", "cancelled", "open"])
async def test_what_cannot_be_tried_again(spool: Spool, state: str) -> None:
    batch = await queue(spool, 1)
    with pytest.raises(InputError, match=f'messages that are "{state}" cannot be tried again'):
        await batch.retry(state)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("state", ["deferred", "failed", "uncertain"])
async def test_a_cancelled_batch_stays_cancelled(spool: Spool, hand: Hand, state: str) -> None:
    batch = await queue(spool, 5)
    await hand.work(batch.id, {1: "failed", 2: "uncertain", 3: "deferred"})
    await batch.cancel()
    with pytest.raises(InputError, match=f"batch {batch.id} is cancelled: nothing of it can be tried again"):
        await batch.retry(state)  # type: ignore[arg-type]  # one of the three


@pytest.mark.parametrize("state", ["deferred", "failed", "uncertain"])
async def test_an_expired_batch_stays_expired(spool: Spool, hand: Hand, state: str) -> None:
    batch = await queue(spool, 5, expires_after=timedelta(hours=1))
    await hand.work(batch.id, {1: "failed", 2: "uncertain", 3: "deferred"})
    connection = await spool.connection()
    await connection.moves.close(batch.id, "expired", now_ms=4_000_000_000_000)
    assert str(await batch.status()) == "5: 2 sent, 1 failed, 1 expired, 1 uncertain"
    assert await rows(batch, "expired") == [3]
    with pytest.raises(InputError, match=r"is past its deadline: nothing of it can be tried again"):
        await batch.retry(state)  # type: ignore[arg-type]  # one of the three


async def test_a_live_batch_past_its_deadline_cannot_be_tried_again(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 1, expires_after=timedelta(hours=1))
    await hand.work(batch.id, {1: "deferred"})
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.batch(batch.id), "expires", 1)
    with pytest.raises(InputError, match=r"is past its deadline"):
        await batch.retry()


async def test_a_handle_says_who_it_is(spool: Spool) -> None:
    batch = await queue(spool, 1, name="news")
    assert repr(batch) == f"<Batch {batch.id} news>"
