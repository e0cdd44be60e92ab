"""A folder of received mail: one .eml file a mail, and an index.

Used by desk.py. `keep` returns before the mail is acknowledged to its sender and raises OSError where it cannot (the
sender then gets 451). The constructor raises ConfigError in words. Known limits: files are handed to the kernel, not
fsynced (the sandbox survives its own kill -9, not a power cut); a folder that exists keeps its mode, its files are
0600 anyway.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mailspool.errors import ConfigError
from mailspool.sandbox.records import IndexLine, ReceivedMail

INDEX_NAME = "index.jsonl"


class FolderStore:
    """One .eml file a mail, byte for byte, and one index line a recipient, written after the file is complete."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._index = open_private(folder / INDEX_NAME)
        except OSError as error:
            raise ConfigError(f"cannot keep mail in {folder}: {error.strerror}. Choose another folder.") from error
        self._folder = folder
        # Start time and a random part: two receivers, or two runs, in one folder cannot overwrite each other.
        self._prefix = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"

    def keep(self, mail: ReceivedMail) -> None:
        path = f"{self._prefix}-{mail.number:07d}.eml"
        descriptor = os.open(self._folder / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, mail.data)
        finally:
            os.close(descriptor)
        lines = (
            IndexLine(
                path,
                recipient,
                mail.mail_from,
                mail.message_id,
                mail.sha256,
                len(mail.data),
                mail.received_ms,
                mail.session,
            )
            for recipient in mail.recipients
        )
        write_all(self._index, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def close(self) -> None:
        os.close(self._index)


def open_private(path: Path) -> int:
    """A descriptor that appends to a file which only its owner may read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def write_all(descriptor: int, data: bytes) -> None:
    """os.write may take less than it is given (a disk that fills up takes a part, then raises)."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
