"""One recorder a process: everything that waits goes to Redis in one `record` call, then its senders are told.

Continuous group commit: while one call is in flight the next group gathers; one call in flight at a time (two bought
nothing under fsync). Sessions add outcomes and are told by callback; there is no task and no future a mail.
While Redis is away outcomes wait in memory, and the call that was in flight is sent again first: `record` may be sent
twice. Known limit: what waits at a stop that outlives `stop_timeout` is lost with the process (then a crash's promise).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import hiredis

from mailspool.contract.moves import Answer, Arg, Recorded, parse_recorded
from mailspool.contract.scripts import Script
from mailspool_worker.redis_wire import RedisWire
from mailspool_worker.runs import Item, Run

_GROUP_LIMIT = 500
"""Keeps one script call below about 5 ms of the server."""

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

    def __init__(self, connect: Connect, script: Script, boot_s: Callable[[], float]) -> None:
        self._connect = connect
        self._script = script
        self._boot_s = boot_s
        self._wire: RedisWire | None = None
        self._waiting: list[_Note] = []
        self._flying: list[_Note] = []
        self._asked_at_s = 0.0
        self._scheduled = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    async def open(self) -> None:
        self._wire = await self._dial()

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

    async def flushed(self) -> None:
        """Until everything added so far is recorded."""
        await self._empty.wait()

    async def close(self) -> None:
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
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
        wire = self._wire
        wire.send(command, lambda answer: self._told(wire, by_run, answer))

    def _told(self, wire: RedisWire, by_run: dict[Run, list[_Note]], answer: Answer) -> None:
        if isinstance(answer, Exception):
            # LOADING, NOSCRIPT after a restart, OOM, a full disk: none says that the outcomes are wrong. Keep them.
            wire.abort()
            return
        self._flying = []
        for (run, notes), recorded in zip(by_run.items(), parse_recorded(answer), strict=True):
            run.take_state(_run_state(recorded))
            refused = recorded.refused
            for note in notes:
                note.listener.recorded(note.item, recorded.kind != "GONE" and note.item.index not in refused)
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

    async def _reconnect(self) -> None:
        self._wire = await self._dial()
        if self._flying:
            self._send()
        else:
            self._flush()

    async def _dial(self) -> RedisWire:
        while True:
            wire = await self._connect(self._lost)
            try:
                await wire.ask("SCRIPT", "LOAD", self._script.text)
            except (OSError, TimeoutError, hiredis.HiredisError):
                wire.abort()
                await asyncio.sleep(0.1)  # it took a connection but not a command: a server that is starting
            else:
                if not wire.is_closed:
                    return wire


def _run_state(recorded: Recorded) -> str:
    return recorded.state if recorded.kind == "OK" else "LOST"
