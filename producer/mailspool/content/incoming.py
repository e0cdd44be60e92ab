"""A finished mail comes in: bytes or an `email` object -> a spec of kind "mime" and the mailboxes it names.

Called by message.py. The header is read for addresses only; what is stored are the mail's own bytes (finished.py).
Raises InputError.
"""

from __future__ import annotations

from collections.abc import Iterable
from email import policy
from email.errors import HeaderDefect, MessageError, ObsoleteHeaderDefect
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage, Message
from email.parser import HeaderParser

from mailspool.content import finished
from mailspool.content.address import AddressError, Mailbox, identity, normalise
from mailspool.contract.records import Spec
from mailspool.contract.states import RECORD_VERSION
from mailspool.errors import InputError

_RECEIVERS = ("To", "Cc", "Bcc")
_CODE = "bad_mime"


def mime_to_spec(mail: EmailMessage | Message | bytes) -> tuple[Spec, tuple[Mailbox, ...]]:
    """The mail as it is (CRLF line ends, no Bcc), and whom To, Cc and Bcc name, each once."""
    raw = mail if isinstance(mail, bytes) else _serialised(mail)
    try:
        header, _ = finished.split(finished.crlf(raw))
        stored = finished.take_in(raw)
        readable = b"".join(map(_without_space, finished.header_fields(header)))
    except finished.MimeError as error:
        raise InputError(f"The finished mail cannot be sent: {error}.", code=_CODE) from None
    # Undecodable bytes stay visible as surrogates, which no address passes.
    fields = HeaderParser(policy=policy.default).parsestr(readable.decode("utf-8", "surrogateescape"))
    senders = _mailboxes(fields, "From")
    if not senders:
        raise InputError("The finished mail has no From.", code=_CODE)
    found: dict[str, Mailbox] = {}
    for name in _RECEIVERS:
        for box in _mailboxes(fields, name):
            found.setdefault(identity(box.address), box)
    spec = Spec(v=RECORD_VERSION, kind="mime", from_=senders[0].address, mime=stored)
    return spec, tuple(found.values())


def _without_space(field: finished.HeaderField) -> bytes:
    """`Bcc : x` (RFC 5322, 4.5) as `bcc: x`: the stdlib's parser would take it, and all behind it, for the body."""
    return field.name + b":" + field.lines.partition(b":")[2]


def _serialised(mail: Message) -> bytes:
    """By the SMTP policy; by SMTPUTF8 if an address needs it (the other one would encode the address itself)."""
    plain = all(str(value).isascii() for name in ("From", *_RECEIVERS) for value in _addresses_only(mail, name))
    try:
        return mail.as_bytes(policy=policy.SMTP if plain else policy.SMTPUTF8)
    except (MessageError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"The mail object cannot be written as bytes ({type(error).__name__}).", code=_CODE) from None


def _addresses_only(mail: Message, name: str) -> Iterable[str]:
    for value in mail.get_all(name, []):
        if isinstance(value, AddressHeader):
            yield from (address.addr_spec for address in value.addresses)


def _mailboxes(fields: Message, name: str) -> list[Mailbox]:
    try:
        headers = fields.get_all(name, [])
        return [_mailbox(address, name) for header in headers for address in _addresses(header, name)]
    except (LookupError, ValueError, AttributeError, TypeError, AssertionError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(name) from None  # the stdlib's parser stumbles over some malformed fields


def _addresses(header: object, name: str) -> tuple[Address, ...]:
    if not isinstance(header, AddressHeader):
        raise _unreadable(name)
    defects: tuple[HeaderDefect, ...] = getattr(header, "defects", ())  # the typed classes meet only at run time
    if any(map(_serious, defects)):
        raise _unreadable(name)
    return header.addresses


def _serious(defect: HeaderDefect) -> bool:
    """Old forms (unquoted dots in a name) and other scripts are fine: `normalise` judges the address itself."""
    return not isinstance(defect, ObsoleteHeaderDefect) and "non-ASCII" not in str(defect)


def _mailbox(address: Address, name: str) -> Mailbox:
    try:
        return Mailbox(address.display_name, normalise(address.addr_spec))
    except AddressError as error:
        raise InputError(f'{name} of the finished mail, "{address.addr_spec[:60]}": {error}.', code=_CODE) from None


def _unreadable(name: str) -> InputError:
    return InputError(f"{name} of the finished mail is no list of addresses.", code=_CODE)
