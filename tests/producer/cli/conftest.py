"""What the tests of the command line share: an empty home for each test, and Tehran's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producer.cli.commands import Cli, Here


@pytest.fixture
def tehran() -> Iterator[None]:
    """Screens show local time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tehran")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command line in this process."""
    return Here(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line in processes of its own."""
    machine = Cli(tmp_path)
    yield machine
    machine.close()
