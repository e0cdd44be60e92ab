"""File locks for the embedded server: flock, ended by closing only, and safe against fork.

Called by embedded.py. A lock belongs to an open file description, so the kernel frees it at kill -9. LOCK_UN is never
used: it would also drop the lock of every process that shares the description. For the same reason a forked child
closes its copies at once (a parent's lock would otherwise live as long as its child). A program started by exec loses
them too: Python opens files close-on-exec.

Known limit: a fork made by C code around Python's hooks keeps the copies until it ends or execs.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

FIRST_PAUSE_S = 0.005  # most holders need 1-50 ms
LONGEST_PAUSE_S = 0.05  # a waiter costs 20 system calls a second at most

# Held while a lock is opened and entered in `_held`, and during every fork: so a child knows every copy it got.
_guard = threading.RLock()
_held: set[Lock] = set()


class Lock:
    """One flock on a file description of its own. `close()` is the only way to end it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def held(self) -> bool:
        """False once closed, and in a forked child, which holds nothing of its parent's."""
        return self.fd >= 0

    def close(self) -> None:
        with _guard:
            if self.held:
                os.close(self.fd)
                self.fd = -1
            _held.discard(self)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def try_lock(path: Path, *, shared: bool = False) -> Lock | None:
    """The lock, or None if somebody else has it. Always through a fresh description. Raises OSError."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _guard:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        lock = Lock(fd)
        _held.add(lock)
        return lock


def wait_for_lock(
    path: Path, *, shared: bool = False, limit_s: float, pause: Callable[[float], None] = time.sleep
) -> Lock | None:
    """The lock, or None if it could not be had within `limit_s`. `pause` may raise to end the wait."""
    end = time.monotonic() + limit_s
    pause_s = FIRST_PAUSE_S
    while True:
        lock = try_lock(path, shared=shared)
        if lock is not None or time.monotonic() >= end:
            return lock
        pause(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _after_fork_in_child() -> None:
    for lock in tuple(_held):
        os.close(lock.fd)
        lock.fd = -1
    _held.clear()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_after_fork_in_child)
