"""Disasters that people order: workers asked to leave (SIGTERM) at full speed, as at every update."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailspool.redis_server.tasks import end
from tests.crash.stage import Stage
from tests.support.waiting import until

LOADED = 10
"""Uploads that lie there before anybody works: from then on the workers are the bottleneck, not the producers."""
ENDLESS = 1_000_000
"""Uploads: producers go on until the last worker was stopped."""
_LOOK_EVERY_S = 0.05


class Records:
    """What Redis has recorded, looked at all the time."""

    def __init__(self, stage: Stage) -> None:
        self.longest_s = 0.0
        """Without a new outcome while mail was queued."""
        self._stage = stage

    async def sent(self) -> int:
        return (await self._totals())[1]

    async def queued(self) -> int:
        total, sent = await self._totals()
        return total - sent

    async def _totals(self) -> tuple[int, int]:
        connection = await (await self._stage.opened()).connection()
        fields = await connection.fields(connection.keys.totals("bulk"))
        return int(fields.get("total", 0)), int(fields.get("n_sent", 0))

    async def watch(self) -> None:
        seen, waiting, since_s = 0, 0, time.monotonic()
        while True:
            total, sent = await self._totals()
            now_s = time.monotonic()
            if sent > seen or not waiting:
                since_s = now_s
            self.longest_s = max(self.longest_s, now_s - since_s)
            seen, waiting = sent, total - sent
            await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def watched(stage: Stage) -> AsyncIterator[Records]:
    """Ends with the disaster's whole mailing; how long nothing was recorded is a figure, and a fault if too long."""
    records = Records(stage)
    watch = asyncio.create_task(records.watch())
    try:
        yield records
        await finished(stage)
    finally:
        await end((watch,))
    if watch.done() and not watch.cancelled() and (error := watch.exception()) is not None:
        raise AssertionError(f"the records could not be watched: {error}") from error
    limit_s = stage.size.gap_limit_s
    stage.figures["longest time without a record"] = f"{records.longest_s:.2f} s"
    if limit_s is not None and records.longest_s >= limit_s:
        stage.faults.append(f"nothing was recorded for {records.longest_s:.1f} s while mail was queued")


async def loaded(stage: Stage) -> None:
    """Producers with keys run, and more lies there than workers take in a second."""
    stage.attempts = 1
    stage.produce(uploads=ENDLESS)
    await until(lambda: len(stage.acknowledged()) >= LOADED, "producers are ahead")


async def finished(stage: Stage) -> None:
    (stage.folder / "stop").touch()
    await stage.finish()


async def stop(stage: Stage, number: int, records: Records) -> tuple[float, int]:
    """In full flow; how many seconds it took to leave, and what was queued then."""
    log = stage.receivers[number].log
    brought = log.count()
    await until(lambda: log.count() > brought, "it sends")
    waiting = await records.queued()
    if waiting <= 0:
        stage.faults.append("nothing was queued any more when a worker was stopped: this proves nothing")
    return await stage.stop_worker(number), waiting


async def rolling(stage: Stage) -> None:
    """One of two workers after the other, again and again."""
    stage.receive(2)
    await loaded(stage)
    began_s = time.monotonic()
    async with watched(stage) as records:
        for number in range(2):
            await stage.work(number)
        stops = []
        for blow in range(stage.size.blows):
            await stage.until_received(stage.share(blow))
            stops.append(await stop(stage, blow % 2, records))
            await stage.work(blow % 2)
    took_s, waiting = zip(*stops, strict=True)
    stage.figures |= {
        "mails/s": round(stage.received() / (time.monotonic() - began_s)),
        "left after": f"{min(took_s):.2f} to {max(took_s):.2f} s",
        "queued at stops": f"{min(waiting):,} to {max(waiting):,}",
    }


async def stopped(stage: Stage) -> None:
    """A worker alone: before a receiver that keeps every last reply back for a while, then before one that does not."""
    for number, late_s in enumerate((stage.size.away_s, 0.0)):
        stage.receivers.append(stage.ground.receiver(f"receiver{number}", dot_delay_s=late_s))
    await loaded(stage)
    records = Records(stage)
    for number, receiver in enumerate(stage.receivers):
        await stage.work(number)
        await stage.until_received(stage.share(0) if number else 1)
        took_s, _ = await stop(stage, number, records)
        brought, sent = stage.received(), await records.sent()
        stage.figures[f"left {('late', 'quick')[number]} receiver after"] = f"{took_s:.2f} s"
        if brought != sent:
            stage.faults.append(f"{receiver.name}: {brought} received, {sent} recorded when the worker had left")
        del stage.workers[number]
    await stage.work(1)
    await finished(stage)
