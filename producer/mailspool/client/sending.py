"""What becomes mail: the sending half of `Spool`, with all that it loads (jinja2, readers of lists, uploads).

Called by spool.py, which loads it at the first mail: whoever looks at a batch, holds or cancels one needs none of it.
Raises InputError; what uploads raise is told in upload.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from email.message import EmailMessage
from pathlib import Path

from mailspool.client.rowfeed import Nowhere as Nowhere
from mailspool.client.rowfeed import RowFeed, check_columns, list_options
from mailspool.client.single import copies_of as copies_of
from mailspool.client.single import send_copies as send_copies
from mailspool.client.specs import literal_spec as literal_spec
from mailspool.client.specs import template_spec
from mailspool.client.terms import BadRowPolicy, DuplicatePolicy, check_policies
from mailspool.client.upload import before_the_commit as before_the_commit
from mailspool.client.upload import uploading as uploading
from mailspool.content.mime import Compiled
from mailspool.content.render import needed_names
from mailspool.contract.records import Spec
from mailspool.lists.reader import RowSource
from mailspool.lists.reader import open_rows as open_rows
from mailspool.lists.rows import ListOptions, Rows
from mailspool.message import Message
from mailspool.settings import Settings

_PREVIEW_ID = "b000000000"
"""Stands for the batch's id while its mails are only checked: same length, so the same sizes."""
_ROW_GUESS = 300
"""Bytes that a row of a list in memory takes in Redis, before any of them was seen."""


class Feeding:
    """What a list becomes mails by; checked when it is made."""

    def __init__(
        self,
        settings: Settings,
        template: Message | EmailMessage | bytes,
        on_bad_row: BadRowPolicy,
        duplicates: DuplicatePolicy,
        row_key: str | None,
        options: ListOptions | None,
    ) -> None:
        check_policies(on_bad_row, duplicates, row_key)
        self.spec, self.blobs = template_spec(template, settings)
        self.options = list_options(options, row_key, self.spec)
        self._content = compiled(self.spec, self.blobs)
        self._needed = needed_names(self.spec)
        self._on_bad_row: BadRowPolicy = on_bad_row
        self._duplicates: DuplicatePolicy = duplicates
        self._max_bytes = settings.max_message_bytes

    def feed(
        self, source: RowSource, *, with_ids: bool, render_all: bool = False, rejects: Path | None = None
    ) -> RowFeed:
        check_columns(source, self._needed)
        return RowFeed(
            source,
            self._content,
            self._needed,
            duplicates=self._duplicates,
            on_bad_row=self._on_bad_row,
            with_ids=with_ids,
            max_bytes=self._max_bytes,
            render_all=render_all,
            rejects=rejects,
        )


def compiled(spec: Spec, blobs: Mapping[str, bytes]) -> Compiled:
    return Compiled(spec, blobs, batch=_PREVIEW_ID, date_ms=0)


def size_of(rows: Rows) -> int:
    """A guess of what the rows take in Redis: their file, and as much again for identities and outcomes."""
    if isinstance(rows, Path) and rows.is_file():
        return 3 * rows.stat().st_size
    return _ROW_GUESS * len(rows) if isinstance(rows, Sized) else 0
