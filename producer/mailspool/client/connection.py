"""A client's way to its spool: the link, the moves, arq's wake-ups; opened once, on first use.

Made by Spool, used by Batch and Upload. A producer waits for Redis 5 s and then says so (`SpoolUnavailable`); every
move may be sent twice, so a short outage is not seen at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, cast

from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Answer, Arg, Moves, RedisCaller
from mailspool.contract.scripts import Script
from mailspool.contract.states import FEED_GRACE_MS, Class
from mailspool.redis_server.link import Link
from mailspool.settings import Settings
from mailspool.wake import Waker, arq_redis

PATIENCE_S = 5.0
_AWAY = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError)


class BriefCaller:
    """A Caller that waits out an outage of at most PATIENCE_S, then raises SpoolUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._plain = RedisCaller(link.redis)

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        while True:
            try:
                return await self._plain(script, args)
            except _AWAY:
                await self._link.recover(PATIENCE_S)


class Opener(Protocol):
    """A Spool, as far as its batches need it."""

    async def connection(self) -> Connection: ...


class Connection:
    """Open until closed. `settings` are the spool's."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self.settings = settings
        self.link = link
        self.keys = Keys(settings.key_prefix)
        self.moves = Moves(BriefCaller(link), self.keys)
        self._arq = arq_redis(link.make_pool())
        self._waker = Waker(self._arq, self.keys)
        self._waking: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, settings: Settings) -> Connection:
        link = Link(settings)
        await link.open()
        return cls(settings, link)

    async def command(self, *words: Arg) -> object:
        """One plain Redis command, sent again over a short outage: for reads, and for writes that may be doubled.

        Answers come as redis-py shapes them (HGETALL a dict, SMEMBERS a set, TIME a tuple).
        """
        execute = cast("Callable[..., Awaitable[object]]", self.link.redis.execute_command)
        while True:
            try:
                return await execute(*words)
            except _AWAY:
                await self.link.recover(PATIENCE_S)

    async def strings(self, *words: Arg) -> list[str]:
        """The same for answers that are lists of names."""
        return [name.decode() for name in cast("Iterable[bytes]", await self.command(*words))]

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """A whole hash."""
        return cast("dict[bytes, bytes]", await self.command("HGETALL", key))

    async def fields(self, key: str) -> dict[str, str]:
        """A whole hash of names and words."""
        return {name.decode(): value.decode() for name, value in (await self.hash(key)).items()}

    def wake(self, class_: Class, ids: Sequence[str], now_ms: int) -> None:
        """arq's enqueue follows in a task that `close` awaits; if this process dies first, the sweep heals it."""
        if ids:
            self._later(self._waker.wake(class_, ids, now_ms))

    def feed(self, class_: Class) -> None:
        """Give arq what may go now (after a commit, a release, a retry)."""
        self._later(self._feed(class_))

    async def _feed(self, class_: Class) -> None:
        fed = await self.moves.feed(class_, FEED_GRACE_MS)
        await self._waker.wake(class_, fed.ids, fed.now_ms)

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._waking.add(task)
        task.add_done_callback(self._woken)

    def _woken(self, task: asyncio.Task[None]) -> None:
        self._waking.discard(task)
        if not task.cancelled():
            task.exception()  # an outage: the workers' tick feeds what this could not

    async def close(self) -> None:
        if self._waking:
            await asyncio.wait(tuple(self._waking), timeout=PATIENCE_S)
        await self._arq.aclose()
        await self.link.close()
