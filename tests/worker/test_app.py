"""A whole worker in this loop, with a real server and real receivers: it sends, stops in order, and leaves nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from mailspool import Batch, Message, Settings, Spool
from mailspool.errors import ConfigError
from mailspool.redis_server.link import Link
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool_worker import app as module
from mailspool_worker import feeder, job
from mailspool_worker.app import Engine
from mailspool_worker.events import Events
from mailspool_worker.smtp import session
from tests.support.leaks import tasks_left
from tests.support.waiting import until, until_async
from tests.support.working import expecting_a_worker, nothing_left, working
from tests.worker.conftest import MakeSettings

LETTER = Message(from_="News <news@sender.test>", subject="For {{ name }}", text="Dear {{ name }},\n" + "word " * 60)


def rows(*addresses: str) -> list[dict[str, object]]:
    return [{"email": address, "name": address.partition("@")[0]} for address in addresses]


def users(count: int, head: str = "u") -> list[dict[str, object]]:
    return rows(*(f"{head}{i}@x{i % 7}.test" for i in range(count)))


@asynccontextmanager
async def queued(
    make: MakeSettings, receiver: Receiver, *batches: list[dict[str, object]], **changes: object
) -> AsyncIterator[tuple[Settings, list[Batch]]]:
    """Settings, and these batches in the spool."""
    settings = make(**({"relay_url": receiver.url} | changes))
    async with expecting_a_worker(settings), Spool(settings) as spool:
        made = [await spool.send_batch(LETTER, table) for table in batches]
    async with Spool(settings) as spool:
        yield settings, [await spool.batch(batch.id) for batch in made]


def more_than(receiver: Receiver, count: int) -> Callable[[], bool]:
    return lambda: receiver.received > count


def got(receiver: Receiver) -> Counter[str]:
    return Counter(mail.recipient for mail in receiver.mails)


async def done(batch: Batch) -> dict[str, object]:
    return (await batch.wait(20)).to_dict()


async def test_it_sends_and_leaves_nothing(make_settings: MakeSettings) -> None:
    async with (
        Receiver() as receiver,
        queued(make_settings, receiver, users(250), users(30, "v")) as (settings, batches),
    ):
        async with working(settings) as engine:
            for batch in batches:
                assert (await done(batch))["ok"]
            assert engine.events.counters.sent == 280
        assert set(got(receiver).values()) == {1}
        assert receiver.received == 280
        await until(lambda: receiver.sessions == 0, "all sessions are closed")


async def test_a_stop_in_the_middle_loses_and_repeats_nothing(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver, queued(make_settings, receiver, users(1_500)) as (settings, (batch,)):
        for step in (100, 500):
            async with working(settings):
                await until(more_than(receiver, step), "some mails")
        async with working(settings):
            assert (await done(batch))["sent"] == 1_500
        assert set(got(receiver).values()) == {1}
        assert receiver.received == 1_500


async def test_a_stop_that_is_due_again_before_the_first_turn(make_settings: MakeSettings) -> None:
    """All is sent when the stop comes: a task that ended its command in that very turn once ran on for ever."""
    async with Receiver() as receiver, queued(make_settings, receiver, users(5)) as (settings, (batch,)):
        for _ in range(5):
            async with working(settings), asyncio.timeout(10):
                await done(batch)


async def test_a_stalled_receiver_costs_a_stop_its_time_limit_and_one_doubt(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OVERDUE_S", 0.1)
    table = [*rows("stall-a@x.test"), *users(5)]
    async with (
        Receiver() as receiver,
        queued(make_settings, receiver, table, max_sessions=2, stop_timeout="0.3s") as (settings, (batch,)),
    ):
        async with working(settings, checked=False):
            await until(lambda: receiver.received == 6, "five mails and one that stalls")
            await until_async(lambda: sent(batch, 5), "five are recorded")
        status = await batch.status()
        assert (status.sent, status.deferred, status.queued) == (5, 1, 0)
        (message,) = [one async for one in batch.messages("deferred")]
        assert message.reason == "lost_reply"
    assert set(got(receiver).values()) == {1}


async def sent(batch: Batch, count: int) -> bool:
    return (await batch.status()).sent >= count


async def test_a_tarpit_holds_sessions_but_no_job_slots(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BUDGET_S", 0.2)
    async with Receiver() as receiver, Receiver() as fast:
        relays = {"slow": {"url": receiver.url, "max_sessions": 3}, "fast": {"url": fast.url}}
        settings = make_settings(relays=relays)
        async with Spool(settings) as spool:
            tar = await spool.send_batch(LETTER, rows(*(f"slow-1s-{i}@x.test" for i in range(3))), relay="slow")
            async with working(settings) as engine:
                await until(lambda: receiver.received == 3, "three are in the tarpit")
                await until(lambda: any(run.pending for run in engine.delivery.runs), "they wait")
                assert (await done(await spool.send_batch(LETTER, users(50), relay="fast")))["ok"]
                assert (await done(tar))["ok"]
    assert set(got(receiver).values()) == {1}


async def test_many_relays_have_two_slots_each(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relays={f"r{n}": {"url": receiver.url} for n in range(12)})
        async with working(settings) as engine:
            assert engine.fields()["slots:bulk"] == 24


async def test_a_hold_acts_at_once_and_a_release_goes_on(make_settings: MakeSettings) -> None:
    async with (
        Receiver() as receiver,
        queued(make_settings, receiver, users(2_000), max_sessions=4) as (settings, (batch,)),
    ):
        async with working(settings) as engine:
            await until(lambda: receiver.received > 50, "some mails")
            await batch.hold()
            at_hold = receiver.received
            await until(lambda: not engine.delivery.runs, "no run is left")
            held_at = receiver.received
            assert held_at - at_hold <= 4 * 2, "a mail or two a session, not the chunks in hand"
            await batch.release()
            assert (await done(batch))["ok"]
        assert set(got(receiver).values()) == {1}


async def test_a_claiming_batch_leaves_no_claim_behind(make_settings: MakeSettings) -> None:
    table = [*users(40), *rows("550-5.1.1-a@x.test", "close-after-dot-b@x.test", "450-1-c@x.test")]
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, retry_schedule="1s*", retry_jitter=0)
        async with Spool(settings) as spool:
            connection = await spool.connection()
            batch = await spool.send_batch(LETTER, table)
            # What send() allows only with proven fsync; the worker's part of it is the same.
            await connection.command("HSET", connection.keys.batch(batch.id), "claim", "1")
            async with working(settings):
                for _ in range(2):
                    await until(lambda: receiver.received > 10, "some mails")
                status = await done(batch)
            assert (status["sent"], status["failed"], status["uncertain"]) == (41, 1, 1)
            fields = await connection.fields(connection.keys.batch(batch.id))
            assert int(fields.get("n_claimed", 0)) == 0
    assert set(got(receiver).values()) == {1}, "a claiming batch never repeats"


async def test_lost_connections_to_redis_lose_nothing(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "FEED_GRACE_MS", 500)  # a feed whose answer was lost
    monkeypatch.setattr(feeder, "LEASE_MS", 500)
    async with (
        Receiver() as receiver,
        queued(make_settings, receiver, users(1_500), max_sessions=4) as (settings, (batch,)),
    ):
        async with working(settings, checked=False) as engine:
            for step in (100, 400, 800):
                await until(more_than(receiver, step), "some mails")
                await cut_connections(engine.link)
            assert (await done(batch))["sent"] == 1_500
        assert set(got(receiver).values()) == {1}


async def cut_connections(link: Link) -> None:
    command = cast("Callable[..., Awaitable[object]]", link.redis.execute_command)
    await command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_a_frozen_redis_stops_the_sending_and_a_thawed_one_goes_on(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AWAY_S", 0.2)
    async with (
        Receiver() as receiver,
        queued(make_settings, receiver, users(1_000), max_sessions=4) as (settings, (batch,)),
    ):
        async with working(settings) as engine:
            await until(lambda: receiver.received > 50, "some mails")
            command = cast("Callable[..., Awaitable[object]]", engine.link.redis.execute_command)
            await command("CLIENT", "PAUSE", "2500", "WRITE")
            await until(lambda: not any(route.sessions for route in engine.routes), "the sessions are let go")
            before = receiver.received
            assert engine.recorder.unrecorded <= 4
            await command("CLIENT", "UNPAUSE")
            assert (await done(batch))["sent"] == 1_000
            assert before < 1_000
        assert set(got(receiver).values()) == {1}


async def test_two_workers_share_without_repeating(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with (
            Spool(settings) as spool,
            working(settings, checked=False) as one,
            working(settings, checked=False) as two,
        ):
            batch = await spool.send_batch(LETTER, users(3_000))
            assert (await done(batch))["ok"]
            assert one.events.counters.sent + two.events.counters.sent == 3_000
            assert min(one.events.counters.sent, two.events.counters.sent) > 0
        assert set(got(receiver).values()) == {1}


async def test_a_dead_relay_is_told_to_people_and_touches_no_mail(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        url = receiver.url
    settings = make_settings(relay_url=url)
    async with Spool(settings) as spool:
        batch = await spool.send_batch(LETTER, users(5))
        async with working(settings) as engine:
            key = engine.moves.keys.route("main")
            connection = await spool.connection()
            await until_async(lambda: told(connection.fields(key), "waiting"), "the route's trouble is published")
            status = await batch.status()
            assert (status.queued, status.deferred) == (5, 0)
        await batch.cancel()
        async with working(settings):
            assert (await connection.fields(key))["state"] == "waiting", "nothing has shown that it is over"
        async with working(make_settings(relay_url="smtp://127.0.0.1:9")):
            await until_async(lambda: told(connection.fields(key), "ok"), "it is another relay now")


async def told(fields: Awaitable[dict[str, str]], state: str) -> bool:
    return (await fields).get("state") == state


async def test_a_background_task_that_dies_is_noticed(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9")
    link = Link(settings)
    await link.open()
    engine = Engine(settings, link, Events(None))
    try:
        await engine.open()

        def broken(*, redis_away: bool) -> None:
            raise ZeroDivisionError

        for route in engine.routes:
            route.tick = broken  # type: ignore[method-assign]  # a bug
        await until(lambda: engine.failed is not None, "it is noticed")
        assert isinstance(engine.failed, ZeroDivisionError)
        await engine.close()
        await nothing_left(link.redis, settings.key_prefix)
    finally:
        await link.close()


async def test_an_opening_that_fails_leaves_nothing_open(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_args: object) -> None:
        raise PermissionError("the folder belongs to somebody else")

    monkeypatch.setattr("mailspool_worker.feeder.Feeder.beat", fails)
    settings = make_settings(relay_url="smtp://127.0.0.1:9")
    before = set(tasks_left())
    link = Link(settings)
    await link.open()
    with pytest.raises(PermissionError):
        await Engine(settings, link, Events(None)).open()
    await link.close()
    assert set(tasks_left()) == before


def test_without_a_relay_nothing_starts(make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError):
        Engine.refuse_without_relay(make_settings())


async def test_tls_of_the_tests_own_is_used(make_settings: MakeSettings) -> None:
    """`tls` reaches the sessions: a context that trusts nobody refuses, and the mail stays."""
    settings = make_settings(relay_url="smtp://127.0.0.1:9")
    context = ssl.create_default_context()
    engine = Engine(settings, Link(settings), Events(None), tls=context)
    assert engine._route_settings().tls is context


async def test_a_session_cap_of_the_receiver_is_lived_with(make_settings: MakeSettings) -> None:
    options = ReceiverOptions(max_sessions=2, session_messages=20)
    async with (
        Receiver(options=options) as receiver,
        queued(make_settings, receiver, users(300)) as (settings, (batch,)),
    ):
        async with working(settings):
            assert (await done(batch))["ok"]
        assert set(got(receiver).values()) == {1}
