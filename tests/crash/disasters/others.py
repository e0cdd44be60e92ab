"""Disasters of receivers, hosts and releases."""

from __future__ import annotations

from mailspool.contract import codec, states
from tests.crash.preloads import WrongClock
from tests.crash.stage import Stage
from tests.support.ground import now_ms
from tests.support.waiting import until


async def receiver_restarts(stage: Stage) -> None:
    """kill -9 of a receiver in the middle of everything, and another one on its port."""
    stage.ground.shared |= {"retry_schedule": "1s*", "retry_jitter": 0}
    await stage.begin()
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        await stage.restart_receiver(blow % 2)


async def one_hosts_clock(stage: Stage) -> None:
    """One worker's wall clock is an hour ahead of everybody's, another one's an hour behind; kills, too."""
    ahead, behind = stage.folder / "ahead", stage.folder / "behind"
    stage.receive(2)
    for number, (folder, seconds) in enumerate(((ahead, 3600), (behind, -3600))):
        folder.mkdir()
        clock = WrongClock(folder)
        clock.set(seconds)
        stage.wear[number] = clock.worn()
        await stage.work(number)
    stage.produce(["north"])
    with stage.wearing(stage.wear[0]):
        stage.produce(["south"])
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        await stage.kill_worker(blow % 2)


async def two_formats(stage: Stage) -> None:
    """Workers of this record format and of the next one, producers of both: each worker gets what it can read."""
    stage.receive(2)
    # The accounts are read by the next release, too: this one shows no message of a format that it cannot read.
    versions = {"VERSIONS_SERVED": states.VERSIONS_SERVED}
    stage.rest.callback(vars(codec).update, versions)
    vars(codec).update(VERSIONS_SERVED=(1, 2))
    await stage.work(0)
    stage.produce(["north"])
    stage.produce(["next"], record_version=2)
    await stage.going_on(100)
    told = stage.folder / "told-next.jsonl"
    await until(lambda: told.exists() and b"acknowledged" in told.read_bytes(), "the next release queues")
    at_ms = now_ms()
    await stage.work(1, {"record_version": 2})
    stage.struck("a worker of the next release", at_ms)
    await stage.until_received(stage.share(0))
    await stage.kill_worker(0)
