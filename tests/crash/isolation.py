"""`python -m tests.crash.isolation [PAIRS]`: fifty relays behind one worker, one dead, one at 10 s a mail.

A pair is two runs: with mail for those two, and without. What is compared is the speed of the other 48, whose receivers
are throttled so that the processor is not the limit. Prints each pair and the median; exit 1 below 95 %.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mailspool import Batch
from tests.support.ground import Background, Ground
from tests.support.mailing import letter, rows
from tests.support.waiting import until

DEAD, SLOW = 0, 1
PROMISED = 0.95


@dataclass(frozen=True)
class Size:
    """`dot_delay_s`, with `sessions`, is what a healthy receiver takes: sessions / dot_delay_s mails a second."""

    relays: int = 50
    mails: int = 150
    sessions: int = 2
    dot_delay_s: float = 0.2
    slow_s: float = 10.0


@dataclass(frozen=True)
class Seen:
    """`speed`: mails a second of all healthy ones, up to the last one's last mail."""

    speed: float
    of_slow: int
    dead_state: str
    statuses: list[str]


async def run(folder: Path, size: Size, *, with_bad: bool) -> Seen:
    folder.mkdir(parents=True)  # noqa: ASYNC240 - nothing runs yet
    with Ground(folder) as ground, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        plan = {"count": size.relays, "dot_delay_s": size.dot_delay_s, "slow": SLOW, "slow_s": size.slow_s}
        receivers = ground.module("receivers", "tests.crash.receivers", json.dumps(plan))
        await until(lambda: bool(receivers.said()) or not receivers.alive, "the receivers listen")
        urls = json.loads(receivers.said()[0])
        urls[DEAD] = f"smtp://127.0.0.1:{nobody.getsockname()[1]}"
        table = {f"r{n:02}": {"url": url, "max_sessions": size.sessions} for n, url in enumerate(urls)}
        ground.shared |= {"relays": table}
        return await _mailing(ground, receivers, size, with_bad=with_bad)


async def _mailing(ground: Ground, receivers: Background, size: Size, *, with_bad: bool) -> Seen:
    wanted = [n for n in range(size.relays) if with_bad or n not in (DEAD, SLOW)]
    async with ground.spool() as spool:
        batches: dict[int, Batch] = {}
        for n in wanted:
            mails = rows(size.mails, f"relay{n}")
            batches[n] = await spool.send_batch(letter(2), mails, relay=f"r{n:02}", hold=True)
        worker = ground.start_worker()
        await until(lambda: "worker_started" in worker.first_words(), "the worker works")
        began_s = time.monotonic()
        for batch in batches.values():
            await batch.release()
        healthy = [batch for n, batch in batches.items() if n not in (DEAD, SLOW)]
        for batch in healthy:
            status = await batch.wait(300)
            assert status.sent == status.total, status
        took_s = time.monotonic() - began_s
        states = [str(await batches[n].status()) for n in (DEAD, SLOW) if n in batches]
        routes = {route.name: route.state for route in (await spool.status()).routes}
        receivers.say("how many")
        await until(lambda: len(receivers.said()) > 1, "the receivers count")
        counts = json.loads(receivers.said()[1])
        assert sum(counts) - counts[SLOW] == len(healthy) * size.mails, "each healthy mail arrived once"
    return Seen(len(healthy) * size.mails / took_s, counts[SLOW], routes.get(f"r{DEAD:02}", "unknown"), states)


async def pair(folder: Path, size: Size) -> tuple[Seen, Seen]:
    return await run(folder / "with", size, with_bad=True), await run(folder / "without", size, with_bad=False)


def main(pairs: int, size: Size) -> int:
    ratios = []
    with tempfile.TemporaryDirectory(prefix="isolation-") as root:
        for number in range(pairs):
            bad, good = asyncio.run(pair(Path(root) / str(number), size))
            ratios.append(bad.speed / good.speed)
            words = f"pair {number + 1}: {bad.speed:.0f} mails/s with, {good.speed:.0f} without: {ratios[-1]:.3f}"
            sys.stdout.write(f"{words}; dead relay {bad.dead_state}, {bad.statuses}\n")
            sys.stdout.flush()
    median = statistics.median(ratios)
    sys.stdout.write(f"median {median:.3f}; at least {PROMISED} is promised\n")
    return 0 if median >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, Size()))
