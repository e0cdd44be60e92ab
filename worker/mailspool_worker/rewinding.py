"""After Redis' clock was set back, nothing waits until the old time comes again, and no lease lasts that long.

Times in Redis are its own. Those written before it was set back lie in a time still to come: `rewind` corrects them,
batch by batch, in bounded slices. A worker calls it when it saw the jump, once more a lease later (others may have
written in the old time for a moment), and at its start if the clock stands before something that has happened.
Raises what redis-py raises for the plain reads; moves wait an outage out.
Known limits: a deadline that was computed in the old time stays; a clock set back while no worker lives is noticed by
the last worker's farewell or heartbeat, or by the youngest batch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, cast

from redis.exceptions import ResponseError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves
from mailspool.contract.states import CLASSES
from mailspool.redis_server.link import Link
from mailspool_worker.clock import JUMP_MS
from mailspool_worker.events import Events

_A_STEP: Final = 500


async def was_set_back(link: Link, keys: Keys, now_ms: int) -> bool:
    """Has something happened later than now?"""
    last = cast("Callable[..., Awaitable[list[tuple[bytes, float]]]]", link.redis.zrange)
    hget = cast("Callable[..., Awaitable[bytes | None]]", link.redis.hget)
    clock = await hget(keys.chores, "clock") or b"0"
    happened = [float(clock) if clock.isdigit() else 0.0]  # somebody else's words tell no time
    for key in (keys.workers, keys.batches):
        happened += [at for _, at in await last(key, -1, -1, withscores=True)]
    return max(happened) > now_ms + JUMP_MS


async def rewind(link: Link, moves: Moves, events: Events) -> None:
    """Every batch that is not finished, and every lease. Twice: the second time finds nothing."""
    for class_ in CLASSES:
        while await moves.rewind_leases(class_):
            pass
    cursor = -1
    while cursor:
        cursor, found = await link.redis.zscan(moves.keys.deadline, max(cursor, 0), count=_A_STEP)
        for name, _ in found:
            await _rewind_batch(moves, name.decode("utf-8", "replace"), events)


async def _rewind_batch(moves: Moves, batch: str, events: Events) -> None:
    start = 0
    try:
        while start >= 0:
            start = await moves.rewind(batch, start)
    except ResponseError as error:  # broken records; `mailspool verify` names them
        events.warning("rewind_put_off", name=batch, why=str(error)[:200])
