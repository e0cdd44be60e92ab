"""Running a command's coroutine, and what signals do to it.

The first SIGINT, SIGTERM or SIGHUP cancels the coroutine, which puts in order what it began; the second ends the
process at once. A signal that was ignored when we started (nohup, a shell's background job) stays ignored, except
SIGTERM. Raises Interrupted where the coroutine ends by that cancellation without words of its own.
redis-py waits by asyncio.wait_for, which before Python 3.12 loses a cancellation that comes together with the answer:
so whoever loops around Redis calls `obey`, and work that may wait for long is done by `stoppable`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

from mailspool.cli.failures import Interrupted

T = TypeVar("T")
_ONCE_MORE_S: Final = 1.0
"""Longer than giving up an upload takes; a cancellation in the middle of that would leave it half done."""
_SHOW_CURSOR: Final = "\x1b[?25h"


class Signals:
    """Which signal came, and what to do and say if a second one does."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last_words = "Stopped at once."
        self.last_chore: Callable[[], None] = lambda: None

    @property
    def exit_code(self) -> int:
        """The shell's convention, 128 + the signal: 130 for Ctrl-C."""
        return 128 + (self.first or signal.SIGINT)

    def came(self, number: int, cancel: Callable[[], object]) -> None:
        if self.first is None:
            self.first = number
            cancel()
            return
        self.last_chore()
        end = _SHOW_CURSOR if sys.stderr.isatty() else ""
        sys.stderr.write(f"{end}\n{self.last_words}\n")
        sys.stderr.flush()
        os._exit(self.exit_code)


def run(main: Callable[[Signals], Coroutine[object, object, T]], *, fast: bool = False) -> T:
    """`fast`: on uvloop, for commands that send mail themselves."""
    signals = Signals()
    with asyncio.Runner(loop_factory=_fast_loop if fast and sys.platform != "win32" else None) as runner:
        try:
            return runner.run(_watched(main, signals))
        except asyncio.CancelledError:
            if signals.first is None:
                raise
            raise Interrupted("Interrupted.", signals.exit_code) from None


async def _watched(main: Callable[[Signals], Coroutine[object, object, T]], signals: Signals) -> T:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None and sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, signals.came, number, task.cancel)
    return await main(signals)


def _fast_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def obey() -> None:
    """Raise the cancellation of this task that somebody on the way has lost."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def stoppable(work: Coroutine[object, object, T]) -> T:
    """`work`, cancelled with this task, and once more every second for as long as it does not listen."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_ONCE_MORE_S)
        if not task.cancelled():
            task.exception()  # looked at: the cancellation is what counts
        raise
