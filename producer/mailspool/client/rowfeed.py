"""Checked rows become chunks: names the template needs, sizes, duplicates, identities, encoding. Streamed.

Called by spool.py for `send_batch` and `check`. The whole list is looked at before anything is decided: bad rows are
collected, and from the first one on nothing more is uploaded unless bad rows may be skipped. Memory grows only by what
duplicate detection keeps. Raises InputError with the list's problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mailspool.client.receipt import CheckReport
from mailspool.client.terms import BadRowPolicy, DuplicatePolicy
from mailspool.content.mime import Compiled
from mailspool.content.render import RenderError, missing_sentence, uses_row
from mailspool.contract.codec import encode_row, wire_values
from mailspool.contract.records import Row, Spec
from mailspool.contract.states import CHUNK_SIZE
from mailspool.errors import InputError
from mailspool.lists.duplicates import Duplicates
from mailspool.lists.problems import ListProblems
from mailspool.lists.reader import RowSource
from mailspool.lists.rejects import Rejects
from mailspool.lists.rows import BadRow, Item, ListOptions, ListRow


class Taker(Protocol):
    """Where chunks go: an Upload, or nowhere for a check."""

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None: ...


@dataclass
class Counted:
    """What became of the rows that were read."""

    read: int = 0
    good: int = 0
    bad: int = 0
    duplicates: int = 0
    rejects: Path | None = None
    rendered_bytes: int = 0
    """Of the good rows that were rendered: the first one, or all for a check."""


class Nowhere:
    """Where a check's chunks go."""

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        return


def list_options(given: ListOptions | None, row_key: str | None, spec: Spec) -> ListOptions:
    """How the list is read: as asked, and with what the template asks for."""
    options = given or ListOptions()
    if row_key is not None:
        options = replace(options, row_key=row_key)
    return replace(options, want_exact=True) if uses_row(spec) else options


def check_columns(source: RowSource, needed: frozenset[str]) -> None:
    """A file without a column that the template surely needs is refused as a whole."""
    columns = source.columns
    if columns is None:
        return
    for name in sorted(needed - {"email"}):
        if name not in columns:
            raise InputError(f"{missing_sentence(name, source.title or 'the list', columns)} Nothing was queued.")


class RowFeed:
    """One list through its checks. `content` renders the first row (every row, for a check) and bounds the others."""

    def __init__(
        self,
        source: RowSource,
        content: Compiled,
        needed: frozenset[str],
        *,
        duplicates: DuplicatePolicy,
        on_bad_row: BadRowPolicy,
        with_ids: bool,
        max_bytes: int,
        render_all: bool = False,
        rejects: Path | None = None,
    ) -> None:
        self.counted = Counted()
        self._source = source
        self._content = content
        self._needed = needed
        self._known_columns = self._columns_suffice()
        self._duplicates = Duplicates(duplicates, source.row_key)
        self._problems = ListProblems(source.title, source.unit, source.row_key)
        self._skip = on_bad_row == "skip"
        self._with_ids = with_ids
        self._max_bytes = max_bytes
        self._render_all = render_all
        self._rejects: Rejects | None = None
        self._rejects_named = rejects
        self._rendered = 0
        self._rows: list[bytes] = []
        self._ids: list[bytes] = []

    def report(self) -> CheckReport:
        """After `run`."""
        source, counted = self._source, self.counted
        return CheckReport(
            title=source.title,
            described=source.describe(),
            rows=counted.read,
            good=counted.good,
            bad=counted.bad,
            duplicates=counted.duplicates,
            total_bytes=counted.rendered_bytes,
        )

    async def run(self, taker: Taker) -> Counted:
        """All rows. Raises the list's InputError at the end; then nothing may be committed."""
        try:
            async for items in self._source.batches():
                for item in items:
                    self._take(item)
                    if len(self._rows) == CHUNK_SIZE:
                        await self._hand_over(taker)
            if self._rows:
                await self._hand_over(taker)
            refusal = self._problems.refusal(self.counted.read, skip_bad=self._skip)
            if refusal is not None:
                raise refusal
        except BaseException:
            if self._rejects is not None:
                self._rejects.discard()
            raise
        if self._rejects is not None:
            self.counted.rejects = self._rejects.finish()
        return self.counted

    def _take(self, item: Item) -> None:
        counted = self.counted
        counted.read += 1
        if isinstance(item, BadRow):
            self._bad(item)
            return
        self._rendered = 0
        values = item.values if item.exact is None else {**item.values, "row": item.exact}
        row = Row(item.recipient, values, item.to_name)
        problem = self._problem(item, row)
        if problem:
            self._bad(self._source.spoil(item, problem))
            return
        verdict = self._duplicates.see(item)
        if verdict.kind == "repeat":
            counted.duplicates += 1
        elif verdict.kind == "conflict":
            self._problems.add_conflict(item, verdict)
        else:
            counted.good += 1
            counted.rendered_bytes += self._rendered
            if not item.plain:
                row.values = wire_values(values)
            self._rows.append(encode_row(row))
            if self._with_ids:
                self._ids.append(item.identity)

    def _problem(self, item: ListRow, row: Row) -> str:
        """What is wrong with a row that its list found good; empty if nothing is."""
        if not self._known_columns:
            for name in self._needed:
                if name not in item.values:
                    return missing_sentence(name, "this row", item.values)
        if not self._render_all and self.counted.good and self._content.upper_bound(row) <= self._max_bytes:
            return ""
        try:
            size = self._content.render(row, self.counted.good + 1).size
        except RenderError as error:
            return str(error)
        self._rendered = size
        if size > self._max_bytes:
            return f"its mail has {size:,} bytes; max_message_bytes is {self._max_bytes:,}"
        return ""

    def _bad(self, bad: BadRow) -> None:
        self.counted.bad += 1
        self._problems.add(bad)
        form = self._source.reject_form
        if self._skip and form is not None and not self._render_all:  # a check leaves nothing behind
            if self._rejects is None:
                self._rejects = Rejects(form, self._rejects_named)
            self._rejects.add(bad)

    async def _hand_over(self, taker: Taker) -> None:
        rows, self._rows = self._rows, []
        ids, self._ids = self._ids, []
        if self._problems.conflicts or (self._problems.bad and not self._skip):
            return  # it will be refused: the rest is only read for its problems
        await taker.add(rows, ids if self._with_ids else None)

    def _columns_suffice(self) -> bool:
        """A file with columns either has all that the template needs, in every row, or is refused here as a whole."""
        columns = self._source.columns
        if columns is None:
            return False
        return all(name in columns or name == "email" for name in self._needed)
