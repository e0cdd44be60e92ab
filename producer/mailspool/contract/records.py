"""The records that are stored: what a batch says (Spec), one row, one outcome.

Plain data; `codec.py` turns them into bytes and back. A field is only ever added at the end, with a default.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["template", "literal", "mime"]


class AttachmentRef(msgspec.Struct, frozen=True):
    """An attachment of the batch: its content lies once in the blob store under its SHA-256 (hex)."""

    sha: str
    name: str
    type: str
    size: int
    inline: bool = False
    cid: str | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What all messages of a batch share.

    kind "template": every text field is Jinja2; "literal": every text field is final text, never code;
    "mime": `mime` holds finished CRLF bytes that go out as they are, and of the other fields only `from_` (the bare
    envelope address is derived from it) and `return_path` are used.
    Header fields hold RFC 5322 mailbox text as a person writes it (`Acme <billing@acme.example>`).
    """

    v: int
    kind: Kind
    from_: str
    to: str | None = None
    cc: str | None = None
    reply_to: str | None = None
    sender: str | None = None
    return_path: str | None = None
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[AttachmentRef, ...] = ()
    mime: bytes = b""
    erased: bool = False
    """What it said is gone, after it was sent: subject, texts, headers, attachments, `mime` but for its Message-ID."""


class Row(msgspec.Struct, array_like=True):
    """One message of a batch. `values` are erasable; `mail_from` and `raw` are the doors for VERP and own content."""

    recipient: str
    values: dict[str, object]
    to_name: str = ""
    mail_from: str | None = None
    raw: bytes | None = None


class Outcome(msgspec.Struct):
    """What happened to a message so far. `at_ms`: the next try if deferred, else when it happened.

    `doubts` counts final replies that were lost (uncertain attempts); `reply` is one cleaned line; `reason` our word;
    `strikes` counts attempts in a row that cost nothing (the receiver asked us to slow down).
    """

    state: str
    at_ms: int
    attempts: int = 0
    doubts: int = 0
    relay: str = ""
    reply: str = ""
    reason: str = ""
    first_ms: int = 0
    last_ms: int = 0
    size: int = 0
    strikes: int = 0
