"""The front door: a file, a pipe or a program's rows -> a RowSource that yields checked rows in batches.

    async with open_rows(Path("customers.csv"), ListOptions()) as source:
        print(source.title, source.describe())            # customers.csv UTF-8, comma: email name number amount
        async for batch in source.batches():               # up to 1,000 ListRow and BadRow each, once, streamed
            ...

`row.values` of a file holds every column under its variable. The address column holds the normalised address, which
also stands under `email` (unless the file has an `email` column beside the chosen one: that keeps its content).
Files on disk are read in the caller's thread, a batch at a time; pipes in a thread of their own, and leaving the
`async with` gives up a silent one at once. A stream that was passed in is not closed; one that has no descriptor
(a BytesIO, a decompressor) counts as a file on disk.
Raises NotFound (66) for a missing file and InputError for one that cannot be used as a whole (66 if it cannot be
read): from `open_rows`, or from `batches` for bytes that are no text and quotes that swallow rows. An empty file is
none of these: no rows, `columns` is None; `problems.empty_list` has the words for it.
Known limit: a named pipe that nobody opens for writing is waited for without a way out.
"""

from __future__ import annotations

import io
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeGuard

from mailspool.errors import InputError
from mailspool.lists.listfile import ListFile
from mailspool.lists.problems import Unit
from mailspool.lists.python_rows import program_rows, python_batches
from mailspool.lists.rejects import RejectForm
from mailspool.lists.rows import BadRow, Item, ListOptions, ListRow, PythonRow, Rows
from mailspool.lists.stream import Puller, pipe_of


class RowSource(Protocol):
    """What is known before the first row, and the rows.

    title        the file's name, "stdin", or "" for rows from a program
    unit         what rows are numbered by in messages
    columns      every variable that a template may use in any row; None if rows may differ (JSON lines, Python)
    row_key      the variable that ListOptions.row_key named
    reject_form  how to write rejects (see `Rejects`), None for rows from a program
    """

    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def columns(self) -> tuple[str, ...] | None: ...
    @property
    def row_key(self) -> str | None: ...
    @property
    def reject_form(self) -> RejectForm | None: ...

    def describe(self) -> str:
        """`UTF-8, comma: email name number amount`, for people."""

    def batches(self) -> AsyncIterator[list[Item]]:
        """Once only."""

    def spoil(self, row: ListRow, problem: str) -> BadRow:
        """A good row that the caller found bad (a name the template needs is missing, too big)."""


@asynccontextmanager
async def open_rows(source: Rows, options: ListOptions | None = None) -> AsyncIterator[RowSource]:
    """See the top of this file."""
    options = options or ListOptions()
    if not isinstance(source, Path) and not _is_stream(source):
        yield ProgramRows(program_rows(source), options)
        return
    file = ListFile(source, options)
    puller = Puller(threaded=_may_be_slow(source))
    try:
        await puller.run(file.open)
        yield FileRows(file, puller)
    finally:
        file.stop()
        puller.finish(file.close)


class FileRows:
    """A RowSource over a ListFile."""

    unit: Unit = "line"

    def __init__(self, file: ListFile, puller: Puller) -> None:
        self.title = file.title
        self.columns = None if file.columns is None else file.columns.variables
        self.row_key = file.row_key
        self.reject_form: RejectForm | None = file.reject_form()
        self._file = file
        self._puller = puller

    def describe(self) -> str:
        if self._file.layout.empty:
            return "empty"
        shape = f"{self._file.encoding.name}, {self._file.layout.name}"
        return f"{shape}: {' '.join(self.columns)}" if self._file.layout.format == "csv" and self.columns else shape

    async def batches(self) -> AsyncIterator[list[Item]]:
        while batch := await self._puller.run(self._file.read):
            yield batch

    def spoil(self, row: ListRow, problem: str) -> BadRow:
        return self._file.spoil(row, problem)


class ProgramRows:
    """A RowSource over what a program gave."""

    unit: Unit = "row"
    title = ""
    columns: tuple[str, ...] | None = None
    reject_form: RejectForm | None = None

    def __init__(self, rows: Iterable[PythonRow] | AsyncIterable[PythonRow], options: ListOptions) -> None:
        self.row_key = options.row_key
        self._rows = rows

    def describe(self) -> str:
        return "rows from a program"

    def batches(self) -> AsyncIterator[list[Item]]:
        return python_batches(self._rows, self.row_key)

    def spoil(self, row: ListRow, problem: str) -> BadRow:
        return BadRow(row.line, problem)


def _is_stream(source: object) -> TypeGuard[BinaryIO]:
    if isinstance(source, io.TextIOBase):
        raise InputError("rows is an open text file: open it in binary mode ('rb'), or give its Path.")
    return hasattr(source, "read")


def _may_be_slow(source: Path | BinaryIO) -> bool:
    """Everything but regular files; a missing one is found out at once, too."""
    if not isinstance(source, Path):
        return pipe_of(source) is not None
    try:
        return not stat.S_ISREG(source.stat().st_mode)
    except OSError:
        return False
