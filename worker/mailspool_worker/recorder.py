"""One recorder a process: everything that waits goes to Redis in one `record` call, then its senders are told.

Continuous group commit: while one call is in flight the next group gathers; one call in flight at a time (two bought
nothing under fsync). Sessions add outcomes and are told by callback; there is no task and no future a mail.
While Redis is away outcomes wait in memory, and the call that was in flight is sent again first: `record` may be sent
twice. An answer that is owed for 10 s means a connection that nobody answers any more: a new one is made.
What waits is bounded by what is on the wire: no session starts a body before its last outcome is recorded. What still
waits at a stop that outlives `stop_timeout` goes into the journal (`left`, journal.py).
A user or password that Redis refuses is told in an error line, once a minute, and tried again every second; `open`
raises RedisRefusesError then. Otherwise raises nothing; `on_failed` is told what ends it for good (a Redis that is no
longer ours).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import hiredis

from mailspool.contract.moves import Answer, Arg, Recorded, parse_recorded
from mailspool.contract.scripts import Script
from mailspool.contract.states import CLAIMED
from mailspool.redis_server.tasks import end
from mailspool_worker.events import Events
from mailspool_worker.journal import Unrecorded
from mailspool_worker.redis_wire import RedisRefusesError, RedisWire, refuse
from mailspool_worker.runs import Item, Run

_GROUP_LIMIT = 500
"""Keeps one script call below about 5 ms of the server."""
_SILENT_S = 10.0
"""As redis-py's connections (redis_server/pool.py): a server that is frozen or out of reach sends no end of its own."""
_AFTER_ERROR_S = 0.5
"""A server that answers with errors (memory, disk) is asked again, but not as fast as it can answer."""

_AFTER_REFUSAL_S = 1.0
_REFUSED_EVERY_S = 60.0
"""A person must do something: often enough to be seen, and not so often that the log holds nothing else."""

_CLAIM = CLAIMED.encode()
_PART = "recorder"
_KEPT = frozenset(("OK", "LOST"))

Connect = Callable[[Callable[[], None]], Awaitable[RedisWire]]


class Listener(Protocol):
    """Who is told: a session, or job.py for messages that never reached one."""

    def recorded(self, item: Item, accepted: bool) -> None: ...


class _Note:
    __slots__ = ("item", "listener", "value")

    def __init__(self, item: Item, value: bytes, listener: Listener) -> None:
        self.item = item
        self.value = value
        self.listener = listener


class Recorder:
    """`connect` opens the recorder's own wire and waits out an outage; `script` is the record move."""

    def __init__(self, connect: Connect, script: Script, boot_s: Callable[[], float], events: Events) -> None:
        self.on_lost: Callable[[], None] = _nobody
        """Called when the connection went: whatever happened to Redis, somebody should look."""
        self.on_failed: Callable[[BaseException], None] = _nobody_knows
        self._connect = connect
        self._script = script
        self._boot_s = boot_s
        self._events = events
        self._wire: RedisWire | None = None
        self._waiting: list[_Note] = []
        self._flying: list[_Note] = []
        self._asked_at_s = 0.0
        self._sent_at_s = 0.0
        self._refused = False
        self._told_refused_s = float("-inf")
        self._scheduled = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    async def open(self) -> None:
        """Raises RedisRefusesError: a worker that may not record had better not start."""
        while self._wire is None:
            self._wire = await self._dialled()

    def add(self, item: Item, value: bytes, listener: Listener) -> None:
        """One outcome (or claim, or b"" to take back a claim); goes out with the next group."""
        self._waiting.append(_Note(item, value, listener))
        if self._empty.is_set():
            self._empty.clear()
        if not self._scheduled and not self._flying:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    @property
    def unanswered_s(self) -> float:
        """For how long Redis has owed an answer; 0 when it owes none."""
        return self._boot_s() - self._asked_at_s if self._flying else 0.0

    @property
    def unrecorded(self) -> int:
        return len(self._waiting) + len(self._flying)

    def left(self) -> list[Unrecorded]:
        """What Redis has not confirmed, in order. Not the claims: nothing was sent under them."""
        notes = (note for note in (*self._flying, *self._waiting) if note.value[:1] != _CLAIM)
        return [Unrecorded(*note.item.run.ref, note.item.index, note.value) for note in notes]

    async def flushed(self) -> None:
        """Until everything added so far is recorded."""
        await self._empty.wait()

    def check(self) -> None:
        """Once a second: gives up a connection on which an answer is owed for too long."""
        if self._flying and self._wire is not None and self._boot_s() - self._sent_at_s > _SILENT_S:
            self._wire.abort()

    async def close(self) -> None:
        self._closed = True
        if self._reconnecting is not None:
            await end((self._reconnecting,))
        if self._wire is not None:
            self._wire.abort()

    def _flush(self) -> None:
        self._scheduled = False
        if self._flying or not self._waiting:
            return
        self._flying, self._waiting = self._waiting[:_GROUP_LIMIT], self._waiting[_GROUP_LIMIT:]
        self._asked_at_s = self._boot_s()
        self._send()

    def _send(self) -> None:
        if self._wire is None:
            return  # the reconnection sends what flies
        by_run: dict[Run, list[_Note]] = {}
        for note in self._flying:
            by_run.setdefault(note.item.run, []).append(note)
        command: list[Arg] = ["EVALSHA", self._script.sha, 0, 0]
        for run, notes in by_run.items():
            command += run.ref
            command.append(len(notes))
            for note in notes:
                command.append(note.item.index)
                command.append(note.value)
        self._sent_at_s = self._boot_s()
        wire = self._wire
        wire.send(command, lambda answer: self._told(wire, by_run, answer))

    def _told(self, wire: RedisWire, by_run: dict[Run, list[_Note]], answer: Answer) -> None:
        if isinstance(answer, Exception):
            # LOADING, NOSCRIPT after a restart, OOM, a full disk: none says that the outcomes are wrong. Keep them.
            self._refused = True
            try:
                refuse(answer)
            except RedisRefusesError as error:
                self._tell_refused(error)
            self._events.redis_away(str(answer).partition(" ")[0][:30], _PART)
            wire.abort()
            return
        self._events.redis_answers(_PART)
        answers = parse_recorded(answer)
        self._flying = []
        for (run, notes), recorded in zip(by_run.items(), answers, strict=True):
            run.take_state(_run_state(recorded))
            refused, kept = recorded.refused, recorded.kind in _KEPT
            if recorded.kind == "BROKEN":
                self._events.chunk_unreadable(
                    run.batch, run.k, f"its outcomes cannot be recorded: {recorded.state[:200]}"
                )
            for note in notes:
                try:
                    note.listener.recorded(note.item, kept and note.item.index not in refused)
                except Exception as error:  # noqa: BLE001 - a bug in one session must not keep the others waiting
                    self._events.bug("recorded", error)
        if self._waiting:
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)
        elif not self._flying:
            self._empty.set()

    def _lost(self) -> None:
        if self._wire is None:
            return  # lost while dialling: `_dial` sees it itself
        self._wire = None
        if not self._closed and (self._reconnecting is None or self._reconnecting.done()):
            self._reconnecting = self._loop.create_task(self._reconnect(), name="recorder reconnects")
            self._reconnecting.add_done_callback(self._reconnected)
            self.on_lost()

    def _reconnected(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.bug("recorder reconnects", error)
            self.on_failed(error)

    async def _reconnect(self) -> None:
        if self._refused:
            self._refused = False
            await asyncio.sleep(_AFTER_ERROR_S)
        while self._wire is None:
            try:
                self._wire = await self._dialled()
            except RedisRefusesError as error:
                self._tell_refused(error)
                self._events.redis_away("refused", _PART)
                await asyncio.sleep(_AFTER_REFUSAL_S)
        if self._flying:
            self._send()  # its answer shows whether Redis is back
        else:
            self._events.redis_answers(_PART)
            self._flush()

    async def _dialled(self) -> RedisWire | None:
        """None, after a moment: it took a connection but not a command, a server that is starting."""
        wire = await self._connect(self._lost)
        try:
            await wire.ask("SCRIPT", "LOAD", self._script.text)
        except (OSError, hiredis.HiredisError) as error:
            wire.abort()
            refuse(error)
        else:
            if not wire.is_closed:
                return wire
        await asyncio.sleep(0.1)
        return None

    def _tell_refused(self, error: RedisRefusesError) -> None:
        if self._boot_s() - self._told_refused_s >= _REFUSED_EVERY_S:
            self._told_refused_s = self._boot_s()
            self._events.redis_refused(str(error), self.unrecorded)


def _nobody() -> None: ...


def _nobody_knows(_error: BaseException) -> None: ...


def _run_state(recorded: Recorded) -> str:
    return recorded.state if recorded.kind == "OK" else "LOST"
