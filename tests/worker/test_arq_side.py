"""The two arq Workers of a process, on a real server: slots, deaths, restarts, a stop that leaves work to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.contract.keys import Keys
from mailspool.contract.states import Class
from mailspool.redis_server.link import Link
from mailspool.wake import Waker, arq_redis
from mailspool_worker import arq_side as module
from mailspool_worker.arq_side import ArqSide
from mailspool_worker.events import Events
from tests.support.leaks import tasks_left
from tests.support.waiting import until
from tests.worker.conftest import MakeSettings

NOW_MS = 1_700_000_000_000


class Ground:
    """An arq side whose jobs the test ends."""

    def __init__(self, link: Link, prefix: str) -> None:
        self.keys = Keys(prefix)
        self.link = link
        self.running: set[tuple[str, int, int]] = set()
        self.seen: list[tuple[str, int, int]] = []
        self.cancelled: list[tuple[str, int, int]] = []
        self.ended = asyncio.Event()
        self.fails = False
        self.bugs: list[str] = []
        self.restarts: list[Class] = []
        events = Events(None)
        events.bug = lambda where, error: self.bugs.append(f"{where} {type(error).__name__}")  # type: ignore[method-assign]  # kept
        events.arq_restarted = lambda class_, why: self.restarts.append(class_)  # type: ignore[method-assign]  # kept
        slots: dict[Class, int] = {"transactional": 2, "bulk": 2}
        self.side = ArqSide(link, self.keys, events, slots=slots, deliver=self._deliver, upkeep=self._upkeep)
        self.arq = arq_redis(link.make_pool())
        self.waker = Waker(self.arq, self.keys)

    async def _deliver(self, batch: str, k: int, gen: int) -> None:
        job = (batch, k, gen)
        self.seen.append(job)
        self.running.add(job)
        try:
            if self.fails:
                raise ZeroDivisionError
            await self.ended.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job)
            raise
        finally:
            self.running.discard(job)

    async def _upkeep(self) -> None: ...

    async def enqueue(self, class_: Class, *numbers: int) -> None:
        await self.waker.wake(class_, [self.keys.job_id("b1", k, 1) for k in numbers], NOW_MS)

    async def queued(self, class_: Class) -> int:
        return int(await self.link.redis.zcard(self.keys.queue(class_)))


@asynccontextmanager
async def ground(make: MakeSettings) -> AsyncIterator[Ground]:
    settings = make(relay_url="smtp://127.0.0.1:9")
    link = Link(settings)
    await link.open()
    made = Ground(link, settings.key_prefix)
    made.side.start()
    try:
        yield made
    finally:
        await made.side.close()
        await made.arq.aclose()
        await link.close()
        assert tasks_left() == []


async def test_bulk_never_keeps_transactional_from_its_slots(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        await one.enqueue("bulk", 1, 2, 3, 4)
        await until(lambda: len(one.running) == 2, "bulk has its two slots")
        await one.enqueue("transactional", 9)
        await until(lambda: ("b1", 9, 1) in one.running, "the transactional one runs")
        assert len(one.running) == 3
        one.ended.set()
        await until(lambda: len(one.seen) == 5, "all have run")
        await one.side.jobs_done()


async def test_a_job_that_fails_is_told_once_and_not_tried_again(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        one.fails = True
        await one.enqueue("bulk", 1)
        await until(lambda: bool(one.bugs), "the bug is told")
        await one.side.jobs_done()
        assert one.bugs == ["deliver ZeroDivisionError"]
        assert await one.queued("bulk") == 0


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The bulk Worker dies at its next poll, of what Redis says to it."""
    dies = False
    heart_beat = module._Slots.heart_beat

    async def beat(worker: module._Slots) -> None:
        nonlocal dies
        if dies and worker.ctx["class"] == "bulk":
            dies = False
            raise RedisConnectionError("gone")
        await heart_beat(worker)

    def at_the_next_poll() -> None:
        nonlocal dies
        dies = True

    monkeypatch.setattr(module._Slots, "heart_beat", beat)
    monkeypatch.setattr(module, "_RESTART_S", 0.001)
    return at_the_next_poll


async def test_a_worker_that_dies_is_replaced_and_its_jobs_are_cancelled(
    make_settings: MakeSettings, kill: Callable[[], None]
) -> None:
    async with ground(make_settings) as one:
        await one.enqueue("bulk", 1)
        await until(lambda: len(one.running) == 1, "a job runs")
        kill()
        await until(lambda: one.cancelled == [("b1", 1, 1)], "it is cancelled")
        one.ended.set()
        await one.enqueue("bulk", 2)
        await until(lambda: ("b1", 2, 1) in one.seen, "the new worker works")
        assert one.restarts == ["bulk"]


async def test_a_stop_leaves_to_others_what_was_not_picked(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        await one.enqueue("bulk", 1, 2, 3)
        await until(lambda: len(one.running) == 2, "two run")
        one.side.stop_picking()
        one.ended.set()
        await one.side.jobs_done()
        await asyncio.sleep(3 * module.POLL_S)
        assert len(one.seen) == 2
        assert await one.queued("bulk") == 1


async def test_a_worker_that_is_replaced_during_a_stop_picks_nothing(
    make_settings: MakeSettings, kill: Callable[[], None]
) -> None:
    async with ground(make_settings) as one:
        await until(lambda: len(one.side._workers) == 2, "both work")
        before = one.side._workers["bulk"]
        one.side.stop_picking()
        kill()
        await until(lambda: one.side._workers["bulk"] is not before, "another one takes its place")
        assert not any(worker.allow_pick_jobs for worker in one.side._workers.values())


async def test_two_workers_share_a_queue_and_no_job_runs_twice(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        two = ArqSide(one.link, one.keys, Events(None), slots={"bulk": 3}, deliver=one._deliver, upkeep=one._upkeep)
        two.start()
        try:
            one.ended.set()
            await one.enqueue("bulk", *range(40))
            await until(lambda: len(one.seen) >= 40, "all have run")
            await one.side.jobs_done()
            await two.jobs_done()
        finally:
            await two.close()
        assert sorted(one.seen) == [("b1", k, 1) for k in range(40)]


@pytest.mark.parametrize("picks", [True, False])
async def test_a_job_that_was_done_meanwhile_is_not_begun_nor_kept_from_others(
    make_settings: MakeSettings, picks: bool
) -> None:
    async with ground(make_settings) as one:
        one.side.stop_picking()  # the test polls by hand
        await until(lambda: len(one.side._workers) == 2, "both work")
        worker = one.side._workers["bulk"]
        worker.allow_pick_jobs = picks
        if not picks:
            await one.enqueue("bulk", 1)  # it waits, but a stop came while Redis was asked
        await worker._take(["ms:b1:1:1"])
        worker.allow_pick_jobs = False
        assert worker.tasks == {}
        assert await one.link.redis.exists("arq:in-progress:ms:b1:1:1") == 0


async def test_a_refused_write_or_a_strange_score_ends_no_worker(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        await one.enqueue("bulk", 1)
        await until(lambda: len(one.running) == 1, "one runs")
        await one.link.redis.zadd(one.keys.queue("bulk"), {"ms:b1:6:1": float("-inf")})
        await one.link.redis.config_set("min-replicas-to-write", 1)
        try:
            worker = one.side._workers["bulk"]
            await worker._take(["ms:b1:7:1"])
        finally:
            await one.link.redis.config_set("min-replicas-to-write", 0)
        await one.enqueue("bulk", 2)
        await until(lambda: ("b1", 2, 1) in one.seen, "the next one runs")
        assert one.restarts == []
        assert one.cancelled == []
        one.ended.set()


async def test_closing_cancels_what_runs(make_settings: MakeSettings) -> None:
    async with ground(make_settings) as one:
        await one.enqueue("bulk", 1, 2)
        await until(lambda: len(one.running) == 2, "two run")
        async with asyncio.timeout(5):
            await one.side.close()
        assert sorted(one.cancelled) == [("b1", 1, 1), ("b1", 2, 1)]
        assert await one.queued("bulk") == 2, "whoever takes them next finds them leased, or takes them"
