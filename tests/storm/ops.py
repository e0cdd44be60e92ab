"""The moves as values: what an actor asks for, so that it can be sent, sent again, logged and judged.

`send` goes through the real `Moves`, arguments packed and answers parsed as in production. `refused` says that the
answer is a refusal, after which nothing may have changed; `SAME_ANSWER` that a second call answers the same.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from mailspool.contract.moves import Arg, Begun, Drained, Fed, Leased, Loaded, Moves, Recorded, Refused, Sent1, Snapshot
from mailspool.contract.states import Class

A = TypeVar("A")
Move = Coroutine[object, None, A]
Group = tuple[str, int, str, tuple[tuple[int, bytes], ...]]


class Op(Generic[A]):
    """One call of one move."""

    SAME_ANSWER: ClassVar[bool] = False
    REPEATABLE: ClassVar[bool] = True

    def send(self, moves: Moves, now_ms: int) -> Move[A]:
        raise AssertionError("every operation says how it is sent")

    def refused(self, answer: A) -> bool:
        return False


class Named(Op[str]):
    """A move that answers one word."""

    REFUSALS: ClassVar[frozenset[str]] = frozenset()

    def refused(self, answer: str) -> bool:
        return answer in self.REFUSALS


class Uploading(Op[Loaded]):
    SAME_ANSWER = True

    def refused(self, answer: Loaded) -> bool:
        return answer.kind != "OK"


# The producer's


@dataclass(frozen=True)
class Begin(Op[Begun]):
    b: str
    u: str
    key: str
    spec: bytes
    fields: Mapping[str, Arg]
    SAME_ANSWER = True

    def send(self, moves: Moves, now_ms: int) -> Move[Begun]:
        return moves.begin(self.b, self.u, self.key, self.spec, self.fields, now_ms=now_ms)

    def refused(self, answer: Begun) -> bool:
        return answer.kind != "LOAD"


@dataclass(frozen=True)
class Attach(Named):
    b: str
    u: str
    sha: str
    data: bytes | None = None
    SAME_ANSWER = True
    REFUSALS = frozenset({"TAKEN", "SEND"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.attach(self.b, self.u, self.sha, self.data, now_ms=now_ms)


@dataclass(frozen=True)
class Abandon(Named):
    b: str
    u: str
    REFUSALS = frozenset({"TAKEN"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.abandon(self.b, self.u, now_ms=now_ms)


@dataclass(frozen=True)
class Load(Uploading):
    b: str
    u: str
    k: int
    rows: tuple[bytes, ...]
    ids: tuple[bytes, ...] | None

    def send(self, moves: Moves, now_ms: int) -> Move[Loaded]:
        return moves.load(self.b, self.u, self.k, self.rows, self.ids, now_ms=now_ms)


@dataclass(frozen=True)
class SignOfLife(Uploading):
    b: str
    u: str

    def send(self, moves: Moves, now_ms: int) -> Move[Loaded]:
        return moves.sign_of_life(self.b, self.u, now_ms=now_ms)


@dataclass(frozen=True)
class Commit(Uploading):
    b: str
    u: str
    total: int
    shas: tuple[str, ...] = ()

    def send(self, moves: Moves, now_ms: int) -> Move[Loaded]:
        return moves.commit(self.b, self.u, self.total, self.shas, now_ms=now_ms)


@dataclass(frozen=True)
class SendOne(Op[Sent1]):
    b: str
    u: str
    key: str
    spec: bytes
    blobs: Mapping[str, bytes]
    rows: tuple[tuple[bytes, bytes], ...]
    fields: Mapping[str, Arg]
    grace_ms: int = 2_000

    def send(self, moves: Moves, now_ms: int) -> Move[Sent1]:
        return moves.send1(
            self.b,
            self.u,
            self.key,
            self.spec,
            self.blobs,
            self.rows,
            self.fields,
            grace_ms=self.grace_ms,
            now_ms=now_ms,
        )

    def refused(self, answer: Sent1) -> bool:
        return answer.kind != "OK"


@dataclass(frozen=True)
class Collect(Named):
    u: str
    REFUSALS = frozenset({"ALIVE"})

    def send(self, moves: Moves, now_ms: int) -> Move[str]:
        return moves.collect(self.u, now_ms=now_ms)


# The worker's


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
class Sweep(Op[int]):
    c: Class

    def send(self, moves: Moves, now_ms: int) -> Move[int]:
        return moves.sweep(self.c, now_ms=now_ms)


# Anyone's


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
