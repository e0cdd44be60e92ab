"""Running the command line in processes of its own, as people do, and a receiver for what it sends.

`Cli.run` waits for the end; `Cli.start` does not, and its output can be waited for. Everything that was started is
ended with the test, and no server may be left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.embedded import REPOSITORY, eventually, servers_below

LIMIT_S = 60.0


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        """Its one answer."""
        (found,) = self.lines()
        return found

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self) -> dict[str, object]:
        """Its one error, with --json."""
        found = [json.loads(line) for line in self.err.splitlines()]
        (error,) = [line["error"] for line in found if "error" in line]
        assert isinstance(error, dict)
        return error

    def notices(self) -> list[str]:
        """The codes of its notices, with --json."""
        found = [json.loads(line) for line in self.err.splitlines()]
        return [line["notice"]["code"] for line in found if "notice" in line]


class Running:
    """A command that goes on."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def until(self, text: str) -> None:
        """Until it has said this, on either stream."""
        eventually(lambda: text in self.out or text in self.err or self.process.poll() is not None, f"it says {text!r}")
        assert text in self.out + self.err, f"it ended with {self.process.poll()}: {self.err}"

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> Ran:
        code = self.process.wait(LIMIT_S)
        return Ran(code, self.out, self.err)


class Cli:
    """One person's machine: a home, a data folder, an environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder / "home"
        self.folder.mkdir()
        self.data_dir = folder / "spool"
        self.environment = {
            **{name: value for name, value in environment.items() if not name.startswith("XDG_")},
            "HOME": str(self.folder),
            "MAILSPOOL_DATA_DIR": str(self.data_dir),
            "MAILSPOOL_EHLO_NAME": "localhost",
            "MAILSPOOL_RETRY_SCHEDULE": "1s*",
            "MAILSPOOL_RETRY_JITTER": "0",
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / root) for root in ("producer", "worker")),
            "TZ": "Asia/Tehran",
            "NO_COLOR": "",
        }
        self._running: list[Running] = []

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(
        self, *arguments: str, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None, ms: bool = True
    ) -> Ran:
        """Until it has ended; stdin is empty unless given."""
        given = stdin.encode() if isinstance(stdin, str) else stdin or b""
        done = subprocess.run(
            [sys.executable, "-m", "mailspool.cli", *arguments],
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            input=given,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None) -> Running:
        """In the background."""
        number = len(self._running)
        out, err = self.folder / f".out{number}", self.folder / f".err{number}"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "mailspool.cli", *arguments],
                cwd=self.folder,
                env={**self.environment, **(env or {})},
                stdin=stdin,
                stdout=out_file,
                stderr=err_file,
            )
        running = Running(process, out, err)
        self._running.append(running)
        return running

    def batches(self) -> list[dict[str, object]]:
        """What the spool holds."""
        found = self.run("status", "--json").json()["batches"]
        assert isinstance(found, list)
        return found

    @contextlib.contextmanager
    def receiver(self, *arguments: str) -> Iterator[str]:
        """A sandbox in a process of its own; its URL, which is also the relay of later commands."""
        running = self.start("sandbox", "--listen", "127.0.0.1:0", *arguments)
        running.until("MAILSPOOL_RELAY_URL=")
        url = running.err.partition("MAILSPOOL_RELAY_URL=")[2].split()[0]
        self.environment["MAILSPOOL_RELAY_URL"] = url
        yield url
        del self.environment["MAILSPOOL_RELAY_URL"]
        running.interrupt(signal.SIGTERM)
        assert running.end().code == 0

    def close(self) -> None:
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        for pid in servers_below(self.data_dir.parent):
            os.kill(pid, signal.SIGTERM)


def texts(lines: Sequence[str]) -> str:
    return "\n".join(lines)
