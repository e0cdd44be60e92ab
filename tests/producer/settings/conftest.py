"""Every test here starts with no settings: an empty home and folder, no variables, no machine-wide file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailspool.settings import sources, tomlfile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.upper().startswith("MAILSPOOL_"):
            monkeypatch.delenv(name)
    for name in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    (folder / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder / "work")
    monkeypatch.setattr(sources, "RUN_SECRETS", tmp_path / "run-secrets")
    monkeypatch.setattr(tomlfile, "MACHINE_WIDE", tmp_path / "etc" / "mailspool.toml")
    return folder
