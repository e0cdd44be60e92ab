"""What the sandbox remembers: one LogRecord per event, one ReceivedMail per mail. Typed, frozen, JSON by msgspec.

The log is made to be an oracle. Which events it holds:
  always   connect (the banner), ehlo, starttls, auth, rcpt (each one), dot (one record a recipient), quit, close
  body     the connection ended after DATA was answered with 354 and before the end of data: one record a recipient
  mail, data, other   only where the command was refused
`reply_flushed` is true when the reply went to a transport that was still open then; it does not say that the
peer read it. A mail is received if and only if its body and terminator were read *and* it was not refused at the dot:
exactly those are ReceivedMails, also where the reply to the dot never went out. `sha256` is present exactly where a
whole body was read (one beyond twice the size limit is thrown away, and has none).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mailspool.sandbox.grammar import BodyType

Stage = Literal["connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "dot", "quit", "other", "close"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event as a dialogue sees it, before anyone knows whether its reply got out. `answered`: a reply was made."""

    stage: Stage
    reply: str = ""
    mail_from: str | None = None
    recipient: str | None = None
    message_id: str | None = None
    sha256: str | None = None
    size: int | None = None
    answered: bool = True


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One event. `order` counts from 1 without gaps over all sessions; `at_ms` is wall time; `session` counts from 1.

    `size`: octets of the content where `sha256` is present; at `body` the octets that came over the wire.
    `reply` is the reply's last line without CR LF, "" where none was made.
    """

    order: int
    at_ms: int
    session: int
    stage: Stage
    reply: str
    reply_flushed: bool
    mail_from: str | None = None
    recipient: str | None = None
    message_id: str | None = None
    sha256: str | None = None
    size: int | None = None


class ReceivedMail(msgspec.Struct, frozen=True, gc=False):
    """One mail as it came: `data` is the content with CR LF lines, dots unstuffed, nothing added."""

    number: int
    recipients: tuple[str, ...]
    mail_from: str
    data: bytes
    received_ms: int
    session: int
    message_id: str | None
    sha256: str
    body: BodyType = "7BIT"
    smtputf8: bool = False
    tls: bool = False
    user: str | None = None

    @property
    def recipient(self) -> str:
        """The first recipient: the only one of a bulk mail."""
        return self.recipients[0]


class IndexLine(msgspec.Struct, frozen=True, gc=False):
    """A line of `index.jsonl` in a kept folder: one per recipient. `path` is relative to the folder."""

    path: str
    recipient: str
    mail_from: str
    message_id: str | None
    sha256: str
    size: int
    received_ms: int
    session: int
