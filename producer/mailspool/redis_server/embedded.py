"""The embedded Valkey of one folder: started by the first process that needs it, stopped by the last one that leaves.

Called by link.py, in a thread: every method blocks. Three locks in the folder (see locks.py; nobody ever unlocks):

    door.lock    exclusive while somebody starts, adopts or stops the server
    users.lock   shared by every process that uses it; whoever can have it exclusively is the last one
    server.lock  inherited by the server itself: while it is held, no second server starts on this folder

enter: door; answers? adopt it (also one orphaned by kill -9), else start one; take presence. leave: door; give up
presence; last one? SHUTDOWN, and wait for its end. ensure: after a death, the same as enter, presence kept. A forked
child holds nothing of its parent's and enters on its own.

Raises ConfigError (binary, folder: see folder.py), SpoolFull (no room to start) and SpoolUnavailable (does not start
or answer).

Known limit: a server that another container started on a shared folder can be used but not ended from here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailspool.errors import SpoolFull, SpoolUnavailable
from mailspool.redis_server import folder as folders
from mailspool.redis_server import process as processes
from mailspool.redis_server.address import human_path
from mailspool.redis_server.locks import Lock, try_lock, wait_for_lock
from mailspool.redis_server.process import Fsync, Health, Record

log = logging.getLogger(__name__)

# A server with fsync ends when the disk is full; started again with less room than this it would end at once.
ROOM_TO_START_BYTES = 64 << 20
POLL_S = 0.005  # a start takes 20-50 ms
SLOW_POLL_S = 0.2  # looking for the holder of a lock walks through /proc


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is waited for. Tests are less patient."""

    door_s: float = 60.0  # others in front of us start, load and stop under the door lock
    ping_s: float = 2.0  # PING takes less than a millisecond, 1.5 s while a slow disk syncs
    start_s: float = 20.0  # until a new server answers anything; loading is then waited for without a limit
    unreachable_s: float = 20.0  # a disk that hangs for 10 s is no reason to end the server
    leftover_s: float = 2.0  # a dead server's child, which rewrites a file that nobody will use
    terminate_s: float = 5.0  # from SIGTERM to SIGKILL; a frozen process does not hear the first
    stop_s: float = 30.0  # SHUTDOWN flushes and syncs
    last_s: float = 0.02  # a process just being spawned holds copies of our locks until its exec


class EmbeddedServer:
    """One process' use of the server in `data_dir`. Safe from several threads; one object a process is enough."""

    def __init__(
        self, data_dir: Path, *, binary: str = "auto", fsync: Fsync = "always", patience: Patience | None = None
    ) -> None:
        self._data_dir = data_dir
        self._binary = binary
        self._fsync: Fsync = fsync
        self._patience = patience or Patience()
        self._presence: Lock | None = None
        self._record: Record | None = None
        self._turn = threading.Lock()
        self._turn_pid = os.getpid()
        self._given_up = threading.Event()

    @property
    def folder(self) -> Path:
        return self._data_dir.expanduser().resolve()

    @property
    def socket_path(self) -> Path:
        """Where it listens once it runs."""
        return folders.socket_path(self.folder)

    @property
    def present(self) -> bool:
        """Does this process hold the server up?"""
        return self._presence is not None and self._presence.held

    def enter(self) -> Path:
        """Start or adopt the server, wait until it has loaded, take presence; returns its socket. May be repeated."""
        with self._one_thread():
            return self._ensure() if self.present else self._enter()

    def ensure(self) -> Path:
        """After its death: start it again. Harmless while it lives; enters if this process has not entered yet."""
        return self.enter()

    def leave(self) -> None:
        """Give up presence; the last one stops the server and waits until it is gone. May be repeated."""
        with self._one_thread():
            if not self.present or self._presence is None:
                return
            try:
                door = wait_for_lock(self.folder / folders.DOOR, limit_s=self._patience.door_s)
            except FileNotFoundError:  # somebody removed the folder: nobody can find this server again
                if self._record is not None and processes.runs(self._record):
                    processes.send_signal([self._record.pid], signal.SIGTERM)
                return
            finally:
                self._presence.close()
            if door is None:
                log.warning("%s: left without looking whether it was the last one", human_path(self.folder))
                return
            with door:
                last = wait_for_lock(self.folder / folders.USERS, limit_s=self._patience.last_s)
                if last is not None:
                    with last:
                        self._stop()

    def give_up(self) -> None:
        """From another thread: end a wait inside `enter` or `ensure`, for good (SpoolUnavailable)."""
        self._given_up.set()

    @contextlib.contextmanager
    def _one_thread(self) -> Iterator[None]:
        if self._turn_pid != os.getpid():  # forked, perhaps while another thread of the parent was inside
            self._turn, self._turn_pid = threading.Lock(), os.getpid()
        with self._turn:
            yield

    def _enter(self) -> Path:
        folder = folders.prepare(self._data_dir)
        socket = folders.socket_path(folder)
        with self._door(folder):
            folders.check_not_moved(folder)
            alone = try_lock(folder / folders.USERS)
            if alone is not None:
                alone.close()
            # Presence first: a server that we start is never without a user.
            presence = wait_for_lock(folder / folders.USERS, shared=True, limit_s=1.0)
            if presence is None:  # exclusive is held under the door lock only
                raise SpoolUnavailable(f"{human_path(folder)}: {folders.USERS} is locked by another program.")
            try:
                self._bring_up(folder, socket, keep_fsync=alone is None)
                self._record = processes.read_record(folder)
            except BaseException:
                presence.close()
                raise
            self._presence = presence
        return socket

    def _ensure(self) -> Path:
        folder, socket = self.folder, self.socket_path
        if processes.health(socket, timeout_s=self._patience.ping_s) is not Health.UP:
            with self._door(folder):
                folders.check_not_moved(folder)
                self._bring_up(folder, socket, keep_fsync=True)
                self._record = processes.read_record(folder)
        return socket

    @contextlib.contextmanager
    def _door(self, folder: Path) -> Iterator[None]:
        try:
            door = wait_for_lock(folder / folders.DOOR, limit_s=self._patience.door_s, pause=self._pause)
        except SpoolUnavailable:  # given up; it is an OSError, too
            raise
        except OSError as exc:
            raise folders.os_refusal(folder, exc) from exc
        if door is None:
            raise SpoolUnavailable(
                f"{human_path(folder)}: another process has been opening or closing this spool for"
                f" {self._patience.door_s:.0f} s.",
            )
        with door:
            yield

    def _pause(self, pause_s: float) -> None:
        if self._given_up.wait(pause_s):
            raise SpoolUnavailable(f"{human_path(self.folder)}: given up while its server was starting.")

    def _bring_up(self, folder: Path, socket: Path, *, keep_fsync: bool) -> None:
        """With the door held: an answering server, kept at least as safely as we want it."""
        silent_since = time.monotonic()
        while True:
            state = processes.health(socket, timeout_s=self._patience.ping_s)
            if state is Health.UP:
                self._raise_fsync(folder, socket)
                return
            silent_s = time.monotonic() - silent_since
            if state is Health.LOADING:
                silent_since = time.monotonic()
            else:
                free = try_lock(folder / folders.SERVER)
                if free is not None:
                    with free:
                        started = self._start(folder, socket, free, keep_fsync=keep_fsync)
                    self._wait_until_ready(folder, socket, started)
                    return
                self._end_if_unreachable(folder, silent_s)
            self._pause(POLL_S if silent_s < 1 else SLOW_POLL_S)

    def _raise_fsync(self, folder: Path, socket: Path) -> None:
        record = processes.read_record(folder)
        wanted = self._fsync
        try:
            now = processes.raise_fsync(socket, wanted, timeout_s=self._patience.unreachable_s)
        except OSError as exc:
            raise SpoolUnavailable(f"{human_path(folder)}: its server stopped answering: {exc}") from exc
        if record is not None and record.fsync != now:
            # Written for whoever starts it again after a death: what we asked for must hold then, too.
            fd = os.open(folder / folders.SERVER, os.O_RDWR | os.O_CLOEXEC)
            try:
                processes.write_record(fd, Record(pid=record.pid, fsync=now, binary=record.binary))
            finally:
                os.close(fd)

    def _start(self, folder: Path, socket: Path, lock: Lock, *, keep_fsync: bool) -> processes.Started:
        binary = processes.find_binary(self._binary)
        room = folders.disk_room(folder)
        if room.free_bytes < ROOM_TO_START_BYTES:
            raise SpoolFull(
                f"the disk of {human_path(folder)} has {room.free_bytes >> 20} MiB left; its server needs"
                f" {ROOM_TO_START_BYTES >> 20} MiB to start. Nothing is lost: make room and try again."
            )
        record = processes.read_record(folder)
        fsync = self._fsync
        if keep_fsync and record is not None:  # others use it, and one of them may have asked for more
            fsync = max(fsync, record.fsync, key=processes.FSYNC_ORDER.index)
        try:
            folders.prepare_socket_folder(folder, socket)
            return processes.spawn(binary, folder, socket, fsync, lock.fd)
        except OSError as exc:
            raise folders.os_refusal(folder, exc) from exc

    def _wait_until_ready(self, folder: Path, socket: Path, started: processes.Started) -> None:
        process = started.process
        silent_since = time.monotonic()
        try:
            while process.poll() is None:
                state = processes.health(socket, timeout_s=self._patience.ping_s)
                if state is Health.UP:
                    processes.reap_when_done(process)
                    return
                if state is Health.LOADING:
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > self._patience.start_s:
                    break
                self._pause(POLL_S)
        except (SpoolUnavailable, KeyboardInterrupt):  # given up: it loads on, and the next command adopts or stops it
            processes.reap_when_done(process)
            raise
        process.kill()
        process.wait()
        words = processes.last_words(folder, started.log_from) or f"it ended with status {process.returncode}"
        raise SpoolUnavailable(
            f"the embedded server of {human_path(folder)} does not start: {words}",
            hint=f"See {human_path(folder / folders.LOG)}",
        )

    def _end_if_unreachable(self, folder: Path, silent_s: float) -> None:
        """Somebody holds server.lock and does not answer: wait, then end it by its pid; what it acknowledged stays."""
        if silent_s <= self._patience.leftover_s:
            return
        pids = processes.holders(folder)
        record = processes.read_record(folder)
        leftover = bool(pids) and (record is None or record.pid not in pids)
        if not leftover and silent_s <= self._patience.unreachable_s:
            return
        if not pids:
            raise SpoolUnavailable(
                f"{human_path(folder)}: a server holds this folder, does not answer, and is not visible from here"
                " (another container?). Several containers need a redis_url.",
            )
        log.warning("%s: its server has not answered for %.0f s and is ended", human_path(folder), silent_s)
        for number in (signal.SIGTERM, signal.SIGKILL):
            processes.send_signal(pids, number)
            free = wait_for_lock(folder / folders.SERVER, limit_s=self._patience.terminate_s, pause=self._pause)
            if free is not None:
                free.close()
                return

    def _stop(self) -> None:
        """With the door and the users' lock held: nobody uses it. An answering server flushes, syncs and ends."""
        folder, socket = self.folder, self.socket_path
        if not self._gone(folder, socket):
            processes.shut_down(socket, timeout_s=self._patience.ping_s)
            end = time.monotonic() + self._patience.stop_s
            while not self._gone(folder, socket):
                if time.monotonic() > end:
                    log.warning("%s: its server is still stopping; the next command adopts it", human_path(folder))
                    return
                time.sleep(POLL_S)
        socket.unlink(missing_ok=True)  # one that was killed leaves its socket behind
        if socket.parent != folder:
            with contextlib.suppress(OSError):  # not there, or somebody put a file into it
                socket.parent.rmdir()

    @staticmethod
    def _gone(folder: Path, socket: Path) -> bool:
        lock = try_lock(folder / folders.SERVER)
        if lock is None:
            return False
        lock.close()
        return processes.health(socket, timeout_s=0.1) is Health.GONE
