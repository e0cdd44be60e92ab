"""Disasters of Redis: unreachable, frozen, forgetful, a wrong clock, a power cut."""

from __future__ import annotations

import os
import signal
import time
from typing import cast

from redis.asyncio import Redis

from tests.crash.preloads import WrongClock, build, synced_sizes
from tests.crash.stage import Stage
from tests.support.embedded import server_pid, servers_below
from tests.support.ground import now_ms
from tests.support.proxy import Proxy
from tests.support.waiting import until

AGAIN_S = 5.0
"""After Redis is back."""


async def passing(seconds: float, what: str) -> None:
    """Waits for the clock: how long something lasts is the disaster."""
    ends_s = time.monotonic() + seconds
    await until(lambda: time.monotonic() > ends_s, what, limit_s=seconds + 30)


async def unreachable(stage: Stage) -> None:
    """Through a proxy: cut inside replies, delayed, dropped for a while, silent for a while."""
    stage.again_limit_s = AGAIN_S
    proxy = Proxy(stage.own_server())
    async with proxy:
        stage.ground.shared["redis_url"] = proxy.url
        await stage.begin()
        for _ in range(stage.size.blows):
            await stage.going_on()
            await _cut_inside_replies(stage, proxy)
            await stage.going_on()
            proxy.delay_s = 0.2
            await passing(1.0, "a slow way")
            proxy.mend()
            for name, close in (("dropped", proxy.drop), ("silent", proxy.silence)):
                await stage.going_on()
                at_ms = now_ms()
                close()
                await passing(stage.size.away_s, "Redis is away")
                proxy.mend()
                stage.struck(f"redis {name}", at_ms)
        stage.figures["connections cut"] = proxy.cuts
        await stage.finish()


async def _cut_inside_replies(stage: Stage, proxy: Proxy) -> None:
    for _ in range(6):
        at_ms, cuts = now_ms(), proxy.cuts
        proxy.cut_after(stage.chance.randint(1, 3_000))
        await until(lambda before=cuts: proxy.cuts > before, "a reply is cut")  # type: ignore[misc]  # a default binds it
        stage.struck("reply cut", at_ms)


async def frozen(stage: Stage) -> None:
    """SIGSTOP of the server in the middle."""
    stage.again_limit_s = AGAIN_S
    stage.own_server()
    (pid,) = servers_below(stage.folder / "redis")
    stage.rest.callback(os.kill, pid, signal.SIGCONT)
    await stage.begin()
    await stage.until_received(stage.share(0))
    at_ms = now_ms()
    os.kill(pid, signal.SIGSTOP)
    await passing(stage.size.away_s, "Redis is frozen")
    os.kill(pid, signal.SIGCONT)
    stage.struck("redis frozen", at_ms)


async def forgets_arq(stage: Stage) -> None:
    """All of arq's keys are deleted: queues, jobs, marks of what is in progress."""
    socket = stage.own_server()
    redis = Redis(unix_socket_path=str(socket))
    await stage.begin()
    gone = 0
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        at_ms = now_ms()
        keys = [*await redis.keys("arq:*"), *await redis.keys("ms:q:*")]
        gone += cast("int", await redis.delete(*keys)) if keys else 0
        stage.struck("arq's keys deleted", at_ms)
    await redis.aclose()
    stage.figures["keys deleted"] = gone


async def clock_jumps(stage: Stage) -> None:
    """Redis' wall clock: an hour ahead at once, and back; an hour behind, and back. Producers queue meanwhile."""
    clock = WrongClock(stage.folder)
    stage.own_server(env=clock.worn())
    await stage.begin()
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        at_ms = now_ms()
        clock.set((3600, 0, -3600, 0)[blow % 4])
        stage.struck("redis' clock jumps", at_ms)
        await passing(1.6, "the new time is known everywhere")


async def power_cut(stage: Stage) -> None:
    """Workers, producers and the embedded server end at once; of its file only what was synced is left."""
    log = stage.folder / "synced.log"
    preload = {"LD_PRELOAD": str(build("synced_size", stage.folder)), "SYNCED_LOG": str(log)}
    with stage.wearing(preload):
        await stage.begin()
        lost = 0
        for blow in range(stage.size.blows):
            await stage.until_received(stage.share(blow))
            at_ms = now_ms()
            pid = server_pid(stage.ground.data_dir)
            for process in (*stage.producers, *stage.workers.values()):
                process.process.kill()
            os.kill(pid, signal.SIGKILL)
            for process in (*stage.producers, *stage.workers.values()):
                process.kill()
            await until(lambda: not servers_below(stage.ground.data_dir), "the server is gone")
            await until(lambda: not any(r.log.open_sessions() for r in stage.receivers), "its sessions end")
            until_ms = now_ms()
            for path, size in synced_sizes(log).items():
                if path.exists() and path.stat().st_size > size:
                    lost += path.stat().st_size - size
                    os.truncate(path, size)
            log.unlink()
            stage.struck("power cut", at_ms, repeats=True, fresh=True, until_ms=until_ms)
            for number in list(stage.workers):
                await stage.work(number)
            stage.producers.clear()
            stage.produce()
        stage.figures["octets cut off"] = lost
        await stage.finish()
