"""The tick: heartbeat, sweep, deadlines, feed; and renewing the leases of this process. No leader: every worker ticks.

After a clock jump, a gap in which this process saw no Redis, or a lost connection (Redis may have been started again
from an older file), nobody is swept or expired for one lease time, and the leases of this process are renewed first:
whoever lives gets the chance to say so. After Redis' clock was set back, what lies in the old time is corrected
(rewinding.py). Both loops outlive everything that redis-py raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from redis.exceptions import RedisError, ResponseError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Moves
from mailspool.contract.states import FEED_GRACE_MS, LEASE_MS, RENEW_EVERY_S, Class
from mailspool.redis_server.broken import is_broken
from mailspool.redis_server.link import Link
from mailspool.redis_server.tasks import end
from mailspool.wake import Waker
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.steady import is_away

TICK_S = 1.0
_GAP_S = 5.0
_EXPIRED_A_TICK = 100
_PUT_OFF_MS = 60_000
"""Until a batch whose records cannot be read is looked at again, as in the feeder's line."""


class Feeder:
    """Feeds and ticks for the classes that this worker serves."""

    def __init__(
        self,
        moves: Moves,
        waker: Waker,
        link: Link,
        clock: RedisClock,
        events: Events,
        *,
        worker: str,
        classes: Sequence[Class],
        rewind: Callable[[], Awaitable[None]],
    ) -> None:
        self._moves = moves
        self._waker = waker
        self._link = link
        self._clock = clock
        self._events = events
        self._worker = worker
        self._classes = tuple(classes)
        self._keys: Keys = moves.keys
        self._wished: set[Class] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._quiet_until_s = 0.0
        self._in_doubt = False
        self._jumps_seen = 0
        self._rewind = rewind
        self._rewinds = clock.set_back
        self._rewind_again = False
        self._last_tick_s: float | None = None
        self.broken: Exception | None = None
        """Why the last tick could not feed: a key that all batches share holds something else."""

    # -- feeding

    def wish(self, class_: Class) -> None:
        """Feed this class soon; wishes that come together become one feed."""
        if class_ in self._classes:
            self._wished.add(class_)
            if self._feeding is None or self._feeding.done():
                self._feeding = asyncio.create_task(self._feed_wished(), name="feed")

    async def _feed_wished(self) -> None:
        try:
            while self._wished:
                await self.feed(self._wished.pop())
        except (RedisError, OSError) as error:
            self._events.redis_away(type(error).__name__)  # the tick feeds within a second

    async def feed(self, class_: Class) -> None:
        fed = await self._moves.feed(class_, FEED_GRACE_MS)
        await self._waker.wake(class_, fed.ids, fed.now_ms)
        for name, why in fed.aside:
            self._events.set_aside(name, why)

    # -- the tick

    async def beat(self, fields: Mapping[str, Arg]) -> None:
        now_ms = await self._moves.beat(self._worker, fields)
        now_s = self._clock.boot_s()
        self._clock.observe(now_ms)
        gap_s = now_s - self._last_tick_s if self._last_tick_s is not None else 0.0
        if self._clock.jumps != self._jumps_seen:
            self._events.clock_jumped()
            self._in_doubt = True
        elif gap_s > _GAP_S:
            self._events.went_on(gap_s)
            self._in_doubt = True
        self._jumps_seen = self._clock.jumps
        self._last_tick_s = now_s

    def doubt(self) -> None:
        """Something has happened to Redis: the next tick renews before all else, and sweeps nobody for a while."""
        self._in_doubt = True

    async def tick(self, fields: Mapping[str, Arg], renew: Callable[[], Awaitable[None]]) -> None:
        """One beat of everything. `renew` goes first after a gap."""
        await self.beat(fields)
        if self._in_doubt:
            self._in_doubt = False
            self._quiet_until_s = self._clock.boot_s() + LEASE_MS / 1000
            await renew()
        await self._rewind_if_set_back()
        if self._clock.boot_s() >= self._quiet_until_s:
            for class_ in self._classes:
                for name, why in (await self._moves.sweep(class_)).aside:
                    self._events.set_aside(name, why)
            await self._expire()
        for class_ in self._classes:
            await self.feed(class_)

    async def _rewind_if_set_back(self) -> None:
        """At once, and again when the quiet time is over: until then others may have written in the old time."""
        if self._rewinds != self._clock.set_back:
            await self._rewind()
            self._rewinds, self._rewind_again = self._clock.set_back, True
        elif self._rewind_again and self._clock.boot_s() >= self._quiet_until_s:
            await self._rewind()
            self._rewind_again = False

    async def run(
        self, fields: Callable[[], Mapping[str, Arg]], renew: Callable[[], Awaitable[None]], ticked: asyncio.Event
    ) -> None:
        """For ever; sets `ticked` after each."""
        while True:
            try:
                await self.tick(fields(), renew)
            except (RedisError, OSError) as error:
                await self._survive("tick", error)
            else:
                ticked.set()
                self.broken = None
            await asyncio.sleep(TICK_S)

    async def run_renewals(self, renew: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await renew()
            except (RedisError, OSError) as error:
                await self._survive("renewals", error)

    async def _survive(self, where: str, error: Exception) -> None:
        if is_away(error):
            self._events.redis_away(type(error).__name__)
            await self._link.recover(None)
        elif is_broken(error):
            self.broken = error if where == "tick" else self.broken
            self._events.records_broken(where, error)
        else:
            self._events.bug(where, error)

    async def _expire(self) -> None:
        due = await self._link.redis.zrangebyscore(
            self._keys.deadline, "-inf", self._clock.now_ms(), start=0, num=_EXPIRED_A_TICK
        )
        for batch in due:
            name = batch.decode("utf-8", "replace")
            try:
                touched = await self._moves.close(name, "expired")  # checks the deadline by Redis' own clock
            except ResponseError as error:  # broken records: the others must not wait for them, nor the feed
                self._events.warning("expiry_put_off", name=name, why=str(error)[:200])
                later_ms = self._clock.now_ms() + _PUT_OFF_MS
                await self._link.redis.zadd(self._keys.deadline, {batch: later_ms}, xx=True)
                continue
            if touched:
                self._events.batch_expired(name, touched)

    async def close(self) -> None:
        if self._feeding is not None:
            await end((self._feeding,))
