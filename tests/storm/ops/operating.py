"""Anyone's operations, and questions."""

from __future__ import annotations

from dataclasses import dataclass

from mailspool.contract.moves import Drained, Moves, Snapshot
from mailspool.contract.states import Class
from tests.storm.ops.base import Move, Named, Op


class Counting(Op[int]):
    """A move that answers how many it touched."""


@dataclass(frozen=True)
class Hold(Counting):
    b: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.hold(self.b, now_ms=now_ms)


@dataclass(frozen=True)
class Release(Counting):
    b: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.release(self.b, now_ms=now_ms)


@dataclass(frozen=True)
class Close(Counting):
    b: str
    verdict: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.close(self.b, self.verdict, now_ms=now_ms)


@dataclass(frozen=True)
class Reopen(Counting):
    b: str
    k: int
    letters: str
    indexes: tuple[int, ...] = ()

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.reopen(self.b, self.k, self.letters, self.indexes, now_ms=now_ms)

    def refused(self, answer: int) -> bool:
        return answer <= 0


@dataclass(frozen=True)
class Resolve(Counting):
    b: str
    k: int
    letter: str
    indexes: tuple[int, ...]

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.resolve(self.b, self.k, self.letter, self.indexes, now_ms=now_ms)

    def refused(self, answer: int) -> bool:
        return answer == 0


@dataclass(frozen=True)
class Rewind(Op[int]):
    """Sent again, it goes on with the next slice."""

    b: str
    start: int = 0
    REPEATABLE = False

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.rewind(self.b, self.start, now_ms=now_ms)


@dataclass(frozen=True)
class RewindLeases(Op[int]):
    c: Class

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.rewind_leases(self.c, now_ms=now_ms)


@dataclass(frozen=True)
class Resume(Counting):
    b: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.resume(self.b, now_ms=now_ms)

    def refused(self, answer: int) -> bool:
        return answer == 0


@dataclass(frozen=True)
class Pause(Counting):
    what: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.pause(self.what, now_ms=now_ms)


@dataclass(frozen=True)
class Unpause(Counting):
    what: str

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.unpause(self.what, now_ms=now_ms)


@dataclass(frozen=True)
class Purge(Named):
    b: str
    REFUSALS = frozenset({"BUSY", "GONE"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.purge(self.b, now_ms=now_ms)


@dataclass(frozen=True)
class Broom(Counting):
    c: Class
    version: int
    start: int = 0

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.broom(self.c, self.version, self.start, now_ms=now_ms)


@dataclass(frozen=True)
class Status(Op[Snapshot | None]):
    b: str
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[Snapshot | None]:
        return moves.status(self.b, now_ms=now_ms)

    def refused(self, answer: Snapshot | None) -> bool:
        return True


@dataclass(frozen=True)
class AskDrained(Op[Drained]):
    c: Class
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[Drained]:
        return moves.drained(self.c, now_ms=now_ms)

    def refused(self, answer: Drained) -> bool:
        return True
