"""The strict grammar of MAIL and RCPT (RFC 5321, 6531, 1870, 6152, 4954): text in, typed command out.

Used by dialogue.py. Pure. Raises Refused with the whole reply line for anything that the standard does not allow; the
reply never repeats what the client sent. Strict on purpose: no space after the colon, no source routes, no unknown
parameters, because a receiver that forgives cannot show that a sender is right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

BodyType = Literal["7BIT", "8BITMIME"]

LOCAL_PART_OCTETS: Final = 64
"""RFC 5321 4.5.3.1.1."""
PATH_OCTETS: Final = 256
"""RFC 5321 4.5.3.1.3, with the angle brackets."""
_SIZE_DIGITS: Final = 20
"""RFC 1870, section 3."""

_U: Final = "\u0080-\U0010ffff"
_ATEXT: Final = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_U}-]"
_LABEL: Final = rf"[A-Za-z0-9{_U}](?:[A-Za-z0-9{_U}-]*[A-Za-z0-9{_U}])?"
_LOCAL: Final = rf'(?:{_ATEXT}+(?:\.{_ATEXT}+)*|"(?:[ !#-\[\]-~{_U}]|\\[ -~])*")'
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[!-Z^-~]+\])"
_MAILBOX: Final = re.compile(rf"({_LOCAL})@{_DOMAIN}")
_PATH: Final = re.compile(r'<((?:[^<>" ]|"(?:[^"\\]|\\.)*")*)>((?: [^ ]+)*)')
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")


class Refused(Exception):  # noqa: N818 - a reply, not a fault of ours
    """The command is answered with `.reply` and changes nothing."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Offer:
    """Which parameters this server allows on MAIL in this session: what its EHLO reply offered."""

    size_limit: int | None
    eight_bit: bool
    smtputf8: bool
    auth: bool


@dataclass(frozen=True, slots=True)
class MailCommand:
    """A well-formed MAIL. `address` is "" for the null sender."""

    address: str
    body: BodyType = "7BIT"
    smtputf8: bool = False


NOTHING_OFFERED: Final = Offer(size_limit=None, eight_bit=False, smtputf8=False, auth=False)
"""After HELO."""


def _split(argument: str, keyword: str, refusal: str) -> tuple[str, str]:
    """`FROM:<a@b> X=y` -> ("a@b", " X=y")."""
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(refusal)
    match = _PATH.fullmatch(argument, len(keyword))
    if match is None:
        raise Refused(refusal)
    return match[1], match[2]


def _well_formed(address: str) -> bool:
    match = _MAILBOX.fullmatch(address)
    return (
        match is not None
        and len(match[1].encode()) <= LOCAL_PART_OCTETS
        and len(address.encode()) + 2 <= PATH_OCTETS
        and not any("\x80" <= character <= "\x9f" for character in address)
    )


def parse_mail(argument: str, offer: Offer) -> MailCommand:
    """What follows `MAIL `."""
    address, rest = _split(argument, "FROM:", "501 5.5.4 syntax: MAIL FROM:<address>")
    body: BodyType = "7BIT"
    smtputf8 = False
    seen: set[str] = set()
    for word in rest.split():
        name, value = _parameter(word, seen)
        if name == "SIZE" and offer.size_limit is not None and value.isdigit() and len(value) <= _SIZE_DIGITS:
            if offer.size_limit and int(value) > offer.size_limit:
                raise Refused("552 5.3.4 message too big for this server")
        elif name == "BODY" and offer.eight_bit and value.upper() == "8BITMIME":
            body = "8BITMIME"
        elif name == "BODY" and offer.eight_bit and value.upper() == "7BIT":
            body = "7BIT"
        elif name == "SMTPUTF8" and offer.smtputf8 and not value:
            smtputf8 = True
        elif not (name == "AUTH" and offer.auth and value):
            raise Refused("555 5.5.4 parameter not recognised, not offered or with a bad value")
    if address and not _well_formed(address):
        raise Refused("501 5.1.7 bad sender address syntax")
    _only_ascii_unless(smtputf8, address)
    return MailCommand(address, body, smtputf8)


def parse_rcpt(argument: str, *, smtputf8: bool) -> str:
    """What follows `RCPT `; the recipient as written. `<postmaster>` without a domain is legal."""
    address, rest = _split(argument, "TO:", "501 5.5.4 syntax: RCPT TO:<address>")
    if rest:
        raise Refused("555 5.5.4 RCPT parameters are not offered")
    if address.lower() != "postmaster" and not _well_formed(address):
        raise Refused("501 5.1.3 bad recipient address syntax")
    _only_ascii_unless(smtputf8, address)
    return address


def _parameter(word: str, seen: set[str]) -> tuple[str, str]:
    match = _PARAMETER.fullmatch(word)
    if match is None or match[1].upper() in seen:
        raise Refused("501 5.5.4 bad or repeated parameter")
    seen.add(match[1].upper())
    return match[1].upper(), match[2] or ""


def _only_ascii_unless(smtputf8: bool, address: str) -> None:
    if not smtputf8 and not address.isascii():
        raise Refused("553 5.6.7 this address needs SMTPUTF8")
