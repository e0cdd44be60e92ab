"""The producer's operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailspool.contract.moves import Arg, Begun, Loaded, Moves, Sent1
from tests.storm.ops.base import Move, Named, Op


class Uploading(Op[Loaded]):
    SAME_ANSWER = True

    def refused(self, answer: Loaded) -> bool:
        return answer.kind != "OK"


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
