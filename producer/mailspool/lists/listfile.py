"""One list file or pipe, opened, understood and read: all that may block, in one object.

`reader` runs `open` and `read` where blocking is allowed, one at a time; `stop` may come from any thread.
Raises NotFound, InputError, and Stopped after `stop`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from mailspool.errors import InputError, NotFound
from mailspool.lists.columns import EMAIL, Columns, require_column
from mailspool.lists.jsonl import JsonLines
from mailspool.lists.plain import AddressLines
from mailspool.lists.rejects import RejectForm
from mailspool.lists.rows import BadRow, Item, ListOptions, ListRow
from mailspool.lists.sniff import (
    Encoding,
    Layout,
    decode_head,
    find_encoding,
    find_layout,
    first_records,
    line_breaks,
    not_decodable,
    physical_lines,
)
from mailspool.lists.stream import BLOCK_BYTES, Stopped, Tap
from mailspool.lists.table import Table
from mailspool.lists.values import check_values

EX_NOINPUT: Final = 66
"""sysexits.h: an input file does not exist or cannot be read."""
_ADDRESSES: Final = Columns((EMAIL,), (EMAIL,), 0)


class ListFile:
    """The attributes are known after `open`."""

    def __init__(self, source: Path | BinaryIO, options: ListOptions) -> None:
        self.path = source if isinstance(source, Path) else None
        self.title = options.title or _title(source)
        self.encoding = Encoding("UTF-8", "utf-8-sig")
        self.layout = Layout("list", empty=True)
        self.columns: Columns | None = None
        self.row_key = options.row_key
        self._source = source
        self._options = options
        self._suffix = Path(self.title).suffix.lower()
        self._tap: Tap | None = None
        self._text: io.TextIOWrapper | None = None
        self._rows: Table | AddressLines | JsonLines | None = None
        self._stopped = False

    def open(self) -> None:
        try:
            self._understand(self._open_tap())
        except UnicodeDecodeError as error:
            raise self._not_decodable(error) from None
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self) -> list[Item]:
        """The next rows; empty only at the end."""
        if self._rows is None:
            return []
        try:
            rows = self._rows.read()
        except UnicodeDecodeError as error:
            raise self._not_decodable(error) from None
        except OSError as error:
            raise self._unreadable(error) from error
        if self.layout.format == "csv" and self._tap and (self._tap.saw_nul or self.encoding.name != "UTF-8"):
            return [self._checked(row) for row in rows]
        return rows

    def stop(self) -> None:
        self._stopped = True
        if self._tap is not None:
            self._tap.stop()

    def close(self) -> None:
        for layer in (self._text, self._tap):
            if layer is not None:
                layer.close()

    def reject_form(self) -> RejectForm:
        folder = self.path.parent if self.path else Path()
        stem = Path(self.title).stem
        if self.layout.format == "jsonl":
            return RejectForm(folder / f"{stem}.rejected.jsonl")
        headers = (self.columns or _ADDRESSES).headers
        return RejectForm(folder / f"{stem}.rejected.csv", headers, self.layout.delimiter or ",")

    def spoil(self, row: ListRow, problem: str) -> BadRow:
        """A good row that turned out to be bad, with its cells as they were read (or as good as)."""
        address = row.recipient
        if row.to_name:
            escaped = row.to_name.replace("\\", "\\\\").replace('"', '\\"')
            address = f'"{escaped}" <{address}>'
        if self.layout.format == "jsonl":
            return BadRow(row.line, problem, (msgspec.json.encode(row.exact or row.values).decode(),))
        columns = self.columns or _ADDRESSES
        cells = [str(row.values[name]) for name in columns.names]
        cells[columns.address] = address
        return BadRow(row.line, problem, tuple(cells))

    def _open_tap(self) -> Tap:
        if isinstance(self._source, Path):
            self._tap = Tap(open(self._source, "rb", buffering=0), owned=True)  # noqa: SIM115 - closed by the tap
        else:
            self._tap = Tap(self._source, owned=False)
        if self._stopped:  # stop() came while the file was being opened, and found no tap
            raise Stopped
        return self._tap

    def _understand(self, tap: Tap) -> None:
        options = self._options
        head = tap.head()
        self.encoding = find_encoding(self.title, self._suffix, head, options.encoding)
        text = decode_head(self.title, self.encoding, head)
        self.layout = layout = find_layout(self.title, self._suffix, text, options)
        newline = "" if layout.format == "csv" else None
        self._text = io.TextIOWrapper(io.BufferedReader(tap, BLOCK_BYTES), self.encoding.codec, newline=newline)
        if layout.empty:
            return
        for _ in range(layout.skip):
            next(self._text, None)
        if layout.format == "jsonl":
            self._rows = JsonLines(self._text, options)
            self.row_key = self._rows.row_key
            return
        if layout.format == "csv":
            below = _second_record(text, layout)
            self._rows = Table(self.title, self._text, layout.skip, layout.delimiter, below, options)
            self.columns = self._rows.columns
        else:
            self._rows = AddressLines(self._text)
            self.columns = _ADDRESSES
        if options.row_key is not None:
            found = require_column(self.title, self.columns, options.row_key, "--row-key")
            self.row_key = self.columns.names[found]

    def _checked(self, row: Item) -> Item:
        if isinstance(row, BadRow):
            return row
        _, problem = check_values(row.values)
        return self.spoil(row, problem) if problem else row

    def _not_decodable(self, error: UnicodeDecodeError) -> InputError:
        before = error.object[: error.start].decode(self.encoding.codec, "replace")
        read = 0 if self._rows is None else self._rows.lines_read
        return not_decodable(self.title, self.encoding, read + line_breaks(before) + 1)

    def _unreadable(self, error: OSError) -> InputError | NotFound:
        if isinstance(error, FileNotFoundError):
            return NotFound(f'no file "{self.path}".', code="no_such_file")
        reason = "it is a folder; give a file" if isinstance(error, IsADirectoryError) else error.strerror
        return InputError(f"{self.title} cannot be read: {reason}.", code="unreadable", exit_code=EX_NOINPUT)


def _second_record(text: str, layout: Layout) -> Sequence[str]:
    """The row below the header, as far as the head shows it."""
    below = "\n".join(physical_lines(text)[layout.skip :])
    return [*first_records(below, layout.delimiter, 2), [], []][1]


def _title(source: Path | BinaryIO) -> str:
    if isinstance(source, Path):
        return source.name or str(source)
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) and not name.startswith("<") else "stdin"
