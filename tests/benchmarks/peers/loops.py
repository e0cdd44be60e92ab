"""No queue at all: a loop of smtplib on one connection, and ten kept connections of aiosmtplib.

`python -m tests.benchmarks.peers.loops smtplib|aiosmtplib PORT MAILS` is the program that is measured.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib

from tests.benchmarks.sides import BODY, SENDER, processes, recipients

CONNECTIONS = 10


def mail(recipient: str) -> bytes:
    head = f"From: News <{SENDER}>\r\nTo: {recipient}\r\nSubject: News\r\nMIME-Version: 1.0\r\n"
    return (
        f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{BODY}".replace("\r\n", "\n")
        .replace("\n", "\r\n")
        .encode()
    )


def here(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *(str(argument) for argument in arguments)]


def tree() -> dict[str, str]:
    """Where the modules of this repository are found, from any folder."""
    return {"PYTHONPATH": ":".join(str(Path(part).resolve()) for part in (".", "producer", "worker"))}


@dataclass
class Loop:
    """A program without a queue, of this file: `what` is its first argument."""

    name: str
    what: str
    share: float = 0.25

    def missing(self) -> str:
        return ""

    def install(self) -> None: ...

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        with processes(here(__name__, self.what, port, mails), folder=folder, env=tree()):
            yield


def loop(port: int, mails: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for recipient in recipients(mails):
            client.sendmail(SENDER, [recipient], mail(recipient))


async def pool(port: int, mails: int) -> None:
    waiting = recipients(mails)

    async def one() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        async with client:
            for recipient in waiting:
                await client.sendmail(SENDER, [recipient], mail(recipient))

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


if __name__ == "__main__":
    what, port, mails = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if what == "smtplib":
        loop(port, mails)
    else:
        asyncio.run(pool(port, mails))
