"""Real servers for tests: look at the embedded one of a folder, kill it, and start a plain one with any settings.

`Visitor` is another process that uses a folder's embedded server. Linux only (it reads /proc).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mailspool.redis_server import process as processes
from mailspool.redis_server.folder import SERVER
from mailspool.redis_server.locks import wait_for_lock

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 20.0


def eventually(condition: Callable[[], bool], what: str, *, limit_s: float = DEADLINE_S) -> None:
    """Return as soon as the condition holds; fail when the deadline is over."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.005)


def server_pid(folder: Path) -> int:
    """The one process that serves this folder."""
    (pid,) = processes.holders(folder)
    return pid


def server_of(folder: Path) -> int | None:
    """The same, or None while nobody serves it (or one server takes the other's place)."""
    pids = processes.holders(folder)
    return pids[0] if len(pids) == 1 else None


def servers_below(root: Path) -> list[int]:
    """Every server process that works below this folder, however it was started."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "exe").readlink().name.startswith("valkey-server"):
                place = Path(str((process / "cwd").readlink()).removesuffix(" (deleted)"))
                if place.is_relative_to(root):
                    found.append(int(process.name))
    return found


def kill_server(folder: Path) -> int:
    """kill -9, and wait until the kernel has taken its lock away; returns the pid that was."""
    pid = server_pid(folder)
    os.kill(pid, signal.SIGKILL)
    free = wait_for_lock(folder / SERVER, limit_s=DEADLINE_S)
    assert free is not None
    free.close()
    return pid


_VISITOR = """
import json, sys
from pathlib import Path
from mailspool.errors import MailspoolError
from mailspool.redis_server.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), fsync=sys.argv[2])
for line in sys.stdin:
    try:
        answer = getattr(server, line.strip())()
        print(json.dumps({"ok": None if answer is None else str(answer)}), flush=True)
    except MailspoolError as exc:
        print(json.dumps({"error": str(exc)}), flush=True)
"""


class Visitor:
    """Another process: `begin("enter")` sends, `end()` waits for its answer, `do` is both."""

    def __init__(self, folder: Path, *, fsync: str = "always") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _VISITOR, str(folder), fsync],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "producer")},
        )

    def begin(self, method: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{method}\n".encode())
        self.process.stdin.flush()

    def end(self) -> str | None:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        found = answer["ok"]
        assert found is None or isinstance(found, str)
        return found

    def do(self, method: str) -> str | None:
        self.begin(method)
        return self.end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def plain_server(folder: Path, *options: str, port: int = 0, env: Mapping[str, str] | None = None) -> Iterator[Path]:
    """A server of the user's, with these command line options; yields its socket."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="plain-") as short:
        yield from _plain_server(folder, _bindable(folder / "plain.sock", Path(short)), options, port, env)


def _bindable(socket: Path, short: Path) -> Path:
    """A Unix socket's path has 107 octets at most."""
    return socket if len(os.fsencode(socket)) < 100 else short / socket.name


def _plain_server(
    folder: Path, socket: Path, options: Sequence[str], port: int, env: Mapping[str, str] | None
) -> Iterator[Path]:
    server = subprocess.Popen(
        [processes.find_binary("auto"), "--port", str(port), "--unixsocket", socket, "--dir", folder, *options],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    try:

        def ready() -> bool:
            assert server.poll() is None, "the plain server does not start: see its options"
            with contextlib.suppress(OSError):  # a demand for a password is an answer, too
                return not str(processes.ask(socket, "PING", timeout_s=1)).startswith("LOADING")
            return False

        eventually(ready, "the plain server answers")
        yield socket
    finally:
        server.kill()
        server.wait()
