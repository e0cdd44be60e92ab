"""What every operation is: how it is sent, when its answer is a refusal, whether it may be sent twice."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import ClassVar, Generic, TypeVar

from mailspool.contract.moves import Moves

A = TypeVar("A")
Move = Coroutine[object, None, A]


class Op(Generic[A]):
    """One call of one move."""

    SAME_ANSWER: ClassVar[bool] = False
    REPEATABLE: ClassVar[bool] = True

    def send(self, moves: Moves, now_ms: int) -> Move[A]:
        raise AssertionError("every operation says how it is sent")

    def refused(self, answer: A) -> bool:
        return False

    def answers_alike(self) -> bool:
        return self.SAME_ANSWER


class Named(Op[str]):
    """A move that answers one word."""

    REFUSALS: ClassVar[frozenset[str]] = frozenset()

    def refused(self, answer: str) -> bool:
        return answer in self.REFUSALS
