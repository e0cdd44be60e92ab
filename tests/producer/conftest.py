"""A real spool for every test that asks for one: the embedded server in tmp_path, looked over when the test is done."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mailspool import Settings, Spool
from tests.support.embedded import eventually, servers_below
from tests.support.hand import Hand
from tests.support.leaks import collected, orphans, tasks_left

_ENDING_S = 2.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nobody's settings but the test's, and no server left behind."""
    for name in os.environ:
        if name.startswith("MAILSPOOL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    try:
        # Its lock is free a moment before the kernel has taken the process away.
        eventually(lambda: not servers_below(tmp_path), "the last one out stops the server", limit_s=_ENDING_S)
    finally:
        for pid in servers_below(tmp_path):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(data_dir=home / "spool", default_from="Shop <shop@x.test>")


@pytest.fixture
async def spool(settings: Settings) -> AsyncIterator[Spool]:
    """Open; when the test is done every key has an owner and every task has ended."""
    async with Spool(settings) as spool:
        yield spool
        connection = await spool.connection()
        await collected(connection.link.redis, connection.moves)
        assert await orphans(connection.link.redis) == []
    assert tasks_left() == []


@pytest.fixture
async def hand(spool: Spool) -> Hand:
    """A worker by hand on that spool; it does not live before it beats."""
    return Hand(await spool.connection())
