"""The tick against a spool that writes down what it is asked: its order, its silence after jumps, what it outlives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Fed, Moves, Swept
from mailspool.contract.states import LEASE_MS
from mailspool.redis_server.link import Link
from mailspool.wake import Waker
from mailspool_worker import feeder as module
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.feeder import Feeder
from tests.support.waiting import until
from tests.support.worker_parts import TestClock

NOW_MS = 1_700_000_000_000
LEASE_S = LEASE_MS / 1000


class Spool:
    """Moves, waker and link at once."""

    def __init__(self) -> None:
        self.keys = Keys("t")
        self.asked: list[str] = []
        self.now_ms = NOW_MS
        self.errors: dict[str, Exception] = {}
        self.overdue: list[bytes] = []
        self.recovered = 0
        self.redis = self

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.errors:
            raise self.errors.pop(what)

    async def beat(self, worker: str, fields: Mapping[str, Arg]) -> int:
        self._ask("beat")
        return self.now_ms

    async def sweep(self, class_: str) -> Swept:
        self._ask(f"sweep {class_}")
        return Swept(0)

    async def feed(self, class_: str, grace_ms: int) -> Fed:
        self._ask(f"feed {class_}")
        return Fed(self.now_ms, (f"t:b1:0:{len(self.asked)}",))

    async def close(self, batch: str, verdict: str) -> int:
        self._ask(f"close {batch} {verdict}")
        return 3

    async def wake(self, class_: str, ids: tuple[str, ...], now_ms: int) -> None:
        self._ask(f"wake {class_}")

    async def zrangebyscore(self, key: str, low: object, high: object, **_options: int) -> list[bytes]:
        self._ask("deadlines")
        return self.overdue

    async def recover(self, limit_s: float | None) -> None:
        self.recovered += 1

    async def rewind(self) -> None:
        self._ask("rewind")

    async def renew(self) -> None:
        self._ask("renew")


class Ground:
    """A feeder for both classes, and its clocks."""

    def __init__(self, classes: tuple[str, ...] = ("transactional", "bulk")) -> None:
        self.boot = TestClock()
        self.clock = RedisClock(self.boot)
        self.spool = Spool()
        self.feeder = Feeder(
            cast("Moves", self.spool),
            cast("Waker", self.spool),
            cast("Link", self.spool),
            self.clock,
            Events(None),
            worker="w",
            rewind=self.spool.rewind,
            classes=classes,  # type: ignore[arg-type]  # a subset of the classes
        )

    async def tick(self, after_s: float = 1.0, redis_s: float | None = None) -> list[str]:
        """What the next tick asks, `after_s` later by the host's clock (and `redis_s` by Redis')."""
        self.boot.now_s += after_s
        self.spool.now_ms += int((after_s if redis_s is None else redis_s) * 1000)
        self.spool.asked.clear()
        await self.feeder.tick({}, self.spool.renew)
        return list(self.spool.asked)


FEEDS = ["feed transactional", "wake transactional", "feed bulk", "wake bulk"]
SWEEPS = ["sweep transactional", "sweep bulk", "deadlines"]


async def test_a_tick_beats_sweeps_then_feeds() -> None:
    ground = Ground()
    assert await ground.tick() == ["beat", *SWEEPS, *FEEDS]


@pytest.mark.parametrize(("after_s", "redis_s"), [(1.0, 60.0), (6.0, 6.0)])
async def test_after_a_jump_or_a_gap_it_renews_first_and_sweeps_nobody_for_a_lease(
    after_s: float, redis_s: float
) -> None:
    ground = Ground()
    await ground.tick()
    assert await ground.tick(after_s, redis_s) == ["beat", "renew", *FEEDS]
    for _ in range(int(LEASE_S) - 1):
        assert await ground.tick() == ["beat", *FEEDS]
    assert await ground.tick() == ["beat", *SWEEPS, *FEEDS]


@pytest.mark.parametrize(("after_s", "redis_s"), [(1.0, -60.0), (60.0, 1.0)])
async def test_after_redis_clock_went_back_what_lies_ahead_is_corrected_at_once_and_a_lease_later(
    after_s: float, redis_s: float
) -> None:
    ground = Ground()
    await ground.tick()
    assert await ground.tick(after_s, redis_s) == ["beat", "renew", "rewind", *FEEDS]
    for _ in range(int(LEASE_S) - 1):
        assert await ground.tick() == ["beat", *FEEDS]
    assert await ground.tick() == ["beat", "rewind", *SWEEPS, *FEEDS]
    assert await ground.tick() == ["beat", *SWEEPS, *FEEDS]


async def test_a_correction_that_failed_is_made_by_the_next_tick() -> None:
    ground = Ground()
    await ground.tick()
    ground.spool.errors["rewind"] = RedisConnectionError("gone")
    with pytest.raises(RedisConnectionError):
        await ground.tick(1.0, -60.0)
    assert await ground.tick() == ["beat", "rewind", *FEEDS]


async def test_a_jump_that_somebody_else_observed_counts_as_well() -> None:
    ground = Ground()
    await ground.tick()
    ground.spool.now_ms += 60_000
    ground.clock.observe(ground.spool.now_ms)
    assert await ground.tick() == ["beat", "renew", *FEEDS]


async def test_a_lost_connection_is_a_doubt() -> None:
    ground = Ground()
    await ground.tick()
    ground.feeder.doubt()
    assert await ground.tick() == ["beat", "renew", *FEEDS]


async def test_overdue_batches_are_closed_as_expired() -> None:
    ground = Ground()
    ground.spool.overdue = [b"b7"]
    assert "close b7 expired" in await ground.tick()


async def test_wishes_that_come_together_become_one_feed() -> None:
    ground = Ground()
    for _ in range(5):
        ground.feeder.wish("bulk")
    await until(lambda: "wake bulk" in ground.spool.asked, "the feed")
    assert ground.spool.asked == ["feed bulk", "wake bulk"]


async def test_a_wish_for_a_class_of_others_is_nothing() -> None:
    ground = Ground(("transactional",))
    ground.feeder.wish("bulk")
    await asyncio.sleep(0)
    assert ground.spool.asked == []


async def test_a_wish_that_fails_does_not_end_the_wishing() -> None:
    ground = Ground()
    ground.spool.errors["feed bulk"] = RedisConnectionError("gone")
    ground.feeder.wish("bulk")
    await until(lambda: ground.feeder._feeding is not None and ground.feeder._feeding.done(), "the feed")
    ground.feeder.wish("bulk")
    await until(lambda: "wake bulk" in ground.spool.asked, "the next feed")
    await ground.feeder.close()


@pytest.mark.parametrize(
    ("error", "recovers"),
    [(RedisConnectionError("gone"), 1), (ResponseError("MISCONF full"), 1), (ResponseError("ERR what"), 0)],
)
@pytest.mark.parametrize("loop", ["tick", "renewals"])
async def test_both_loops_outlive_whatever_redis_says(
    loop: str, error: Exception, recovers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.001)
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.001)
    ground, ticked = Ground(), asyncio.Event()
    what = "beat" if loop == "tick" else "renew"
    ground.spool.errors[what] = error
    running = ground.feeder.run(dict, ground.spool.renew, ticked)
    task = asyncio.create_task(running if loop == "tick" else ground.feeder.run_renewals(ground.spool.renew))
    await until(lambda: ground.spool.asked.count(what) >= 2, "it goes on")
    assert ground.spool.recovered == recovers
    task.cancel()
    await asyncio.wait((task,))
    if loop == "renewals":
        running.close()
