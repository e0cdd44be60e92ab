"""A worker in the test's own loop, and what must be left when it has stopped: nothing.

`async with working(settings) as engine:` opens a link and an engine; at its end no task, no lease, no heartbeat and no
key of arq's may be left behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis

from mailspool import Settings
from mailspool.redis_server.link import Link
from mailspool_worker.app import Engine
from mailspool_worker.events import Events
from tests.support.leaks import orphans, tasks_left


@asynccontextmanager
async def working(settings: Settings, *, checked: bool = True) -> AsyncIterator[Engine]:
    """The engine is closed at the end, unless the test has closed it."""
    before = set(tasks_left())
    link = Link(settings)
    await link.open()
    engine = Engine(settings, link, Events(None))
    try:
        await engine.open()
        try:
            yield engine
        finally:
            await engine.close()
        if checked:
            await nothing_left(link.redis, settings.key_prefix)
        assert engine.failed is None
    finally:
        await link.close()
    left = set(tasks_left()) - before
    assert not left, f"tasks left behind: {left}"


async def nothing_left(redis: Redis, prefix: str) -> None:
    """No lease, no heartbeat, no job: whatever waits, waits in the spool."""
    names = {name.decode() for name in cast("list[bytes]", await redis.keys("*"))}
    own = {
        name for name in names if name.startswith((f"{prefix}:", f"arq:job:{prefix}:", f"arq:in-progress:{prefix}:"))
    }
    busy = {name for name in own if name.startswith((f"{prefix}:run:", f"{prefix}:flight:", f"{prefix}:worker:"))}
    busy |= {name for name in own if name.startswith("arq:") or name in (f"{prefix}:workers", f"{prefix}:q:bulk:v1")}
    assert not busy, f"left in Redis: {sorted(busy)}"
    assert not await orphans(redis, prefix)
