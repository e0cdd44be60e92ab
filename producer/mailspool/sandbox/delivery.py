"""The end of a mail: is its content acceptable, is it kept, what is the reply to the final dot.

Called by dialogue.py with a finished body. The mail is kept before any reply is made, so an acknowledged mail is
always a kept one. A mail that is refused at the dot, by order or for its content, is not kept: the log has its hash
all the same.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from mailspool.sandbox.body import BodyReader, too_long_line
from mailspool.sandbox.conversation import Conversation, Then, Transaction
from mailspool.sandbox.grammar import Refused
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.records import ReceivedMail

_MESSAGE_ID: Final = re.compile(
    rb"^message-id[ \t]*:[ \t]*(?:\r\n[ \t]+)?(<[^>\r\n]*>|[^\r\n]+)", re.IGNORECASE | re.MULTILINE
)
_MESSAGE_ID_OCTETS: Final = 998
"""The longest line that may hold one; the log keeps no more of anybody's experiments."""


def finish(talk: Conversation, transaction: Transaction, reader: BodyReader, body: bytes, now_ms: int) -> None:
    """Judge, keep, answer."""
    talk.transaction = None
    message_id, sha256 = message_id_of(body), hashlib.sha256(body).hexdigest()
    order = None
    try:
        check_content(body, reader, talk.policy.options)
        order = talk.in_force(transaction, "dot")
        reply = None if order is None else order.reply
        if reply is None or reply == "" or reply.startswith("2"):
            number = _keep(talk, transaction, body, message_id, sha256, now_ms)
            reply = f"250 2.0.0 taken as {number}" if reply is None else reply
    except Refused as refused:
        order, reply = None, refused.reply
    whole = not reader.discarded
    events = transaction.events(
        "dot",
        reply,
        answered=reply != "",
        message_id=message_id,
        sha256=sha256 if whole else None,
        size=len(body) if whole else None,
    )
    then = Then.CLOSE if order is not None and order.close else Then.READ
    if not reply and then is Then.READ:
        then = Then.STALL
    delay_s = talk.policy.options.dot_delay_s if order is None else order.delay_s
    talk.answer(order, reply, events, then, delay_s)


def check_content(body: bytes, reader: BodyReader, options: ReceiverOptions) -> None:
    """Refused with the reply to the dot where the finished body is not acceptable."""
    if reader.discarded or (options.size_limit_bytes and len(body) > options.size_limit_bytes):
        raise Refused("552 5.3.4 message too big for this server")
    if options.line_limit_octets:
        octets = too_long_line(body, options.line_limit_octets)
        if octets is not None:
            raise Refused(f"550 5.6.0 a line of {octets} octets; the limit is {options.line_limit_octets}")
    if not options.eight_bit_mime and not body.isascii():
        raise Refused("554 5.6.3 octets above 127, and 8BITMIME was not offered")


def message_id_of(body: bytes) -> str | None:
    """The Message-ID header's value, if there is one."""
    end = body.find(b"\r\n\r\n")
    match = _MESSAGE_ID.search(body, 0, len(body) if end < 0 else end + 2)
    if match is None:
        return None
    return match[1][:_MESSAGE_ID_OCTETS].strip().decode("utf-8", "replace")


def _keep(
    talk: Conversation, transaction: Transaction, body: bytes, message_id: str | None, sha256: str, now_ms: int
) -> int:
    command = transaction.command
    mail = ReceivedMail(
        talk.policy.next_number(),
        tuple(transaction.recipients),
        command.address,
        body,
        now_ms,
        talk.session,
        message_id,
        sha256,
        command.body,
        command.smtputf8,
        talk.tls,
        talk.user,
    )
    try:
        talk.take(mail)
    except OSError:
        raise Refused("451 4.3.0 the mail cannot be kept here") from None
    talk.accepted += 1
    talk.policy.accept()
    talk.mails.append(mail)
    return mail.number
