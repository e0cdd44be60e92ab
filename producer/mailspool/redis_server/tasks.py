"""Ending background tasks for sure.

One `cancel()` is not enough: on Python 3.11 `asyncio.wait_for`, through which redis-py writes every command, swallows a
cancellation that comes in the turn in which its command is done. So a task that shall end is told until it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

_AGAIN_S = 0.05


async def end(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Returns when all are done. Their errors are looked at: who wants them has a callback of its own."""
    tasks = tuple(tasks)
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
