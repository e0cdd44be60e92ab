"""Slow upkeep: which uploads and batches it takes, in slices, and that a worker that stops need not wait for it."""

from __future__ import annotations

from typing import cast

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves
from mailspool.contract.states import UPLOAD_ABANDONED_MS
from mailspool.redis_server.link import Link
from mailspool_worker.clock import RedisClock
from mailspool_worker.upkeep import upkeep
from tests.support.worker_parts import TestClock

NOW_MS = 1_700_000_000_000


class Spool:
    """Moves and Redis: every purge and collect takes three slices."""

    def __init__(self) -> None:
        self.keys = Keys("t")
        self.redis = self
        self.asked: list[str] = []
        self.looked: dict[str, int] = {}
        self.over_after: int | None = None

    async def zrangebyscore(self, key: str, low: str, until_ms: int, *, start: int, num: int) -> list[bytes]:
        self.looked[key] = until_ms
        return [b"u1"] if key == self.keys.loading else [b"b1", b"b2"]

    def _slice(self, what: str) -> str:
        self.asked.append(what)
        return "MORE" if self.asked.count(what) < 3 else "OK"

    async def collect(self, upload: str) -> str:
        return self._slice(f"collect {upload}")

    async def purge(self, batch: str) -> str:
        return self._slice(f"purge {batch}")

    async def broom(self, class_: str, version: int, start: int) -> int:
        self.asked.append(f"broom {class_} {start}")
        return 200 if start == 0 else -1

    def over(self) -> bool:
        return self.over_after is not None and len(self.asked) >= self.over_after


async def one_round(spool: Spool) -> list[str]:
    clock = RedisClock(TestClock())
    clock.observe(NOW_MS)
    await upkeep(cast("Link", spool), cast("Moves", spool), clock, spool.over)
    return spool.asked


async def test_a_round() -> None:
    spool = Spool()
    assert await one_round(spool) == [
        *["collect u1"] * 3,
        *["purge b1"] * 3,
        *["purge b2"] * 3,
        *["broom transactional 0", "broom transactional 200", "broom bulk 0", "broom bulk 200"],
    ]
    assert spool.looked == {"t:loading": NOW_MS - UPLOAD_ABANDONED_MS, "t:retire": NOW_MS}


async def test_a_worker_that_stops_ends_it_between_two_slices() -> None:
    spool = Spool()
    spool.over_after = 4
    assert len(await one_round(spool)) == 4
