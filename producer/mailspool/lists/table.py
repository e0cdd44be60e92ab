"""CSV rows: cells under the header's names, checked one by one, with the physical line where each begins.

`reader` builds a Table over decoded lines and asks it for batches. Python's csv module does the splitting, strictly:
a sloppy quote makes a bad row, not a surprise. Blank lines and rows of delimiters alone are passed over in silence.
A row is bad if its cells are more or fewer than the header's (empty ones at its end aside) or its address is none.
A quote that swallows other rows refuses the file: nobody could account for those rows. Raises InputError for that,
and for a header that names no address column. Known limit: a cell holds at most csv's 131,072 characters.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from mailspool.content.address import AddressError, clean_cell, normalise
from mailspool.errors import InputError
from mailspool.lists.columns import EMAIL, Columns, read_columns
from mailspool.lists.rows import BATCH_ROWS, BadRow, Item, ListOptions, ListRow, cell_problem
from mailspool.lists.sniff import physical_lines

REJECT_COLUMNS: Final = ("line", "problem")
"""What a rejects file adds; a list whose last columns are these comes back repaired."""
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run such a cell. `rejects` puts a ' before it; in a repaired list it is taken away again."""


class Lines:
    """Physical lines, remembering the last one, so that a broken row can still be shown."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.last = ""
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last = line
            yield line


class Table:
    """`lines` begins at physical line `skipped` + 1 with the header, which is read at once.

    `below`: the first row, as far as the head of the file shows it (see `columns`).
    """

    def __init__(
        self, title: str, lines: Iterator[str], skipped: int, delimiter: str, below: Sequence[str], options: ListOptions
    ) -> None:
        self._title = title
        self._lines = Lines(lines)
        self._skipped = skipped
        self._delimiter = delimiter
        self._csv = csv.reader(iter(self._lines), delimiter=delimiter, strict=True, skipinitialspace=True)
        header = self._header()
        self.columns: Columns = read_columns(title, self.lines_read, header, below, options.email_column)
        names = self.columns.names
        self._repaired = names[-2:] == REJECT_COLUMNS
        self._want_exact = options.want_exact and self.columns.headers != names
        self._adds_email = EMAIL not in names
        self._ended = False

    @property
    def lines_read(self) -> int:
        return self._skipped + self._csv.line_num

    def read(self) -> list[Item]:
        """The next rows, at most BATCH_ROWS; empty only at the end."""
        rows: list[Item] = []
        while not rows and not self._ended:
            self._ended = not self._fill(rows)
        return rows

    def _fill(self, rows: list[Item]) -> bool:
        """The loop that a million rows go through: whatever is unusual leaves it at once. False at the end."""
        reader, names, at = self._csv, self.columns.names, self.columns.address
        width, email, adds_email = len(names), names[at], self._adds_email
        unusual = self._want_exact or self._repaired
        strip, add = str.strip, rows.append
        before = after = self.lines_read
        skipped, taken = self._skipped, 0
        try:
            for taken, cells in enumerate(islice(reader, BATCH_ROWS), 1):  # noqa: B007 - read after the loop
                before, after = after, skipped + reader.line_num
                if len(cells) != width or unusual or after - before > 1:
                    self._add_unusual(rows, before, cells)
                    continue
                cell = cells[at].strip()
                try:
                    recipient = normalise(cell)
                except AddressError:
                    self._add_unusual(rows, before, cells)
                    continue
                values: dict[str, object] = dict(zip(names, map(strip, cells), strict=False))
                values[email] = recipient
                if adds_email:
                    values[EMAIL] = recipient
                add(ListRow(recipient, values, before + 1))
        except csv.Error as error:
            rows.append(self._broken(after, error))
            return True
        return taken == BATCH_ROWS

    def _header(self) -> list[str]:
        try:
            for cells in self._csv:
                if any(cell.strip() for cell in cells):
                    return cells
        except csv.Error:
            raise InputError(f"{self._title}: line {self.lines_read} holds a broken quote.") from None
        return []

    def _add_unusual(self, rows: list[Item], before: int, cells: list[str]) -> None:
        cells = [cell.strip() for cell in cells]
        if any(cells):
            rows.append(self._unusual(before, cells))

    def _unusual(self, before: int, cells: list[str]) -> Item:
        """A row that needs a second look; `before` is the last physical line above it."""
        line, width = before + 1, len(self.columns.names)
        if self.lines_read - before > 1:
            self._refuse_swallowed(line, cells)
        if self._repaired:
            cells = [_unguarded(cell) for cell in cells]
        kept = tuple(cells)
        if len(cells) > width and not any(cells[width:]):
            del cells[width:]  # spreadsheets pad rows, too
        if len(cells) != width:
            noun = "cell" if len(cells) == 1 else "cells"
            guess = ": an unquoted " + _sign_word(self._delimiter) + "?" if len(cells) > width else ""
            return BadRow(line, f"{len(cells)} {noun}, header has {width}{guess}", kept)
        at = self.columns.address
        try:
            name, recipient = clean_cell(cells[at])
        except AddressError as error:
            return BadRow(line, cell_problem(cells[at], str(error), self.columns.headers[at]), kept)
        values: dict[str, object] = dict(zip(self.columns.names, cells, strict=True))
        exact: dict[str, object] = dict(zip(self.columns.headers, cells, strict=True)) if self._want_exact else {}
        values[self.columns.names[at]] = recipient
        values.setdefault(EMAIL, recipient)
        if exact:
            exact[self.columns.headers[at]] = recipient
        return ListRow(recipient, values, line, name, True, exact or None)

    def _broken(self, before: int, error: csv.Error) -> BadRow:
        line, last = before + 1, self.lines_read
        if last > line:
            raise InputError(
                f"{self._title}: a quote opens in line {line} and does not close as it should (line {last}). "
                'Close it, or double it ("") where it belongs to the text.'
            )
        why = "a cell of more than 131,072 characters" if "limit" in str(error) else "a quote that does not close"
        if "expected after" in str(error):
            why = "text after a closing quote"
        return BadRow(line, why, self._leniently(self._lines.last.rstrip("\r\n")))

    def _leniently(self, line: str) -> tuple[str, ...]:
        try:
            return tuple(next(csv.reader([line], delimiter=self._delimiter, skipinitialspace=True), []))
        except csv.Error:
            return (line,)

    def _refuse_swallowed(self, line: int, cells: list[str]) -> None:
        """A line inside a cell that has a row's cells and an address in its place is a row that a quote swallowed."""
        width, at = len(self.columns.names), self.columns.address
        for cell in cells:
            for inner in physical_lines(cell)[1:]:
                found = self._leniently(inner)
                if len(found) == width > 1 and _is_address(found[at]):
                    raise InputError(
                        f"{self._title}: the row that begins in line {line} holds what looks like another row. "
                        'Close the quote, or double it ("") where it belongs to the text.'
                    )


def _sign_word(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}.get(delimiter, delimiter)


def guarded(cell: str) -> str:
    """A cell that no spreadsheet runs; `_unguarded` takes it back."""
    return "'" + cell if cell.lstrip("'").startswith(FORMULA_STARTS) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_STARTS) else cell


def _is_address(cell: str) -> bool:
    try:
        clean_cell(cell)
    except AddressError:
        return False
    return True
