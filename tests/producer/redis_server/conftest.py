"""A folder for the embedded server, and the check that no test leaves a server behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailspool.redis_server.embedded import Patience
from tests.support.embedded import eventually, servers_below

IMPATIENT = Patience(
    door_s=20, ping_s=0.2, start_s=10, unreachable_s=0.6, leftover_s=0.2, terminate_s=0.3, stop_s=10, last_s=0.02
)


@pytest.fixture(autouse=True)
def no_server_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = servers_below(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not servers_below(tmp_path), "killed servers are gone")
    assert not left, "a server was left behind"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"
