"""`python -m tests.crash.million [TIMES]`: a million mails through one worker: what it and Redis hold before and after.

The first 10,000 mails fill what is bounded (sessions, connections to Redis, compiled batches); then come large and
small batches, whose retention is short. Both times two moments are compared, all mail sent and all records purged:
memory, open files and tasks of the worker, keys and memory of Redis. Prints a line a moment; exit 1 for growth, for a
key that is left, or if smtp-sink has not counted exactly what the queue calls sent. TIMES: of the million, 0.1 for a
tenth. `PYTHONTRACEMALLOC=10` names the places that have grown.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec

from mailspool import Spool
from mailspool.client.connection import Connection
from mailspool.redis_server.pool import IDLE_S
from tests.benchmarks.sink import Sink, sink
from tests.support.census import Census
from tests.support.ground import Background, Ground
from tests.support.mailing import letter, rows
from tests.support.mtas import missing_sink
from tests.support.waiting import until, until_async

MIB = 1 << 20
FIRST = (*(100,) * 70, 3_000)
"""More batches than a worker keeps compiled (64), and one that fills its slots."""
SHORTLY, A_WHILE = timedelta(seconds=1), timedelta(seconds=90)
"""Retention: at once, and long enough for this program to have looked at a batch that is done."""
PURGED_WITHIN_S = 600.0
FULL_FLOW_MIB = 8.0
"""What the worker's memory may grow by until all its slots have been full for a while: the first mails are too few."""
GROWTH_MIB = 4.0
"""From the first tenth on: four bytes a mail, where the smallest object takes sixteen."""
GROWTH_BLOCKS = 10_000
"""One in a hundred mails."""
GROWTH_REDIS_MIB = 1.0
"""A byte a mail; a key takes a hundred."""
POOLS = 4
"""Of connections to Redis. One that is not in use at a moment keeps what it used last."""
ENDS_ITSELF_MS = 120_000
"""arq marks its jobs with keys that expire; whatever lives on for longer than that has to be taken away by somebody."""


def sizes(times: float) -> tuple[int, ...]:
    """Of the batches after the first: 990,000 mails, nine tenths of them in large ones."""
    return (round(100_000 * times),) * 9 + (100,) * round(900 * times)


def of_process(pid: int) -> tuple[float, float, int, int]:
    """Memory now and at its most (MiB), threads, open files."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    rss, hwm, threads = (int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM", "Threads"))
    return rss / 1024, hwm / 1024, threads, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass(frozen=True)
class Moment:
    """What is held. `keys`: those that do not expire by themselves soon, each with the number of its members."""

    when: str
    sent: int
    rss_mib: float
    hwm_mib: float
    threads: int
    files: int
    census: Census
    keys: Mapping[str, int]
    redis_mib: float

    def __str__(self) -> str:
        worker = f"{self.files} files, {self.threads} threads, {self.census.tasks} tasks, {self.census.blocks:,} blocks"
        memory = f"RSS {self.rss_mib:.1f} MiB (at most {self.hwm_mib:.1f})"
        redis = f"Redis {self.redis_mib:.1f} MiB, {len(self.keys):,} keys"
        grown = "".join(f"\n    {place}" for place in self.census.grown)
        return f"{self.when} ({self.sent:,}): {memory}, {worker}; {redis}{grown}"


def shares(batches: Sequence[int]) -> Iterator[Sequence[int]]:
    """About a tenth of the mails each."""
    limit, start, mails = sum(batches) / 10.5, 0, 0
    for end, size in enumerate(batches, 1):
        mails += size
        if mails >= limit or end == len(batches):
            yield batches[start:end]
            start, mails = end, 0


@dataclass
class Watch:
    """One worker with its sink and its spool."""

    worker: Background
    sink: Sink
    connection: Connection
    sent: int = 0
    moments: list[Moment] = field(default_factory=list)

    async def look(self, when: str) -> Moment:
        rss, hwm, threads, files = of_process(self.worker.pid)
        census = await self._census()
        memory = cast("dict[str, object]", await self.connection.command("INFO", "memory"))
        used = cast("int", memory["used_memory"])
        moment = Moment(when, self.sent, rss, hwm, threads, files, census, await self._keys(), used / MIB)
        self.moments.append(moment)
        return moment

    async def _census(self) -> Census:
        told = len(self.worker.said())
        os.kill(self.worker.pid, 10)  # SIGUSR1
        await until(lambda: len(self.worker.said()) > told or not self.worker.alive, "the worker counts")
        assert self.worker.alive, self.worker.words()
        return msgspec.json.decode(self.worker.said()[-1], type=Census)

    async def _keys(self) -> dict[str, int]:
        found = sorted(await self.connection.strings("KEYS", "*"))
        lives = cast("list[int]", await self.connection.commands([("PTTL", name) for name in found]))
        names = [name for name, ms in zip(found, lives, strict=True) if ms == -1 or ms > ENDS_ITSELF_MS]
        kinds = cast("list[bytes]", await self.connection.commands([("TYPE", name) for name in names]))
        words = {b"hash": "HLEN", b"zset": "ZCARD", b"set": "SCARD", b"list": "LLEN"}
        asked = [(words.get(kind, "EXISTS"), name) for name, kind in zip(names, kinds, strict=True)]
        counts = cast("list[int]", await self.connection.commands(asked))
        return dict(zip(names, counts, strict=True))

    async def purged(self) -> None:
        """The worker's upkeep does it, once a minute. Then that has ended, too, and so have idle connections."""
        keys = self.connection.keys

        async def gone() -> bool:
            left = await self.connection.commands([("ZCARD", keys.batches), ("ZCARD", keys.retire)])
            return left == [0, 0]

        await until_async(gone, "everything is purged", limit_s=PURGED_WITHIN_S)
        ends_s = time.monotonic() + 1.5 * IDLE_S
        await until(lambda: time.monotonic() > ends_s, "what is idle is closed", limit_s=2 * IDLE_S)

    async def mail(self, spool: Spool, batches: Sequence[int]) -> None:
        """One after the other; while one is sent the next one is loaded."""
        before = None
        for size in batches:
            batch = await spool.send_batch(letter(2), rows(size))
            if before is not None:
                self.sent += (await before.wait()).sent
            before = batch
        assert before is not None
        self.sent += (await before.wait()).sent


def faults(moments: Sequence[Moment], counted: int) -> Iterator[str]:
    """`moments`: first sent, first purged, a tenth sent, others, all sent, all purged."""
    first_sent, first_purged, tenth, *_, all_sent, all_purged = moments
    for before, after in ((first_sent, all_sent), (first_purged, all_purged)):
        where = f"{after.when}: "
        if (grown := after.rss_mib - before.rss_mib) > FULL_FLOW_MIB:
            yield f"{where}the worker has {grown:.1f} MiB more"
        if (grown := after.rss_mib - tenth.rss_mib) > GROWTH_MIB:
            yield f"{where}the worker has {grown:.1f} MiB more than after a tenth"
        if (blocks := after.census.blocks - before.census.blocks) > GROWTH_BLOCKS:
            yield f"{where}the worker has {blocks:,} pieces of memory more"
        if after.census.tasks > before.census.tasks:
            yield f"{where}{after.census.tasks} tasks, not {before.census.tasks}"
    if all_purged.files > first_purged.files + POOLS:
        yield f"{all_purged.when}: {all_purged.files} open files, not {first_purged.files}"
    for name in sorted({*first_purged.keys, *all_purged.keys}):
        was, is_ = first_purged.keys.get(name), all_purged.keys.get(name)
        if was != is_:
            yield f"{all_purged.when}: {name} has {is_} members, not {was}"
    if (grown := all_purged.redis_mib - first_purged.redis_mib) > GROWTH_REDIS_MIB:
        yield f"{all_purged.when}: Redis has {grown:.1f} MiB more"
    if counted != all_purged.sent:
        yield f"the sink counted {counted:,} mails, the queue calls {all_purged.sent:,} sent"


def say(words: object) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


@contextmanager
def working(folder: Path, received: Sink) -> Iterator[tuple[Ground, Background]]:
    with Ground(folder) as ground:
        ground.relay_url = f"smtp://127.0.0.1:{received.port}"
        yield ground, ground.worker("worker", {"census": True})


async def run(folder: Path, batches: Sequence[int], received: Sink) -> list[str]:
    """What is wrong at the end."""
    with working(folder, received) as (ground, worker):
        async with ground.spool(keep_done=SHORTLY) as first, ground.spool(keep_done=A_WHILE) as spool:
            watch = Watch(worker, received, await spool.connection())
            say(await watch.look("at the start"))
            await watch.mail(first, FIRST)
            say(await watch.look("the first are sent"))
            await watch.purged()
            say(await watch.look("the first are purged"))
            del watch.moments[0]
            began_s = time.monotonic()
            for share in shares(batches):
                await watch.mail(spool, share)
                say(await watch.look("more are sent"))
            rate = sum(batches) / (time.monotonic() - began_s)
            await watch.purged()
            say(await watch.look("all are purged"))
            say(f"{rate:,.0f} mails a second; the sink counted {received.counted():,}")
        worker.process.terminate()
        wrong = list(faults(watch.moments, received.counted()))
        if worker.wait() != 0:
            wrong.append(f"the worker exited with {worker.wait()}: {worker.words()[-300:]}")
        return wrong


def main(times: float) -> int:
    if why := missing_sink():
        say(f"a million: skipped: {why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="million-") as root:
        folder = Path(root)
        with sink(folder) as received:
            wrong = asyncio.run(run(folder / "ground", sizes(times), received))
    for fault in wrong:
        say(f"BAD: {fault}")
    say("bad" if wrong else "good: at the end as at the start")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
