"""The bytes of one SMTP mail transaction: envelope commands and the body on the wire. Pure.

Whoever calls has checked the addresses at the door; here they are checked again, as they go out (RFC 5321 4.1.2):
nothing that could end a command or start another passes. Raises UnsafeEnvelope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mailspool.content.mime import Rendered

_UNSAFE = re.compile(r"[\x00-\x20<>\x7f]").search
PIECE_LIMIT = 65_536
"""Bodies up to this go out with their dot and the next envelope in one write; longer ones in pieces of at most this."""


WHY_NOT: Final[Mapping[str, str]] = {
    "too_big": "larger than the receiver takes",
    "smtputf8": "an address is not ASCII, and the receiver does not offer SMTPUTF8",
    "eight_bit": "the content is 8-bit, and the receiver does not offer 8BITMIME",
}
"""What a receiver's EHLO may forbid, in words for people."""


class UnsafeEnvelope(ValueError):  # noqa: N818
    """An address that must not reach the wire. The message does not repeat it."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the receiver's EHLO offered, as far as a transaction cares (RFC 1870, 2920, 6152, 6531)."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    size_limit: int | None = None
    """None: no limit told (no SIZE, SIZE 0, or no number)."""
    tells_size: bool = False

    def without_pipelining(self) -> Features:
        """For a receiver that offers it and does not stand it."""
        return replace(self, pipelining=False)


def why_not(rendered: Rendered, features: Features) -> str | None:
    """Why this receiver cannot take this mail at all: None, or a key of WHY_NOT."""
    if features.size_limit is not None and rendered.size > features.size_limit:
        return "too_big"
    if rendered.smtputf8 and not features.smtputf8:
        return "smtputf8"
    if rendered.eight_bit and not features.eight_bit:
        return "eight_bit"
    return None


def mail_command(rendered: Rendered, features: Features, *, plain: bool = False) -> bytes:
    """`plain` leaves out what a receiver refused once (501 or 555 about parameters)."""
    if _UNSAFE(rendered.mail_from):
        raise UnsafeEnvelope("the return path holds a character that no SMTP command may hold")
    extra = f" SIZE={rendered.size}" if features.tells_size and not plain else ""
    if rendered.eight_bit and not plain:
        extra += " BODY=8BITMIME"
    if rendered.smtputf8:
        extra += " SMTPUTF8"
    return f"MAIL FROM:<{rendered.mail_from}>{extra}\r\n".encode()


def rcpt_command(recipient: str) -> bytes:
    if _UNSAFE(recipient) or "@" not in recipient:
        raise UnsafeEnvelope("the recipient holds a character that no SMTP command may hold")
    return f"RCPT TO:<{recipient}>\r\n".encode()


def dot_stuffed(pieces: Iterable[bytes]) -> list[bytes]:
    """RFC 5321 4.5.2. Every piece starts at the start of a line (`Rendered` sees to it)."""
    stuffed = []
    for piece in pieces:
        if b"\r\n." in piece:
            piece = piece.replace(b"\r\n.", b"\r\n..")
        if piece.startswith(b"."):
            piece = b"." + piece
        stuffed.append(piece)
    return stuffed


def bare_slices(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    """A large mail of which no line begins with a dot: slices of PIECE_LIMIT, none of them a copy."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(piece), PIECE_LIMIT):
            yield view[start : start + PIECE_LIMIT]


def stuffed_slices(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same for a large mail: slices of PIECE_LIMIT, stuffed one by one, so that no copy of the mail exists."""
    last = b"\r\n"
    for piece in pieces:
        for start in range(0, len(piece), PIECE_LIMIT):
            part = piece[start : start + PIECE_LIMIT]
            follows, last = last, (last + part[-2:])[-2:]
            if b"\r\n." in part:
                part = part.replace(b"\r\n.", b"\r\n..")
            # A line may start at the cut, or its CRLF may lie across it.
            if part[:1] == b"." and follows == b"\r\n":
                part = b"." + part
            elif part[:2] == b"\n." and follows[-1:] == b"\r":
                part = b"\n." + part[1:]
            yield part
