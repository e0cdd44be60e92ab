"""Moves that outlast an outage: the worker's Caller. Every move may be sent twice, so it is, until Redis takes it.

`wait_out` is for whoever talks to Redis otherwise: it raises what no waiting can cure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool.contract.moves import Answer, Arg, RedisCaller
from mailspool.contract.scripts import Script
from mailspool.redis_server.link import Link
from mailspool_worker.events import Events

AWAY = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)
"""What redis-py raises while a server is away, starting, being replaced, or full."""
_CANNOT_WRITE = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "BUSY")
"""Error replies of a server that answers but takes no writes for now (a full disk, lost replicas, a long script)."""
_PART = "moves"
_PAUSE_S = 0.05
_PAUSE_FULL_S = 1.0
"""`Link.recover` returns at once where the server answers; without a pause this would be a busy loop."""


def is_away(error: BaseException) -> bool:
    """Will waiting help?"""
    return isinstance(error, AWAY) or (isinstance(error, ResponseError) and str(error).startswith(_CANNOT_WRITE))


async def wait_out(link: Link, events: Events, error: Exception) -> None:
    """Returns when Redis answers again. Raises `error` itself if that is not what it is about."""
    if not is_away(error):
        raise error
    events.redis_away(type(error).__name__, "" if isinstance(error, ResponseError) else _PART)
    await asyncio.sleep(_PAUSE_FULL_S if isinstance(error, ResponseError) else _PAUSE_S)
    await link.recover(None)


class SteadyCaller:
    """Waits out whatever keeps Redis away (`Link.recover`, tenacity inside), then sends the move again."""

    def __init__(self, link: Link, events: Events) -> None:
        self._link = link
        self._events = events
        self._plain = RedisCaller(link.redis)

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        while True:
            try:
                answer = await self._plain(script, args)
            except (*AWAY, ResponseError) as error:
                await wait_out(self._link, self._events, error)
            else:
                self._events.redis_answers(_PART)
                return answer
