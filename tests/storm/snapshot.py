"""Every key of the server at one moment, as the auditor reads it.

`look(link)` reads them in one script, so that nothing can change meanwhile, in the order of their names, so that a seed
is the same storm on every server. All texts are latin-1: bytes come through unharmed. A key that is not there reads as
empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, cast

from mailspool.contract.moves import Arg
from mailspool.contract.scripts import Script
from tests.storm.server import Link

PREFIX: Final = "storm"
VERSIONS: Final = (1, 2)
"""Of records; the release whose moves storm reads both, some of its workers only one."""
"""Not the default one: a key that some script spells out by hand shows up as a stranger."""

Value = str | dict[str, str] | dict[str, float] | frozenset[str]

_TEXT = """
local found, keys = {}, redis.call('KEYS', '*')
table.sort(keys)
for _, key in ipairs(keys) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else value = redis.call('SMEMBERS', key) end
  found[#found + 1] = key; found[#found + 1] = kind; found[#found + 1] = value
end
return found
"""
_SCRIPT: Final = Script("look", _TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())
_BATCH: Final = f"{PREFIX}:batch:"
_NO_HASH: Final[Mapping[str, str]] = {}
_NO_SCORES: Final[Mapping[str, float]] = {}
_NO_MEMBERS: Final[AbstractSet[str]] = frozenset()


class Snapshot:
    """Two snapshots are equal when no key, no field, no score differs."""

    __slots__ = ("batches", "raw")

    def __init__(self, raw: dict[str, Value]) -> None:
        self.raw = raw
        self.batches = {name[len(_BATCH) :]: _hash(raw, name) for name in raw if name.startswith(_BATCH)}

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Snapshot) and self.raw == other.raw)

    __hash__ = None  # type: ignore[assignment]  # changed by nobody, but never a key either

    def hash(self, name: str) -> Mapping[str, str]:
        return _hash(self.raw, f"{PREFIX}:{name}")

    def scores(self, name: str) -> Mapping[str, float]:
        return _scores(self.raw, f"{PREFIX}:{name}")

    def members(self, name: str) -> AbstractSet[str]:
        return cast("AbstractSet[str]", self.raw.get(f"{PREFIX}:{name}", _NO_MEMBERS))

    def text(self, name: str) -> str | None:
        return cast("str | None", self.raw.get(f"{PREFIX}:{name}"))

    # -- one batch

    def batch(self, b: str) -> Mapping[str, str]:
        return self.batches.get(b, _NO_HASH)

    def due(self, b: str) -> Mapping[str, float]:
        return self.scores(f"due:{b}")

    def runs(self, b: str) -> Mapping[str, str]:
        return self.hash(f"run:{b}")

    def rows(self, b: str) -> Mapping[str, str]:
        return self.hash(f"rows:{b}")

    def outcomes(self, b: str, k: int | str) -> Mapping[str, str]:
        return self.hash(f"out:{b}:{k}")

    def lost_runs(self, b: str, k: int | str) -> int:
        return int(self.hash(f"lost:{b}").get(str(k), 0))

    def lease_end(self, c: str, member: str) -> float | None:
        flight = self.scores(f"flight:{c}").get(member)
        return self.scores(f"apart:{c}").get(member) if flight is None else flight

    # -- the spool

    def queue(self, c: str, version: str) -> Mapping[str, float]:
        return self.scores(f"q:{c}:v{version}")

    def arq(self, kind: str, job: str) -> bool:
        return f"arq:{kind}:{job}" in self.raw

    def paused(self, c: str) -> bool:
        paused = self.hash("paused")
        return "spool" in paused or c in paused

    def differing(self, other: Snapshot) -> set[str]:
        """Names of keys that are not the same in both."""
        mine, theirs = self.raw, other.raw
        found = {name for name, value in mine.items() if theirs.get(name) != value}
        found.update(name for name in theirs if name not in mine)
        return found


def look(link: Link) -> Snapshot:
    found = iter(cast("list[object]", link.ask(link.script(_SCRIPT, ()), texts=True)[0]))
    return Snapshot(
        {cast("str", name): _value(kind, value) for name, kind, value in zip(found, found, found, strict=True)}
    )


def after_writes(db: Snapshot, commands: Iterable[Sequence[Arg]]) -> Snapshot:
    """What will lie there after these plain commands, without asking. (The next look would show a difference.)"""
    raw = dict(db.raw)
    for command, name, *words in commands:
        key = str(name)
        match command:
            case "SET":
                raw[key] = str(words[0])
            case "DEL":
                raw.pop(key, None)
            case "HSET":
                given = iter(map(str, words))
                raw[key] = {**_hash(raw, key), **dict(zip(given, given, strict=True))}
            case "ZADD":
                raw[key] = {**_scores(raw, key), str(words[1]): float(words[0])}
            case "ZREM":
                left = {member: at for member, at in _scores(raw, key).items() if member != words[0]}
                raw.pop(key, None)
                if left:
                    raw[key] = left
            case _:
                raise AssertionError(f"no plain write: {command!r}")
    return Snapshot(raw)


def _hash(raw: Mapping[str, Value], name: str) -> Mapping[str, str]:
    return cast("Mapping[str, str]", raw.get(name, _NO_HASH))


def _scores(raw: Mapping[str, Value], name: str) -> Mapping[str, float]:
    return cast("Mapping[str, float]", raw.get(name, _NO_SCORES))


def _value(kind: object, value: object) -> Value:
    if kind == "string":
        return cast("str", value)
    flat = cast("list[str]", value)
    if kind == "set":
        return frozenset(flat)
    each = iter(flat)
    if kind == "hash":
        return dict(zip(each, each, strict=True))
    return {member: float(score) for member, score in zip(each, each, strict=True)}
