"""This process' surroundings: settings file, misspelt variables, the name for EHLO."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Final

from mailspool.client.doctor.report import Check
from mailspool.redis_server.address import human_path
from mailspool.settings import Relay, Settings, unknown_variables
from mailspool.settings.hosts import is_loopback

_LOOK_UP_S: Final = 5.0


def of_variables() -> list[Check]:
    """A warning for each MAILSPOOL_* that sets nothing."""
    found = []
    for sentence in unknown_variables():
        detail, _, suggestion = sentence.partition(". ")
        found.append(Check("env", True, detail.rstrip("."), suggestion or "take it away: mailspool settings lists all"))
    return found


def of_settings(settings: Settings) -> list[Check]:
    """Where they came from, and what is doubtful about them."""
    file = settings.config_file
    found = [Check("settings", True, f"from {human_path(file)}" if file else "no settings file")]
    for sentence in settings.warnings:
        detail, colon, fix = sentence.partition(": ")
        found.append(Check("settings", True, detail, fix if colon else "mailspool settings"))
    return found


async def of_ehlo(settings: Settings, relays: Iterable[Relay]) -> list[Check]:
    """Receivers check the name that we say; a relay on this machine does not."""
    name = await asyncio.to_thread(settings.ehlo)
    local = all(is_loopback(relay.host) for relay in relays)
    return [judge_ehlo(name, local=local, resolves=local or await _resolves(name))]


async def _resolves(name: str) -> bool:
    if name.startswith("["):
        return False
    try:
        async with asyncio.timeout(_LOOK_UP_S):
            return bool(await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, TimeoutError, UnicodeError):
        return False


def judge_ehlo(name: str, *, local: bool, resolves: bool) -> Check:
    """Pure."""
    fix = "set ehlo_name (MAILSPOOL_EHLO_NAME) to this machine's public name"
    if local:
        return Check("ehlo name", True, f"{name}; every relay is on this machine")
    if name.startswith("["):
        return Check("ehlo name", True, f"{name} is no name: many receivers refuse that", fix)
    if "." not in name or is_loopback(name):
        return Check("ehlo name", True, f"{name} is no full name: many receivers refuse that", fix)
    if not resolves:
        return Check("ehlo name", True, f"{name} leads to no address: some receivers refuse that", fix)
    return Check("ehlo name", True, name)
