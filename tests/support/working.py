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
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Moves, RedisCaller
from mailspool.redis_server.link import Link
from mailspool_worker.app import Engine
from mailspool_worker.events import Events
from tests.support.leaks import everything, tasks_left


@asynccontextmanager
async def working(settings: Settings, *, checked: bool = True) -> AsyncIterator[Engine]:
    """`checked` False: arq may have lost its own notes (cut connections), or another worker is at work."""
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
    assert not checked or not left, f"tasks left behind: {left}"


async def nothing_left(redis: Redis, prefix: str) -> None:
    """No lease, no heartbeat, no job in progress: whatever waits, waits for any worker."""
    found = await everything(redis, prefix)
    running = [
        f"{name} {k}"
        for name, runs in found.keys.items()
        if name.startswith("run:")
        for k, run in cast("dict[str, str]", runs).items()
        if run.startswith("run:")
    ]
    assert not running, f"still leased: {running}"
    alive = [name for name in found.keys if name == "workers" or name.startswith(("worker:", "apart:"))]
    assert not alive, f"left behind: {alive}"
    in_progress = await redis.keys(f"arq:in-progress:{prefix}:*")
    assert not in_progress, f"arq believes to be at work: {in_progress}"
    assert not sorted(found.orphans())


@asynccontextmanager
async def expecting_a_worker(settings: Settings) -> AsyncIterator[None]:
    """What is queued in here is fed at once, as if a worker lived; without one, feed puts a batch off for a second."""
    link = Link(settings)
    await link.open()
    moves = Moves(RedisCaller(link.redis), Keys(settings.key_prefix))
    relays = ",".join(settings.relay_table())
    fields: dict[str, Arg] = {"versions": "1", "relays": relays, "slots:transactional": 10, "slots:bulk": 10}
    try:
        await moves.beat("expected", fields)
        yield
        await moves.leave("expected")
    finally:
        await link.close()
