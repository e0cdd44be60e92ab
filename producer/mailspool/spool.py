"""`Spool`: the client. Checks everything first, then queues with one commit; hands out `Batch` handles.

Needs only Redis (or nothing: the embedded server). Belongs to one event loop, safe for any number of its tasks; opens
at first use; notices a fork and opens afresh. Raises the errors of errors.py; delivery failures are never exceptions.
How rows are read is lists/, how they become a batch client/.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn

from mailspool.batch import Batch
from mailspool.client import browse
from mailspool.client.connection import Connection
from mailspool.client.rowfeed import BadRowPolicy, Counted, DuplicatePolicy, RowFeed
from mailspool.client.single import send_copies
from mailspool.client.specs import literal_spec, template_spec
from mailspool.client.terms import Terms
from mailspool.client.upload import Receipt, Upload
from mailspool.content.mime import Compiled
from mailspool.content.render import missing_sentence, needed_names, uses_row
from mailspool.contract.records import Spec
from mailspool.contract.states import Class, OnUncertain
from mailspool.errors import ConfigError, InputError
from mailspool.lists.reader import Rows, RowSource, open_rows
from mailspool.lists.rows import ListOptions
from mailspool.message import Message
from mailspool.settings import Settings
from mailspool.status import BatchStatus, SpoolStatus

Template = Message | EmailMessage | bytes
_PREVIEW_ID = "b000000000"
"""Stands for the batch's id while its mails are only checked: same length, so the same sizes."""


@dataclass(frozen=True)
class CheckReport:
    """What `check` found: every row was rendered, nothing was queued."""

    title: str
    described: str
    rows: int
    good: int
    bad: int
    duplicates: int
    total_bytes: int

    def to_dict(self) -> dict[str, object]:
        return dict(vars(self))


class Spool:
    """The way in. `Spool(redis_url=...)` overrides settings; no I/O happens before the first use."""

    def __init__(self, settings: Settings | None = None, /, **overrides: object) -> None:
        if settings is not None and overrides:
            raise ConfigError("give Spool either a Settings object or single settings, not both")
        self.settings = settings if settings is not None else Settings(**overrides)
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._pid = os.getpid()

    # -- life

    async def open(self) -> None:
        """Optional: it opens at first use. Raises SpoolUnavailable, SpoolUnsafe, ConfigError."""
        await self.connection()

    async def close(self) -> None:
        """Waits for wake-ups that are on their way; the last process out stops the embedded server."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            await connection.close()

    async def __aenter__(self) -> Spool:
        await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """For FastAPI, Starlette, Litestar: opens with the app and closes with it."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[None]:
            async with self:
                yield

        return opened()

    async def connection(self) -> Connection:
        """The open connection; for Batch, the inline Worker and the command line."""
        if self._pid != os.getpid():  # forked: the parent's sockets are not ours
            self._connection, self._opening, self._pid = None, asyncio.Lock(), os.getpid()
        async with self._opening:
            if self._connection is None:
                self._connection = await Connection.open(self.settings)
            return self._connection

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Spool cannot be pickled: make one in each process, and pass batch.id")

    # -- sending

    async def send(
        self,
        message: Template,
        *,
        to: str | Sequence[str] | None = None,
        values: Mapping[str, object] | None = None,
        class_: Class = "transactional",
        key: str | None = None,
        name: str | None = None,
        send_at: datetime | None = None,
        expires_after: timedelta | None = None,
        expires_at: datetime | None = None,
        on_uncertain: OnUncertain | None = None,
        relay: str | None = None,
        hold: bool = False,
    ) -> Batch:
        """One message; one copy for each receiver. Literal text, unless `values` are given: then it is a template."""
        spec, blobs, envelope = literal_spec(message, to, values, self.settings)
        terms = await self._terms(class_, key, name, send_at, expires_after, expires_at, on_uncertain, relay, hold)
        receipt = await send_copies(await self.connection(), terms, spec, blobs, envelope, self._content(spec, blobs))
        return await self._handle(receipt)

    async def send_batch(
        self,
        template: Template,
        rows: Rows,
        *,
        class_: Class = "bulk",
        on_bad_row: BadRowPolicy = "refuse",
        duplicates: DuplicatePolicy = "refuse",
        row_key: str | None = None,
        key: str | None = None,
        name: str | None = None,
        send_at: datetime | None = None,
        expires_after: timedelta | None = None,
        expires_at: datetime | None = None,
        on_uncertain: OnUncertain | None = None,
        relay: str | None = None,
        hold: bool = False,
        list_options: ListOptions | None = None,
        rejects: Path | None = None,
    ) -> Batch:
        """One message a row. All rows are checked, then one commit queues them; with `key` it is safe to run again."""
        spec, blobs = template_spec(template, self.settings)
        content, needed = self._content(spec, blobs), needed_names(spec)
        terms = await self._terms(class_, key, name, send_at, expires_after, expires_at, on_uncertain, relay, hold)
        options = _list_options(list_options, row_key, spec)
        async with open_rows(rows, options) as source:
            feed = self._feed(source, content, needed, duplicates, on_bad_row, with_ids=bool(key), rejects=rejects)
            upload = Upload(await self.connection(), terms, spec, blobs)
            try:
                await upload.begin(_size_of(rows))
                counted = await feed.run(upload)
                done = await upload.commit()
            except BaseException:
                await asyncio.shield(upload.abandon())
                raise
        connection = await self.connection()
        connection.feed(terms.class_)
        notices = [] if upload.created else terms.differing(upload.stored_terms)
        return await self._handle(
            Receipt(
                upload.batch,
                created=upload.created,
                added=done.added,
                skipped_known=done.known,
                skipped_bad=counted.bad,
                duplicates=counted.duplicates,
                rejects=counted.rejects,
                notices=tuple(notices),
            )
        )

    async def check(
        self,
        template: Template,
        rows: Rows,
        *,
        on_bad_row: BadRowPolicy = "refuse",
        duplicates: DuplicatePolicy = "refuse",
        row_key: str | None = None,
        list_options: ListOptions | None = None,
    ) -> CheckReport:
        """Everything that `send_batch` does except the commit, and every row is rendered. Needs no Redis."""
        spec, blobs = template_spec(template, self.settings)
        content, needed = self._content(spec, blobs), needed_names(spec)
        async with open_rows(rows, _list_options(list_options, row_key, spec)) as source:
            feed = self._feed(source, content, needed, duplicates, on_bad_row, with_ids=False, render_all=True)
            counted = await feed.run(_Nowhere())
            return _report(source, counted)

    # -- looking

    async def batch(self, ref: str) -> Batch:
        """By id, unique id prefix (>= 4 characters), "key:<key>" or "last". Raises NotFound."""
        connection = await self.connection()
        batch = await browse.find_batch(connection, ref)
        return await self._handle(Receipt(batch, created=False))

    async def batches(self, limit: int = 20) -> AsyncIterator[BatchStatus]:
        """The latest first."""
        connection = await self.connection()
        for batch in await browse.latest(connection, limit):
            if (status := await browse.status_of(connection, batch)) is not None:
                yield status

    async def status(self) -> SpoolStatus:
        """The whole spool: workers, relays, what waits, the latest batches."""
        return await browse.spool_status(await self.connection())

    # -- inside

    async def _handle(self, receipt: Receipt) -> Batch:
        return await Batch.load(self, receipt)

    async def _terms(
        self,
        class_: Class,
        key: str | None,
        name: str | None,
        send_at: datetime | None,
        expires_after: timedelta | None,
        expires_at: datetime | None,
        on_uncertain: OnUncertain | None,
        relay: str | None,
        hold: bool,
    ) -> Terms:
        connection = await self.connection()
        known = bool(key) and await connection.command("EXISTS", connection.keys.key(str(key))) == 1
        terms = Terms.make(
            self.settings,
            datetime.now().astimezone(),
            class_=class_,
            key=key,
            name=name,
            send_at=send_at,
            expires_after=expires_after,
            expires_at=expires_at,
            on_uncertain=on_uncertain,
            relay=relay,
            hold=hold,
            known_key=known,
        )
        await browse.check_relay(connection, terms.relay)
        browse.check_policy(connection, terms.on_uncertain)
        return terms

    @staticmethod
    def _content(spec: Spec, blobs: Mapping[str, bytes]) -> Compiled:
        return Compiled(spec, blobs, batch=_PREVIEW_ID, date_ms=0)

    def _feed(
        self,
        source: RowSource,
        content: Compiled,
        needed: frozenset[str],
        duplicates: DuplicatePolicy,
        on_bad_row: BadRowPolicy,
        *,
        with_ids: bool,
        render_all: bool = False,
        rejects: Path | None = None,
    ) -> RowFeed:
        _check_columns(source, needed)
        return RowFeed(
            source,
            content,
            needed,
            duplicates=duplicates,
            on_bad_row=on_bad_row,
            with_ids=with_ids,
            max_bytes=self.settings.max_message_bytes,
            render_all=render_all,
            rejects=rejects,
        )


class _Nowhere:
    """Where a check's chunks go."""

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        return


def _report(source: RowSource, counted: Counted) -> CheckReport:
    return CheckReport(
        source.title,
        source.describe(),
        counted.read,
        counted.good,
        counted.bad,
        counted.duplicates,
        counted.bytes_,
    )


def _list_options(given: ListOptions | None, row_key: str | None, spec: Spec) -> ListOptions:
    options = given or ListOptions()
    changes: dict[str, object] = {}
    if row_key is not None:
        changes["row_key"] = row_key
    if uses_row(spec):
        changes["want_exact"] = True
    if not changes:
        return options
    fields = {name: getattr(options, name) for name in ListOptions.__slots__}
    return ListOptions(**{**fields, **changes})


def _check_columns(source: RowSource, needed: frozenset[str]) -> None:
    """A file without a column that the template surely needs is refused as a whole."""
    columns = source.columns
    if columns is None:
        return
    for name in sorted(needed - {"email"}):
        if name not in columns:
            raise InputError(missing_sentence(name, source.title or "the list", columns))


def _size_of(rows: Rows) -> int:
    """A guess of what the rows take in Redis: their file, and as much again for identities and outcomes."""
    if isinstance(rows, Path) and rows.is_file():
        return 3 * rows.stat().st_size
    return 0
