"""Address lists: one address a line, `#` comments, blank lines. `reader` asks for batches.

A line may also be `Ali Reza <ali@x.org>`. A comment is a line that begins with `#`, or what follows ` #`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from mailspool.content.address import AddressError, clean_cell
from mailspool.lists.columns import EMAIL
from mailspool.lists.rows import BATCH_ROWS, BadRow, Item, ListRow, shown

_comment = re.compile(r"(?:^|\s)#.*", re.DOTALL).sub


class AddressLines:
    """`lines` begins at physical line 1."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines_read = 0
        self._lines = lines

    def read(self) -> list[Item]:
        """The next rows, at most BATCH_ROWS; empty only at the end."""
        rows: list[Item] = []
        while not rows:
            start = self.lines_read
            for line in islice(self._lines, BATCH_ROWS):
                self.lines_read += 1
                if text := _comment("", line).strip():
                    rows.append(_row(self.lines_read, text))
            if self.lines_read == start:
                break
        return rows


def _row(line: int, text: str) -> Item:
    try:
        name, recipient = clean_cell(text)
    except AddressError as error:
        return BadRow(line, f"{shown(text)}: {error}", (text,))
    return ListRow(recipient, {EMAIL: recipient}, line, name)
