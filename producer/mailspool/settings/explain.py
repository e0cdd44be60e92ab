"""Every setting with its value, its origin, its default and the reason for it: what `mailspool settings` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from mailspool.settings.durations import format_duration, format_size
from mailspool.settings.model import Settings
from mailspool.settings.relays import RelayTable
from mailspool.settings.sources import RELAYS
from mailspool.settings.urls import MASK, masked_url

_DEFAULT_WORDS = {"data_dir": "$STATE_DIRECTORY or the user's data folder", "redis_url": "none (embedded server)"}


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting as text. `origin` is "default", "argument", a variable, or a file and line; secrets are masked."""

    name: str
    value: str
    origin: str
    default: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def explain(settings: Settings) -> list[SettingLine]:
    """One line for each setting, in the order of the documentation; each key of a relay has its own."""
    origins = settings.origins
    lines: list[SettingLine] = []
    for name, info in type(settings).model_fields.items():
        reason = info.description or ""
        if name == RELAYS and settings.relays:
            for relay, table in settings.relays.items():
                lines += _relay_lines(relay, table, origins, reason)
            continue
        value = shown(name, getattr(settings, name))
        lines.append(SettingLine(name, value, origins.get(name, "default"), _default(name, info), reason))
    return lines


def shown(name: str, value: object) -> str:
    """A value as people write it, secrets masked."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, int) and name.endswith("_bytes"):
        return format_size(value)
    if isinstance(value, str) and name.endswith("url"):
        return masked_url(value)
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    if isinstance(value, dict):
        return "none" if not value else ", ".join(value)
    return str(value) if isinstance(value, str | int | float | Path) else repr(value)


def _default(name: str, info: FieldInfo) -> str:
    if name in _DEFAULT_WORDS:
        return _DEFAULT_WORDS[name]
    return shown(name, {} if name == RELAYS else info.default)


def _relay_lines(relay: str, table: RelayTable, origins: dict[str, str], reason: str) -> list[SettingLine]:
    lines = []
    for key, info in type(table).model_fields.items():
        name = f"{RELAYS}.{relay}.{key}"
        if key in table.model_fields_set:
            value = shown(key, getattr(table, key))
            lines.append(SettingLine(name, value, origins.get(name, "argument"), shown(key, info.default), reason))
    return lines
