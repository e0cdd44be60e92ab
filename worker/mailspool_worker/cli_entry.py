"""`mailspool worker`: one process, until a signal, until nothing is left for now, or until batches are done.

Called by the command line by name. Answers the exit code: 0 (also for SIGTERM and SIGINT, which drain), 1 (done but not
ok), 75 (`timeout`), 130 (a second signal). Raises MailspoolError for what the command line turns into words and codes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from redis.exceptions import ResponseError

from mailspool import __version__
from mailspool.contract.states import CLASSES, Class
from mailspool.redis_server.link import Link
from mailspool.redis_server.tasks import end
from mailspool.settings import Settings, unknown_variables
from mailspool.status import batch_status
from mailspool_worker.app import Engine
from mailspool_worker.events import Events
from mailspool_worker.logs import configure

_LOOK_EVERY_S = 0.2
_ASK_EVERY = 5
"""Looks between two questions of `--until-done`: it is a second."""
_SHOWN = 5
"""Batches that `--drain` names when it goes."""
_QUIET_LOOKS = 7
"""`--drain` goes when it has seen nothing to do this often in a row.

A settle and its feed are two moves; and a batch that was queued before any worker lived has been put off for a second
by `feed`: it must have come up again.
"""


def run_worker(
    settings: Settings,
    *,
    class_: Class | None = None,
    drain: bool = False,
    until_done: Sequence[str] | None = None,
    timeout_s: float | None = None,
) -> int:
    """`until_done`: batch ids, or an empty list for every batch there is. Blocks; uses uvloop where it is installed."""
    Engine.refuse_without_relay(settings)
    factory = _loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_Process(settings, class_, drain, until_done, timeout_s).run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


_GC_THRESHOLD = (10_000, 20, 20)
"""A mail makes objects and frees them; cycles are few. Python's own 700 spends 4 % of a worker on looking for them."""


class _Process:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        class_: Class | None,
        drain: bool,
        until_done: Sequence[str] | None,
        timeout_s: float | None,
    ) -> None:
        self._settings = settings
        self._classes: tuple[Class, ...] = (class_,) if class_ else CLASSES
        self._drain = drain
        self._until_done = until_done
        self._timeout_s = timeout_s
        self._signals = 0
        self._well: dict[str, bool] = {}
        """Batches of `--until-done` that were seen at their end: is all well?"""
        self._engine: Engine | None = None
        self._signalled = asyncio.Event()

    async def run(self) -> int:
        settings = self._settings
        events = Events(*configure(settings.log_level, settings.log_format))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)
        link = Link(settings)
        await link.open()
        try:
            engine = Engine(settings, link, events, classes=self._classes)
            if not await self._opened(engine):
                events.stopped(exit=0, sent=0, failed=0)
                return 0
            self._engine = engine
            try:
                self._greet(engine, events)
                gc.collect()
                gc.freeze()  # what was loaded stays: no collection need look at it again
                gc.set_threshold(*_GC_THRESHOLD)
                code = await self._until_over(engine, events)
            finally:
                await engine.close()
            events.stopped(exit=code, sent=events.counters.sent, failed=events.counters.failed)
            return code
        finally:
            await link.close()

    async def _opened(self, engine: Engine) -> bool:
        """False: a signal came first. While Redis is away an opening takes as long as that."""
        opening = asyncio.create_task(engine.open(), name="open")
        signalled = asyncio.create_task(self._signalled.wait(), name="signal")
        try:
            await asyncio.wait((opening, signalled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end((opening, signalled))
        if opening.cancelled():
            return False
        opening.result()
        return True

    def _signal(self) -> None:
        self._signals += 1
        self._signalled.set()
        if self._signals > 1:
            if self._engine is not None:
                self._engine.keep_journal()  # what was sent and is not recorded is not sent again, at least
            sys.stderr.write("stopped at once: mails that were on the wire may be sent again\n")
            os._exit(130)

    def _greet(self, engine: Engine, events: Events) -> None:
        events.started(
            version=__version__,
            pid=os.getpid(),
            spool=engine.link.name,
            durability=engine.link.promise,
            relays=[relay.url_shown for relay in self._settings.relay_table().values()],
            classes=list(self._classes),
        )
        for sentence in (*unknown_variables(), *self._settings.warnings):
            events.warning("settings", words=sentence)

    async def _until_over(self, engine: Engine, events: Events) -> int:
        ends_s = time.monotonic() + self._timeout_s if self._timeout_s is not None else float("inf")
        quiet = looks = 0
        while not self._signalled.is_set():
            if engine.failed is not None:
                raise engine.failed
            if self._drain and engine.feeder.broken is not None:
                raise engine.feeder.broken  # it would wait for ever
            if self._drain and engine.ticked.is_set():
                quiet = quiet + 1 if await self._nothing_to_do(engine) else 0
                if quiet >= _QUIET_LOOKS:
                    await self._say_what_stays(engine, events)
                    return 0
            looks += 1
            if self._until_done is not None and looks % _ASK_EVERY == 1:
                code = await self._all_done(engine)
                if code is not None:
                    return code
            if time.monotonic() > ends_s:
                return 75
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._signalled.wait()
            except TimeoutError:
                continue
        return 0

    async def _nothing_to_do(self, engine: Engine) -> bool:
        for class_ in self._classes:
            if (await engine.moves.drained(class_)).busy:
                return False
        return True

    async def _say_what_stays(self, engine: Engine, events: Events) -> None:
        """A line for each batch that is not done, the first few: what it waits for. Words, for whoever reads the mail
        that cron sends; a log line where JSON is asked for; nothing for `--quiet`."""
        if self._settings.log_level == "error":
            return
        as_json = self._settings.log_format == "json"
        redis, keys = engine.link.redis, engine.moves.keys
        names = _texts(await redis.zrange(keys.deadline, 0, -1))
        for name in names[:_SHOWN]:
            try:
                seen = await engine.moves.status(name)
                status = None if seen is None else batch_status(name, seen)
            except (ResponseError, ValueError, KeyError) as error:  # no record of ours; the others are
                if as_json:
                    events.drained(batch=name, waiting=None, why=f"it cannot be read ({type(error).__name__})")
                else:
                    sys.stderr.write(f"drained; {name} cannot be read ({type(error).__name__}): mailspool verify\n")
                continue
            if status is not None:
                open_ = status.queued + status.deferred
                why = status.waiting_for or "for a later try"
                if as_json:
                    events.drained(batch=name, waiting=open_, why=why)
                else:
                    sys.stderr.write(f"drained; {name}: {open_:,} wait: {why}\n")
        if more := max(0, len(names) - _SHOWN):
            if as_json:
                events.drained(more_batches=more)
            else:
                sys.stderr.write(f"drained; {more:,} more batches wait\n")

    async def _all_done(self, engine: Engine) -> int | None:
        """None while something is open; else 0, or 1 if something failed, expired, is uncertain or cannot be read.

        What is done is not asked again; and of all batches there are, first those that expire soonest: mostly one
        question is enough.
        """
        redis, keys = engine.link.redis, engine.moves.keys
        names: Sequence[str] = self._until_done or ()
        if not names:
            for part in (await redis.zrange(keys.deadline, 0, _SHOWN - 1), await redis.zrange(keys.batches, 0, -1)):
                names = _texts(part)
                if await self._one_is_open(engine, names):
                    return None
        elif await self._one_is_open(engine, names):
            return None
        return 0 if all(self._well.get(name, True) for name in names) else 1

    async def _one_is_open(self, engine: Engine, names: Sequence[str]) -> bool:
        for batch in names:
            if batch not in self._well:
                well = await self._ended(engine, batch)
                if well is None:
                    return True
                self._well[batch] = well
        return False

    @staticmethod
    async def _ended(engine: Engine, batch: str) -> bool | None:
        """None: it is not done. Else: is all well?"""
        try:
            seen = await engine.moves.status(batch)
            if seen is None:
                return True
            if seen.batch["state"] not in ("done", "closed", "purging"):
                return None
            return not any(int(seen.batch.get(f"n_{bad}", 0)) for bad in ("failed", "expired", "uncertain"))
        except (ResponseError, ValueError, KeyError) as error:  # it will never be done
            engine.events.set_aside(batch, f"it cannot be read ({type(error).__name__})")
            return False


def _texts(names: Sequence[bytes]) -> list[str]:
    return [name.decode("utf-8", "backslashreplace") for name in names]
