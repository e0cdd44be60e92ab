"""JSON lines: one object a line. `reader` asks for batches.

Keys become variables as headers do (`First Name` -> `first_name`), and the address key is found as an address column
is, object by object, because objects may differ. Values keep their JSON type. Blank lines are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from mailspool.content.address import AddressError, clean_cell
from mailspool.errors import with_article
from mailspool.lists.columns import EMAIL, address_candidates, find_column, listed, variable_name, variable_names
from mailspool.lists.rows import BATCH_ROWS, BadRow, Item, ListOptions, ListRow, cell_problem, shown
from mailspool.lists.values import check_values

SHAPES_KEPT: Final = 1_000
"""Sets of keys remembered; a list whose every object differs must not fill the memory."""
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Shape:
    """What one set of keys means; `problem` if no row with these keys can be sent."""

    names: tuple[str, ...] = ()
    address: int = 0
    problem: str = ""


class JsonLines:
    """`lines` begins at physical line 1."""

    def __init__(self, lines: Iterator[str], options: ListOptions) -> None:
        self.lines_read = 0
        self.row_key = None if options.row_key is None else variable_name(options.row_key)
        self._lines = lines
        self._options = options
        self._shapes: dict[tuple[str, ...], Shape] = {}

    def read(self) -> list[Item]:
        """The next rows, at most BATCH_ROWS; empty only at the end."""
        rows: list[Item] = []
        while not rows:
            start = self.lines_read
            for line in islice(self._lines, BATCH_ROWS):
                self.lines_read += 1
                if text := line.strip():
                    rows.append(self._row(self.lines_read, text))
            if self.lines_read == start:
                break
        return rows

    def _row(self, line: int, text: str) -> Item:
        try:
            found = _decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            return BadRow(line, f"not a JSON object ({_reason(error)})", (text,))
        if not isinstance(found, dict):
            return BadRow(line, f"{with_article(found)}, not a JSON object", (text,))
        keys = tuple(found)
        shape = self._shapes.get(keys) or self._shape(keys)
        if shape.problem:
            return BadRow(line, shape.problem, (text,))
        cell = found[keys[shape.address]]
        if not isinstance(cell, str):
            return BadRow(line, f"{shown(keys[shape.address])} is {with_article(cell)}, not an address", (text,))
        try:
            name, recipient = clean_cell(cell)
        except AddressError as error:
            return BadRow(line, cell_problem(cell, str(error), keys[shape.address]), (text,))
        found[keys[shape.address]] = recipient
        values: dict[str, object] = dict(zip(shape.names, found.values(), strict=True))
        values.setdefault(EMAIL, recipient)
        plain, problem = check_values(values)
        if problem:
            return BadRow(line, problem, (text,))
        exact = found if self._options.want_exact and shape.names != keys else None
        return ListRow(recipient, values, line, name, plain, exact)

    def _shape(self, keys: tuple[str, ...]) -> Shape:
        if len(self._shapes) >= SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[keys] = shape = self._read_shape(keys)
        return shape

    def _read_shape(self, keys: tuple[str, ...]) -> Shape:
        names = variable_names(keys)
        for number, name in enumerate(names):
            if name in names[:number]:
                one, two = shown(keys[names.index(name)]), shown(keys[number])
                return Shape(problem=f"the keys {one} and {two} are both {{{{ {name} }}}}")
        if self.row_key is not None and self.row_key not in names:
            return Shape(problem=f"no {shown(self.row_key)} (row_key); it has: {listed(keys)}")
        wanted = self._options.email_column
        if wanted is not None:
            index = find_column(keys, names, wanted)
            found = [] if index is None else [index]
        else:
            found = address_candidates(keys, names, ["@"] * len(keys))
        if len(found) == 1:
            return Shape(names, found[0])
        if not found:
            return Shape(problem=f"no {shown(wanted or EMAIL)}; it has: {listed(keys)}")
        return Shape(problem="several keys may hold the address: " + " and ".join(shown(keys[n]) for n in found))


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ") if isinstance(error, msgspec.MsgspecError) else "too deep"
