"""The worker's operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailspool.contract.moves import Arg, Fed, Leased, Moves, Recorded, Refused, Swept
from mailspool.contract.states import Class
from tests.storm.ops.base import Move, Named, Op

Group = tuple[str, int, str, tuple[tuple[int, bytes], ...]]


@dataclass(frozen=True)
class Beat(Op[int]):
    worker: str
    fields: Mapping[str, Arg]
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.beat(self.worker, self.fields, now_ms=now_ms)


@dataclass(frozen=True)
class Leave(Op[int]):
    worker: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.leave(self.worker, now_ms=now_ms)


@dataclass(frozen=True)
class Feed(Op[Fed]):
    c: Class
    grace_ms: int = 10_000
    REPEATABLE = False

    def send(self, moves: Moves, now_ms: int) -> Move[Fed]:
        return moves.feed(self.c, self.grace_ms, now_ms=now_ms)


@dataclass(frozen=True)
class Lease(Op[Leased | Refused]):
    b: str
    k: int
    gen: int
    token: str
    relays: tuple[str, ...]

    def send(self, moves: Moves, now_ms: int) -> Move[Leased | Refused]:
        return moves.lease(self.b, self.k, self.gen, self.token, self.relays, now_ms=now_ms)

    def refused(self, answer: Leased | Refused) -> bool:
        return isinstance(answer, Refused) and answer.why in {"notfed", "busy", "expired"}


@dataclass(frozen=True)
class Renew(Op[list[str]]):
    runs: tuple[tuple[str, int, str], ...]
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[list[str]]:
        return moves.renew(self.runs, now_ms=now_ms)

    def refused(self, answer: list[str]) -> bool:
        return set(answer) == {"LOST"}


@dataclass(frozen=True)
class Record(Op[list[Recorded]]):
    groups: tuple[Group, ...]
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[list[Recorded]]:
        return moves.record(self.groups, now_ms=now_ms)

    def refused(self, answer: list[Recorded]) -> bool:
        return all(one.kind == "GONE" for one in answer)

    def answers_alike(self) -> bool:
        """Unless it says two things of one message: then the first may be refused at the second call."""
        said = {(b, k, i, data) for b, k, _, outcomes in self.groups for i, data in outcomes}
        return len({one[:3] for one in said}) == len(said)


@dataclass(frozen=True)
class Detach(Named):
    b: str
    k: int
    token: str
    SAME_ANSWER = True
    REFUSALS = frozenset({"LOST"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.detach(self.b, self.k, self.token, now_ms=now_ms)


@dataclass(frozen=True)
class Settle(Named):
    b: str
    k: int
    token: str
    later_ms: int = 0
    why: str = ""
    scope: str = "chunk"
    REFUSALS = frozenset({"LOST"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.settle(self.b, self.k, self.token, self.later_ms, self.why, self.scope, now_ms=now_ms)


@dataclass(frozen=True)
class Bounce(Named):
    b: str
    token: str
    suppress: bool
    words: str
    notes: tuple[tuple[str, str, bytes], ...]
    SAME_ANSWER = True
    REFUSALS = frozenset({"GONE"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.bounce(self.b, self.token, self.suppress, self.words, self.notes, now_ms=now_ms)


@dataclass(frozen=True)
class Bury(Op[int]):
    worker: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.bury(self.worker, now_ms=now_ms)


@dataclass(frozen=True)
class Erase(Op[int]):
    b: str
    start: int = 0

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.erase(self.b, self.start, now_ms=now_ms)


@dataclass(frozen=True)
class Forget(Op[int]):
    cursor: int = 0

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.forget(self.cursor, now_ms=now_ms)


@dataclass(frozen=True)
class Sweep(Op[Swept]):
    c: Class

    def send(self, moves: Moves, now_ms: int) -> Move[Swept]:
        return moves.sweep(self.c, now_ms=now_ms)
