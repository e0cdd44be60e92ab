"""What a worker process holds, told on request: `on_request()` before the worker runs, then SIGUSR1 whenever at rest.

Each answer is one line of JSON on stdout, a Census. Objects are counted after a collection, so that only what somebody
still refers to is seen. With PYTHONTRACEMALLOC=<frames> an answer also names the places that have grown since the
first one: which is how the owner of a leak is found.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import tracemalloc

import msgspec

_PLACES = 15


class Census(msgspec.Struct):
    """`blocks`: pieces of memory that Python has given out: what grows with every mail shows here first."""

    tasks: int
    blocks: int
    grown: list[str] = []


def on_request() -> None:
    from mailspool_worker.app import Engine

    opened, first = Engine.open, list[tracemalloc.Snapshot]()

    def tell() -> None:
        gc.collect()
        census = Census(len(asyncio.all_tasks()), sys.getallocatedblocks(), _grown(first))
        sys.stdout.write(msgspec.json.encode(census).decode() + "\n")
        sys.stdout.flush()

    async def open_(engine: Engine) -> None:
        await opened(engine)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)

    setattr(Engine, "open", open_)  # noqa: B010 - mypy forbids to assign to a method


def _grown(first: list[tracemalloc.Snapshot]) -> list[str]:
    if not tracemalloc.is_tracing():
        return []
    snapshot = tracemalloc.take_snapshot()
    if not first:
        first.append(snapshot)
    return [str(place) for place in snapshot.compare_to(first[0], "lineno")[:_PLACES]]
