"""The event loop behind the synchronous twins: one daemon thread per process, and the threads that wait for it.

Called by sync.py. Work runs in the loop; rows are pulled in the calling thread, because database cursors and Django's
querysets belong to it. Ctrl-C there cancels the work and waits until it is undone. A forked child notices its new pid
and starts a loop of its own. Raises what the work raises, and RuntimeError when called from inside the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from functools import partial
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from mailspool.lists.rows import BATCH_ROWS, PythonRow, Rows

T = TypeVar("T")
_UNDONE_WITHIN_S = 10.0
"""How long an interrupted call waits until the loop has given its upload up."""


class Errands:
    """What the loop asks of the thread that waits for it; None: the work is done."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.ask = self._queue.put

    def serve(self) -> None:
        while (errand := self._queue.get()) is not None:
            errand()

    def refuse(self, limit_s: float) -> None:
        """Wait for the end without doing anything more."""
        try:
            while self._queue.get(timeout=limit_s) is not None:
                pass
        except Empty:
            return


class _Runner:
    """The loop of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailspool", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, T], errands: Errands) -> T:
        """Runs it there and does its errands here; Ctrl-C here cancels it there."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("SyncSpool was called from inside its own event loop; use Spool there")
        started: list[asyncio.Task[T]] = []

        def start() -> None:
            started.append(self._loop.create_task(work))
            started[0].add_done_callback(lambda _: errands.ask(None))

        self._loop.call_soon_threadsafe(start)
        try:
            errands.serve()
        except BaseException:
            self._loop.call_soon_threadsafe(lambda: started[0].cancel())
            errands.refuse(_UNDONE_WITHIN_S)
            raise
        return started[0].result()

    def later(self, work: Coroutine[object, object, None]) -> None:
        """Without waiting: whoever calls may be a generator at the program's end."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(work))


_lock = threading.Lock()
_runner: _Runner | None = None
_left_by_a_fork: list[_Runner] = []
"""Kept for ever: collecting the parent's loop here would close what both processes share."""


def _this_process() -> _Runner:
    global _runner
    with _lock:
        if _runner is None or _runner.pid != os.getpid():  # a fork that Python was not told of
            _runner = _Runner()
        return _runner


def _after_fork() -> None:
    """The parent's lock may have been held at the fork by a thread that the child does not have."""
    global _lock, _runner
    if _runner is not None:
        _left_by_a_fork.append(_runner)
    _lock, _runner = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


def run(work: Coroutine[object, object, T], errands: Errands | None = None) -> T:
    """The result of this work, done in the loop of this process while the calling thread waits."""
    return _this_process().run(work, errands or Errands())


def iterate(items: AsyncIterator[T], at_once: int = 1) -> Iterator[T]:
    """The items, up to `at_once` of them fetched together; left early, the source is closed."""

    async def following() -> list[T]:
        found: list[T] = []
        async for item in items:
            found.append(item)
            if len(found) == at_once:
                break
        return found

    try:
        while found := run(following()):
            yield from found
    finally:
        if isinstance(items, AsyncGenerator):
            _this_process().later(items.aclose())


class _Pulled:
    """Rows that the calling thread iterates, for the loop."""

    def __init__(self, rows: Iterable[PythonRow], errands: Errands) -> None:
        self._rows = rows
        self._iterator: Iterator[PythonRow] | None = None
        self._errands = errands

    async def __aiter__(self) -> AsyncIterator[PythonRow]:
        loop = asyncio.get_running_loop()
        while True:
            answer: asyncio.Future[list[PythonRow]] = loop.create_future()
            self._errands.ask(partial(self._pull, loop, answer))
            rows = await answer
            if not rows:
                return
            for row in rows:
                yield row

    def _pull(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[PythonRow]]) -> None:
        rows: list[PythonRow] = []
        error: Exception | None = None
        try:
            self._iterator = self._iterator or iter(self._rows)
            rows = list(islice(self._iterator, BATCH_ROWS))
        except Exception as raised:  # noqa: BLE001 - the caller's own iterator: raised again where its rows are awaited
            error = raised

        def tell() -> None:
            if not answer.done():
                answer.set_exception(error) if error is not None else answer.set_result(rows)

        loop.call_soon_threadsafe(tell)


def pulled(rows: Rows, errands: Errands) -> Rows:
    """What runs foreign code when it is iterated is iterated in the calling thread; lists and tuples do not."""
    if isinstance(rows, Path | AsyncIterable | Mapping | str | bytes | list | tuple) or not isinstance(rows, Iterable):
        return rows
    return rows if hasattr(rows, "read") else _Pulled(rows, errands)
