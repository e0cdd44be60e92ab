"""A worker inside this process, for `send --deliver` and the demo.

It is loaded by name, because what scripts import must never need it. Raises what the worker raises when it opens.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mailspool.settings import Settings


@asynccontextmanager
async def delivering(settings: Settings) -> AsyncIterator[None]:
    """It serves the whole spool meanwhile, transactional mail first; leaving finishes what is on the wire."""
    worker = cast(
        "Callable[[Settings], AbstractAsyncContextManager[object]]",
        importlib.import_module("mailspool_worker").Worker,
    )
    async with worker(settings):
        yield
