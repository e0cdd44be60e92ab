"""`Spool`: the client. Checks everything first, then queues with one commit; hands out `Batch` handles.

Needs only Redis (or nothing: the embedded server). Belongs to one event loop, safe for any number of its tasks; opens
at first use; notices a fork and opens afresh. Raises the errors of errors.py; delivery failures are never exceptions.
How rows are read is lists/, how they become a batch client/.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn

from mailspool.batch import Batch
from mailspool.client import browse, pausing
from mailspool.client.connection import Connection
from mailspool.client.receipt import CheckReport
from mailspool.client.relays import RelayStatus, relay_statuses
from mailspool.client.terms import BadRowPolicy, DuplicatePolicy, Terms
from mailspool.client.why.report import Why
from mailspool.contract.states import Class, OnUncertain
from mailspool.errors import ConfigError
from mailspool.lists.rows import ListOptions, Rows
from mailspool.message import Message
from mailspool.settings import Settings, unknown_variables
from mailspool.status import BatchStatus, SpoolStatus

Template = Message | EmailMessage | bytes
_log = logging.getLogger("mailspool")
_left_by_a_fork: list[Connection] = []
"""The parent's connections, kept for ever: to close them here would take them out of the event loop that both share."""


class Spool:
    """The way in. `Spool(redis_url=...)` overrides settings; no I/O happens before the first use."""

    def __init__(self, settings: Settings | None = None, /, **overrides: object) -> None:
        if settings is not None and overrides:
            raise ConfigError("give Spool either a Settings object or single settings, not both.")
        if settings is not None and not isinstance(settings, Settings):
            raise ConfigError(
                'Spool takes a Settings object or single settings by name: Spool(redis_url="redis://...").'
            )
        self.settings = settings if settings is not None else Settings(**overrides)
        self._untold = () if settings is not None else (*unknown_variables(), *self.settings.warnings)
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._pid = os.getpid()

    # -- life

    async def open(self) -> None:
        """Optional: it opens at first use; needed after `close`. Raises SpoolUnavailable, SpoolUnsafe, ConfigError."""
        self._closed = False
        await self.connection()

    async def close(self) -> None:
        """Waits for wake-ups that are on their way; the last process out stops the embedded server."""
        self._notice_fork()
        self._closed = True
        async with self._opening:
            connection, self._connection = self._connection, None
            if connection is not None:
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
            # Now, and in a thread: the first request that sends should not wait for a quarter of a second of imports.
            for name in ("mailspool.client.sending", "mailspool.wake"):
                await asyncio.to_thread(importlib.import_module, name)
            async with self:
                yield

        return opened()

    async def connection(self) -> Connection:
        """The open connection; for Batch and the command line."""
        self._notice_fork()
        async with self._opening:
            if self._closed:  # a batch that outlives its Spool must not start the server again, for nobody to stop
                raise RuntimeError("this Spool is closed: use it and its batches before close(), or open() it again")
            for sentence in self._untold:
                _log.warning(sentence)
            self._untold = ()
            if self._connection is None:
                self._connection, self._loop = await Connection.open(self.settings), asyncio.get_running_loop()
            elif self._loop is not asyncio.get_running_loop():
                raise RuntimeError(
                    "this Spool is open in another event loop: use `async with Spool()` in each, or SyncSpool"
                )
            return self._connection

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            if self._connection is not None:
                _left_by_a_fork.append(self._connection)
            self._connection, self._opening, self._pid = None, asyncio.Lock(), os.getpid()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Spool cannot be pickled: make one in each process, and pass batch.id, then spool.batch(id)")

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
        from mailspool.client import sending  # here: jinja2 and readers of lists are not for who only looks

        terms = Terms.make(
            self.settings, class_=class_, key=key, name=name, send_at=send_at, expires_after=expires_after,
            expires_at=expires_at, on_uncertain=on_uncertain, relay=relay, hold=hold,
        )  # fmt: skip
        spec, blobs, envelope = sending.literal_spec(message, to, values, self.settings)
        copies = sending.copies_of(envelope, sending.compiled(spec, blobs), self.settings.max_message_bytes)
        with sending.before_the_commit(terms):
            connection = await self._accepting(terms)
            receipt = await sending.send_copies(connection, terms, spec, blobs, copies)
        return Batch(self, receipt)

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
        from mailspool.client import sending  # here: jinja2 and readers of lists are not for who only looks

        terms = Terms.make(
            self.settings, class_=class_, key=key, name=name, send_at=send_at, expires_after=expires_after,
            expires_at=expires_at, on_uncertain=on_uncertain, relay=relay, hold=hold,
        )  # fmt: skip
        feeding = sending.Feeding(self.settings, template, on_bad_row, duplicates, row_key, list_options)
        async with sending.open_rows(rows, feeding.options) as source:
            feed = feeding.feed(source, with_ids=key is not None, rejects=rejects)
            with sending.before_the_commit(terms):
                connection = await self._accepting(terms)
                async with sending.uploading(connection, terms, feeding.spec, feeding.blobs) as upload:
                    await upload.begin(sending.size_of(rows))
                    counted = await feed.run(upload)
                    done = await upload.commit()
        receipt = upload.receipt(done, counted.bad, counted.duplicates, counted.rejects)
        connection.feed(receipt.class_)
        return Batch(self, receipt)

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
        """What `send_batch` does, without commit and rejects file; every row is rendered. Needs no Redis."""
        from mailspool.client import sending  # here: jinja2 and readers of lists are not for who only looks

        feeding = sending.Feeding(self.settings, template, on_bad_row, duplicates, row_key, list_options)
        async with sending.open_rows(rows, feeding.options) as source:
            feed = feeding.feed(source, with_ids=False, render_all=True)
            await feed.run(sending.Nowhere())
            return feed.report()

    # -- looking

    async def batch(self, ref: str) -> Batch:
        """By id, unique id prefix (>= 4 characters), "key:<key>", "last" or "last:bulk". Raises NotFound."""
        return Batch(self, await browse.find_batch(await self.connection(), ref))

    async def batches(self, limit: int = 20) -> AsyncIterator[BatchStatus]:
        """The latest first; without any whose record cannot be read."""
        connection = await self.connection()
        async for status in browse.readable(connection, limit):
            yield status

    async def status(self) -> SpoolStatus:
        """The whole spool: workers, relays, what waits, the latest batches."""
        return await browse.spool_status(await self.connection())

    async def relays(self) -> tuple[RelayStatus, ...]:
        """Every relay that the settings, the workers or the records know, by name."""
        return await relay_statuses(await self.connection())

    async def why(self, ref: str | None = None) -> Why:
        """Why a batch, a message, mail to a domain or a relay's mail has not gone yet, and until when; None: all of it.

        `ref`: as of `batch`, a message's id, a domain, an address, a relay's name. Raises NotFound.
        """
        from mailspool.client.why.reading import why_of  # here: its sentences are many, and only this asks for them

        return await why_of(await self.connection(), ref)

    # -- the panic button

    async def pause(self, class_: Class | None = None) -> int:
        """Nothing more leaves, of this class or of the whole spool, until `resume`. Answers how many mails wait."""
        return await pausing.pause(await self.connection(), class_)

    async def resume(self, class_: Class | None = None) -> int:
        """The end of that pause; another one (a class's, a relay's) stays. Answers how many mails waited."""
        return await pausing.resume(await self.connection(), class_)

    async def pause_relay(self, name: str) -> bool:
        """Nothing more leaves by this relay. False: it was paused already. Raises NotFound."""
        return await pausing.pause_relay(await self.connection(), name)

    async def resume_relay(self, name: str) -> bool:
        """The end of that pause; one that its workers have closed looks again at once. False: nobody had paused it."""
        return await pausing.resume_relay(await self.connection(), name)

    # -- inside

    async def _accepting(self, terms: Terms) -> Connection:
        """The connection, if the spool takes a batch on these terms."""
        connection = await self.connection()
        over = terms.over(datetime.now().astimezone())
        if over is not None and not await browse.is_committed(connection, terms.key):
            raise over
        await browse.check_relay(connection, terms.relay)
        browse.check_policy(connection, terms.on_uncertain)
        return connection
