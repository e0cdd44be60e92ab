"""What the tests of the settings share: files with a mode, and the words of a refusal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from mailspool.errors import ConfigError
from mailspool.settings import Settings

posix_only = pytest.mark.skipif(os.name != "posix", reason="permission bits")


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


def failure(**overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings(**overrides)
    return str(caught.value)
