"""Header fields to bytes: RFC 2047 words, RFC 2231 parameters, folding by RFC 5322.

Called by mime.py (and by `show`, for `message_id`). Pure; every function returns whole lines that end in CRLF, pure
ASCII unless an address itself is not (RFC 6532). Nothing that stands in a value can end a line: CR and LF become a
space before anything else, other control characters travel inside encoded words.
Known limit: an ASCII word longer than 78 characters (a URL) is not broken; RFC 5322 allows 998.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from mailspool.content.address import Mailbox

LINE = 78
"""RFC 5322, 2.1.1: what a line should not exceed."""
_WORD_LINE = 76
"""RFC 2047, 2: the limit of a line that holds an encoded word; the word itself has 75."""
_WORD_FRAME = len("=?utf-8?q??=")
_LONGEST_TOKEN = 900
"""Below 998 with room for the header's name; a longer word is only safe as encoded words."""

_BREAKS = re.compile(r"[\r\n]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOOKS_ENCODED = re.compile(r"=\?[^?]*\?[^?\s]\?")
"""Wider than RFC 2047: readers in the field decode words with spaces and question marks in them, too."""
_TOKENS = re.compile(r"[ \t]*[^ \t]+")
_Q_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_BYTE = tuple(chr(b) if b in _Q_PLAIN else "_" if b == 0x20 else f"={b:02X}" for b in range(256))
"""The set that RFC 2047, 5 (3) allows in a phrase, so that one encoding serves names and subjects."""
_QUOTABLE = re.compile(r"[A-Za-z0-9 !#$&+,.;=@^_`{}~()\[\]-]*")
_SEGMENT = 60
"""Characters of one RFC 2231 continuation: with ` filename*10*=` and `;` it stays below 78."""


is_field_name = re.compile(r"[!-9;-~]+").fullmatch
"""RFC 5322, 3.6.8: printable ASCII without the colon."""


def one_line(value: str) -> str:
    """A rendered header value as one line: a run of CR and LF (Alt-Enter in a spreadsheet) is one space."""
    if "\n" in value or "\r" in value:
        value = _BREAKS.sub(" ", value)
    return value.strip(" \t")


def unstructured(name: str, value: str) -> bytes:
    """A whole field (`Subject`, a custom header) for a value that `one_line` has passed; nothing for an empty value."""
    if not value:
        return b""
    if value.isascii() and "=?" not in value and value.isprintable() and len(value) + len(name) + 2 <= LINE:
        return f"{name}: {value}\r\n".encode()
    if _plain(value):
        return _fold(name, _TOKENS.findall(value), LINE)
    return _fold(name, [f" {word}" for word in encoded_words(value, _WORD_LINE - len(name) - 2)], _WORD_LINE)


def mailboxes(name: str, boxes: Sequence[Mailbox]) -> bytes:
    """An address field. A non-ASCII address stands in it as UTF-8 (RFC 6532), so the caller must ask for SMTPUTF8."""
    tokens: list[str] = []
    limit = LINE
    room = _WORD_LINE - len(name) - 2
    for number, box in enumerate(boxes, 1):
        display, words = _phrase(box.name, room)
        limit = _WORD_LINE if words else limit
        tokens += display
        address = f"<{box.address}>" if display else box.address
        tokens.append(f" {address}," if number < len(boxes) else f" {address}")
        room = _WORD_LINE - 1
    return _fold(name, tokens, limit)


def disposition(kind: str, filename: str) -> bytes:
    """Content-Disposition with a file name: quoted if short and harmless, else by RFC 2231 (any script)."""
    name = one_line(filename).replace("/", "_").replace("\\", "_") or "attachment"
    if len(name) <= _SEGMENT and _QUOTABLE.fullmatch(name):
        line = f'Content-Disposition: {kind}; filename="{name}"'
        return (line if len(line) <= LINE else line.replace("; ", ";\r\n ", 1)).encode() + b"\r\n"
    coded = quote(name, safe="!#$&+^`{|}")
    if len(coded) <= _SEGMENT:
        return f"Content-Disposition: {kind};\r\n filename*=utf-8''{coded}\r\n".encode()
    segments = [f" filename*{i}*={part}" for i, part in enumerate(_segments("utf-8''" + coded))]
    return f"Content-Disposition: {kind};\r\n".encode() + ";\r\n".join(segments).encode() + b"\r\n"


def date(at_ms: int) -> bytes:
    """The Date field, in UTC."""
    return f"Date: {format_datetime(datetime.fromtimestamp(at_ms // 1000, UTC))}\r\n".encode()


def mark(batch: str, n: int) -> str:
    """Hexadecimal digits that only this message has: its Message-ID and its boundaries are cut from them."""
    return hashlib.blake2b(f"{batch}.{n}".encode(), digest_size=16).hexdigest()


def message_id(batch: str, n: int, domain: str) -> str:
    """`<batch.n.check@domain>`, the same at every attempt. The check tells our ids from invented ones."""
    return f"<{batch}.{n}.{mark(batch, n)[:6]}@{domain}>"


def encoded_words(text: str, first: int) -> list[str]:
    """`text` as RFC 2047 words in UTF-8, by Q or B, whichever is shorter; no character is cut in two.

    `first` is the room for the first word; where it is too small for any text, that word may be longer.
    """
    raw = text.encode()
    by_q = sum(map(len, map(_Q_BYTE.__getitem__, raw))) <= (len(raw) + 2) // 3 * 4
    return list(_q_words(text, first) if by_q else _b_words(text, first))


def _room(first: int) -> int:
    return max(first, 24) - _WORD_FRAME


def _q_words(text: str, first: int) -> Iterator[str]:
    room, word = _room(first), ""
    for char in text:
        coded = "".join(map(_Q_BYTE.__getitem__, char.encode()))
        if word and len(word) + len(coded) > room:
            yield f"=?utf-8?q?{word}?="
            room, word = _room(_WORD_LINE - 1), ""
        word += coded
    yield f"=?utf-8?q?{word}?="


def _b_words(text: str, first: int) -> Iterator[str]:
    room, word = _room(first) // 4 * 3, b""
    for char in text:
        coded = char.encode()
        if word and len(word) + len(coded) > room:
            yield f"=?utf-8?b?{binascii.b2a_base64(word, newline=False).decode()}?="
            room, word = _room(_WORD_LINE - 1) // 4 * 3, b""
        word += coded
    yield f"=?utf-8?b?{binascii.b2a_base64(word, newline=False).decode()}?="


def _plain(value: str) -> bool:
    """True if the value may stand as it is, folded at its spaces."""
    return (
        value.isascii()
        and value.replace("\t", " ").isprintable()
        and not _LOOKS_ENCODED.search(value)
        and max(map(len, _TOKENS.findall(value)), default=0) <= _LONGEST_TOKEN
    )


def _phrase(name: str, room: int) -> tuple[list[str], bool]:
    """A display name as tokens that may be folded apart, and whether they are encoded words."""
    name = one_line(name)
    if not name:
        return [], False
    if len(name) <= LINE and _ATOMS.fullmatch(name) and "=?" not in name:
        return [f" {name}"] if len(name) <= room else [f" {atom}" for atom in name.split(" ")], False
    if name.isascii() and name.isprintable() and "=?" not in name and len(name) <= room - 2:
        return [' "' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'], False
    return [f" {word}" for word in encoded_words(name, room)], True


def _fold(name: str, tokens: Sequence[str], limit: int) -> bytes:
    """Tokens begin with their own white space; a line is broken before one, never right behind the name."""
    lines = [f"{name}:"]
    for i, token in enumerate(tokens):
        spaced = token if i else f" {token.lstrip()}"
        if i and len(lines[-1]) + len(spaced) > limit:
            lines.append(spaced)
        else:
            lines[-1] += spaced
    return "\r\n".join(lines).encode() + b"\r\n"


def _segments(coded: str) -> Iterator[str]:
    """Cut at most 60 characters at a time, never inside `%XX`."""
    while coded:
        cut = _SEGMENT
        while cut < len(coded) and "%" in coded[cut - 2 : cut]:
            cut -= 1
        yield coded[:cut]
        coded = coded[cut:]
