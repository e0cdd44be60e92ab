"""Disasters of space: a full disk under the embedded server, the memory limit of a server of one's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from redis.asyncio import Redis

from tests.crash.disasters.redis import passing
from tests.crash.preloads import UnableError
from tests.crash.stage import FSYNC, Stage
from tests.support.ground import now_ms
from tests.support.waiting import until

MIB = 1 << 20
DISK_MIB = 400
"""Above the 256 MiB that stay free for workers: else producers are refused from the beginning."""
MEMORY_MIB = 16
LETTER_LINES = 1_500
"""About 130 KiB a batch: its spec is what fills the memory, and stays there until it is purged."""


def mount(stage: Stage, folder: Path) -> None:
    """A disk of its own for this folder; UnableError where this process may not mount."""
    if os.geteuid() != 0:
        raise UnableError("only root may mount a small disk")
    folder.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnableError(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    stage.rest.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Until nothing is left."""
    block = bytes(MIB)
    with file.open("ab", buffering=0) as sink:
        try:
            while True:
                sink.write(block)
        except OSError:
            return


async def disk_full(stage: Stage) -> None:
    mount(stage, stage.ground.data_dir)
    filler = stage.ground.data_dir / "filler"
    await stage.begin(ahead=3)
    for blow in range(stage.size.blows):
        await stage.until_received(stage.share(blow))
        refused, at_ms = len(stage.refusals()), now_ms()
        try:
            fill(filler)
            await until(lambda before=refused: len(stage.refusals()) > before, "producers are refused")  # type: ignore[misc]  # a default binds it
            await passing(stage.size.away_s, "the disk is full")
        finally:
            filler.unlink()
        told = stage.refusals()[refused:]
        if not any(words.startswith("SpoolFull") for words in told):
            stage.faults.append(f"no producer was told that the disk is full, but: {told[-1]}")
        stage.struck("disk full", at_ms)
        await stage.going_on()
    stage.figures["told"] = sorted({words[:160] for words in stage.refusals()})


async def memory_full(stage: Stage) -> None:
    socket = stage.own_server(*FSYNC, "--maxmemory", f"{MEMORY_MIB}mb")
    redis = Redis(unix_socket_path=str(socket))
    stage.receive(2)
    for number in range(2):
        await stage.work(number)
    at_ms = now_ms()
    stage.produce(lines=LETTER_LINES, ahead=1_000_000)
    await until(lambda: bool(stage.refusals()), "producers are refused")
    mails = len(stage.acknowledged()) * stage.size.rows
    await stage.until_received(mails)
    told = stage.refusals()
    if not all(words.startswith("SpoolFull") for words in told):
        stage.faults.append(f"refused in other words: {next(w for w in told if not w.startswith('SpoolFull'))}")
    await redis.config_set("maxmemory", "4gb")
    await redis.aclose()
    stage.struck("memory full", at_ms)
    stage.figures |= {"acknowledged before": mails, "told": sorted({words[:160] for words in told})[:3]}
