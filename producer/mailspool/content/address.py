"""Addresses: what a person or a spreadsheet wrote -> a mailbox that may go on the wire, or a short phrase why not.

`lists` calls `normalise` for every row (a plain address takes about 0.4 µs once its domain was seen) and `clean_cell`
for the odd ones; `message` and `content` call `parse_mailbox` and `parse_mailboxes` for From, To, Cc and Reply-To.
All raise AddressError, whose text is a phrase to put behind the cell: `two @ signs`, `nothing after the @`.

An address comes out as it goes on the wire: local part as written, domain in lower case as A-labels (UTS 46). Plain
ASCII is checked here; a non-ASCII local part or domain is decided by `email-validator`, and a property test holds
both to the same answers. On purpose different from its defaults: `localhost`, `test` and names below `test` and
`local` are legal (relays inside a house and test receivers), and a role name (`Postmaster@`) keeps its capitals.
Not supported, and refused in words: quoted local parts, IP addresses after the @, RFC 5322 groups and comments.
A local part may exceed 64 octets (receivers exist that make such addresses); the whole is limited to 254.
Control characters, line breaks and NUL are refused always, so nothing from here can start a new header or command.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple


class AddressError(ValueError):
    """Not an address; `str(error)` is a short phrase without a full stop."""


class Mailbox(NamedTuple):
    """`name` is plain text (no quotes, not encoded), empty if there is none; `address` is normalised."""

    name: str
    address: str


MAX_ADDRESS: Final = 254
"""RFC 5321 4.5.3.1.3: a path of 256 octets includes its two angle brackets. A domain's 253 follow from it."""
DOMAINS_KEPT: Final = 10_000
"""Accepted domains remembered; then the memory starts afresh. About 1.5 MB, and more than most lists have."""

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_is_dot_atom = re.compile(rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+").fullmatch
_not_local = re.compile(rf"[^.\x80-\U0010ffff{_ATEXT}]").search
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_is_host = re.compile(rf"(?:{_LABEL}\.)+(?:[A-Za-z0-9][A-Za-z0-9-]{{0,61}})?[A-Za-z]").fullmatch
_has_reserved_label = re.compile(r"(?:^|\.)..--").search
_not_domain = re.compile(r"[^.A-Za-z0-9\x80-\U0010ffff-]").search
_LONE_HOSTS: Final = frozenset(("localhost", "test"))
_HOUSE_NAMES: Final = (".localhost", ".local")
_NO_MAIL: Final = ("arpa", "invalid", "onion")
"""Special-use names (RFC 6761, 7686) below which no relay can ever deliver."""

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_SPACES: Final = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_UNSEEN: Final = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
)
_AROUND: Final = _SPACES + _UNSEEN
"""What spreadsheets, chat windows and right-to-left editors leave around an address."""
_unseen_inside = re.compile(f"[{_UNSEEN}]").search
_space_inside = re.compile(f"[{_SPACES}]").search
_between_addresses = re.compile(rf"[{_SPACES},;|/<>()]+").split
_quoted_or_plain = re.compile(r'"((?:[^"\\]|\\.)*)"|([^"]+)').match
_list_token = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>]*>|[^",<]+|.').finditer

_domains: dict[str, str] = {}


def normalise(address: str) -> str:
    """The address as it goes on the wire. Nothing around it is forgiven here (see `clean_cell`)."""
    local, _, domain = address.rpartition("@")
    known = _domains.get(domain)
    if known is not None and _is_dot_atom(local):
        whole = address if known == domain else f"{local}@{known}"
        if len(whole) <= MAX_ADDRESS:
            return whole
    return _normalise_slowly(address)


def identity(address: str) -> str:
    """What makes two normalised addresses the same receiver: the local part compared without case."""
    if address.isascii():
        return address.lower()
    return unicodedata.normalize("NFC", address.casefold())


def clean_cell(cell: str) -> Mailbox:
    """One cell or line of a list: forgives what stands around the address, takes a name before `<...>`."""
    return _mailbox(cell.strip(_AROUND))


def parse_mailbox(text: str) -> Mailbox:
    """One mailbox as a person writes it in a header: `Acme Billing <billing@acme.example>`, `"Reza, Ali" <ali@x.org>`.

    All before the last `<` is the name, so a comma in it needs no quotes here; `"` and `\\` follow RFC 5322.
    """
    return _mailbox(text.strip(" "))


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Mailboxes separated by commas; empty places between commas are skipped, at least one mailbox is required."""
    pieces, piece = [], ""
    for token in _list_token(_no_control(text)):
        if token[0] == ",":
            pieces.append(piece)
            piece = ""
        else:
            piece += token[0]
    found = [part.strip() for part in (*pieces, piece) if part.strip()]
    if not found:
        raise AddressError("no address")
    return tuple(_listed(part) for part in found)


def _listed(part: str) -> Mailbox:
    if "@" not in part:
        raise AddressError(f'no @ sign in "{part[:60]}" (a name with a comma needs quotes)')
    return _mailbox(part)


def _mailbox(text: str) -> Mailbox:
    if not text.endswith(">"):
        return Mailbox("", normalise(_without_scheme(text)))
    before, opened, inside = _no_control(text)[:-1].rpartition("<")
    if not opened:
        raise AddressError('">" without "<"')
    address = normalise(_without_scheme(inside.strip(_AROUND)))
    return Mailbox(_name(before, address), address)


def _without_scheme(text: str) -> str:
    return text[7:].lstrip(_AROUND) if text[:7].lower() == "mailto:" else text


def _name(phrase: str, address: str) -> str:
    """The name's plain text; empty if it only repeats the address."""
    parts, at = [], 0
    while at < len(phrase):
        token = _quoted_or_plain(phrase, at)
        if token is None:
            raise AddressError("a quote that never ends")
        plain = token[2]
        if plain is not None and ("<" in plain or ">" in plain):
            raise AddressError('two "<" before the address')
        parts.append(plain if plain is not None else re.sub(r"\\(.)", r"\1", token[1]))
        at = token.end()
    name = " ".join("".join(parts).split()).strip(_AROUND)
    if "@" in name:
        others = {identity(found) for word in _between_addresses(name) if (found := _address_or_none(word))}
        if others - {identity(address)}:
            raise AddressError("two addresses")
        if _address_or_none(name):
            return ""
    return name


def _address_or_none(word: str) -> str | None:
    try:
        return normalise(word.strip("'\""))
    except AddressError:
        return None


def _no_control(text: str) -> str:
    if found := _control(text):
        character = found[0]
        raise AddressError(
            "a line break"
            if character in "\r\n\x85\u2028\u2029"
            else "a NUL character"
            if character == "\0"
            else f"a control character (U+{ord(character):04X})"
        )
    return text


def _normalise_slowly(address: str) -> str:
    _no_control(address)
    _check_shape(address)
    _check_length(address)
    local, _, domain = address.rpartition("@")
    local = local if _is_dot_atom(local) else _checked_local(local)
    whole = f"{local}@{_checked_domain(domain)}"
    _check_length(whole)
    return whole


def _check_length(address: str) -> None:
    if len(address.encode()) > MAX_ADDRESS:
        raise AddressError(f"longer than {MAX_ADDRESS} characters")


def _check_shape(address: str) -> None:
    signs = address.count("@")
    if not address.strip(_AROUND):
        raise AddressError("no address")
    if signs == 0:
        raise AddressError('"\uff20" instead of @' if "\uff20" in address else "no @ sign")
    if signs > 1:
        several = sum(1 for word in _between_addresses(address) if "@" in word.strip("@"))
        counted = {2: "two", 3: "three"}
        if several > 1:
            raise AddressError(f"{counted.get(several, several)} addresses")
        raise AddressError(f"{counted.get(signs, signs)} @ signs")
    if address.startswith("@"):
        raise AddressError("nothing before the @")
    if address.endswith("@"):
        raise AddressError("nothing after the @")
    if _space_inside(address):
        raise AddressError("a space inside")
    if found := _unseen_inside(address):
        raise AddressError(f"an invisible character inside (U+{ord(found[0]):04X})")


def _checked_local(local: str) -> str:
    """A local part that is no plain dot-atom: the reason why not, or email-validator's verdict on its letters."""
    if local.startswith('"'):
        raise AddressError("quotes before the @")
    if found := _not_local(local):
        raise AddressError(f"{_shown(found[0])} before the @")
    if local.startswith("."):
        raise AddressError("a dot at the start")
    if local.endswith("."):
        raise AddressError("a dot before the @")
    if ".." in local:
        raise AddressError("two dots in a row")
    checked = _asked(f"{local}@test")  # the shortest domain there is: the length of the real one was checked above
    if checked is None:
        raise AddressError("letters before the @ that no address may have")
    return checked.rpartition("@")[0]


def _checked_domain(domain: str) -> str:
    known = _domains.get(domain)
    if known is not None:
        return known
    known = _resolved(domain)
    if known.rpartition(".")[2] in _NO_MAIL:
        raise AddressError(f"no mail can go to .{known.rpartition('.')[2]}")
    if len(_domains) >= DOMAINS_KEPT:
        _domains.clear()
    _domains[domain] = known
    return known


def _resolved(domain: str) -> str:
    lower = domain.lower()
    if lower in _LONE_HOSTS or (_is_host(domain) and not _has_reserved_label(domain)):
        return lower
    _explain_domain(domain)
    # email-validator refuses these two names whatever stands before them; below `test` it judges the rest alone.
    house = next((name for name in _HOUSE_NAMES if lower.endswith(name)), "")
    asked = domain[: -len(house)] + ".test" if house else domain
    checked = _asked(f"a@{asked}")
    if checked is None:
        raise AddressError("no possible domain after the @")
    host = checked.partition("@")[2]
    return host[: -len(".test")] + house if house else host


def _explain_domain(domain: str) -> None:
    """Raises for the mistakes that have a name; returns for what only email-validator can judge."""
    if domain.startswith("[") or re.fullmatch(r"[0-9.]+", domain):
        raise AddressError("an IP address after the @")
    if found := _not_domain(domain):
        raise AddressError(f"{_shown(found[0])} after the @")
    if domain.startswith("."):
        raise AddressError("a dot after the @")
    if domain.endswith("."):
        raise AddressError("a dot at the end")
    if ".." in domain:
        raise AddressError("two dots in a row")
    labels = domain.split(".")
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        raise AddressError("a hyphen at the edge of a domain name")
    if domain.isascii():
        if len(labels) == 1:
            raise AddressError("no dot after the @")
        if domain[-1].isdigit():
            raise AddressError("a domain that ends in a digit")
        if any(len(label) > 63 for label in labels):
            raise AddressError("more than 63 characters between two dots")


def _asked(address: str) -> str | None:
    """email-validator's wire form, None if it refuses. Imported here: 40 ms that most processes never need."""
    from email_validator import EmailNotValidError, validate_email

    try:
        found = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None
    return f"{found.local_part}@{found.ascii_domain}"


def _shown(character: str) -> str:
    return "a backslash" if character == "\\" else "a quote" if character == '"' else f'"{character}"'
