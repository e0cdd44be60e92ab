"""What `verify` answers: how much it counted, and what was wrong. Public, frozen, `to_dict()` is the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailspool.status import _Snapshot

SHOWN: Final = 1_000
"""Faults that are kept in words; a spool that somebody has emptied half has millions."""


class Fault(NamedTuple):
    """Something that must hold and does not. `where`: a counter, a chunk, an index, a key; "" = the batch itself."""

    what: str
    batch: str | None
    where: str
    detail: str

    @property
    def place(self) -> tuple[str, str | None, str]:
        return self.what, self.batch, self.where


@dataclass(frozen=True)
class Wrong(_Snapshot):
    """A fault as it is told; `repaired` is true where a second look no longer found it."""

    what: str
    batch: str | None
    where: str
    detail: str
    repaired: bool = False


@dataclass(frozen=True)
class VerifyReport(_Snapshot):
    """`more`: faults beyond the first 1,000; `left`: all that are still there; `unproved`: what moved too fast."""

    batches: int
    messages: int
    wrong: tuple[Wrong, ...]
    more: int = 0
    left: int = 0
    unproved: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong (any more)."""
        return self.left == 0


@dataclass
class Findings:
    """What one pass found; bounded, however much that is."""

    batches: int = 0
    messages: int = 0
    count: int = 0
    faults: dict[tuple[str, str | None, str], Fault] = field(default_factory=dict)
    unproved: list[str] = field(default_factory=list)

    def add(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if fault.place in self.faults:
                continue
            self.count += 1
            if len(self.faults) < SHOWN:
                self.faults[fault.place] = fault


def summed_up(passes: Sequence[Findings]) -> VerifyReport:
    """The last pass tells what is still there; what it no longer found was repaired by those before."""
    last, told = passes[-1], {place: fault for one in passes for place, fault in one.faults.items()}
    wrong = [Wrong(*fault, repaired=place not in last.faults) for place, fault in told.items()]
    return VerifyReport(
        last.batches,
        last.messages,
        tuple(wrong),
        more=max(one.count - len(one.faults) for one in passes),
        left=last.count,
        unproved=tuple(last.unproved),
    )
