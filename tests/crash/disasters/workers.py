"""Disasters of workers: killed, frozen, and everything at once."""

from __future__ import annotations

import signal
import time

from mailspool.contract.states import LEASE_MS
from tests.crash.stage import Stage
from tests.support.ground import now_ms
from tests.support.waiting import until

MOMENTS = 10


async def killed(stage: Stage) -> None:
    """kill -9 at random moments."""
    await stage.begin()
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        await stage.kill_worker(blow % 2)


async def storm(stage: Stage) -> None:
    """Workers and Redis, one after the other; every sixth blow and the last one are Redis'."""
    await stage.begin()
    met = 0
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow), limit_s=stage.size.drain_s)
        if blow % 6 == 5 or blow == stage.size.blows - 1:
            await stage.kill_redis()
        else:
            met += 1
            await stage.kill_worker(stage.chance.randrange(2))
    stage.figures |= {"workers killed": met, "Redis killed": stage.size.blows - met}


async def held_storm(stage: Stage) -> None:
    """The same with on_uncertain="hold": nothing may repeat, what is in doubt is shown."""
    stage.ends.add("uncertain")
    await storm(stage)


async def frozen(stage: Stage) -> None:
    """SIGSTOP for three lease times, then SIGCONT."""
    await stage.begin()
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        await freeze_for_three_leases(stage, blow % 2)


async def freeze_for_three_leases(stage: Stage, number: int) -> None:
    """At a moment when it holds a body: another moment proves nothing."""
    worker, receiver = stage.workers[number], stage.receivers[number]
    for _ in range(MOMENTS):
        at_ms, doubt = await stage.freeze_worker(number)
        if doubt:
            break
        worker.send(signal.SIGCONT)
        await stage.going_on()
    began_s, frozen_s = time.monotonic(), 3 * (stage.size.lease_s or LEASE_MS / 1000)
    await until(lambda: time.monotonic() > began_s + frozen_s, "three lease times", limit_s=2 * frozen_s)
    until_ms, brought = now_ms(), receiver.log.count()
    worker.send(signal.SIGCONT)
    await until(lambda: worker.state() != "T", "it runs")
    stage.struck("worker frozen", at_ms, [receiver.name], doubt, repeats=True, until_ms=until_ms)
    stage.produce([f"later{until_ms}"], uploads=5, rows=200)
    await until(lambda: receiver.log.count() > brought + 20, "the thawed worker works again")
