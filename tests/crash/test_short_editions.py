"""Short editions of disasters, judged as the full ones of `make crash` are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.catalogue import BY_NAME
from tests.crash.judge import Verdict, table
from tests.crash.preloads import UnableError
from tests.crash.run import play
from tests.support.edition import FULL, show

TOGETHER = (
    ("redis-unreachable", "storm"),
    ("disk-full", "two-formats"),
    ("memory-full", "storm-held", "redis-frozen"),
    ("power-cut", "hosts-clocks", "arq-forgotten"),
    ("redis-clock", "receiver-restarts"),
    ("rolling-restart", "worker-stopped"),
)
"""Played at once, each on its own ground: they mostly wait. Scenarios of their own play workers-killed, worker-frozen
and Redis killed."""


async def played(folder: Path, name: str) -> tuple[str, Verdict | None, str]:
    """Its verdict, or why it cannot be played here."""
    disaster = BY_NAME[name]
    try:
        found = await play(disaster, folder / name, disaster.short)
    except UnableError as reason:
        return name, None, str(reason)
    return name, found.verdict, f"seed {found.seed}"


@pytest.mark.storm
@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
async def test_short_editions(tmp_path: Path, names: tuple[str, ...]) -> None:
    if FULL:
        pytest.skip("`python -m tests.crash` plays the full editions")
    found = await asyncio.gather(*(played(tmp_path, name) for name in names))
    show("crash", **{name: words for name, _, words in found})
    rows = [(f"{name} ({words})", verdict) for name, verdict, words in found if verdict is not None]
    assert rows, "none of them can be played here"
    assert all(verdict.good for _, verdict in rows), "\n" + table(rows)
