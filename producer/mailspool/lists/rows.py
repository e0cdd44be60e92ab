"""What a list is made of: how it shall be read (ListOptions), a row that may be sent, a row that may not.

Plain data, made a million times: msgspec structs, because their creation costs 0.1 µs where a dataclass takes 0.4.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

Format = Literal["csv", "jsonl", "list"]
PythonRow = str | Mapping[str, object]
Rows = Path | BinaryIO | Iterable[PythonRow] | AsyncIterable[PythonRow]

BATCH_ROWS: Final = 1_000
"""Rows handed over at once: about 5 ms of work, so the event loop is never held for longer."""
CELL_SHOWN: Final = 60
"""Characters of an offending cell that an error may show."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How to read. All may stay unset: then the file decides.

    `email_column` and `row_key` name a column by its header or by its variable; for Python rows `row_key` is the key
    itself and `email_column` is not used. `want_exact`: rows carry their exact headers, for `row["First Name"]`.
    """

    format: Format | None = None
    encoding: str | None = None
    delimiter: str | None = None
    email_column: str | None = None
    row_key: str | None = None
    want_exact: bool = False
    title: str | None = None


class ListRow(msgspec.Struct, gc=False):
    """A row that may be sent.

    recipient  the normalised address
    values     what the template sees, the address included (see reader.py)
    line       physical line where the row begins, or the row's number from 1
    to_name    from a cell such as `Ali Reza <ali@x.org>`
    plain      all values are str, int, float, bool or None, so they need no conversion on their way into Redis
    exact      exact headers -> values, only if they were asked for and differ from `values`
    identity   16 bytes, set by `Duplicates.see`
    """

    recipient: str
    values: dict[str, object]
    line: int
    to_name: str = ""
    plain: bool = True
    exact: dict[str, object] | None = None
    identity: bytes = b""


class BadRow(msgspec.Struct, gc=False):
    """A row that may not be sent: `problem` is a sentence without its line number, `cells` the row as it was read."""

    line: int
    problem: str
    cells: tuple[str, ...] = ()


Item = ListRow | BadRow


def shown(cell: str) -> str:
    """A cell for people's eyes: in quotes, cut, and with nothing in it that could steer a terminal."""
    cut = cell if len(cell) <= CELL_SHOWN else cell[: CELL_SHOWN - 1] + "…"
    if cut.isprintable():
        return f'"{cut}"'
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut) + '"'


def cell_problem(cell: str, why: str, column: str) -> str:
    return f"{shown(cell)}: {why} (column {column})"
