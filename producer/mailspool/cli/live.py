"""Following a batch: one live line on stderr, a JSON line a second, or only words about what keeps it waiting.

Used by `watch` and by `send --watch` and `--deliver`. An outage of Redis is waited out: the mail goes on without us.
Raises WaitTimeout, and what the spool raises for a batch that is gone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mailspool.cli import screens
from mailspool.cli.interrupt import obey
from mailspool.cli.paint import Line, Span, line
from mailspool.cli.say import Say, colours
from mailspool.errors import SpoolUnavailable, WaitTimeout

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.contract.states import State
    from mailspool.status import BatchStatus

_DRAWN_EVERY_S: Final = 0.2
_TOLD_EVERY_S: Final = 1.0
_QUIETLY_EVERY_S: Final = 0.2
_WAITED_S: Final = 3.0
"""What keeps a batch for a shorter time is not worth a line in a log; it may be over when a worker has just started."""
_SOON_S: Final = 0.5
"""What is over by then needs no line."""
_REPLIES_READ: Final = 20_000
"""Enough to know the kinds of replies; a million failed mails are not read for one line."""


class LiveLine:
    """A line that is drawn over itself; nothing at all where stderr is no terminal."""

    def __init__(self, say: Say) -> None:
        self.live = say.shows_progress
        if self.live:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=sys.stderr, no_color=not colours(sys.stderr), highlight=False)
            self._console = console
            self._live = Live(console=console, transient=True, auto_refresh=False)

    @property
    def columns(self) -> int:
        return self._console.width if self.live else 80

    def show(self, *lines: Line) -> None:
        if not self.live:
            return
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        for number, spans in enumerate(lines):
            text.append("\n" if number else "")
            for part in spans:
                text.append(part.text, style="" if part.style == "plain" else part.style)
        self._live.update(text, refresh=True)

    def __enter__(self) -> LiveLine:
        if self.live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._live.stop()


@asynccontextmanager
async def patience(say: Say, words: str) -> AsyncIterator[None]:
    """While something takes long: a line that says what, and for how long already."""
    if not say.shows_progress:
        yield
        return
    ticking = asyncio.create_task(_tick(say, words))
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])


async def _tick(say: Say, words: str) -> None:
    started_s = time.monotonic()
    await asyncio.sleep(_SOON_S)
    with LiveLine(say) as live:
        while True:
            live.show(line(Span(f"{words}   {time.monotonic() - started_s:.0f} s", "dim")))
            await asyncio.sleep(_DRAWN_EVERY_S)


async def follow(say: Say, batch: Batch, timeout: timedelta | None, *, tell: bool = False) -> BatchStatus:
    """Until the batch has come to rest. `tell`: every status is an answer of its own (`watch --json`)."""
    ends_s = time.monotonic() + timeout.total_seconds() if timeout is not None else float("inf")
    follower = _Follower(say, batch, tell and say.json)
    with LiveLine(say) as live:
        pause_s = _DRAWN_EVERY_S if live.live else _TOLD_EVERY_S if follower.tells else _QUIETLY_EVERY_S
        while True:
            status = await follower.look(live)
            obey()
            if status is not None and status.done:
                return status
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                raise _over(batch, status, timeout)
            await asyncio.sleep(min(pause_s, left_s))


def _over(batch: Batch, status: BatchStatus | None, timeout: timedelta | None) -> WaitTimeout:
    from mailspool.cli.when import spelled

    after = spelled(timeout.total_seconds()) if timeout is not None else ""
    if status is None:
        return WaitTimeout(f"{batch.id}: no answer after {after}, still going", status=None)
    ended = status.total - status.queued - status.deferred
    why = f" It waits: {status.waiting_for.rstrip('.')}." if status.waiting_for else ""
    return WaitTimeout(
        f"{batch.id}: {ended:,} of {status.total:,} after {after}, still going.{why}",
        status=status,
        hint=screens.probe_of(status) or f"mailspool watch {batch.id}",
    )


class _Follower:
    """One batch's statuses, shown as they come."""

    def __init__(self, say: Say, batch: Batch, tells: bool) -> None:
        self.tells = tells
        self._say = say
        self._batch = batch
        self._waits_for: str | None = None
        self._waits_since_s = 0.0
        self._told: set[str] = set()
        self._deferred = -1
        self._why: Counter[str] = Counter()

    async def look(self, live: LiveLine) -> BatchStatus | None:
        """None while Redis does not answer."""
        try:
            status = await self._batch.status()
        except SpoolUnavailable as error:
            self._once("spool_unavailable", f"{error.message} Waiting for it; Ctrl-C is safe.")
            live.show(line(Span(error.message, "yellow")))
            return None
        if self.tells:
            self._say.object(status.to_dict())
        self._notice(status, live)
        if live.live:
            live.show(*await self._drawn(status, live.columns))
        return status

    async def _drawn(self, status: BatchStatus, columns: int) -> list[Line]:
        lines = [screens.live_line(status, columns)]
        if probe := screens.probe_of(status):
            lines.append(line(Span(f"look at the relay:  {probe}", "dim")))
        if status.queued == 0 and status.deferred:
            if status.deferred != self._deferred:
                self._deferred = status.deferred
                self._why = (await reply_groups(self._batch, status, ("deferred",)))["deferred"]
            lines.append(line(Span(screens.waiting_line(status, self._why, datetime.now(UTC)), "dim")))
        return lines

    def _notice(self, status: BatchStatus, live: LiveLine) -> None:
        """Where nothing is drawn: what keeps the batch, each sentence once."""
        now_s = time.monotonic()
        if status.waiting_for != self._waits_for:
            self._waits_for, self._waits_since_s = status.waiting_for, now_s
        if self._waits_for and not live.live and now_s - self._waits_since_s >= _WAITED_S:
            look = f"   Look:  {probe}" if (probe := screens.probe_of(status)) else ""
            self._once("waiting", f"{status.id} waits: {self._waits_for}{look}")

    def _once(self, code: str, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._say.notice(code, text)


async def reply_groups(
    batch: Batch, status: BatchStatus, states: tuple[State, ...] = ("deferred", "failed", "expired", "uncertain")
) -> Mapping[str, Counter[str]]:
    """Which replies stand behind the counters. Bounded: see _REPLIES_READ."""
    groups: dict[str, Counter[str]] = {state: Counter() for state in states}
    wanted = tuple(state for state in states if getattr(status, state))
    if not wanted:
        return groups
    read = 0
    async for message in batch.messages(wanted):
        groups[message.state][screens.reply_kind(message)] += 1
        read += 1
        if read >= _REPLIES_READ:
            break
    return groups
