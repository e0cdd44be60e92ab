"""What a receiver saw, read from its log while it grows: who got what how often, and what each session came to.

A mail is received if and only if its dot was not refused, also where the reply never went out (sandbox/records.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mailspool.sandbox import LogRecord

_DECODER = msgspec.json.Decoder(LogRecord)


def is_receipt(record: LogRecord) -> bool:
    return record.stage == "dot" and record.reply[:1] in ("2", "")


@dataclass
class SessionSeen:
    """One connection. `last`: the recipient of its last received mail; `cut`: of a body that did not end."""

    number: int
    received: int = 0
    last: str | None = None
    cut: str | None = None
    quit: bool = False
    closed: bool = False


@dataclass
class Log:
    """One life of a receiver."""

    path: Path
    records: list[LogRecord] = field(default_factory=list)
    sessions: dict[int, SessionSeen] = field(default_factory=dict)
    received: int = 0
    _offset: int = 0

    def read(self) -> list[LogRecord]:
        """What came since the last call; all of it is in `records`."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._offset += end
        fresh = [_DECODER.decode(line) for line in data[:end].splitlines()]
        self.records += fresh
        for record in fresh:
            self._see(record)
        return fresh

    def _see(self, record: LogRecord) -> None:
        session = self.sessions.setdefault(record.session, SessionSeen(record.session))
        if is_receipt(record):
            self.received += 1
            session.received += 1
            session.last = record.recipient
        elif record.stage == "body":
            session.cut = record.recipient
        elif record.stage == "quit":
            session.quit = True
        elif record.stage == "close":
            session.closed = True

    def count(self) -> int:
        """Mails received so far."""
        self.read()
        return self.received

    def receipts(self) -> Counter[str]:
        """How often each recipient got a mail."""
        self.read()
        return Counter(record.recipient or "" for record in self.records if is_receipt(record))

    def open_sessions(self) -> list[SessionSeen]:
        self.read()
        return [session for session in self.sessions.values() if not session.closed]

    def tries(self, recipient: str) -> list[LogRecord]:
        """Each RCPT of this recipient."""
        return [record for record in self.records if record.stage == "rcpt" and record.recipient == recipient]


def union(logs: Iterable[Log]) -> Counter[str]:
    """Receipts over several receivers, or several lives of one."""
    total: Counter[str] = Counter()
    for log in logs:
        total += log.receipts()
    return total


def contents(logs: Iterable[Log]) -> dict[str, set[str]]:
    """The hashes of what each recipient got: repeats are byte-identical, so one each."""
    found: dict[str, set[str]] = {}
    for log in logs:
        for record in log.records:
            if is_receipt(record) and record.recipient is not None and record.sha256 is not None:
                found.setdefault(record.recipient, set()).add(record.sha256)
    return found


def rates(log: Log, bucket_ms: int = 250) -> list[float]:
    """Receipts a second in each quarter of a second between the first and the last."""
    counted = Counter(record.at_ms // bucket_ms for record in log.records if is_receipt(record))
    return [counted[at] * 1000 / bucket_ms for at in range(min(counted), max(counted) + 1)] if counted else []
