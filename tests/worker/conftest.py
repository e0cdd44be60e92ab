"""One server of the user's for all tests of the worker; each test has a key prefix of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailspool import Settings
from tests.support.embedded import plain_server

_NUMBERS = itertools.count(1)

MakeSettings = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _no_settings_of_this_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("MAILSPOOL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with plain_server(tmp_path_factory.mktemp("redis"), "--save", "", "--appendonly", "no") as socket:
        yield socket


@pytest.fixture
def make_settings(redis_socket: Path, tmp_path: Path) -> MakeSettings:
    """Settings for this test's corner of the server; `relay_url` or `relays` say where mail goes."""
    prefix = f"t{next(_NUMBERS)}"

    def make(**changes: object) -> Settings:
        base: dict[str, object] = {
            "redis_url": f"unix://{redis_socket}",
            "durability": "none",
            "key_prefix": prefix,
            "data_dir": tmp_path / "spool",
            "ehlo_name": "sender.test",
            "stop_timeout": "5s",
        }
        return Settings(**(base | changes))

    return make
