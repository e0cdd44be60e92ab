"""Waiting in scenarios: ask again until a condition holds, with a deadline that names what was waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

DEADLINE_S = 60.0
_PAUSE_S = 0.01


async def until(condition: Callable[[], bool], what: str, *, limit_s: float = DEADLINE_S) -> None:
    """Returns as soon as the condition holds; the loop turns meanwhile."""
    ends_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(_PAUSE_S)


async def until_async(condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = DEADLINE_S) -> None:
    """The same for a condition that asks the spool."""
    ends_s = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() > ends_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(_PAUSE_S)


async def until_quiet(
    number: Callable[[], int], what: str, *, still_s: float = 0.3, limit_s: float = DEADLINE_S
) -> None:
    """Until the number has not changed for so long."""
    ends_s, seen, since_s = time.monotonic() + limit_s, number(), time.monotonic()
    while time.monotonic() - since_s < still_s:
        if time.monotonic() > ends_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(_PAUSE_S)
        if (now := number()) != seen:
            seen, since_s = now, time.monotonic()
