"""deploy/mailspool.toml.example: it loads as it is, and with every comment mark taken off it names every setting once,
with the default that the code has. So the file cannot fall behind the settings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailspool.settings import RelayTable, Settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "mailspool.toml.example"
WITHOUT_DEFAULT = {
    "redis_url",
    "redis_password",
    "data_dir",
    "relay_url",
    "relay_password",
    "default_from",
    "ehlo_name",
}
"""Settings whose line is an example; the line of any other setting shows its default."""


@pytest.fixture(autouse=True)
def settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MAILSPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def uncommented(text: str) -> str:
    """A # with no space behind it marks a line of settings; `## words` is a remark between them."""
    return re.sub(r"^#(?=[#a-z\[])", "", text, flags=re.MULTILINE)


def values() -> Mapping[str, object]:
    return tomllib.loads(uncommented(EXAMPLE.read_text("utf-8")))


def without_file(names: Mapping[str, object]) -> list[str]:
    return sorted(name.removesuffix("_file") for name in names)


def test_as_it_is_it_changes_nothing() -> None:
    assert Settings(config=EXAMPLE).model_dump() == Settings().model_dump()
    assert not Settings(config=EXAMPLE).origins


def test_it_names_every_setting_once() -> None:
    assert without_file(values()) == sorted(Settings.model_fields)


def test_its_relays_show_every_key_of_a_relay() -> None:
    relays = values()["relays"]
    assert isinstance(relays, dict)
    assert {key for table in relays.values() for key in without_file(table)} == set(RelayTable.model_fields)


def loaded(tmp_path: Path, text: str) -> Settings:
    for name in ("redis_password", "relay_password", "main_password", "spare_password"):
        secret = tmp_path / name
        secret.write_text("secret\n", "utf-8")
        secret.chmod(0o600)
    config = tmp_path / "mailspool.toml"
    config.write_text(text.replace('_file = "/etc/mailspool', f'_file = "{tmp_path}'), "utf-8")
    return Settings(config=config)


def halves() -> tuple[str, str]:
    """All but the several relays, and these: they are there instead of relay_url."""
    text = uncommented(EXAMPLE.read_text("utf-8"))
    start = text.index("[relays.main]")
    return text[:start], text[start:]


def test_with_the_marks_off_it_loads_with_the_defaults(tmp_path: Path) -> None:
    written, default = loaded(tmp_path, halves()[0]), Settings()
    shown = set(Settings.model_fields) - WITHOUT_DEFAULT
    assert {name: getattr(written, name) for name in shown} == {name: getattr(default, name) for name in shown}
    assert all(getattr(default, name) is None for name in WITHOUT_DEFAULT - {"data_dir"})
    assert (list(written.relay_table()), written.warnings) == (["main"], ())


def test_its_several_relays_are_usable(tmp_path: Path) -> None:
    relays = loaded(tmp_path, halves()[1]).relay_table()
    assert {name: (relay.host, relay.user, relay.backup) for name, relay in relays.items()} == {
        "main": ("mail.acme.example", "billing", False),
        "spare": ("smtp.gmail.com", "billing@acme.example", True),
        "inside": ("10.0.0.25", None, False),
    }
    assert relays["main"].rate_per_s == 14
