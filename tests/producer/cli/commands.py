"""Running the command line: in this process (`Here`, for errors and words) or in processes of its own (`Cli`).

`Cli.run` waits for the end; `Cli.start` does not, and what it says can be waited for. Everything that was started ends
with the test, and no server stays behind.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailspool.cli.main import main
from tests.support.embedded import REPOSITORY, eventually, servers_below

LIMIT_S = 60.0
FROM = ("--from", "me@acme.example", "--subject", "Hi")
"""What a `send` needs beside a body and a receiver."""


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
        """Its answers."""
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self) -> dict[str, object]:
        """Its one error, with --json."""
        (error,) = [line["error"] for line in self._complaints() if "error" in line]
        return error

    def notices(self) -> list[object]:
        """The codes of its notices, with --json."""
        return [line["notice"]["code"] for line in self._complaints() if "notice" in line]

    def _complaints(self) -> list[dict[str, dict[str, object]]]:
        return [json.loads(line) for line in self.err.splitlines()]


class Here:
    """The command line in this process, in an empty folder, with a spool of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder / "home"
        self.folder.mkdir()
        self.data_dir = folder / "spool"
        self._patch = patch
        self._capture = capture
        for name in [name for name in os.environ if name.startswith(("MAILSPOOL_", "XDG_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(self.folder))
        patch.setenv("MAILSPOOL_DATA_DIR", str(self.data_dir))
        patch.setenv("MAILSPOOL_EHLO_NAME", "localhost")
        patch.chdir(self.folder)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
        self._capture.readouterr()
        given = stdin.encode() if isinstance(stdin, str) else stdin
        with self._patch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main(list(arguments))
        told = self._capture.readouterr()
        return Ran(code, told.out, told.err)

    def send(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
        """With a sender, a subject and a body."""
        return self.run("send", *FROM, "--body", "hello", *arguments, stdin=stdin, env=env)

    def batches(self) -> list[dict[str, object]]:
        """What the spool holds."""
        found = self.run("status", "--json").json()["batches"]
        assert isinstance(found, list)
        return found

    @contextlib.contextmanager
    def receiver(self) -> Iterator[Running]:
        """A sandbox in a process of its own, the relay of all commands meanwhile."""
        other = Cli(self.folder)
        try:
            with other.receiver() as running, self._patch.context() as patch:
                patch.setenv("MAILSPOOL_RELAY_URL", other.environment["MAILSPOOL_RELAY_URL"])
                patch.setenv("MAILSPOOL_RETRY_SCHEDULE", "1s*")
                patch.setenv("MAILSPOOL_RETRY_JITTER", "0")
                yield running
        finally:
            other.close()


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

        def said() -> bool:
            return text in self.out or text in self.err

        eventually(lambda: said() or self.process.poll() is not None, f"it says {text!r}")
        assert said(), f"it ended with {self.process.poll()}: {self.err}"

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> Ran:
        code = self.process.wait(LIMIT_S)
        return Ran(code, self.out, self.err)


class Cli:
    """One person's machine: a home, a data folder, an environment; every command is a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "home"
        self.folder.mkdir()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.data_dir = folder / "spool"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MAILSPOOL_"))},
            "HOME": str(self.folder),
            "TMPDIR": str(self.temporary),
            "MAILSPOOL_DATA_DIR": str(self.data_dir),
            "MAILSPOOL_EHLO_NAME": "localhost",
            "MAILSPOOL_RETRY_SCHEDULE": "1s*",
            "MAILSPOOL_RETRY_JITTER": "0",
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / root) for root in ("producer", "worker")),
            "TZ": "Asia/Tehran",
        }
        self._running: list[Running] = []

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "mailspool.cli", *arguments]

    def run(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
        """Until it has ended."""
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            input=stdin.encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def send(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
        """With a sender, a subject and a body."""
        return self.run("send", *FROM, "--body", "hello", *arguments, stdin=stdin, env=env)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None) -> Running:
        """In the background. Its streams are files, so that nothing it says can block it."""
        number = len(self._running)
        out, err = self.folder / f".out{number}", self.folder / f".err{number}"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                self.argv(*arguments),
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
    def receiver(self, *arguments: str) -> Iterator[Running]:
        """A sandbox in a process of its own, the relay of all commands meanwhile; its answers are JSON."""
        running = self.start("sandbox", "--json", "--listen", "127.0.0.1:0", *arguments)
        running.until('"listening"')
        self.environment["MAILSPOOL_RELAY_URL"] = json.loads(running.err)["notice"]["message"]
        yield running
        del self.environment["MAILSPOOL_RELAY_URL"]
        running.signal(signal.SIGTERM)
        assert running.end().code == 0

    def close(self) -> None:
        """Nothing stays."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        for pid in servers_below(self.data_dir.parent):
            os.kill(pid, signal.SIGTERM)
