"""What the moves answer, in types, and how an answer's bytes become that.

Called by moves.py, which hands these names on. `Answer` is what redis-py gives: bytes, ints and lists of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

Answer = object
_TIME_DIGITS = 13
"""Milliseconds up to the year 2286."""


class Begun(NamedTuple):
    """kind LOAD (base = first chunk number), WAIT, TAKEN, CONFLICT, CLOSED (verdict), NAMED (b is taken)."""

    kind: str
    batch: str = ""
    base: int = 0
    verdict: str = ""


class Loaded(NamedTuple):
    """kind OK, TAKEN, CLOSED. Of commit also EXPIRED, INCOMPLETE, BLOB."""

    kind: str
    added: int = 0
    known: int = 0
    detail: str = ""


class Sent1(NamedTuple):
    """kind OK (ids for arq), KEY, EXPIRED, NAMED (b is taken)."""

    kind: str
    ids: tuple[str, ...] = ()
    now_ms: int = 0


Aside = tuple[tuple[str, str], ...]
"""Batches, or `<batch>:<chunk>`, whose records cannot be read, and why: they are looked at again in a minute."""


class Fed(NamedTuple):
    """Ids for arq, and Redis' clock to date them by."""

    now_ms: int
    ids: tuple[str, ...]
    aside: Aside = ()


class Swept(NamedTuple):
    """How many leases ended."""

    freed: int
    aside: Aside = ()


class Leased(NamedTuple):
    """A chunk in the hands of a worker: its rows, the outcomes so far by index, the batch's fields."""

    now_ms: int
    rows: bytes
    outcomes: dict[int, bytes]
    state: str
    lost_runs: int
    batch: dict[str, str]


class Refused(NamedTuple):
    """No lease: notfed, busy, expired, relay, the batch's state, or broken: set aside for what `words` say."""

    why: str
    words: str = ""


class Recorded(NamedTuple):
    """kind OK, LOST, GONE, BROKEN; the batch's state, or what is broken; indexes whose outcome was refused."""

    kind: str
    state: str
    refused: tuple[int, ...]


class Snapshot(NamedTuple):
    """What `status` answers about one batch."""

    now_ms: int
    batch: dict[str, str]
    earliest_due_ms: int | None
    able_to_serve: bool
    live_workers: int
    paused: bool
    routes: dict[str, dict[str, str]]
    next_due_ms: int | None = None
    """The first that is still to come: a later try, where `earliest_due_ms` is over already."""
    pauses: tuple[tuple[str, int], ...] = ()
    """`spool` or the batch's class -> since when (0: nobody knows), of what a person has paused."""
    all_workers: int = 0
    """Those of other classes, too."""


class Drained(NamedTuple):
    """busy 0 = a worker with --drain may go; `stay` batches remain for another time."""

    busy: int
    stay: int


def listed(answer: Answer) -> list[Answer]:
    return cast("list[Answer]", answer)


def text(answer: Answer) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def words(answer: Answer) -> str:
    """A name or a reason that somebody else's bytes may stand in."""
    return answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else str(answer)


def set_aside(flat: Sequence[Answer]) -> Aside:
    told = [words(item) for item in flat]
    return tuple(zip(told[::2], told[1::2], strict=True))


def moment(answer: Answer) -> int | None:
    """A zset's score as a time; None for nothing, and for what never comes or has always been."""
    at_ms = 0.0 if answer is None else float(text(answer))
    return round(at_ms) if answer is not None and math.isfinite(at_ms) else None


def digits(told: str) -> int:
    """0 for what is no time of ours."""
    return int(told) if told.isascii() and told.isdigit() and len(told) <= _TIME_DIGITS else 0


def number(answer: Answer) -> int:
    return int(cast("bytes | int", answer))


def pairs(answer: Answer) -> dict[str, str]:
    flat = [text(item) for item in listed(answer)]
    return dict(zip(flat[::2], flat[1::2], strict=True))
