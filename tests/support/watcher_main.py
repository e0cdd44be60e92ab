"""`python -m tests.support.watcher_main OUT BATCH`: another process that looks at a batch every 20 ms until it is done.

Writes a JSON line for each look (`Look`), and every 200 ms what is written about each deferred message (`Written`).
Times of tries are compared with the receiver's log, so these are in milliseconds as the spool keeps them.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from mailspool import Batch, BatchStatus, Spool
from tests.support.ground import now_ms

LOOK_EVERY_S = 0.02
READ_EVERY = 10

COUNTS = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")


class Look(msgspec.Struct, tag="look"):
    """One snapshot."""

    at_ms: int
    total: int
    counts: dict[str, int]
    done: bool


class Written(msgspec.Struct, tag="written"):
    """A deferred message, as read at `at_ms`: after so many attempts, not before `next_ms`."""

    at_ms: int
    recipient: str
    attempts: int
    next_ms: int


Line = Look | Written


def look_of(status: BatchStatus) -> Look:
    counts = {name: getattr(status, name) for name in COUNTS}
    return Look(now_ms(), status.total, counts, status.done)


async def written(batch: Batch) -> list[Line]:
    return [
        Written(now_ms(), message.recipient, message.attempts, round(message.next_try.timestamp() * 1000))
        async for message in batch.messages("deferred")
        if message.next_try is not None
    ]


async def watch(batch: Batch, out: BinaryIO) -> None:
    number = 0
    while True:
        status = await batch.status()
        lines: list[Line] = [look_of(status)]
        if status.deferred and number % READ_EVERY == 0:
            lines += await written(batch)
        out.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        out.flush()
        if status.done:
            return
        number += 1
        await asyncio.sleep(LOOK_EVERY_S)


async def main(path: Path, name: str) -> None:
    async with Spool() as spool:
        with path.open("wb") as out:
            await watch(await spool.batch(name), out)


def read(path: Path) -> tuple[list[Look], list[Written]]:
    """What a watcher saw."""
    decoder = msgspec.json.Decoder(Line)
    lines = [decoder.decode(line) for line in path.read_bytes().splitlines()]
    return [line for line in lines if isinstance(line, Look)], [line for line in lines if isinstance(line, Written)]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
