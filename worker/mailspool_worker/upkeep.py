"""Slow, idempotent upkeep, once a minute from arq's cron: silent uploads, batches past their retention, stale arq ids.

In bounded slices, so that nobody waits for it; several workers may do it at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from redis.exceptions import ResponseError

from mailspool.contract.moves import Moves
from mailspool.contract.states import CLASSES, UPLOAD_ABANDONED_MS, VERSIONS_SERVED, Class
from mailspool.redis_server.link import Link
from mailspool_worker.clock import RedisClock

_SLICES = 200
"""Calls of 100 chunks each for one batch in one round: two million messages a minute."""
_A_ROUND = 50
_ANY_TIME = 2**53


async def upkeep(link: Link, moves: Moves, clock: RedisClock, over: Callable[[], bool]) -> None:
    """One round. It stops between two slices once `over()`: a worker that shall end does not wait for it."""
    now_ms = clock.now_ms()
    for upload in await _first(link, moves.keys.loading, now_ms - UPLOAD_ABANDONED_MS):
        for _ in range(_SLICES):
            if over() or await moves.collect(upload) != "MORE":
                break
    for batch in await _first(link, moves.keys.retire, now_ms):
        for _ in range(_SLICES):
            if over() or await moves.purge(batch) != "MORE":
                break
    for class_ in CLASSES:
        for version in VERSIONS_SERVED:
            start = 0
            while start >= 0 and not over():
                start = await moves.broom(class_, version, start)


async def resume_blocked(link: Link, moves: Moves, classes: Sequence[Class]) -> None:
    """A worker that starts may have other relays, or the right password now: batches that waited for a closed route
    need not wait for the time that the last worker wrote."""
    for class_ in classes:
        for batch in await _first(link, moves.keys.later(class_), _ANY_TIME):
            with contextlib.suppress(ResponseError):  # broken records; a worker must start all the same
                await moves.resume(batch)


async def _first(link: Link, key: str, until_ms: int) -> Sequence[str]:
    found = await link.redis.zrangebyscore(key, "-inf", until_ms, start=0, num=_A_ROUND)
    return [name.decode("utf-8", "replace") for name in found]  # a name that is no text is no name of ours
