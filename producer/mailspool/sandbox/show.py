"""Raw mail as words for a person: who, to whom, what about, the beginning of the text, what is attached.

Pure; used by the command line for each mail that the sandbox takes, and by the demo. Whatever the bytes are, it
raises nothing and returns text that is safe to print: control characters, terminal escapes and invisible direction
overrides are written out as `\\x1b`. What cannot be read is shown as far as it goes and marked `(unreadable)`.
"""

from __future__ import annotations

import email
import re
import unicodedata
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from typing import Final

_UNREADABLE: Final = (ValueError, LookupError, AttributeError, TypeError, RecursionError, MessageError)
"""What the standard library's parser raises for malformed headers, charsets and encodings."""
_HEADER_CHARACTERS: Final = 500
"""More of a header than any screen shows; a header may be as long as the mail."""
_PARTS: Final = 100
"""A mail with more parts is an attack or a mistake; they are counted, not listed."""
_DIRECTION_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a terminal show `gpj.exe` as `exe.jpg`. Joiners and marks that Persian and Arabic need stay."""


@dataclass(frozen=True, slots=True)
class PartSummary:
    """An attachment or an inline file."""

    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class MailSummary:
    """All text is harmless. `parts` counts the leaves of the MIME tree, `size` the octets of the whole mail."""

    from_: str
    to: str
    subject: str
    text: str
    attachments: tuple[PartSummary, ...]
    parts: int
    size: int


def harmless(text: str, *, lines: bool = False) -> str:
    """`text` with all that could move a cursor or hide itself written out; `lines` keeps LF and TAB."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _visible(character, lines=lines) else _written_out(character) for character in text)


def summarise(raw: bytes, *, excerpt_characters: int = 400) -> MailSummary:
    """What a person wants to know of a mail."""
    try:
        message = email.message_from_bytes(raw, _class=EmailMessage, policy=default)
        leaves = [part for part in message.walk() if not part.is_multipart()]
    except _UNREADABLE:
        return MailSummary("", "", "(unreadable)", "", (), 0, len(raw))
    body = _body(message)
    attachments = tuple(_part(leaf) for leaf in leaves[:_PARTS] if leaf is not body and _is_file(leaf))
    return MailSummary(
        _header(message, "From"),
        _header(message, "To"),
        _header(message, "Subject"),
        _excerpt(body, excerpt_characters),
        attachments,
        len(leaves),
        len(raw),
    )


def describe(raw: bytes, *, excerpt_characters: int = 400) -> str:
    """A few lines for a terminal."""
    mail = summarise(raw, excerpt_characters=excerpt_characters)
    lines = [f"From:    {mail.from_}", f"To:      {mail.to}", f"Subject: {mail.subject}"]
    lines += [f"File:    {file.name or '(no name)'}  {file.type}  {file.size:,} bytes" for file in mail.attachments]
    if mail.text:
        lines += ["", *(f"  {line}" for line in mail.text.split("\n"))]
    return "\n".join(lines)


def _visible(character: str, *, lines: bool) -> bool:
    if character in "\n\t":
        return lines
    if character in _DIRECTION_OVERRIDES or "\U000e0000" <= character <= "\U000e007f":
        return False
    return unicodedata.category(character) not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}


def _written_out(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if character > "\x7f" else f"\\x{ord(character):02x}"


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message[name]
        text = "" if value is None else str(value)
    except _UNREADABLE:
        return "(unreadable)"
    return harmless(_shortened(text, _HEADER_CHARACTERS))


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _body(message: EmailMessage) -> EmailMessage | None:
    try:
        body = message.get_body(("plain", "html"))
    except _UNREADABLE:
        return None
    return body if isinstance(body, EmailMessage) else None


def _excerpt(body: EmailMessage | None, limit: int) -> str:
    if body is None or limit <= 0:  # the command line asks for none, and decoding is a third of the work
        return ""
    try:
        content = body.get_content()
    except _UNREADABLE:
        return "(unreadable)"
    if not isinstance(content, str):
        return ""
    if body.get_content_subtype() == "html":
        content = re.sub(r"<[^<>]*>", " ", content[: limit * 20])
    text = re.sub(r"[ \t]+\n", "\n", content.replace("\r\n", "\n")).strip()
    return harmless(_shortened(text, limit), lines=True)


def _is_file(part: EmailMessage) -> bool:
    try:
        return part.is_attachment() or part.get_filename() is not None or part.get_content_maintype() != "text"
    except _UNREADABLE:
        return True


def _part(part: EmailMessage) -> PartSummary:
    try:
        name = part.get_filename() or ""
    except _UNREADABLE:
        name = "(unreadable)"
    try:
        payload = part.get_payload(decode=True)
    except _UNREADABLE:
        payload = b""
    size = len(payload) if isinstance(payload, bytes) else 0
    return PartSummary(harmless(_shortened(name, _HEADER_CHARACTERS)), harmless(part.get_content_type()), size)
