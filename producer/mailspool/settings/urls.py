"""URLs that people write: a relay's, Redis'. Split them, refuse contradictions with the right URL, hide passwords.

Called by relays.py and by the settings. Pure.
Rules: the user part ends at the last `@`; `+` stays `+`; only valid %XX is decoded; the scheme says how TLS starts.
Raises: ValueError whose text is a sentence. It never holds a password, nor any part of a URL that could be one: where
the `@` is missing, everything could be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args
from urllib.parse import quote

from mailspool.settings.hosts import address_of, bracketed, host_name
from mailspool.settings.providers import Provider, providers
from mailspool.settings.suggest import did_you_mean

TlsChoice = Literal["off", "required", "insecure"]
TLS_CHOICES: Final = get_args(TlsChoice)
MASK: Final = "****"

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.ASCII)
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+", re.ASCII)
_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(.*))?", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}", re.ASCII)
_REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
_LAST_PORT: Final = 65_535

RELAY_EXAMPLE: Final = "smtp://user:password@mail.example.org:587"


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """The parts of a relay URL. `port` and `tls` are None where the URL leaves them to the scheme."""

    scheme: str
    provider: Provider | None
    user: str | None
    password: str | None
    host: str
    port: int | None
    tls: TlsChoice | None

    def __repr__(self) -> str:
        return f"RelayUrl({self.shown()})"

    def shown(self, scheme: str | None = None) -> str:
        """The URL without its password; `scheme` shows what should have been written."""
        user = "" if self.user is None else quote(self.user, safe="@+") + (f":{MASK}" if self.password else "") + "@"
        port = "" if self.port is None else f":{self.port}"
        tls = "" if self.tls is None else f"?tls={self.tls}"
        return f"{scheme or self.scheme}://{user}{bracketed(self.host)}{port}{tls}"


def split_relay_url(text: str) -> RelayUrl:
    """The parts of `smtp://`, `smtps://` or a provider's URL."""
    match = _URL.fullmatch(text.strip())
    if match is None or CONTROL.search(text.strip()):
        raise ValueError(f"a relay URL looks like {RELAY_EXAMPLE}, smtps://... or gmail://you@gmail.com:app-password")
    scheme, rest = match[1].lower(), match[2]
    provider = providers().get(scheme)
    if provider is None and scheme not in ("smtp", "smtps"):
        known = ("smtp", "smtps", *sorted(providers()))
        near = did_you_mean(scheme, known)
        raise ValueError(f'"{scheme}" is no scheme or provider.{near or " Known are " + ", ".join(known) + "."}')
    hostless = provider is not None and provider.region is None
    authority, tls = _cut_tail(rest, all_is_login=hostless)
    if provider is not None and hostless:
        user, password = _login(authority)
        _no_host(provider, password)
        return RelayUrl(scheme, provider, user, password, provider.host, None, tls)
    info, _, place = authority.rpartition("@")
    user, password = _login(info)
    if provider is not None:
        return RelayUrl(scheme, provider, user, password, _region_host(provider, place), None, tls)
    host, port = _host_port(place)
    url = RelayUrl(scheme, None, user, password, host, port, tls)
    _agree(url)
    return url


def _cut_tail(rest: str, *, all_is_login: bool) -> tuple[str, TlsChoice | None]:
    """What stands before the first / ? or #, and the only option that may follow."""
    cut = re.search(r"[/?#]", rest)
    if cut is None:
        return rest, None
    authority, tail = rest[: cut.start()], rest[cut.start() :]
    option = re.fullmatch(r"/?(?:\?tls=([a-z]*))?", tail)
    if option is not None:
        return authority, None if option[1] is None else _tls_choice(option[1])
    # An @ behind the sign means that the password went on there. Behind a # nothing else makes sense either.
    if "@" in tail or tail[0] == "#" or (all_is_login and ":" in authority):
        raise ValueError(
            f'the password seems to hold "{tail[0]}": write {quote(tail[0], safe="")}, or better relay_password'
        )
    raise ValueError("after the host there may only be ?tls=off, ?tls=required or ?tls=insecure")


def _tls_choice(text: str) -> TlsChoice:
    if text not in TLS_CHOICES:
        raise ValueError("tls is one of off, required, insecure; leave it out for the safe choice")
    return cast("TlsChoice", text)


def _login(info: str) -> tuple[str | None, str | None]:
    name, _, secret = info.partition(":")
    user, password = percent_decoded(name), percent_decoded(secret)
    if password and not user:
        raise ValueError("there is a password but no user: write user:password@ before the host")
    for part in (user, password):
        if CONTROL.search(part):
            raise ValueError("the user or the password holds a control character")
    return user or None, password or None


def percent_decoded(text: str) -> str:
    """`text` with its valid %XX decoded; a `+`, a lone `%` and bytes that are no UTF-8 stay as written."""

    def decoded(match: re.Match[str]) -> str:
        try:
            return bytes.fromhex(match[0].replace("%", "")).decode("utf-8")
        except UnicodeDecodeError:
            return match[0]

    return _ESCAPES.sub(decoded, text)


def _no_host(provider: Provider, password: str | None) -> None:
    """People who know other URLs add the host, and it would become a part of the password."""
    if password and re.search(f"@{re.escape(provider.host)}(:[0-9]+)?$", password):
        raise ValueError(f"{provider.name}:// knows its host: write {provider.example()}")


def _region_host(provider: Provider, place: str) -> str:
    region = place.lower()
    if not _REGION.fullmatch(region):
        raise ValueError(f"{provider.title} needs a region as the host: write {provider.example()}")
    return provider.host.replace("{region}", region)


def _host_port(place: str) -> tuple[str, int | None]:
    brackets = _BRACKETS.fullmatch(place)
    if brackets is not None:
        if address_of(brackets[1]) is None:
            raise ValueError("in brackets there must be an IPv6 address, such as [2001:db8::7]")
        return brackets[1].lower(), _port(brackets[2])
    if place.count(":") > 1 and address_of(place) is not None:
        raise ValueError("an IPv6 address stands in brackets, such as smtp://[2001:db8::7]:587")
    name, colon, port = place.partition(":")
    return host_name(name), _port(port if colon else None)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= _LAST_PORT:
        # Not repeated: where the @ is missing, this is the password.
        raise ValueError(f"behind the host and a colon there must be a port from 1 to 65535: {RELAY_EXAMPLE}")
    return int(text)


def _agree(url: RelayUrl) -> None:
    """465 and 587 are registered for one way of starting TLS each; a wrong pair hangs until a timeout."""
    if url.scheme == "smtp" and url.port == 465:
        raise ValueError(f"port 465 speaks TLS from the first byte, which is smtps: write {url.shown('smtps')}")
    if url.scheme == "smtps" and url.port == 587:
        raise ValueError(f"port 587 turns to TLS by STARTTLS, which is smtp: write {url.shown('smtp')}")
    if url.scheme == "smtps" and url.tls == "off":
        raise ValueError("smtps is TLS from the first byte, so tls=off contradicts it: write smtp://...?tls=off")


def check_redis_url(text: str) -> str:
    """`text` if it is a Redis URL that redis-py will read as it was meant; ValueError otherwise."""
    match = _URL.fullmatch(text)
    if match is None or CONTROL.search(text):
        raise ValueError("a Redis URL looks like redis://host:6379/0, rediss://... or unix:///run/valkey.sock")
    scheme, rest = match[1], match[2]
    if scheme not in _REDIS_SCHEMES:
        near = did_you_mean(scheme, _REDIS_SCHEMES) or ' Write "redis", "rediss" (TLS) or "unix".'
        raise ValueError(f'"{scheme}" is no scheme for Redis.{near}')
    if scheme == "unix":
        if not rest.rpartition("@")[2].startswith("/"):
            raise ValueError("a unix URL has three slashes and a full path: unix:///run/valkey.sock")
        return text
    cut = re.search(r"[/?#]", rest)
    authority, tail = (rest, "") if cut is None else (rest[: cut.start()], rest[cut.start() :])
    if "@" in tail or tail.startswith("#"):
        raise ValueError(
            f'the password seems to hold "{tail[0]}": write {quote(tail[0], safe="")}, or better redis_password'
        )
    _host_port(authority.rpartition("@")[2])
    if not re.fullmatch(r"(?:/[0-9]*)?(?:\?.*)?", tail, re.ASCII):
        raise ValueError("behind the host there may only be the number of a database, such as /0")
    return text


def url_password(text: str) -> bool:
    """Does this URL, well formed or not, seem to hold a password?"""
    scheme, sign, rest = text.partition("://")
    if not sign:
        return "@" in text
    if "password=" in rest:
        return True
    if "@" not in rest:
        return scheme.strip().lower() in providers() and ":" in rest
    provider = providers().get(scheme.strip().lower())
    login = rest if provider is not None and provider.region is None else rest.rpartition("@")[0]
    return ":" in login and bool(login.partition(":")[2])


def masked_url(text: str) -> str:
    """The URL as it may be shown: everything that could belong to a password is `****`."""
    scheme, sign, rest = text.partition("://")
    if not sign:
        return MASK
    if not url_password(text):
        return text
    if "password=" in rest:
        rest = re.sub(r"(password=)[^&#]*", rf"\1{MASK}", rest)
    provider = providers().get(scheme.strip().lower())
    login, at, place = (rest, "", "") if provider and provider.region is None else rest.rpartition("@")
    user, colon, secret = login.partition(":")
    return f"{scheme}://{user}{colon}{MASK if secret else ''}{at}{place}"


def without_password(text: str) -> str:
    """The URL with its user and without its password."""
    scheme, _, rest = text.partition("://")
    provider = providers().get(scheme.strip().lower())
    login, at, place = (rest, "", "") if provider and provider.region is None else rest.rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme}://{user}{at if user else ''}{place}"
