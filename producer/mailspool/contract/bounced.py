"""Why nothing is sent to an address: what lies in `ms:suppressed`, packed and read. Imports nothing of ours but codec.

Written by the worker (the move `bounce`), read by the worker before it sends, and by whoever shows the list. An entry
that cannot be read still keeps its address suppressed. Raises nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

REPLY_KEPT = 300
"""Characters: enough for the sentence of any receiver."""


class Bounced(NamedTuple):
    """reason (our word), the server's reply, when (Redis' ms), the batch that met it."""

    reason: str
    reply: str
    at_ms: int
    batch: str

    def __str__(self) -> str:
        """`mailbox_unknown on 2026-11-23 in b7k2m9q4x: 550 5.1.1 No such user`"""
        day = datetime.fromtimestamp(self.at_ms / 1000, UTC) if 0 < self.at_ms < _FAR_MS else None
        when = f" on {day:%Y-%m-%d}" if day else ""
        where = f" in {self.batch}" if self.batch else ""
        return f"{self.reason}{when}{where}: {self.reply}"


_FAR_MS = 250_000_000_000_000
_decode = msgspec.msgpack.Decoder(Bounced).decode
_UNREADABLE = Bounced("suppressed", "its entry cannot be read", 0, "")


def encode_bounced(why: Bounced) -> bytes:
    return msgspec.msgpack.encode(why._replace(reply=why.reply[:REPLY_KEPT]))


def decode_bounced(data: bytes) -> Bounced:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _UNREADABLE
