"""The Lua sources, read once, filled in and named by their SHA-1.

Every move is `lua/prelude.lua` + `lua/<move>.lua`; where it may bring something to rest, `lua/erasure.lua` stands in
the prelude. Constants come from `states.py`, so that a number stands once.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from mailspool.contract import states

NAMES = (
    "abandon",
    "attach",
    "beat",
    "begin",
    "bounce",
    "broom",
    "bury",
    "close",
    "collect",
    "commit",
    "detach",
    "drained",
    "erase",
    "feed",
    "forget",
    "hold",
    "lease",
    "leave",
    "load",
    "look",
    "mend",
    "owners",
    "pause",
    "purge",
    "record",
    "recount",
    "release",
    "renew",
    "reopen",
    "resolve",
    "resume",
    "rewind",
    "rewind_leases",
    "send1",
    "settle",
    "status",
    "strays",
    "sweep",
    "talk",
    "tally",
    "unpause",
)

REFUSED_WHEN_FULL = frozenset(("attach", "begin", "commit", "load", "send1", "talk"))
"""What brings more into Redis stops at `maxmemory`; all others go on there, so that a full spool can be drained."""
READING = frozenset(("drained", "look", "owners", "status", "strays", "tally"))
_GO_ON_WHEN_FULL = "call('UNLINK', P..'none')  -- a script that has written is not stopped for want of memory\n"
"""Redis asks for memory at a script's first write, and this one needs none: `#!lua flags=allow-oom` for every version,
6.2 knows no flags."""

_FILLED_IN = {
    "@worker_alive_ms@": states.WORKER_ALIVE_MS,
    "@upload_silent_ms@": states.UPLOAD_SILENT_MS,
    "@upload_abandoned_ms@": states.UPLOAD_ABANDONED_MS,
    "@lease_ms@": states.LEASE_MS,
    "@feed_grace_ms@": states.FEED_GRACE_MS,
    "@suspect_runs@": states.SUSPECT_RUNS,
    "@poison_claims@": states.POISON_CLAIMS,
    "@record_version@": states.RECORD_VERSION,
    "@suspect_age_ms@": states.SUSPECT_AGE_MS,
    "@later_limit_ms@": states.LATER_LIMIT_MS,
    "@tally_limit@": states.TALLY_LIMIT,
    "@breaker_least@": states.BREAKER_LEAST,
    "@breaker_share@": states.BREAKER_SHARE,
}


_ERASURE = re.compile(r"-- @erasure@ .*\n")
_ENDS = re.compile(r"\b(?:asleep|finish|rest|erase_rows|erase_content)\(")
"""The prelude's functions that erase, or call one that does."""
_NO_ERASURE = "local erase_rows, erase_content\n"


@dataclass(frozen=True, slots=True)
class Script:
    """One move's source and the name that Redis knows it by."""

    name: str
    text: str
    sha: str


@lru_cache(maxsize=8)
def scripts(prefix: str, served: tuple[int, ...] = states.VERSIONS_SERVED) -> dict[str, Script]:
    """All moves for one key prefix. `served`: the record versions that this release reads, and so may feed."""
    folder = files("mailspool.contract") / "lua"
    prelude = (folder / "prelude.lua").read_text("utf-8").replace("@prefix@", f"{prefix}:")
    erasure = (folder / "erasure.lua").read_text("utf-8").replace("@prefix@", f"{prefix}:")
    found = {}
    for name in NAMES:
        body = (folder / f"{name}.lua").read_text("utf-8")
        ends = erasure if _ENDS.search(body) else _NO_ERASURE
        if name not in REFUSED_WHEN_FULL | READING:
            body = body.rstrip("\n") + "\n"
            first, _, rest = body.partition("\n")
            body = f"{first}\n{_GO_ON_WHEN_FULL}{rest}"
        text = ends.join(_ERASURE.split(prelude)) + body
        text = text.replace("@versions_served@", ",".join(map(str, served)))
        for word, number in _FILLED_IN.items():
            text = text.replace(word, str(number))
        found[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found
