"""What is measured: a side sends `mails` mails of 4 KiB, one recipient each, to an smtp-sink on loopback.

A side gets ready (loads its queue), then starts to send when its `with` begins, and ends what it started at its end.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mailspool import Message, Settings, Spool
from tests.support.mtas import missing_sink

LINE = "It was a bright cold day in April, and the clocks were striking thirteen all over again.\n"
BODY = LINE * 45
"""With its headers a mail has 4 KiB, as smtp-source's."""
SENDER = "a@x.test"


class Side(Protocol):
    """`share`: of the mails of a round; a slow side need not keep the others waiting for minutes."""

    name: str
    share: float

    def missing(self) -> str:
        """Why it cannot run here, and how to get what it lacks; empty if nothing is missing."""

    def install(self) -> None:
        """Gets it, into .bench/."""

    def sending(self, port: int, mails: int, folder: Path) -> AbstractContextManager[None]: ...


def recipients(mails: int) -> Iterator[str]:
    return (f"user{i}@y{i % 50}.test" for i in range(mails))


@contextmanager
def processes(*commands: list[str], folder: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    """Started together; whatever still runs at the end is ended."""
    with (folder / "side.log").open("ab") as log:
        started = [
            subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(env or {})}, cwd=folder)
            for command in commands
        ]
        try:
            yield
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@dataclass
class SmtpSource:
    """Postfix's C load generator: no queue, no content, ten sessions. What all others are divided by."""

    name: str = "smtp-source -d -s 10"
    share: float = 1.0

    def missing(self) -> str:
        return missing_sink()

    def install(self) -> None: ...

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        command = ["smtp-source", "-d", "-s", "10", "-l", "4096", "-m", str(mails), "-f", SENDER, "-t", "b@y.test"]
        with processes([*command, f"127.0.0.1:{port}"], folder=folder):
            yield


@dataclass
class Mailspool:
    """A durable batch, then `mailspool worker --until-done` as one process with its default settings."""

    name: str
    durability: str
    content: str = "plain"
    share: float = 1.0

    def missing(self) -> str:
        return ""

    def install(self) -> None: ...

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        settings = Settings(data_dir=folder / "spool", durability=self.durability, relay_url=f"smtp://127.0.0.1:{port}")
        asyncio.run(self._load(settings, mails))
        given = {
            "MAILSPOOL_DATA_DIR": str(settings.data_dir),
            "MAILSPOOL_DURABILITY": self.durability,
            "MAILSPOOL_RELAY_URL": str(settings.relay_url),
            "PYTHONPATH": os.pathsep.join(str(Path(part).resolve()) for part in ("producer", "worker")),
        }
        command = [sys.executable, "-m", "mailspool.cli", "worker", "--until-done"]
        with processes(command, folder=folder, env=given):
            yield

    async def _load(self, settings: Settings, mails: int) -> None:
        rows = [
            {"email": email, "name": f"Anna {i}", "code": f"C{i:08d}", "amount": f"{i % 977}.50"}
            for i, email in enumerate(recipients(mails))
        ]
        async with Spool(settings) as spool:
            await spool.send_batch(_MESSAGES[self.content], rows, key="bench")


_MESSAGES = {
    "plain": Message(from_=f"News <{SENDER}>", subject="News", text=BODY),
    "personal": Message(
        from_=f"News <{SENDER}>",
        subject="News for {{ name }}",
        text="Dear {{ name }},\n\nyour code is {{ code }}, you owe {{ amount }}.\n\n" + LINE * 14,
        html="<p>Dear <b>{{ name }}</b>,</p>\n<p>your code is {{ code }}, you owe {{ amount }}.</p>\n"
        + f"<p>{LINE.strip()}</p>\n" * 26,
    ),
}
