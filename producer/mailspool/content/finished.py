"""Finished MIME: surgery on bytes. Nothing is parsed into objects and written again, so nothing else changes.

Called by mime.py (a mail that goes out as it is) and message.py (when it comes in). Pure.
Known limit: lines longer than 998 bytes go out as they are; some receivers refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BOUNDARY = re.compile(rb"""boundary\s*=\s*(?:"([^"\r\n]{1,100})"|([^\s;"]{1,100}))""", re.IGNORECASE)
_BLIND = frozenset((b"bcc", b"resent-bcc"))
_OWN = frozenset((b"date", b"message-id"))


class MimeError(ValueError):
    """These bytes are no mail; `str(error)` is a phrase."""


class HeaderField(NamedTuple):
    """One field of a header: its lower-case name and the bytes of its lines."""

    name: bytes
    lines: bytes


class Finished(NamedTuple):
    """A mail as it is, and what its bytes say about themselves; `message_id` is empty if they name none."""

    data: bytes
    has_date: bool
    message_id: str
    eight_bit: bool
    smtputf8: bool


def crlf(data: bytes) -> bytes:
    """Every line end as CRLF, a last one included. Bytes that are right already come back as they are."""
    if data.count(b"\r\n") != data.count(b"\n") or data.count(b"\r\n") != data.count(b"\r"):
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def split(data: bytes) -> tuple[bytes, bytes]:
    """(header lines, the rest from the empty line on) of CRLF bytes."""
    if data.startswith(b"\r\n"):
        return b"", data
    end = data.find(b"\r\n\r\n")
    return (data, b"") if end < 0 else (data[: end + 2], data[end + 2 :])


def header_fields(header: bytes) -> list[HeaderField]:
    """The fields in their order, each with its folded lines. Raises MimeError for a line that belongs to none."""
    fields: list[HeaderField] = []
    if not header:
        return fields
    for number, line in enumerate(header.removesuffix(b"\r\n").split(b"\r\n"), 1):
        if line[:1] in (b" ", b"\t") and fields:
            last = fields.pop()
            fields.append(HeaderField(last.name, last.lines + line + b"\r\n"))
            continue
        found = _FIELD.match(line)
        if found is None:
            raise MimeError(f"line {number} is no header field")
        fields.append(HeaderField(found[1].lower(), line + b"\r\n"))
    return fields


def take_in(data: bytes) -> bytes:
    """What is stored: CRLF line ends, no Bcc, nothing else touched. Raises MimeError."""
    if b"\0" in data:
        raise MimeError("it holds a NUL byte")
    header, rest = split(crlf(data))
    kept = [field.lines for field in header_fields(header) if field.name not in _BLIND]
    if not kept:
        raise MimeError("it has no header")
    return b"".join(kept) + (rest or b"\r\n")


def inspect(data: bytes) -> Finished:
    """What sending needs to know about a stored mail. Raises MimeError, as `take_in` does: that is asked once more, so
    that whatever has stood in Redis, no bare line end and no Bcc goes out."""
    data = take_in(data)
    header, _ = split(data)
    found = {field.name: field.lines for field in reversed(header_fields(header))}
    own_id = b" ".join(found.get(b"message-id", b":").partition(b":")[2].split()).decode("ascii", "replace")
    return Finished(data, b"date" in found, own_id, not data.isascii(), not header.isascii())


def canonical(data: bytes) -> Iterator[bytes]:
    """What two runs of the same script have in common: Date, Message-ID and the random boundaries are left out."""
    header, rest = split(data)
    kept = b"".join(field.lines for field in header_fields(header) if field.name not in _OWN)
    found = {quoted or plain for quoted, plain in _BOUNDARY.findall(data)}
    order = sorted(found, key=data.index)
    if order:
        numbers = {boundary: b"=boundary %d=" % i for i, boundary in enumerate(order)}
        longest_first = sorted(order, key=len, reverse=True)
        pattern = re.compile(b"|".join(map(re.escape, longest_first)))
        kept = pattern.sub(lambda match: numbers[match[0]], kept)
        rest = pattern.sub(lambda match: numbers[match[0]], rest)
    yield kept
    yield rest
