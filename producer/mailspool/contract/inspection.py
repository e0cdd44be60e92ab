"""What `verify` asks of the records, and how it puts them right: one typed method over one Lua script each (`lua/`).

Called by client/verify. `look`, `tally` and the mode "tell" read, each at one moment; `mend`, `recount` and the other
modes write, and may be sent twice. Raises redis-py's errors, and ValueError where a field holds what is none of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, cast

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Answer, Arg, Caller
from mailspool.contract.scripts import scripts
from mailspool.contract.states import Class

OwnersMode = Literal["tell", "delete", "ids"]
StraysMode = Literal["tell", "delete"]
NEVER: Final = 1 << 53
"""A score that is beyond every time (`inf`), and below (`-inf`)."""


class Fold(NamedTuple):
    """How many outcomes of each letter."""

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    uncertain: int = 0
    suppressed: int = 0
    claimed: int = 0

    @property
    def final(self) -> int:
        return self.sent + self.failed + self.uncertain + self.suppressed


class ChunkFacts(NamedTuple):
    """One chunk at one moment. `payload`: rows that its bytes begin with, -1 for bytes that are none of ours."""

    k: str
    rows: int | None
    payload: int | None
    due_ms: int | None
    run: str | None
    flight_ms: int | None
    apart_ms: int | None
    odd: bool
    fold: Fold
    strange: int
    """Outcomes with a letter that is none of ours."""
    outside: int
    """Outcomes of no message."""
    late: int
    """Next tries past the deadline."""
    lost_runs: bool

    @property
    def listed(self) -> bool:
        """Is it in any place or list?"""
        places = (self.due_ms, self.run, self.flight_ms, self.apart_ms)
        return self.odd or self.lost_runs or any(place is not None for place in places)


class BatchFacts(NamedTuple):
    """One batch at one moment, and the chunks that were asked for."""

    now_ms: int
    fields: dict[str, str]
    created_index: int | None
    in_ids: bool
    deadline: int | None
    retire: int | None
    open_turn: int | None
    later_ms: int | None
    first_due_ms: int | None
    due: int
    odd: int
    lost: int
    chunks_known: int
    has_spec: bool
    key_leads_to: str
    upload_leads_to: str
    runs: dict[str, str]
    chunks: tuple[ChunkFacts, ...]


class Owned(NamedTuple):
    """A key that belongs to nobody (or nobody knows), and why."""

    name: bytes
    why: str


class Recounted(NamedTuple):
    """A counter that was wrong."""

    field: str
    stood: str
    stands: int


class Tally(NamedTuple):
    """Class totals, and the sums over the batches that may move."""

    totals: dict[str, int]
    sums: dict[str, int]


def _list(answer: Answer) -> list[Answer]:
    return cast("list[Answer]", answer)


def _text(answer: Answer) -> str:
    return answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else str(answer)


def _int(answer: Answer) -> int:
    found = float(cast("bytes | int", answer))
    return round(max(-NEVER, min(found, NEVER))) if found == found else 0


def _whole(told: str) -> int:
    """0 for what is no whole number."""
    return int(told) if told.removeprefix("-").isdecimal() else 0


def _maybe_int(answer: Answer) -> int | None:
    return None if answer is None else _int(answer)


def _pairs(answer: Answer) -> dict[str, str]:
    flat = [_text(item) for item in _list(answer)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _chunk(answer: Answer) -> ChunkFacts:
    k, rows, payload, due, run, flight, apart, odd, *rest = _list(answer)
    sent, deferred, failed, uncertain, suppressed, claimed, strange, outside, late, lost = map(_int, rest)
    return ChunkFacts(
        _text(k),
        _maybe_int(rows),
        _maybe_int(payload),
        _maybe_int(due),
        None if run is None else _text(run),
        _maybe_int(flight),
        _maybe_int(apart),
        odd == 1,
        Fold(sent, deferred, failed, uncertain, suppressed, claimed),
        strange,
        outside,
        late,
        lost == 1,
    )


def _batch(now_ms: int, answer: Answer) -> BatchFacts:
    fields, places, runs, chunks = _list(answer)
    created, ids, deadline, retire, open_, later, first, due, odd, lost, rows, spec, key, upload = _list(places)
    return BatchFacts(
        now_ms,
        _pairs(fields),
        _maybe_int(created),
        ids is not None,
        _maybe_int(deadline),
        _maybe_int(retire),
        _maybe_int(open_),
        _maybe_int(later),
        _maybe_int(first),
        _int(due),
        _int(odd),
        _int(lost),
        _int(rows),
        spec == 1,
        "" if key is None else _text(key),
        _text(upload),
        _pairs(runs),
        tuple(_chunk(item) for item in _list(chunks)),
    )


class Inspection:
    """All of it over one Caller."""

    def __init__(self, caller: Caller, keys: Keys) -> None:
        self.keys = keys
        self._caller = caller
        self._scripts = scripts(keys.prefix)

    async def _call(self, name: str, *args: Arg, now_ms: int = 0) -> Answer:
        return await self._caller(self._scripts[name], (now_ms, *args))

    async def look(self, wanted: Mapping[str, Sequence[str]], *, now_ms: int = 0) -> dict[str, BatchFacts | None]:
        """Batches with these of their chunks; None for one that is not there."""
        args: list[Arg] = []
        for batch, ks in wanted.items():
            args += [batch, len(ks), *ks]
        if not args:
            return {}
        now, *found = _list(await self._call("look", *args, now_ms=now_ms))
        return {
            batch: None if answer is None else _batch(_int(now), answer)
            for batch, answer in zip(wanted, found, strict=True)
        }

    async def mend(self, batch: str, ks: Sequence[str] = (), *, now_ms: int = 0) -> bool:
        """False for a batch whose state allows nothing."""
        return _int(await self._call("mend", batch, *ks, now_ms=now_ms)) == 1

    async def recount(self, batch: str, *, now_ms: int = 0) -> list[Recounted]:
        """In one step: a quarter of a second of Redis for a million messages."""
        answer = await self._call("recount", batch, now_ms=now_ms)
        return [Recounted(_text(f), _text(old), _int(new)) for f, old, new in map(_list, _list(answer))]

    async def owners(self, mode: OwnersMode, names: Sequence[bytes]) -> list[Owned]:
        answer = await self._call("owners", mode, *names)
        return [Owned(cast("bytes", name), _text(why)) for name, why in map(_list, _list(answer))]

    async def strays(self, mode: StraysMode, index: str, members: Sequence[bytes]) -> list[bytes]:
        """Members of an index (`retire`, `flight:bulk`) that nothing stands behind."""
        return cast("list[bytes]", await self._call("strays", mode, index, *members))

    async def tally(self, class_: Class, since_ms: int, batches: Sequence[str]) -> Tally | None:
        """None where too many batches are alive to be summed up in one step."""
        answer = _list(await self._call("tally", class_, since_ms, *batches))
        if not answer:
            return None
        totals, sums = answer
        return Tally(
            {field: _whole(n) for field, n in _pairs(totals).items()},
            {field: _whole(n) for field, n in _pairs(sums).items()},
        )
