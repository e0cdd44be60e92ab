"""The rows that were skipped, written so that a person can repair and send them: `customers.rejected.csv`.

CSV lists: their own columns, delimiter and `line,problem`; a cell that a spreadsheet would run as a formula gets a
' in front, which is taken away when the file is read again. JSON lines: the same line with `line` and `problem`.
A row whose cells do not fit its header stays that way, so that it cannot pass by accident. Written to a temporary
file (0600, it holds addresses) and named at the end. A file of an earlier run with other content is somebody's
repair work: the next free name is taken, `customers.rejected.2.csv`.
Raises InputError (73) if the place cannot be written. Rows from a program have no rejects file.
"""

from __future__ import annotations

import csv
import filecmp
import os
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TextIO

import msgspec

from mailspool.errors import InputError
from mailspool.lists.rows import BadRow
from mailspool.lists.table import REJECT_COLUMNS, guarded

EX_CANTCREAT = 73
"""sysexits.h: an output file cannot be made."""


@dataclass(frozen=True, slots=True)
class RejectForm:
    """How one list's rejects look; `headers` are empty for JSON lines."""

    path: Path
    headers: tuple[str, ...] = ()
    delimiter: str = ","


class Rejects:
    """Nothing is written before the first `add`. Ends with `finish` or `discard`."""

    def __init__(self, form: RejectForm, named: Path | None = None) -> None:
        self._form = form
        self._named = named
        self._target = named or form.path
        self._comes_back = form.headers[-2:] == REJECT_COLUMNS
        self._headers = form.headers[:-2] if self._comes_back else form.headers
        self._file: TextIO | None = None
        self._temporary = Path()

    def add(self, bad: BadRow) -> None:
        try:
            self._write(self._file or self._open(), bad)
        except OSError as error:
            self.discard()
            raise self._refusal(error) from error

    def finish(self) -> Path | None:
        """Gives the file its name; None if no row was rejected."""
        if self._file is None:
            return None
        try:
            self._file.close()
            self._file = None
            return self._settle()
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise self._refusal(error) from error

    def discard(self) -> None:
        """The list is refused after all: nothing remains. May be called at any time."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> TextIO:
        fd, name = tempfile.mkstemp(prefix=f".{self._target.name}.", dir=self._target.parent)
        self._temporary = Path(name)
        # The BOM is for spreadsheets, which otherwise read UTF-8 in their own code page.
        self._file = open(fd, "w", encoding="utf-8-sig" if self._headers else "utf-8", newline="")  # noqa: SIM115
        if self._headers:
            self._csv(self._file, (*self._headers, *REJECT_COLUMNS))
        return self._file

    def _write(self, file: TextIO, bad: BadRow) -> None:
        if not self._headers:
            file.write(_json_line(bad) + "\n")
            return
        cells = bad.cells[:-2] if self._comes_back and len(bad.cells) == len(self._form.headers) else bad.cells
        self._csv(file, (*map(guarded, cells), str(bad.line), guarded(bad.problem)))

    def _csv(self, file: TextIO, cells: tuple[str, ...]) -> None:
        csv.writer(file, delimiter=self._form.delimiter).writerow(cells)

    def _settle(self) -> Path:
        target = self._target
        for number in count(2):
            if self._named or not target.exists():
                os.replace(self._temporary, target)
                return target
            if filecmp.cmp(self._temporary, target, shallow=False):
                self._temporary.unlink()
                return target
            target = self._target.with_name(f"{self._target.stem}.{number}{self._target.suffix}")
        raise AssertionError("count() never ends")

    def _refusal(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write {self._target} for the rejected rows: {error.strerror}. Name another place: --rejects FILE.",
            hint="--rejects FILE",
            code="cannot_write",
            exit_code=EX_CANTCREAT,
        )


def _json_line(bad: BadRow) -> str:
    text = "".join(bad.cells)
    note = {"line": bad.line, "problem": bad.problem}
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        found = None
    return msgspec.json.encode({**found, **note} if isinstance(found, dict) else {**note, "text": text}).decode()
