"""What the tests of the command line share: a home of its own for every test, Tehran's time, the command itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producer.cli.commands import Cli


@pytest.fixture
def tehran(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Screens show local time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tehran")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command `mailspool` in an empty home, with an embedded server of its own."""
    home = Cli(tmp_path, {name: value for name, value in os.environ.items() if not name.startswith("MAILSPOOL_")})
    yield home
    home.close()
