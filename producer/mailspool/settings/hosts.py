"""Host names: are they well formed, are they this machine or a private network, and what is our own name?

Called by the URL parsers (may a password go there in clear?) and by whoever says EHLO. Nothing here asks the DNS except
`own_name`, which reads this machine's full name.
Known limit: a name without a dot counts as private (`sandbox`, `redis`: containers and intranets), because a resolver
finds it through its search list only.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import cache
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOMAIN: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)
_LONGEST_NAME: Final = 253
"""RFC 1035: 255 octets on the wire."""

_PRIVATE_NETS: Final = tuple(
    ipaddress.ip_network(net)
    for net in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",  # carriers' and overlay networks' inner addresses (RFC 6598)
        "fc00::/7",
        "fe80::/10",
    )
)
_PRIVATE_ENDINGS: Final = (".local", ".internal", ".lan", ".home.arpa", ".localdomain", ".test")


def address_of(host: str) -> Address | None:
    """The IP address that `host` writes, IPv4 inside IPv6 unwrapped; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # Unwrapped, because ::ffff:8.8.8.8 is 8.8.8.8 and by no means private.
    return getattr(address, "ipv4_mapped", None) or address


def host_name(text: str) -> str:
    """A host name in lower-case A-labels, or an IP address, ready for a resolver; ValueError otherwise."""
    host = text.removesuffix(".").lower()
    if not host:
        raise ValueError("the host is missing")
    if address_of(host) is not None:
        return host
    if not host.isascii():
        host = _a_labels(host)
    labels = host.split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is no valid name")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read 134744072 and 8.8.2056 as addresses, so such a "name" could pass for a private one.
        raise ValueError("the host is no valid name or address")
    return host


def _a_labels(host: str) -> str:
    import idna  # here, because its tables are large and hardly any host needs them

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("the host is no valid international name") from error


def is_loopback(host: str) -> bool:
    """Does this host name this very machine?"""
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    return host in ("localhost", "localhost.localdomain") or host.endswith(".localhost")


def is_private(host: str) -> bool:
    """Is this host on this machine or on a network that outsiders do not pass?"""
    address = address_of(host)
    if address is not None:
        return address.is_loopback or any(address in net for net in _PRIVATE_NETS if net.version == address.version)
    return is_loopback(host) or "." not in host or host.endswith(_PRIVATE_ENDINGS)


def bracketed(host: str) -> str:
    """The host as a URL writes it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def ehlo_argument(text: str) -> str:
    """A name for EHLO: a domain (RFC 5321 2.3.5) or an address literal such as [203.0.113.7]; ValueError otherwise."""
    if text.startswith("[") and text.endswith("]"):
        inside = text[1:-1]
        if address_of(inside.removeprefix("IPv6:")) is not None:
            return text
    else:
        name = host_name(text)
        if address_of(name) is None and _DOMAIN.fullmatch(name):
            return name
    raise ValueError("write a host name such as mail.example.org, or an address in brackets such as [203.0.113.7]")


@cache
def own_name() -> str:
    """This machine's full name, else its address in brackets: receivers check what EHLO says."""
    name = socket.getfqdn().removesuffix(".").lower()
    if "." in name and _DOMAIN.fullmatch(name) and not is_loopback(name) and not name.endswith(".arpa"):
        return name
    return _own_literal()


def _own_literal() -> str:
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                # A datagram socket sends nothing at connect; the kernel only picks the source address.
                probe.connect((elsewhere, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        return f"[{address}]" if family == socket.AF_INET else f"[IPv6:{address}]"
    return "[127.0.0.1]"
