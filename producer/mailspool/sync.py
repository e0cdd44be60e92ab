"""`SyncSpool` and `SyncBatch`: the same names without await, for scripts, Django, Flask, Celery tasks.

One event loop in one daemon thread per process carries them all: safe from many threads, and after a fork (the child
notices its new pid and starts a loop and a connection of its own). tests/producer/test_sync.py compares the signatures
with the async ones.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn, TypeVar

from mailspool.batch import Batch, Retryable
from mailspool.client.rowfeed import BadRowPolicy, DuplicatePolicy
from mailspool.contract.states import Class, OnUncertain, State
from mailspool.lists.reader import Rows
from mailspool.lists.rows import ListOptions
from mailspool.message import Message
from mailspool.settings import Settings
from mailspool.spool import CheckReport, Spool
from mailspool.status import BatchStatus, MessageStatus, SpoolStatus

T = TypeVar("T")
Template = Message | EmailMessage | bytes


class _Runner:
    """The loop of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailspool", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Runs it there; Ctrl-C here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


_lock = threading.Lock()
_runner: _Runner | None = None


def _run(work: Coroutine[object, object, T]) -> T:
    global _runner
    with _lock:
        if _runner is None or _runner.pid != os.getpid():
            _runner = _Runner()
        runner = _runner
    return runner.run(work)


def _after_fork() -> None:
    """The parent's lock may have been held at the fork by a thread that the child does not have."""
    global _lock, _runner
    _lock, _runner = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


class _Done:
    """The end of an async iterator."""


_DONE = _Done()


def _iterate(items: AsyncIterator[T]) -> Iterator[T]:
    async def following() -> T | _Done:
        try:
            return await anext(items)
        except StopAsyncIteration:
            return _DONE

    while not isinstance(item := _run(following()), _Done):
        yield item


class SyncSpool:
    """`Spool` without await."""

    def __init__(self, settings: Settings | None = None, /, **overrides: object) -> None:
        self._spool = _run(_made(settings, overrides))

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return self._spool.settings

    def open(self) -> None:
        """Optional: it opens at first use."""
        _run(self._spool.open())

    def close(self) -> None:
        """Waits for wake-ups that are on their way."""
        _run(self._spool.close())

    def __enter__(self) -> SyncSpool:
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SyncSpool cannot be pickled: make one in each process, and pass batch.id")

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
            _run(
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
        return SyncBatch(
            _run(
                self._spool.send_batch(
                    template,
                    rows,
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
                )
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
        return _run(
            self._spool.check(
                template,
                rows,
                on_bad_row=on_bad_row,
                duplicates=duplicates,
                row_key=row_key,
                list_options=list_options,
            )
        )

    def batch(self, ref: str) -> SyncBatch:
        """See Spool.batch."""
        return SyncBatch(_run(self._spool.batch(ref)))

    def batches(self, limit: int = 20) -> Iterator[BatchStatus]:
        """See Spool.batches."""
        return _iterate(self._spool.batches(limit))

    def status(self) -> SpoolStatus:
        """See Spool.status."""
        return _run(self._spool.status())


async def _made(settings: Settings | None, overrides: dict[str, object]) -> Spool:
    return Spool(settings, **overrides)


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
        return _run(self._batch.status())

    def wait(self, timeout: float | None = None) -> BatchStatus:
        """See Batch.wait."""
        return _run(self._batch.wait(timeout))

    def progress(self, every: float = 1.0) -> Iterator[BatchStatus]:
        """See Batch.progress."""
        return _iterate(self._batch.progress(every))

    def messages(
        self,
        state: State | tuple[State, ...] | None = None,
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> Iterator[MessageStatus]:
        """See Batch.messages."""
        return _iterate(self._batch.messages(state, recipient=recipient, domain=domain, reply=reply))

    def message(self, row: int) -> MessageStatus:
        """See Batch.message."""
        return _run(self._batch.message(row))

    def failed(self) -> Iterator[MessageStatus]:
        """See Batch.failed."""
        return _iterate(self._batch.failed())

    def unsent(self) -> Iterator[MessageStatus]:
        """See Batch.unsent."""
        return _iterate(self._batch.unsent())

    def retry(
        self,
        state: Retryable = "deferred",
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> int:
        """See Batch.retry."""
        return _run(self._batch.retry(state, recipient=recipient, domain=domain, reply=reply))

    def hold(self) -> int:
        """See Batch.hold."""
        return _run(self._batch.hold())

    def release(self) -> int:
        """See Batch.release."""
        return _run(self._batch.release())

    def cancel(self) -> int:
        """See Batch.cancel."""
        return _run(self._batch.cancel())
