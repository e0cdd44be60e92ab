"""Settings: everything a user can set, where it came from, and the relays that follow from it.

`Settings(redis_url=...)` reads arguments, MAILSPOOL_* variables, credential files and the first `mailspool.toml`.
`settings.relay_table()` gives the relays. `explain(settings)` is the table of the `settings` command.
Raises: ConfigError, in whole sentences with file and line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mailspool.settings import sources
from mailspool.settings.durations import (
    Schedule,
    format_duration,
    format_size,
    parse_duration,
    parse_schedule,
    parse_size,
)
from mailspool.settings.explain import SettingLine, explain
from mailspool.settings.model import Settings, default_data_dir
from mailspool.settings.relays import Relay, RelayTable, relay_from_url
from mailspool.settings.suggest import did_you_mean, nearest
from mailspool.settings.urls import masked_url


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each MAILSPOOL_* variable that sets nothing; Kubernetes' own are left out."""
    return sources.unknown_variables(os.environ if environ is None else environ, Settings.model_fields)


__all__ = [
    "Relay",
    "RelayTable",
    "Schedule",
    "SettingLine",
    "Settings",
    "default_data_dir",
    "did_you_mean",
    "explain",
    "format_duration",
    "format_size",
    "masked_url",
    "nearest",
    "parse_duration",
    "parse_schedule",
    "parse_size",
    "relay_from_url",
    "unknown_variables",
]
