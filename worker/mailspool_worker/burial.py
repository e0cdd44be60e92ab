"""Who I am on this machine, and which workers on it are provably dead: a worker that starts ends their leases at once.

Called by app.py. A process is provably dead only for a process of the same boot *and* the same pid namespace (elsewhere
its pid is somebody else's, or nobody's): its pid is gone, or belongs to a process that started at another time, or is a
zombie. Whatever cannot be read proves nothing: then its lease runs out by itself, within 15 s. Raises nothing but
what the moves raise.

Known limits: outside Linux nobody is buried; nobody looks for a worker whose heartbeat has faded (its leases are over).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

from redis.exceptions import ResponseError

from mailspool.contract.moves import Moves
from mailspool.redis_server.link import Link
from mailspool_worker.events import Events

_AFTER_NAME = 3
"""proc_pid_stat(5): fields are counted from 1, and the name, field 2, may hold spaces and parentheses."""
_STATE, _THREADS, _STARTED = 3 - _AFTER_NAME, 20 - _AFTER_NAME, 22 - _AFTER_NAME
_DEAD_STATES = frozenset("ZXx")


def identity(proc: Path = Path("/proc")) -> dict[str, str | int]:
    """This process' fields of a worker's record. An empty one is known to nobody, and proves nothing."""
    pid = os.getpid()
    stat = _stat(proc, pid)
    return {
        "pid": pid,
        "boot": _text(proc / "sys/kernel/random/boot_id"),
        "pid_ns": _link(proc / "self/ns/pid"),
        "started": _started(proc, stat) if stat else "",
    }


def provably_dead(fields: Mapping[str, str], mine: Mapping[str, str | int], proc: Path = Path("/proc")) -> bool:
    """Is the process of this record gone, as far as this process can know?"""
    pid_text = fields.get("pid", "")
    same = all(fields.get(name) and fields.get(name) == mine.get(name) for name in ("boot", "pid_ns"))
    if not same or not pid_text.isascii() or not pid_text.isdigit() or int(pid_text) == mine["pid"]:
        return False
    pid = int(pid_text)
    if not _exists(pid):
        return True
    stat = _stat(proc, pid)
    if stat is None:  # hidden from us (hidepid), or gone this very moment
        return False
    if stat[_STATE] in _DEAD_STATES and stat[_THREADS] in ("0", "1"):
        return True
    then, _, clock = fields.get("started", "").partition("@")
    now, _, own_clock = _started(proc, stat).partition("@")
    return bool(then and clock) and clock == own_clock and then != now


async def bury_dead(link: Link, moves: Moves, events: Events) -> None:
    """Every worker in the list whose process is provably dead; at once, before this one takes work."""
    mine = identity()
    if not (mine["boot"] and mine["pid_ns"]):
        return
    zrange = cast("Callable[..., Awaitable[list[bytes]]]", link.redis.zrange)
    hgetall = cast("Callable[..., Awaitable[dict[bytes, bytes]]]", link.redis.hgetall)
    for name in await zrange(moves.keys.workers, 0, -1):
        worker = name.decode("utf-8", "replace")
        try:
            stored = await hgetall(moves.keys.worker(worker))
        except ResponseError:  # no record of a worker: it proves nothing
            continue
        fields = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in stored.items()}
        if provably_dead(fields, mine):
            events.warning("worker_buried", worker=worker, pid=fields["pid"], leases=await moves.bury(worker))


def _exists(pid: int) -> bool:
    """Asked of the kernel: /proc may hide other users' processes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _stat(proc: Path, pid: int) -> list[str] | None:
    text = _text(proc / str(pid) / "stat")
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _STARTED else None


def _started(proc: Path, stat: list[str]) -> str:
    """Ticks since the boot, and by which clock: in another time namespace the same process shows another number."""
    return f"{stat[_STARTED]}@{_link(proc / 'self/ns/time') or 'time'}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
