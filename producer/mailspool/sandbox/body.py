"""Reads one mail's body out of a session's buffer: finds the end of data, undoes dot-stuffing, measures lines.

Used by dialogue.py. Pure: bytes in, bytes out, whatever the pieces they arrive in. Only CR LF . CR LF ends a mail
(RFC 5321 4.1.1.4); a bare LF or CR around a dot is content, so nothing can be smuggled behind it. Raises nothing.
Known limit: a body is held in memory until its end; beyond twice the size limit it is thrown away and only counted.
"""

from __future__ import annotations

from typing import Final

TERMINATOR: Final = b"\r\n.\r\n"
_LONE_DOT: Final = b".\r\n"
_TAIL_OCTETS: Final = len(TERMINATOR) - 1
"""A terminator that is split between two reads begins in these last octets."""


def unstuffed(raw: bytes) -> bytes:
    """Every line that begins with a dot loses it (RFC 5321 4.5.2). `raw` ends with the CR LF of its last line."""
    if raw.startswith(b"."):
        raw = raw[1:]
    return raw.replace(b"\r\n.", b"\r\n") if b"\r\n." in raw else raw


def too_long_line(body: bytes, limit: int) -> int | None:
    """Octets (without CR LF) of the first line longer than `limit`, or None. It jumps: five looks at a 4 KiB mail."""
    start = 0
    while len(body) - start > limit + 2:
        last = body.rfind(b"\r\n", start, start + limit + 2)
        if last < 0:
            end = body.find(b"\r\n", start)
            return (len(body) if end < 0 else end) - start
        start = last + 2
    return None


class BodyReader:
    """One per mail. `take` looks at the session's buffer and cuts the body off its front when the body is complete."""

    __slots__ = ("_keep_octets", "_scan", "_undecided", "discarded")

    def __init__(self, size_limit: int) -> None:
        # Stuffing can at most double a body, so beyond this the body is surely larger than the limit.
        self._keep_octets = 2 * size_limit + len(TERMINATOR)
        self._scan = 0
        self._undecided = True
        self.discarded = 0
        """Octets thrown away because the body is too big; if not 0, the body that `take` returns is empty."""

    def take(self, buffer: bytearray) -> bytes | None:
        """The finished body, or None while its end has not come."""
        if self._undecided:
            # The first line has no CR LF of its own before it: a dot there ends an empty mail.
            if len(buffer) < len(_LONE_DOT) and _LONE_DOT.startswith(bytes(buffer)):
                return None
            if buffer.startswith(_LONE_DOT):
                del buffer[: len(_LONE_DOT)]
                return b""
            self._undecided = False
        end = buffer.find(TERMINATOR, self._scan)
        if end >= 0:
            raw = b"" if self.discarded else bytes(buffer[: end + 2])
            del buffer[: end + len(TERMINATOR)]
            return unstuffed(raw)
        if len(buffer) > self._keep_octets:
            surplus = len(buffer) - _TAIL_OCTETS
            self.discarded += surplus
            del buffer[:surplus]
        self._scan = max(0, len(buffer) - _TAIL_OCTETS)
        return None

    def seen(self, buffer: bytearray) -> int:
        """Octets of this body that have arrived so far, as they came over the wire."""
        return self.discarded + len(buffer)

    def reached(self, buffer: bytearray, octets: int) -> int | None:
        """How much of the body lies before a cut at `octets`, or before its earlier end; None while unknown."""
        if buffer.startswith(_LONE_DOT):
            return 0
        end = buffer.find(TERMINATOR, 0, octets + len(TERMINATOR))
        if 0 <= end < octets:
            return end + 2
        return octets if len(buffer) >= octets + len(TERMINATOR) else None
