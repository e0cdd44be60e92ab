"""The Lua sources, read once, filled in and named by their SHA-1.

Every move is `lua/prelude.lua` + `lua/<move>.lua`. Constants come from `states.py`, so that a number stands once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from mailspool.contract import states

NAMES = (
    "abandon",
    "attach",
    "beat",
    "begin",
    "broom",
    "close",
    "collect",
    "commit",
    "detach",
    "drained",
    "feed",
    "hold",
    "lease",
    "leave",
    "load",
    "pause",
    "purge",
    "record",
    "release",
    "renew",
    "reopen",
    "resolve",
    "resume",
    "send1",
    "settle",
    "status",
    "sweep",
    "unpause",
)

_FILLED_IN = {
    "@worker_alive_ms@": states.WORKER_ALIVE_MS,
    "@upload_silent_ms@": states.UPLOAD_SILENT_MS,
    "@upload_abandoned_ms@": states.UPLOAD_ABANDONED_MS,
    "@lease_ms@": states.LEASE_MS,
    "@feed_grace_ms@": states.FEED_GRACE_MS,
    "@suspect_runs@": states.SUSPECT_RUNS,
    "@later_limit_ms@": states.LATER_LIMIT_MS,
}


@dataclass(frozen=True, slots=True)
class Script:
    """One move's source and the name that Redis knows it by."""

    name: str
    text: str
    sha: str


@lru_cache(maxsize=8)
def scripts(prefix: str) -> dict[str, Script]:
    """All moves for one key prefix."""
    folder = files("mailspool.contract") / "lua"
    prelude = (folder / "prelude.lua").read_text("utf-8").replace("@prefix@", f"{prefix}:")
    found = {}
    for name in NAMES:
        text = prelude + (folder / f"{name}.lua").read_text("utf-8")
        for word, number in _FILLED_IN.items():
            text = text.replace(word, str(number))
        found[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found
