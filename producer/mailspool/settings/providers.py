"""Relays known by name: `gmail`, `ses` and so on, read from `providers.toml` beside this file.

Called by relays.py, for `gmail://...`, for `provider = "gmail"`, and to recognise a provider by its host name, so that
a refused login ends in the sentence that helps. The data file is part of the package: an error in it is our bug.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, TypedDict, cast

from mailspool.settings.durations import parse_rate


class _Entry(TypedDict, total=False):
    title: str
    host: str
    port: int
    tls: Literal["starttls", "tls"]
    also: list[str]
    user: str
    region: str
    max_sessions: int
    rate: str
    login_hint: str


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider publishes about its submission server; `region` is an example where `host` holds `{region}`."""

    name: str
    title: str
    host: str
    port: int
    security: Literal["starttls", "tls"]
    also: tuple[str, ...]
    user: str | None
    region: str | None
    max_sessions: int | None
    rate_per_s: float | None
    login_hint: str

    def serves(self, host: str) -> bool:
        """Is this one of the provider's submission hosts?"""
        pattern = re.escape(self.host).replace(re.escape("{region}"), "[a-z0-9-]+")
        return host in self.also or re.fullmatch(pattern, host) is not None

    def example(self) -> str:
        """The URL to write, for error sentences."""
        user = self.user or ("KEY" if self.region else "you@example.org")
        return f"{self.name}://{user}:password" + (f"@{self.region}" if self.region else "")


def _provider(name: str, entry: _Entry) -> Provider:
    rate = entry.get("rate")
    return Provider(
        name=name,
        title=entry["title"],
        host=entry["host"],
        port=entry["port"],
        security=entry["tls"],
        also=tuple(entry.get("also", ())),
        user=entry.get("user"),
        region=entry.get("region"),
        max_sessions=entry.get("max_sessions"),
        rate_per_s=None if rate is None else parse_rate(rate),
        login_hint=entry["login_hint"],
    )


@cache
def providers() -> dict[str, Provider]:
    """Every known provider by name."""
    text = resources.files("mailspool.settings").joinpath("providers.toml").read_text("utf-8")
    entries = cast("dict[str, _Entry]", tomllib.loads(text))
    return {name: _provider(name, entry) for name, entry in entries.items()}


def provider_of_host(host: str) -> Provider | None:
    """The provider that runs this host, or None."""
    return next((provider for provider in providers().values() if provider.serves(host)), None)
