"""Plays one disaster and has it judged."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.crash.catalogue import Disaster
from tests.crash.judge import Verdict, judge
from tests.crash.stage import Size, Stage


@dataclass(frozen=True)
class Played:
    verdict: Verdict
    seed: int
    figures: dict[str, object]


async def play(disaster: Disaster, folder: Path, size: Size, seed: int | None = None) -> Played:
    """UnableError where it cannot be played here. Everything else that goes wrong is a fault of the verdict."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    await asyncio.to_thread(folder.mkdir, parents=True)
    async with Stage(folder, size, seed) as stage:
        try:
            await disaster.play(stage)
        except AssertionError as error:
            stage.faults.append(str(error)[:600])
        if not stage.finished:
            await stage.finish()
        verdict = judge(folder)
        verdict.faults += stage.faults
        if size.on_uncertain == "hold" and verdict.repeats:
            verdict.faults.append(f"{verdict.repeats} repeats, and hold promises none")
        if size.gap_limit_s is not None:
            stage.figures["longest time without a mail"] = f"{verdict.gap_s:.2f} s"
        return Played(verdict, seed, stage.figures)
