"""File locks: kept by the description, freed by closing and by death, never by a forked child."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mailspool.redis_server.locks import Lock, try_lock, wait_for_lock


def must(lock: Lock | None) -> Lock:
    assert lock is not None
    return lock


def in_child(work: Callable[[], object]) -> int:
    """Run a callable in a forked child; its return value is the exit code."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = int(bool(work()))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def closes_and_is_refused(lock: Lock, path: Path) -> bool:
    lock.close()
    return try_lock(path) is None


def test_an_exclusive_lock_excludes_and_closing_frees(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first = must(try_lock(path))
    assert try_lock(path) is None
    assert try_lock(path, shared=True) is None
    first.close()
    first.close()
    assert not first.held
    with must(try_lock(path)):
        assert try_lock(path) is None
    must(try_lock(path)).close()


def test_shared_locks_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with must(try_lock(path, shared=True)), must(try_lock(path, shared=True)):
        assert try_lock(path) is None
    must(try_lock(path)).close()


def test_a_lock_file_is_ours_alone_and_never_a_link(tmp_path: Path) -> None:
    must(try_lock(tmp_path / "a.lock")).close()
    assert (tmp_path / "a.lock").stat().st_mode & 0o777 == 0o600
    (tmp_path / "b.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path / "b.lock")


def test_waiting_ends_with_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = must(try_lock(path))
    pauses: list[float] = []

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            holder.close()

    must(wait_for_lock(path, limit_s=60, pause=pause)).close()
    assert pauses == [0.005, 0.01, 0.02]


def test_waiting_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with must(try_lock(path)):
        assert wait_for_lock(path, limit_s=0) is None


def test_a_forked_child_holds_nothing_and_frees_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with must(try_lock(path)) as lock:
        assert in_child(lambda: lock.held) == 0
        assert in_child(lambda: closes_and_is_refused(lock, path)) == 1
        assert try_lock(path) is None, "the child's end dropped its parent's lock"


def test_a_parents_lock_does_not_live_on_in_its_child(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = must(try_lock(path))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent says so
        os._exit(0)
    os.close(reading)
    lock.close()
    free = wait_for_lock(path, limit_s=5)
    assert free is not None, "a living child keeps its parent's lock"
    free.close()
    os.close(writing)
    os.waitpid(pid, 0)


def test_a_program_that_we_start_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = must(try_lock(path))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        lock.close()
        must(wait_for_lock(path, limit_s=5)).close()
        program.communicate(b"\n")


def test_forks_during_locking_lose_no_lock_and_keep_none(tmp_path: Path) -> None:
    """One thread opens and closes locks while another forks children that live on: no copy may stay in a child."""
    path = tmp_path / "a.lock"
    stop = threading.Event()
    refused = []

    def lock_and_close() -> None:
        while not stop.is_set():
            lock = wait_for_lock(path, limit_s=5)
            if lock is None:
                refused.append("kept by a child")
                return
            lock.close()

    thread = threading.Thread(target=lock_and_close)
    thread.start()
    reading, writing = os.pipe()
    children = []
    try:
        for _ in range(60):
            pid = os.fork()
            if pid == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            children.append(pid)
    finally:
        stop.set()
        thread.join()
        free = wait_for_lock(path, limit_s=5)
        os.close(writing)
        os.close(reading)
        for pid in children:
            os.waitpid(pid, 0)
    assert not refused
    assert free is not None, "a child kept a lock"
    free.close()
