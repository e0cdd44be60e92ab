"""A scenario's ground: a folder with a spool, and the processes that work on it: receivers, workers, scripts.

`with Ground(folder) as ground:` ends every process at its end, and the spool's server with them. Processes of ours see
no MAILSPOOL_* but what the scenario sets. What a process wrote to stderr lies in `<name>.err`, and stands in failures.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mailspool import Settings, Spool
from tests.support.embedded import REPOSITORY, eventually, servers_below
from tests.support.oracle import Log

ENDS_WITHIN_S = 40.0
"""`stop_timeout`, and what a slow machine adds."""


class Background:
    """One process of ours."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.err = folder / f"{name}.err"
        self.out = folder / f"{name}.out"
        with self.err.open("ab") as err, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=dict(env), stdin=subprocess.PIPE, stdout=out, stderr=err
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def state(self) -> str:
        """One letter, as in ps (Linux)."""
        return Path(f"/proc/{self.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def say(self, line: str) -> None:
        """A line on its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def said(self) -> list[str]:
        """The whole lines on its stdout so far."""
        return self.out.read_text("utf-8").split("\n")[:-1]

    def wait(self, limit_s: float = ENDS_WITHIN_S) -> int:
        """Its exit code."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {limit_s:g} s\n{self.words()}") from None

    def first_words(self) -> str:
        """The beginning of what it said on stderr."""
        with self.err.open("rb") as file:
            return file.read(8000).decode("utf-8", "replace")

    def words(self) -> str:
        """The end of it."""
        return self.err.read_text("utf-8", "replace")[-4000:]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


class ReceiverProcess(Background):
    """The sandbox in a process of its own. `log` is its present life's."""

    def __init__(self, name: str, env: Mapping[str, str], folder: Path, options: Mapping[str, object]) -> None:
        path = folder / f"{name}.jsonl"
        words = msgspec.json.encode({"log": str(path), **options}).decode()
        super().__init__(name, [sys.executable, "-m", "mailspool.sandbox", words], env, folder)
        eventually(lambda: bool(self.said()) or not self.alive, f"{name} listens")
        assert self.alive, self.words()
        self.url = self.said()[0]
        self.log = Log(path)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


class Ground:
    """The folder, and who works there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.relay_url: str | None = None
        self.shared: dict[str, object] = {}
        """Settings that all processes of this scenario have, beside the spool's folder and the relay."""
        self.inherited: dict[str, str] = {}
        """Further variables of all its processes, such as a library to preload."""
        self._processes: list[Background] = []

    def __enter__(self) -> Ground:
        self.folder.mkdir(exist_ok=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        for process in reversed(self._processes):
            process.close()
        for pid in servers_below(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not servers_below(self.folder), "the servers of this scenario are gone")

    @property
    def data_dir(self) -> Path:
        return self.folder / "spool"

    # -- settings

    def _given(self, changes: Mapping[str, object]) -> dict[str, object]:
        base: dict[str, object] = {"data_dir": self.data_dir, "ehlo_name": "sender.test"}
        if self.relay_url is not None:
            base["relay_url"] = self.relay_url
        return {**base, **self.shared, **changes}

    def settings(self, **changes: object) -> Settings:
        """For this process."""
        return Settings(**self._given(changes))

    def spool(self, **changes: object) -> Spool:
        return Spool(self.settings(**changes))

    def environment(self, **changes: object) -> dict[str, str]:
        """For another process. A table (`relays`) becomes one variable a field."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAILSPOOL_")}
        env["PYTHONPATH"] = os.pathsep.join(str(REPOSITORY / part) for part in ("producer", "worker", ""))
        env["PYTHONUNBUFFERED"] = "1"
        env["XDG_CONFIG_HOME"] = str(self.folder)
        env |= self.inherited
        for name, value in self._given(changes).items():
            if isinstance(value, Mapping):
                for relay, table in value.items():
                    for field, word in table.items():
                        env[f"MAILSPOOL_{name}__{relay}__{field}".upper()] = _word(word)
            elif value is not None:
                env[f"MAILSPOOL_{name}".upper()] = _word(value)
        return env

    # -- processes

    def receiver(self, name: str = "receiver", **options: object) -> ReceiverProcess:
        """A sandbox; the first one is the relay of the scenario."""
        receiver = ReceiverProcess(name, self.environment(), self.folder, options)
        self._processes.append(receiver)
        if self.relay_url is None:
            self.relay_url = receiver.url
        return receiver

    def worker(self, name: str = "worker", faults: Mapping[str, object] | None = None, **changes: object) -> Background:
        """`mailspool worker`; returns when it works."""
        worker = self.start_worker(name, faults, **changes)
        eventually(lambda: "worker_started" in worker.first_words() or not worker.alive, f"{name} works")
        assert worker.alive, worker.words()
        return worker

    def start_worker(
        self, name: str = "worker", faults: Mapping[str, object] | None = None, **changes: object
    ) -> Background:
        """The same, without waiting: for one that may end at once."""
        words = msgspec.json.encode(faults or {}).decode()
        command = [sys.executable, "-m", "tests.support.worker_main", words]
        return self._add(Background(name, command, self.environment(log_format="json", **changes), self.folder))

    def module(self, name: str, module: str, *arguments: str, **changes: object) -> Background:
        """`python -m MODULE ...`."""
        command = [sys.executable, "-m", module, *arguments]
        return self._add(Background(name, command, self.environment(**changes), self.folder))

    def script(self, name: str, path: Path, *arguments: str, **changes: object) -> Background:
        """`python PATH ...`."""
        command = [sys.executable, str(path), *arguments]
        return self._add(Background(name, command, self.environment(**changes), self.folder))

    def _add(self, process: Background) -> Background:
        self._processes.append(process)
        return process


def _word(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def now_ms() -> int:
    """This host's wall clock: the one that receivers and Redis on this host read, too."""
    return time.time_ns() // 1_000_000
