"""The log of a receiver: events in, numbered LogRecords out, in memory and as JSON lines.

Used by desk.py, once per group of replies, before they are handed to a transport. A group reaches the file in one write
without a buffer, so every line is with the kernel before the next byte is read. Raises ConfigError when the file
cannot be opened, OSError when it cannot be written: an oracle with holes must not go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mailspool.errors import ConfigError
from mailspool.sandbox.folder import open_private, write_all
from mailspool.sandbox.records import Event, LogRecord


class Journal:
    """Numbers events over all sessions."""

    def __init__(self, path: Path | None, *, remember: bool) -> None:
        self.records: list[LogRecord] = []
        self._remember = remember
        self._order = 0
        self._encoder = msgspec.json.Encoder()
        self._descriptor: int | None = None
        if path is not None:
            try:
                self._descriptor = open_private(path)
            except OSError as error:
                raise ConfigError(f"cannot write the log {path}: {error.strerror}. Choose another file.") from error

    def add(self, session: int, at_ms: int, events: Iterable[Event], *, flushed: bool) -> None:
        """`flushed`: the transport is open, and the replies of these events go to it next."""
        fresh = []
        for event in events:
            self._order += 1
            fresh.append(
                LogRecord(
                    self._order,
                    at_ms,
                    session,
                    event.stage,
                    event.reply,
                    flushed and event.answered,
                    event.mail_from,
                    event.recipient,
                    event.message_id,
                    event.sha256,
                    event.size,
                )
            )
        if self._remember:
            self.records.extend(fresh)
        if self._descriptor is not None and fresh:
            write_all(self._descriptor, b"".join(self._encoder.encode(record) + b"\n" for record in fresh))

    def close(self) -> None:
        """No event comes any more; the records stay readable."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_log(path: Path) -> list[LogRecord]:
    """The log file of a receiver that ran elsewhere, typed again. A last line without its end (a kill) is left out."""
    decoder = msgspec.json.Decoder(LogRecord)
    return [decoder.decode(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
