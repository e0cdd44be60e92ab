"""Text and files to the lines of a body part: line ends, transfer encodings. Pure.

Called by mime.py. What is made here is 7-bit, has CRLF line ends and ends with one; dots are the session's business.
The caller has refused NUL.
"""

from __future__ import annotations

import binascii
from functools import lru_cache

LONGEST_LINE = 998
"""RFC 5322, 2.1.1, without CRLF."""
_B64_LINE = 76
_QP_CACHE = 4096
_QP_CACHED_LINE = 400
"""Lines of templates come back in every mail of a batch: remembering them makes quoted-printable five times faster.
Longer ones are not remembered, so that the memory is bounded (about 4 MiB)."""


def encode_text(text: str, *, alone: bool) -> tuple[bytes, bytes]:
    """(transfer encoding, lines) for a text part: 7bit if it fits, else quoted-printable or base64, the shorter one.

    `alone`: the part is the whole mail, so that a text without a last line end gets one. Inside a multipart the CRLF
    behind the text belongs to the boundary (RFC 2046, 5.1.1) and is part of what is returned.
    Raises UnicodeEncodeError for half a surrogate pair.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    closing = b"\r\n"
    if alone:
        closing = b""
        if not text.endswith("\n"):
            text += "\n"
    raw = text.encode()
    if len(raw) == len(text):  # pure ASCII
        wire = raw.replace(b"\n", b"\r\n")
        if lines_fit(wire):
            return b"7bit", wire + closing
    wire_size = len(raw) + raw.count(b"\n")
    base64_size = _base64_size(wire_size)
    # Every byte above ASCII takes three in quoted-printable. n bytes beyond one a character mean at least 4/3 n such
    # bytes, so most texts in other scripts are decided without encoding them twice.
    beyond = len(raw) - len(text)
    if wire_size + beyond * 8 // 3 < base64_size:
        quoted = quoted_printable(raw) + closing
        if len(quoted) <= base64_size:
            return b"quoted-printable", quoted
    return b"base64", base64_lines(raw.replace(b"\n", b"\r\n"))


def lines_fit(wire: bytes) -> bool:
    """No line of these CRLF bytes is longer than 998. Hops from line end to line end: a 4 KiB text takes five hops."""
    at, size, window = 0, len(wire), LONGEST_LINE + 2
    while size - at > LONGEST_LINE:
        end = wire.rfind(b"\n", at, at + window)
        if end < 0:
            return False
        at = end + 1
    return True


def quoted_printable(raw: bytes) -> bytes:
    """LF lines to quoted-printable CRLF lines of at most 76 characters (RFC 2045, 6.7)."""
    lines = raw.split(b"\n")
    return b"\r\n".join([_qp_cached(line) if len(line) <= _QP_CACHED_LINE else _qp_line(line) for line in lines])


def base64_lines(data: bytes) -> bytes:
    """Lines of 76 characters, each with its CRLF; empty for empty data."""
    coded = binascii.b2a_base64(data, newline=False)
    lines = [coded[at : at + _B64_LINE] for at in range(0, len(coded), _B64_LINE)]
    lines.append(b"")
    return b"\r\n".join(lines)


def _base64_size(size: int) -> int:
    coded = (size + 2) // 3 * 4
    return coded + (coded + _B64_LINE - 1) // _B64_LINE * 2


def _qp_line(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=True).replace(b"\n", b"\r\n")


_qp_cached = lru_cache(maxsize=_QP_CACHE)(_qp_line)
