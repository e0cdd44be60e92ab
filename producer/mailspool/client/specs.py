"""What a caller hands to send or send_batch -> the spec, its attachments, and (for one mail) who gets it.

A `Message` is literal in `send`, a template in `send_batch` and in `send(values=...)`: so text of a user with `{{` in
it is never code. Finished MIME goes as it is. Raises InputError.
"""

from __future__ import annotations

import email.message
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import NamedTuple

from mailspool.content.address import AddressError, Mailbox, identity, parse_mailboxes
from mailspool.content.incoming import mime_to_spec
from mailspool.contract.records import Spec
from mailspool.errors import InputError, with_article
from mailspool.message import Message, to_spec
from mailspool.settings import Settings

Content = tuple[Spec, dict[str, bytes]]


class Envelope(NamedTuple):
    """Who gets one mail, each once, and the values it is rendered with."""

    receivers: tuple[Mailbox, ...]
    values: Mapping[str, object]


def template_spec(template: Message | EmailMessage | bytes, settings: Settings) -> Content:
    """For send_batch: one message a row. cc and bcc are refused."""
    _check_kind("template", template)
    if not isinstance(template, Message):
        spec, _ = mime_to_spec(template)
        return spec, {}
    if template.cc or template.bcc:
        raise InputError("cc and bcc in a batch would be 50,000 copies to your boss: add a row for them instead.")
    return to_spec(template.with_default_from(settings.default_from), kind="template")


def literal_spec(
    message: Message | EmailMessage | bytes,
    to: str | Sequence[str] | None,
    values: Mapping[str, object] | None,
    settings: Settings,
) -> tuple[Spec, dict[str, bytes], Envelope]:
    """For send: one mail, one copy for each receiver of To, Cc and Bcc (or of `to`)."""
    _check_kind("message", message)
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f"values is {with_article(values)}: give a dict of names and values.")
    if isinstance(message, Message):
        if to is not None:
            message = message.replace(to=to)
        message = message.with_default_from(settings.default_from)
        if values is None:
            spec, blobs = to_spec(message, kind="literal")
        elif message.bcc:
            raise InputError("bcc and values do not go together: a rendered mail names its receiver. Send it apart.")
        else:
            spec, blobs = to_spec(message, kind="template")
        receivers = message.receivers()
    else:
        if values is not None:
            raise InputError("a finished mail has no places for values: leave them out, or give a Message.")
        spec, receivers = mime_to_spec(message)
        blobs = {}
        if to is not None:
            receivers = _mailboxes(to)
    if not receivers:
        raise InputError('nobody gets this mail: give to="ali@example.org".')
    return spec, blobs, Envelope(receivers, values or {})


def _check_kind(what: str, given: object) -> None:
    if not isinstance(given, Message | email.message.Message | bytes):
        raise InputError(
            f"{what} is {with_article(given)}: give a Message, or a finished mail (EmailMessage or bytes)."
        )


def _mailboxes(to: str | Sequence[str]) -> tuple[Mailbox, ...]:
    found: dict[str, Mailbox] = {}
    texts = [to] if isinstance(to, str) else to
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise InputError("to must be an address or a list of addresses.")
    for text in texts:
        try:
            boxes = parse_mailboxes(text)
        except AddressError as error:
            raise InputError(f'to "{text[:60]}": {error}.') from None
        for box in boxes:
            found.setdefault(identity(box.address), box)
    return tuple(found.values())
