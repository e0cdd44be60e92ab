"""What keeps a spool's storage from growing or telling for ever; once a minute, after upkeep.py. Idempotent.

- `erase`: sent transactional mail in chunks that were finished otherwise than by a settle (the rest is erased there).
- `rewrite`: the embedded server's append-only file still holds what was erased until it is written anew. Valkey does
  that by size alone; here at most an hour passes while a worker runs. A server of the user's is the user's.
- `audit`: once an hour, the totals of each class against the sum over all batches, at one moment. A difference is
  logged; `mailspool verify --repair` finds and mends it.
- `forget`: once an hour, suspected addresses that no second batch was told about for 90 days.

Called by app.py. Raises what redis-py raises for the plain reads; moves wait an outage out.
Known limit: beyond 20,000 batches the audit is left to `mailspool verify`, which does not stop Redis for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, cast

from redis.exceptions import OutOfMemoryError, ResponseError

from mailspool.contract.inspection import Inspection, Tally
from mailspool.contract.moves import Moves
from mailspool.contract.states import CLASSES, TALLY_LIMIT
from mailspool.redis_server.link import Link
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events

HOUR_MS: Final = 3_600_000
_BATCHES: Final = 50
_SLICES: Final = 200
"""Calls of 100 chunks each in one round."""


async def chores(link: Link, moves: Moves, clock: RedisClock, over: Callable[[], bool], events: Events) -> None:
    """One round. A worker that shall end does not wait for it."""
    await erase(link, moves, over, events)
    now_ms = clock.now_ms()
    if not over() and link.embedded:
        await rewrite(link, moves, now_ms, events)
    if not over() and await _turn(link, moves, "audited", now_ms):
        await audit(link, moves, events)
    if not over() and await _turn(link, moves, "forgotten", now_ms):
        await forget(moves, over)


async def forget(moves: Moves, over: Callable[[], bool]) -> None:
    """In steps of a hundred or so, so that nobody waits for it."""
    cursor = await moves.forget(0)
    while cursor and not over():
        cursor = await moves.forget(cursor)


async def erase(link: Link, moves: Moves, over: Callable[[], bool], events: Events) -> None:
    left = _SLICES
    members = cast("Callable[..., Awaitable[list[bytes]]]", link.redis.srandmember)
    for name in await members(moves.keys.erase, _BATCHES):
        batch, start = name.decode("utf-8", "replace"), 0
        try:
            while start >= 0 and left > 0 and not over():
                start, left = await moves.erase(batch, start), left - 1
        except ResponseError as error:  # broken records: `verify` names them, and the purge takes them away
            events.warning("erase_put_off", name=batch, why=str(error)[:200])


async def rewrite(link: Link, moves: Moves, now_ms: int, events: Events) -> None:
    """Only if something was erased since the last time."""
    hget = cast("Callable[..., Awaitable[bytes | None]]", link.redis.hget)
    if int(await hget(moves.keys.chores, "erased") or 0) <= 0 or not await _turn(link, moves, "rewritten", now_ms):
        return
    hdel = cast("Callable[..., Awaitable[int]]", link.redis.hdel)
    await hdel(moves.keys.chores, "erased")
    try:
        await cast("Callable[[], Awaitable[object]]", link.redis.bgrewriteaof)()
    except ResponseError as error:  # it runs already: what was erased since it began waits for the next hour
        events.warning("rewrite_put_off", why=str(error)[:200])
        hset = cast("Callable[..., Awaitable[int]]", link.redis.hset)
        await hset(moves.keys.chores, "erased", 1)


async def audit(link: Link, moves: Moves, events: Events) -> bool:
    """False if the accounts do not add up."""
    zcard = cast("Callable[..., Awaitable[int]]", link.redis.zcard)
    if await zcard(moves.keys.batches) > TALLY_LIMIT:
        return True
    inspection = Inspection(moves.caller, moves.keys)
    well = True
    for class_ in CLASSES:
        tally = await inspection.tally(class_, 0, ())
        for field, (stands, sums_to) in sorted(differences(tally).items()) if tally is not None else ():
            well = False
            events.warning(
                "accounts_do_not_add_up",
                **{"class": class_, "counter": field, "stands": stands, "batches_sum_to": sums_to},
                fix="mailspool verify --repair",
            )
    return well


def differences(tally: Tally) -> dict[str, tuple[int, int]]:
    """Counters of which the class' total is not the sum over the batches."""
    pairs = {name: (tally.totals.get(name, 0), tally.sums.get(name, 0)) for name in {*tally.totals, *tally.sums}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


async def _turn(link: Link, moves: Moves, what: str, now_ms: int) -> bool:
    """Is it time again? Two workers that ask at once may both do it: nothing here is hurt by that."""
    hget = cast("Callable[..., Awaitable[bytes | None]]", link.redis.hget)
    last_ms = int(await hget(moves.keys.chores, what) or 0)
    if last_ms <= now_ms < last_ms + HOUR_MS:
        return False
    hset = cast("Callable[..., Awaitable[int]]", link.redis.hset)
    try:
        await hset(moves.keys.chores, what, now_ms)
    except OutOfMemoryError:  # it can wait
        return False
    return True
