"""Moves that outlast an outage: the worker's Caller. Every move may be sent twice, so it is, until Redis answers."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool.contract.moves import Answer, Arg, RedisCaller
from mailspool.contract.scripts import Script
from mailspool.redis_server.link import Link
from mailspool_worker.events import Events

AWAY = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError)
"""What redis-py raises while a server is away, starting, or being replaced."""


class SteadyCaller:
    """Waits out whatever keeps Redis away (`Link.recover`, tenacity inside), then sends the move again."""

    def __init__(self, link: Link, events: Events) -> None:
        self._link = link
        self._events = events
        self._plain = RedisCaller(link.redis)

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        while True:
            try:
                return await self._plain(script, args)
            except AWAY as error:
                self._events.redis_away(type(error).__name__)
                await self._link.recover(None)
