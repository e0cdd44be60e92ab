"""The control of `power-cut`: the same cut, with a server that syncs once a second, does lose mail.

Without it nobody would know that the emulation cuts anything: the disaster would be good with any durability.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.crash.catalogue import Disaster
from tests.crash.disasters import redis
from tests.crash.preloads import UnableError
from tests.crash.run import play
from tests.crash.stage import Size, Stage
from tests.support.edition import show


async def cut_with_everysec(stage: Stage) -> None:
    stage.ground.shared["durability"] = "everysec"
    await redis.power_cut(stage)


SIZE = Size(3_000, lease_s=1.5, pace=800, drain_s=5.0)
CONTROL = Disaster("power-cut-control", "what was not synced is lost", cut_with_everysec, SIZE, SIZE)


async def test_without_a_sync_for_each_answer_acknowledged_mail_is_lost(tmp_path: Path) -> None:
    try:
        played = await play(CONTROL, tmp_path / "control", CONTROL.short)
    except UnableError as reason:
        pytest.skip(str(reason))
    faults = "\n".join(played.verdict.faults)
    show("power cut, everysec", octets=played.figures.get("octets cut off"), faults=faults)
    assert played.figures.get("octets cut off"), faults
    assert re.search(r"acknowledged uploads have no account|lost: |repeats that no blow allows", faults), faults
