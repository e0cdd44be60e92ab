"""smtp-sink, and a stopwatch that goes by what it counts."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.mtas import smtp_sink

_TAIL_BYTES = 200
"""Its counters, written over and over: the last ones stand at the file's end."""
_LOOK_EVERY_S = 0.01
_LIMIT_S = 900.0


class CountError(RuntimeError):
    """The sink did not count what was sent: the figures are worth nothing."""


class Sink(NamedTuple):
    """`counters`: the file that it writes its counts to."""

    port: int
    counters: Path

    def counted(self) -> int:
        with self.counters.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0


@contextmanager
def sink(folder: Path) -> Iterator[Sink]:
    with smtp_sink(folder) as running:
        yield Sink(int(running.url.rpartition(":")[2]), folder / "sink.out")


class Stopwatch:
    """Made before a side begins to send."""

    def __init__(self, watched: Sink) -> None:
        self._sink = watched
        self._before = watched.counted()

    def rate_per_s(self, mails: int) -> float:
        """Waits until `mails` have come; mails a second between the first look that saw one and the last."""
        ends_s = time.monotonic() + _LIMIT_S
        began_s, at_first = 0.0, 0
        while (seen := self._sink.counted() - self._before) < mails:
            if seen and not at_first:
                began_s, at_first = time.perf_counter(), seen
            if time.monotonic() > ends_s:
                raise CountError(f"{seen:,} of {mails:,} mails after {_LIMIT_S:.0f} s")
            select.select([], [], [], _LOOK_EVERY_S)
        took_s = time.perf_counter() - began_s
        if not at_first or took_s <= 0:
            raise CountError(f"{mails:,} mails are too few to measure anything")
        return (mails - at_first) / took_s

    def check(self, mails: int) -> None:
        """After the side has ended: nothing came twice."""
        if (seen := self._sink.counted() - self._before) != mails:
            raise CountError(f"the sink counted {seen:,} mails, {mails:,} were sent")
