"""What an oracle is given: one step, one batch after it, and the few questions that many oracles ask.

`must(condition, sentence, facts)` raises Violation. Nothing here looks at anything but snapshots, records and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar, cast

from mailspool.contract.states import CLASSES, LATER_LIMIT_MS, WORKER_ALIVE_MS, Class
from tests.storm import ops
from tests.storm.records import Batch, Records
from tests.storm.snapshot import Snapshot

A = TypeVar("A")
FINAL: Final = frozenset("sfux")
COUNTER: Final = {
    "s": "n_sent",
    "d": "n_deferred",
    "f": "n_failed",
    "u": "n_uncertain",
    "x": "n_suppressed",
    "c": "n_claimed",
}
AT_REST: Final = frozenset({"done", "closed"})
GATHER_MS: Final = 60_000


class Violation(AssertionError):  # noqa: N818 - what it is called everywhere here
    """Something that must hold does not."""


def fail(sentence: str, *facts: object) -> NoReturn:
    raise Violation(sentence, *facts)


def must(condition: object, sentence: str, *facts: object) -> None:
    if not condition:
        raise Violation(sentence, *facts)


def num(fields: Mapping[str, str], name: str) -> int:
    return int(fields.get(name) or 0)


@dataclass(frozen=True)
class Step:
    """One call: what was asked and answered, and everything before and after."""

    op: object
    answer: object
    pre: Snapshot
    post: Snapshot
    now: int
    records: Records

    def answer_to(self, op: ops.Op[A]) -> A:
        return cast("A", self.answer)


class Case:
    """One batch after a step."""

    __slots__ = ("b", "before", "c", "chunks", "committed", "due", "fields", "outs", "runs", "state", "step")

    def __init__(self, step: Step, b: str) -> None:
        db = step.post
        self.step = step
        self.b = b
        self.fields = db.batch(b)
        self.before = step.pre.batch(b)
        self.state = self.fields["state"]
        self.c = self.fields["class"]
        self.due = db.due(b)
        self.runs = db.runs(b)
        self.committed = step.records.batches.get(b)
        self.chunks = {str(k): len(rows) for k, rows in self.committed.chunks.items()} if self.committed else {}
        self.outs = {k: db.outcomes(b, k) for k in self.chunks}

    @property
    def batch(self) -> Batch:
        if self.committed is None:
            fail("a batch that nobody committed", self.b)
        return self.committed

    def all_final(self, k: str) -> bool:
        outs = self.outs[k]
        return len(outs) == self.chunks[k] and all(value[0] in FINAL for value in outs.values())

    def has_turn(self) -> tuple[bool, bool]:
        db = self.step.post
        return self.b in db.scores(f"open:{self.c}"), self.b in db.scores(f"later:{self.c}")

    def expires(self) -> int:
        return num(self.fields, "expires")


def class_of(fields: Mapping[str, str]) -> Class:
    return next(c for c in CLASSES if c == fields["class"])


def over(fields: Mapping[str, str], now: int) -> str | None:
    """Why no rows may join this batch any more."""
    state = fields.get("state")
    if state in {"closing", "closed"}:
        return fields["verdict"]
    return "expired" if state in {"live", "held"} and now >= num(fields, "expires") else None


def as_worker_sees(db: Snapshot, fields: Mapping[str, str], now: int) -> str:
    """The state in answers of lease, renew and record."""
    if fields["state"] != "live":
        return fields["state"]
    if db.paused(fields["class"]):
        return "held"
    return "expired" if now >= num(fields, "expires") else "live"


def alive(db: Snapshot, now: int) -> list[Mapping[str, str]]:
    """The hashes of the workers that beat within their time."""
    beats = db.scores("workers")
    found = (db.hash(f"worker:{w}") for w, beat in beats.items() if beat > now - WORKER_ALIVE_MS)
    return [worker for worker in found if worker]


def served(db: Snapshot, fields: Mapping[str, str], now: int) -> bool:
    """Is there a live worker that reads this batch's record, has its relay and a slot for its class?"""
    return any(
        fields["v"] in worker["versions"].split(",")
        and (not fields.get("relay") or fields["relay"] in worker["relays"].split(","))
        and int(worker[f"slots:{fields['class']}"]) > 0
        for worker in alive(db, now)
    )


def window(db: Snapshot, c: str, now: int) -> int:
    return max(4, 2 * sum(int(worker[f"slots:{c}"]) for worker in alive(db, now)))


def may_go(db: Snapshot, b: str, now: int) -> int:
    """How many chunks of this batch could be fed at this moment."""
    fields = db.batch(b)
    if not fields or fields["state"] != "live" or db.paused(fields["class"]):
        return 0
    due = sum(at <= now for at in db.due(b).values())
    if not due or max(num(fields, "send_at"), num(fields, "wait_until")) > now:
        return 0
    return due if served(db, fields, now) else 0


def open_messages(fields: Mapping[str, str]) -> int:
    final = ("n_sent", "n_failed", "n_uncertain", "n_suppressed")
    return num(fields, "total") - sum(num(fields, name) for name in final)


def when_due(rows: int, outs: Mapping[str, str], expires: int, now: int, not_before: int = 0) -> int | None:
    """When a chunk without a run is due by what is written; None when nothing of it is left to send."""
    if len(outs) == rows and all(value[0] in FINAL for value in outs.values()):
        return None
    if len(outs) < rows:
        due = max(not_before, now)
    else:
        tries = [int(value[1:14]) for value in outs.values() if value[0] == "d"]
        first = min(tries)
        edge = first + min(GATHER_MS, max(0, (first - now) // 10))
        due = max(at for at in tries if at <= edge)
        if not_before > now:
            due = max(due, not_before)
    return min(due, max(expires, now))


def later_of(op: ops.Settle, now: int) -> int:
    return now + min(op.later_ms, LATER_LIMIT_MS)


def run_of(value: str) -> tuple[str, str]:
    """('fed', gen) or ('run', gen) of what `run:<b>` holds."""
    kind, gen = value.split(":", 2)[:2]
    return kind, gen
