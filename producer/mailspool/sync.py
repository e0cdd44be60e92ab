"""`SyncSpool` and `SyncBatch`: the same names without await, for scripts, Django, Flask, Celery tasks.

One event loop in one daemon thread per process carries them all (client/loop_thread.py): safe from many threads, and
after a fork. tests/producer/test_sync.py compares the signatures with the async ones.
Known limit: a program that ends without `close()` leaves an embedded server behind until the next command stops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn

from mailspool.batch import Batch, Resolved, Retryable
from mailspool.client.loop_thread import Errands, iterate, pulled, run
from mailspool.client.receipt import CheckReport
from mailspool.client.relays import RelayStatus
from mailspool.client.terms import BadRowPolicy, DuplicatePolicy
from mailspool.client.why import Why
from mailspool.contract.states import Class, OnUncertain, State
from mailspool.conversation import Conversation
from mailspool.lists.rows import ListOptions, Rows
from mailspool.message import Message
from mailspool.settings import Settings
from mailspool.spool import Spool
from mailspool.status import BatchStatus, MessageStatus, SpoolStatus

Template = Message | EmailMessage | bytes
_MESSAGES_AT_ONCE = 100
"""Fetched from the loop in one go: a chunk is there as a whole anyway."""


class SyncSpool:
    """`Spool` without await."""

    def __init__(self, settings: Settings | None = None, /, **overrides: object) -> None:
        self._spool = Spool(settings, **overrides)

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return self._spool.settings

    def open(self) -> None:
        """Optional: it opens at first use."""
        run(self._spool.open())

    def close(self) -> None:
        """Waits for wake-ups that are on their way."""
        run(self._spool.close())

    def __enter__(self) -> SyncSpool:
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a SyncSpool cannot be pickled: make one in each process, and pass batch.id, then spool.batch(id)"
        )

    def send(
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
    ) -> SyncBatch:
        """See Spool.send."""
        return SyncBatch(
            run(
                self._spool.send(
                    message,
                    to=to,
                    values=values,
                    class_=class_,
                    key=key,
                    name=name,
                    send_at=send_at,
                    expires_after=expires_after,
                    expires_at=expires_at,
                    on_uncertain=on_uncertain,
                    relay=relay,
                    hold=hold,
                )
            )
        )

    def send_batch(
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
    ) -> SyncBatch:
        """See Spool.send_batch."""
        errands = Errands()
        return SyncBatch(
            run(
                self._spool.send_batch(
                    template,
                    pulled(rows, errands),
                    class_=class_,
                    on_bad_row=on_bad_row,
                    duplicates=duplicates,
                    row_key=row_key,
                    key=key,
                    name=name,
                    send_at=send_at,
                    expires_after=expires_after,
                    expires_at=expires_at,
                    on_uncertain=on_uncertain,
                    relay=relay,
                    hold=hold,
                    list_options=list_options,
                    rejects=rejects,
                ),
                errands,
            )
        )

    def check(
        self,
        template: Template,
        rows: Rows,
        *,
        on_bad_row: BadRowPolicy = "refuse",
        duplicates: DuplicatePolicy = "refuse",
        row_key: str | None = None,
        list_options: ListOptions | None = None,
    ) -> CheckReport:
        """See Spool.check."""
        errands = Errands()
        return run(
            self._spool.check(
                template,
                pulled(rows, errands),
                on_bad_row=on_bad_row,
                duplicates=duplicates,
                row_key=row_key,
                list_options=list_options,
            ),
            errands,
        )

    def batch(self, ref: str) -> SyncBatch:
        """See Spool.batch."""
        return SyncBatch(run(self._spool.batch(ref)))

    def batches(self, limit: int = 20) -> Iterator[BatchStatus]:
        """See Spool.batches."""
        return iterate(self._spool.batches(limit))

    def status(self) -> SpoolStatus:
        """See Spool.status."""
        return run(self._spool.status())

    def relays(self) -> tuple[RelayStatus, ...]:
        """See Spool.relays."""
        return run(self._spool.relays())

    def why(self, ref: str | None = None) -> Why:
        """See Spool.why."""
        return run(self._spool.why(ref))

    def pause(self, class_: Class | None = None) -> int:
        """See Spool.pause."""
        return run(self._spool.pause(class_))

    def resume(self, class_: Class | None = None) -> int:
        """See Spool.resume."""
        return run(self._spool.resume(class_))

    def pause_relay(self, name: str) -> bool:
        """See Spool.pause_relay."""
        return run(self._spool.pause_relay(name))

    def resume_relay(self, name: str) -> bool:
        """See Spool.resume_relay."""
        return run(self._spool.resume_relay(name))


class SyncBatch:
    """`Batch` without await."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.id = batch.id
        self.name = batch.name
        self.key = batch.key
        self.class_ = batch.class_
        self.created = batch.created
        self.added = batch.added
        self.skipped_known = batch.skipped_known
        self.skipped_bad = batch.skipped_bad
        self.duplicates = batch.duplicates
        self.rejects = batch.rejects
        self.notices = batch.notices

    def __repr__(self) -> str:
        return repr(self._batch).replace("<Batch", "<SyncBatch")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SyncBatch cannot be pickled: pass batch.id, then spool.batch(id)")

    def status(self) -> BatchStatus:
        """See Batch.status."""
        return run(self._batch.status())

    def wait(self, timeout: float | None = None) -> BatchStatus:
        """See Batch.wait."""
        return run(self._batch.wait(timeout))

    def progress(self, every: float = 1.0) -> Iterator[BatchStatus]:
        """See Batch.progress."""
        return iterate(self._batch.progress(every))

    def messages(
        self,
        state: State | tuple[State, ...] | None = None,
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> Iterator[MessageStatus]:
        """See Batch.messages."""
        return iterate(self._batch.messages(state, recipient=recipient, domain=domain, reply=reply), _MESSAGES_AT_ONCE)

    def message(self, row: int) -> MessageStatus:
        """See Batch.message."""
        return run(self._batch.message(row))

    def conversation(self, row: int) -> tuple[Conversation, ...]:
        """See Batch.conversation."""
        return run(self._batch.conversation(row))

    def failed(self) -> Iterator[MessageStatus]:
        """See Batch.failed."""
        return iterate(self._batch.failed(), _MESSAGES_AT_ONCE)

    def unsent(self) -> Iterator[MessageStatus]:
        """See Batch.unsent."""
        return iterate(self._batch.unsent(), _MESSAGES_AT_ONCE)

    def retry(
        self,
        state: Retryable = "deferred",
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> int:
        """See Batch.retry."""
        return run(self._batch.retry(state, recipient=recipient, domain=domain, reply=reply))

    def resolve(
        self, as_: Resolved, *, recipient: str | None = None, domain: str | None = None, reply: str | None = None
    ) -> int:
        """See Batch.resolve."""
        return run(self._batch.resolve(as_, recipient=recipient, domain=domain, reply=reply))

    def hold(self) -> int:
        """See Batch.hold."""
        return run(self._batch.hold())

    def release(self) -> int:
        """See Batch.release."""
        return run(self._batch.release())

    def cancel(self) -> int:
        """See Batch.cancel."""
        return run(self._batch.cancel())
