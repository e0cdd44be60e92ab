"""A spool at the end of a line that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailspool import Settings, Spool
from mailspool.contract.scripts import scripts
from tests.support.embedded import plain_server
from tests.support.leaks import collected, orphans
from tests.support.severed import Line

SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


@pytest.fixture
async def line(home: Path) -> AsyncIterator[Line]:
    """A server of the user's behind a line that can be cut."""
    with plain_server(home / "plain", *SAFE) as server:
        async with Line(server, home / "line.sock") as line:
            yield line


@pytest.fixture
async def far(line: Line, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spool]:
    """A spool at the end of that line, with little patience."""
    monkeypatch.setattr("mailspool.client.connection.PATIENCE_S", 0.5)
    async with Spool(Settings(redis_url=line.url)) as spool:
        connection = await spool.connection()
        for script in scripts("ms").values():  # so that each is called by its SHA from the start
            await connection.command("SCRIPT", "LOAD", script.text)
        yield spool
        line.away = False
        line.thaw()
        await collected(connection.link.redis, connection.moves)
        assert await orphans(connection.link.redis) == []
