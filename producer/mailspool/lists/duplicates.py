"""The same address twice: sent once, refused, or meant? And who a row is, for `key`.

`upload` shows every good row to `Duplicates.see`, in order. Memory: 38 to 47 bytes a row, the table's growth
included (a test measures it); nothing is kept with "all". About 2 µs a row.

A row's identity is 16 bytes of BLAKE2b over the address (compared without case) and, where given, `row[row_key]`;
with "all" and no `row_key` over address and all values. It must never change between releases: it is what makes
running a script again safe. All 128 bits are compared, so two receivers are taken for one with odds of n² / 2^129:
1.5e-21 for a thousand million rows, the same odds that Redis' own set of identities has. Whether two rows of one
receiver are the same is told by 64 bits of a hash with a secret of this process (5e-20 a pair).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final, Literal

import msgspec

from mailspool.content.address import identity
from mailspool.contract.codec import wire_values
from mailspool.lists.rows import ListRow

Policy = Literal["refuse", "first", "all"]

PARTS: Final = 64
"""The table grows part by part, so that no row waits for a million others to be moved (0.1 s at once, else)."""
_PART_MASK: Final = PARTS - 1
_SMALLEST: Final = 64
_two_words = Struct("<QQ").unpack
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Verdict:
    """`new`: send it. `repeat`: skip it and count it. `conflict`: refuse; `first_line` holds the same receiver."""

    kind: Literal["new", "repeat", "conflict"]
    first_line: int = 0


NEW: Final = Verdict("new")
REPEAT: Final = Verdict("repeat")


class _Part:
    """A 64th of the table: rows in order of arrival in four columns, and an open-addressing index into them.

    Row 0 is a dummy, so that an index entry of 0 is free. The index is at most half full: 1.5 looks a row.
    """

    __slots__ = ("facts", "high", "index", "limit", "line", "low", "mask")

    def __init__(self) -> None:
        self.low = array("Q", (0,))
        self.high = array("Q", (0,))
        self.facts = array("q", (0,))
        self.line = array("I", (0,))
        self._resize(_SMALLEST)

    def _resize(self, size: int) -> None:
        self.mask = mask = size - 1
        self.limit = size // 2
        self.index = index = array("I", bytes(4 * size))
        for row, low in enumerate(self.low):
            if row:
                at = low & mask
                while index[at]:
                    at = (at + 1) & mask
                index[at] = row

    def grow(self) -> None:
        self._resize(2 * (self.mask + 1))


class Duplicates:
    """One per upload. `row_key` is a variable's name; every row shown must have it."""

    def __init__(self, policy: Policy, row_key: str | None = None) -> None:
        self._policy = policy
        self._compares = policy == "refuse"
        self._row_key = row_key
        self._parts = [_Part() for _ in range(PARTS)] if policy != "all" else []

    def see(self, row: ListRow) -> Verdict:
        """What becomes of this row; leaves its identity in `row.identity`."""
        row.identity = mark = self.row_identity(row)
        if self._policy == "all":
            return NEW
        low, high = _two_words(mark)
        part = self._parts[high & _PART_MASK]
        index, mask, lows = part.index, part.mask, part.low
        at = low & mask
        while found := index[at]:
            if lows[found] == low and part.high[found] == high:
                return self._again(part, found, row)
            at = (at + 1) & mask
        index[at] = count = len(lows)
        lows.append(low)
        part.high.append(high)
        part.line.append(row.line)
        if self._compares:
            part.facts.append(_facts(row))
        if count >= part.limit:
            part.grow()
        return NEW

    def row_identity(self, row: ListRow) -> bytes:
        """16 bytes that stay the same whenever and wherever this row is queued again."""
        who = identity(row.recipient)
        if self._row_key is not None:
            who = f"{who}\0{row.values[self._row_key]}"
        elif self._policy == "all":
            return blake2b(_encode((who, _facts_of(row, who))), digest_size=16).digest()
        return blake2b(who.encode(), digest_size=16).digest()

    def _again(self, part: _Part, found: int, row: ListRow) -> Verdict:
        if not self._compares or part.facts[found] == _facts(row):
            return REPEAT
        return Verdict("conflict", part.line[found])


def _facts(row: ListRow) -> int:
    """64 bits of all values, types included (Python's own hash takes 1 for True and -1 for -2)."""
    return hash(_encode(_facts_of(row, identity(row.recipient))))


def _facts_of(row: ListRow, who: str) -> object:
    """What rows of one receiver differ in. `Ali@x.org` and `ali@x.org` are not different values."""
    values = row.values
    if who != row.recipient:
        values = {name: who if value == row.recipient else value for name, value in values.items()}
    if not row.plain:
        values = wire_values(values)
    return (row.to_name, values) if row.to_name else values
