"""Postfix as a relay: smtp-source fills its queue, its own client sends on to the sink. Every mail is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.sides import SENDER, processes
from tests.support.mtas import missing_postfix, postfix


@dataclass
class PostfixRelay:
    """Its defaults: 20 sessions to a destination, 100 processes."""

    name: str = "Postfix, relaying"
    share: float = 0.05

    def missing(self) -> str:
        return missing_postfix()

    def install(self) -> None: ...

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        with postfix(f"smtp:[127.0.0.1]:{port}") as running:
            to = running.url.removeprefix("smtp://")
            command = ["smtp-source", "-d", "-s", "10", "-l", "4096", "-m", str(mails), "-f", SENDER, "-t", "b@y.test"]
            with processes([*command, to], folder=folder):
                yield
