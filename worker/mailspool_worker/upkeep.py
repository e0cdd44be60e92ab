"""Slow, idempotent upkeep, once a minute from arq's cron: silent uploads, batches past their retention, stale arq ids.

In bounded slices, so that nobody waits for it; several workers may do it at once. What cannot be tidied away (broken
records) is logged and put off: it neither stops the others nor keeps them from being looked at.
Raises what redis-py raises for the plain reads; moves wait an outage out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

from redis.exceptions import ResponseError

from mailspool.contract.moves import Moves
from mailspool.contract.states import CLASSES, UPLOAD_ABANDONED_MS, VERSIONS_SERVED, Class
from mailspool.redis_server.link import Link
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events

_SLICES = 200
"""Calls of 100 chunks each for one batch in one round: two million messages a minute."""
_A_LOOK = 50
_INDEX_S = 20.0
"""In one round, of each index: a spool of single mails has a batch for each, and hundreds of them may end a second.
Both together leave time for all else within arq's limit of a job."""
_PUT_OFF_MS = UPLOAD_ABANDONED_MS // 2
"""Less than the time after which an upload is abandoned: its score must not read as a sign of life."""
_A_STEP = 500
"""Waiting batches looked at in one round trip."""

Tidy = Callable[[str], Awaitable[str]]


async def upkeep(link: Link, moves: Moves, clock: RedisClock, over: Callable[[], bool], events: Events) -> None:
    """One round. It stops between two slices once `over()`: a worker that shall end does not wait for it."""
    now_ms = clock.now_ms()
    for key, until_ms, tidy in (
        (moves.keys.loading, now_ms - UPLOAD_ABANDONED_MS, moves.collect),
        (moves.keys.retire, now_ms, moves.purge),
    ):
        await _index(link, key, until_ms, tidy, _over_in(_INDEX_S, clock, over), events)
    for class_ in CLASSES:
        for version in VERSIONS_SERVED:
            await _broom(moves, class_, version, over, events)


def _over_in(seconds: float, clock: RedisClock, over: Callable[[], bool]) -> Callable[[], bool]:
    ends_s = clock.boot_s() + seconds
    return lambda: over() or clock.boot_s() > ends_s


async def _index(link: Link, key: str, until_ms: int, tidy: Tidy, over: Callable[[], bool], events: Events) -> None:
    """Everything that is due, each once: what takes more slices than a round has stays where it is."""
    seen: set[bytes] = set()
    while not over():
        due = await link.redis.zrangebyscore(key, "-inf", until_ms, start=0, num=_A_LOOK)
        if not (fresh := [name for name in due if name not in seen]):
            return
        seen.update(fresh)
        for name in fresh:
            if over():
                return
            answer = await _tidied(tidy, name, over)
            if answer in ("OK", "MORE", "ALIVE"):
                continue
            if answer not in ("BUSY", "GONE"):  # GONE: another worker's upkeep was faster, or no name of ours
                events.warning("upkeep_put_off", index=key, name=_text(name), why=answer)
            await link.redis.zadd(key, {name: until_ms + _PUT_OFF_MS}, xx=True)


async def _tidied(tidy: Tidy, name: bytes, over: Callable[[], bool]) -> str:
    """The last answer, or the server's words."""
    answer = "MORE"
    try:
        for _ in range(_SLICES):
            if over():
                break
            answer = await tidy(_text(name))
            if answer != "MORE":
                break
    except ResponseError as error:
        return str(error)[:200]
    return answer


async def _broom(moves: Moves, class_: Class, version: int, over: Callable[[], bool], events: Events) -> None:
    start = 0
    try:
        while start >= 0 and not over():
            start = await moves.broom(class_, version, start)
    except ResponseError as error:
        events.warning("upkeep_put_off", index=moves.keys.queue(class_), name="broom", why=str(error)[:200])


async def resume_blocked(link: Link, moves: Moves, classes: Sequence[Class]) -> None:
    """A worker that starts may have other relays, or the right password now: batches that waited for a closed route
    need not wait for the time that the last worker wrote. All of them: whoever waits for its date costs a look."""
    for class_ in classes:
        async for names in _steps(link, moves.keys.later(class_)):
            for name in await _blocked(link, moves, names):
                try:
                    await moves.resume(name)
                except ResponseError:
                    continue  # broken records; a worker must start all the same


async def _steps(link: Link, key: str) -> AsyncIterator[list[str]]:
    """Every name that is there from beginning to end, whatever its score becomes meanwhile."""
    cursor = -1
    while cursor:
        cursor, found = await link.redis.zscan(key, max(cursor, 0), count=_A_STEP)
        yield [_text(name) for name, _ in found]


async def _blocked(link: Link, moves: Moves, names: Sequence[str]) -> list[str]:
    """Those for which `resume` has something to do; it looks at the times itself."""
    pipeline = link.redis.pipeline(transaction=False)
    for name in names:
        pipeline.hmget(moves.keys.batch(name), ["wait_why", "closed_until"])
    answers = await pipeline.execute(raise_on_error=False) if names else []
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
            raise answer
    found = (cast("list[bytes | None]", answer) if isinstance(answer, list) else [None, None] for answer in answers)
    return [name for name, (why, until) in zip(names, found, strict=True) if why == b"closed" or until]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")  # a name that is no text is no name of ours
