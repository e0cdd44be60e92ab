"""The moves between states: one typed method each, over one Lua script each (`lua/`). Shared by both sides.

A run is named by (batch, chunk, token); its token is "<gen>:<worker>.<random>": `lease` is given the parts, all later
moves the whole (see `run_token`).

A move's guard is checked and its change is made inside Redis in one step; a failed guard changes nothing and answers a
name. Each may be sent twice. `now_ms` is Redis' clock unless a test passes another. Which connection carries a move,
and what happens while Redis is away, is the Caller's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from mailspool.contract.answers import (
    Answer,
    Begun,
    Drained,
    Fed,
    Leased,
    Loaded,
    Recorded,
    Refused,
    Sent1,
    Snapshot,
    Swept,
    digits,
    listed,
    moment,
    number,
    pairs,
    set_aside,
    text,
    words,
)
from mailspool.contract.codec import DecodeError
from mailspool.contract.keys import Keys
from mailspool.contract.scripts import Script, scripts
from mailspool.contract.states import Class

Arg = str | bytes | int

__all__ = [
    "Answer",
    "Arg",
    "Begun",
    "Caller",
    "Drained",
    "Fed",
    "Leased",
    "Loaded",
    "Moves",
    "Recorded",
    "RedisCaller",
    "Refused",
    "Sent1",
    "Snapshot",
    "Swept",
    "parse_recorded",
    "run_token",
]


class Caller(Protocol):
    """Carries one script call to Redis and its answer back (bytes, ints and lists of them)."""

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer: ...


class RedisCaller:
    """The plain way: redis-py, EVALSHA, and EVAL where the server does not know the script yet."""

    def __init__(self, redis: Redis) -> None:
        # redis-py leaves execute_command untyped.
        self._execute = cast("Callable[..., Awaitable[Answer]]", redis.execute_command)

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        try:
            return await self._execute("EVALSHA", script.sha, 0, *args)
        except NoScriptError:
            return await self._execute("EVAL", script.text, 0, *args)


def run_token(gen: int, token: str) -> str:
    """What detach, settle, record and renew call `token`: a run belongs to one feed of its chunk."""
    return f"{gen}:{token}"


def parse_recorded(answer: Answer) -> list[Recorded]:
    """The answer of `record`, which the recorder sends over a connection of its own."""
    found = []
    for item in listed(answer):
        kind, state, *refused = listed(item)
        found.append(Recorded(text(kind), text(state), tuple(number(i) for i in refused)))
    return found


class Moves:
    """All moves over one Caller. Arguments are named as in the scripts' first lines."""

    def __init__(self, caller: Caller, keys: Keys) -> None:
        self.caller = caller
        self.keys = keys
        self._scripts = scripts(keys.prefix)

    async def _call(self, name: str, *args: Arg, now_ms: int = 0) -> Answer:
        return await self.caller(self._scripts[name], (now_ms, *args))

    # -- the producer's

    async def begin(
        self, b: str, u: str, key: str, spec: bytes, fields: Mapping[str, Arg], *, now_ms: int = 0
    ) -> Begun:
        flat = [item for pair in fields.items() for item in pair]
        kind, *rest = listed(await self._call("begin", b, u, key, spec, *flat, now_ms=now_ms))
        match text(kind):
            case "LOAD":
                return Begun("LOAD", text(rest[0]), number(rest[1]))
            case "CLOSED":
                return Begun("CLOSED", text(rest[1]), 0, text(rest[0]))
            case "CONFLICT":
                return Begun("CONFLICT", text(rest[0]))
            case name:
                return Begun(name)

    async def attach(self, b: str, u: str, sha: str, data: bytes | None = None, *, now_ms: int = 0) -> str:
        """OK, SEND (the bytes are needed), TAKEN."""
        extra = () if data is None else (data,)
        return text(await self._call("attach", b, u, sha, *extra, now_ms=now_ms))

    async def abandon(self, b: str, u: str, *, now_ms: int = 0) -> str:
        """OK, TAKEN. Twice: the second call answers TAKEN and changes nothing."""
        return text(await self._call("abandon", b, u, now_ms=now_ms))

    def load_args(self, b: str, u: str, k: int, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> list[Arg]:
        """Arguments of `load` without the clock, for pipelines of several chunks."""
        if ids is None:
            return [b, u, k, "0", *rows]
        paired = [item for pair in zip(ids, rows, strict=True) for item in pair]
        return [b, u, k, "1", *paired]

    async def load(
        self, b: str, u: str, k: int, rows: Sequence[bytes], ids: Sequence[bytes] | None, *, now_ms: int = 0
    ) -> Loaded:
        return self.loaded(await self._call("load", *self.load_args(b, u, k, rows, ids), now_ms=now_ms))

    async def sign_of_life(self, b: str, u: str, *, now_ms: int = 0) -> Loaded:
        return self.loaded(await self._call("load", b, u, now_ms=now_ms))

    async def commit(self, b: str, u: str, total: int, shas: Sequence[str] = (), *, now_ms: int = 0) -> Loaded:
        return self.loaded(await self._call("commit", b, u, total, *shas, now_ms=now_ms))

    @staticmethod
    def loaded(answer: Answer) -> Loaded:
        """The answer of load and commit."""
        kind, *rest = listed(answer)
        if text(kind) == "OK":
            return Loaded("OK", number(rest[0]), number(rest[1]))
        return Loaded(text(kind), detail=text(rest[0]) if rest else "")

    async def send1(
        self,
        b: str,
        u: str,
        key: str,
        spec: bytes,
        blobs: Mapping[str, bytes],
        rows: Sequence[tuple[bytes, bytes]],
        fields: Mapping[str, Arg],
        *,
        grace_ms: int,
        now_ms: int = 0,
    ) -> Sent1:
        args: list[Arg] = [b, u, key, spec, grace_ms, len(blobs)]
        args += [item for pair in blobs.items() for item in pair]
        args.append(len(rows))
        args += [item for pair in rows for item in pair]
        args += [item for pair in fields.items() for item in pair]
        kind, *rest = listed(await self._call("send1", *args, now_ms=now_ms))
        if text(kind) != "OK":
            return Sent1(text(kind))
        return Sent1("OK", tuple(text(i) for i in listed(rest[0])), number(rest[1]))

    async def collect(self, u: str, *, now_ms: int = 0) -> str:
        return text(await self._call("collect", u, now_ms=now_ms))

    async def hold(self, b: str, *, now_ms: int = 0) -> int:
        return number(await self._call("hold", b, now_ms=now_ms))

    async def release(self, b: str, *, now_ms: int = 0) -> int:
        return number(await self._call("release", b, now_ms=now_ms))

    async def close(self, b: str, verdict: str, *, now_ms: int = 0) -> int:
        return number(await self._call("close", b, verdict, now_ms=now_ms))

    async def reopen(self, b: str, k: int, letters: str, indexes: Sequence[int] = (), *, now_ms: int = 0) -> int:
        return number(await self._call("reopen", b, k, letters, *indexes, now_ms=now_ms))

    async def resolve(self, b: str, k: int, letter: str, indexes: Sequence[int], *, now_ms: int = 0) -> int:
        return number(await self._call("resolve", b, k, letter, *indexes, now_ms=now_ms))

    async def pause(self, what: str, *, now_ms: int = 0) -> int:
        return number(await self._call("pause", what, now_ms=now_ms))

    async def unpause(self, what: str, *, now_ms: int = 0) -> int:
        return number(await self._call("unpause", what, now_ms=now_ms))

    async def resume(self, b: str, *, now_ms: int = 0) -> int:
        return number(await self._call("resume", b, now_ms=now_ms))

    async def status(self, b: str, *, now_ms: int = 0) -> Snapshot | None:
        answer = listed(await self._call("status", b, now_ms=now_ms))
        if not answer:
            return None
        now, batch, due, able, workers, pauses, coming, alive, *routes = answer
        return Snapshot(
            number(now),
            pairs(batch),
            moment(due),
            bool(able),
            number(workers),
            bool(listed(pauses)),
            {text(name): pairs(hash_) for name, hash_ in zip(routes[::2], routes[1::2], strict=True)},
            moment(coming),
            tuple((what, digits(since)) for what, since in pairs(pauses).items()),
            number(alive),
        )

    # -- the worker's

    async def beat(self, worker: str, fields: Mapping[str, Arg], *, now_ms: int = 0) -> int:
        """Answers Redis' clock."""
        flat = [item for pair in fields.items() for item in pair]
        return number(await self._call("beat", worker, *flat, now_ms=now_ms))

    async def leave(self, worker: str, *, now_ms: int = 0) -> int:
        return number(await self._call("leave", worker, now_ms=now_ms))

    async def feed(self, class_: Class, grace_ms: int, *, now_ms: int = 0) -> Fed:
        now, aside, *ids = listed(await self._call("feed", class_, grace_ms, now_ms=now_ms))
        return Fed(number(now), tuple(text(i) for i in ids), set_aside(listed(aside)))

    async def lease(
        self, b: str, k: int, gen: int, token: str, relays: Sequence[str], *, now_ms: int = 0
    ) -> Leased | Refused:
        """Raises DecodeError for a chunk with an index or a field that is none of ours; the lease is granted then."""
        kind, *rest = listed(await self._call("lease", b, k, gen, token, ",".join(relays), now_ms=now_ms))
        if text(kind) != "OK":
            return Refused(*(words(item) for item in rest))
        now, rows, outs, state, lost, batch = rest
        flat = cast("list[bytes]", outs)
        try:
            outcomes = {int(i): value for i, value in zip(flat[::2], flat[1::2], strict=True)}
            return Leased(number(now), cast("bytes", rows), outcomes, text(state), number(lost), pairs(batch))
        except ValueError as error:
            raise DecodeError(f"a leased chunk cannot be read: {type(error).__name__}") from error

    async def renew(self, runs: Sequence[tuple[str, int, str]], *, now_ms: int = 0) -> list[str]:
        flat = [item for run in runs for item in run]
        return [text(item) for item in listed(await self._call("renew", *flat, now_ms=now_ms))]

    async def record(
        self, groups: Sequence[tuple[str, int, str, Sequence[tuple[int, bytes]]]], *, now_ms: int = 0
    ) -> list[Recorded]:
        args: list[Arg] = []
        for b, k, token, outcomes in groups:
            args += [b, k, token, len(outcomes)]
            args += [item for pair in outcomes for item in pair]
        return parse_recorded(await self._call("record", *args, now_ms=now_ms))

    async def talk(self, b: str, most: int, tries: int, talks: Sequence[tuple[int, bytes]], *, now_ms: int = 0) -> int:
        """How many messages were turned away because the batch keeps enough; -1 for a batch that is gone."""
        flat = [item for pair in talks for item in pair]
        return number(await self._call("talk", b, most, tries, *flat, now_ms=now_ms))

    async def detach(self, b: str, k: int, token: str, *, now_ms: int = 0) -> str:
        return text(await self._call("detach", b, k, token, now_ms=now_ms))

    async def bounce(
        self,
        b: str,
        token: str,
        suppress: bool,
        words: str,
        notes: Sequence[tuple[str, str, bytes]],
        *,
        now_ms: int = 0,
    ) -> str:
        """OK, HELD (the batch's breaker), GONE. A note: kind (x, s, p), identity, packed reason (bounced.py)."""
        flat = [item for note in notes for item in note]
        return text(await self._call("bounce", b, token, int(suppress), words, *flat, now_ms=now_ms))

    async def settle(
        self, b: str, k: int, token: str, later_ms: int = 0, why: str = "", scope: str = "chunk", words: str = "",
        *, now_ms: int = 0,
    ) -> str:  # fmt: skip
        return text(await self._call("settle", b, k, token, later_ms, why, scope, words, now_ms=now_ms))

    async def sweep(self, class_: Class, *, now_ms: int = 0) -> Swept:
        freed, *aside = listed(await self._call("sweep", class_, now_ms=now_ms))
        return Swept(number(freed), set_aside(aside))

    async def rewind(self, b: str, start: int, *, now_ms: int = 0) -> int:
        """After Redis' clock was set back. The next start, or -1: all of it was looked at."""
        return number(await self._call("rewind", b, start, now_ms=now_ms))

    async def rewind_leases(self, class_: Class, *, now_ms: int = 0) -> int:
        """How many were corrected; 0 when nothing is left to correct."""
        return number(await self._call("rewind_leases", class_, now_ms=now_ms))

    async def purge(self, b: str, *, now_ms: int = 0) -> str:
        return text(await self._call("purge", b, now_ms=now_ms))

    async def erase(self, b: str, start: int, *, now_ms: int = 0) -> int:
        """The next start, or -1: all of it was looked at."""
        return number(await self._call("erase", b, start, now_ms=now_ms))

    async def forget(self, cursor: int, *, now_ms: int = 0) -> int:
        """Suspects past their age, in steps from 0 until 0 is answered."""
        return number(await self._call("forget", str(cursor), now_ms=now_ms))

    async def bury(self, worker: str, *, now_ms: int = 0) -> int:
        """How many leases ended. Only for a process that is provably gone; twice: 0."""
        return number(await self._call("bury", worker, now_ms=now_ms))

    async def broom(self, class_: Class, version: int, start: int, *, now_ms: int = 0) -> int:
        return number(await self._call("broom", class_, version, start, now_ms=now_ms))

    async def drained(self, class_: Class, *, now_ms: int = 0) -> Drained:
        busy, stay = listed(await self._call("drained", class_, now_ms=now_ms))
        return Drained(number(busy), number(stay))
