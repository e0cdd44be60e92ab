"""What a worker needs to know about a relay, made from a URL or from a `[relays.NAME]` table.

Called by the settings, which hand over checked tables, and by the probe for a URL of its own. Pure.
The rule for TLS: with a user it is required and verified, always; without one it is used where offered, and verified
except on loopback. `tls=off` with a login and `tls=insecure` are for loopback and private hosts.
Raises: RelayFault (a ValueError) naming the key at fault; the settings put file and line before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_serializer

from mailspool.errors import ConfigError
from mailspool.settings.durations import parse_rate
from mailspool.settings.fields import Count, no_bool, text_list
from mailspool.settings.hosts import bracketed, host_name, is_loopback, is_private
from mailspool.settings.providers import Provider, provider_of_host, providers
from mailspool.settings.suggest import did_you_mean
from mailspool.settings.urls import CONTROL, RelayUrl, TlsChoice, masked_url, split_relay_url

Security = Literal["none", "opportunistic", "starttls", "tls"]

_T = TypeVar("_T")

CHECK_LOGIN: Final = "Check user and password; many providers want an app password or an API key here."
MAIN: Final = "main"
"""The name of the relay that `relay_url` describes."""
SMTP_PORT: Final = 25
SUBMISSION_PORT: Final = 587
SMTPS_PORT: Final = 465
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)

NO_RELAY: Final = (
    "No relay is set, so there is nowhere to send mail to. "
    "Set MAILSPOOL_RELAY_URL=smtp://user:password@host:587 (or gmail://you@gmail.com:app-password), "
    "or write relay_url or [relays.NAME] into mailspool.toml."
)


class RelayFault(ValueError):  # noqa: N818 - it is turned into a ConfigError before anybody sees it
    """A relay cannot be made from these words. `.key` is the key of its table that is at fault."""

    def __init__(self, words: str, key: str = "url") -> None:
        super().__init__(words)
        self.key = key


class RelayTable(BaseModel):
    """`[relays.NAME]` as written. `password_file` is read before, so that only `password` is left here."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = None
    provider: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    weight: Annotated[float, BeforeValidator(no_bool), Field(gt=0, le=1000)] = 1.0
    backup: bool = False
    max_sessions: Count | None = None
    session_messages: Count | None = None
    rate: str | None = None
    from_domains: Annotated[tuple[str, ...], BeforeValidator(text_list)] = ()
    tls: TlsChoice | None = None

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        given = ((key, getattr(self, key)) for key in type(self).model_fields if key in self.model_fields_set)
        return [(key, masked_url(value) if key == "url" and isinstance(value, str) else value) for key, value in given]

    @field_serializer("url")
    def _url_masked(self, url: str | None) -> str | None:
        return None if url is None else masked_url(url)


@dataclass(frozen=True, slots=True)
class Relay:
    """A smarthost: where it is, how it is secured, who logs in, and what may be asked of it."""

    name: str
    host: str
    port: int
    security: Security
    verify: bool
    user: str | None = None
    password: SecretStr | None = field(default=None)
    weight: float = 1.0
    backup: bool = False
    max_sessions: int = 20
    session_messages: int = 100
    rate_per_s: float | None = None
    from_domains: tuple[str, ...] = ()
    provider: str | None = None
    login_hint: str = ""

    @property
    def url_shown(self) -> str:
        """The URL without user and password."""
        scheme = "smtps" if self.security == "tls" else "smtp"
        option = "?tls=off" if self.security == "none" else ""
        if not self.verify and self.security in ("starttls", "tls"):
            option = "?tls=insecure"
        return f"{scheme}://{bracketed(self.host)}:{self.port}{option}"

    def __str__(self) -> str:
        return self.url_shown + (f" as {self.user}" if self.user else "")


@dataclass(frozen=True, slots=True)
class Limits:
    """The spool-wide limits that a relay falls back on."""

    max_sessions: int
    session_messages: int


def relay_name(text: str) -> str:
    """`text` if it can name a relay (environment variables carry it in upper case, so case says nothing)."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("a relay's name has up to 32 letters a-z, digits, - and _, and starts with a letter or digit")
    return text


def make_relay(name: str, table: RelayTable, limits: Limits) -> Relay:
    """The relay that `table` describes; RelayFault in words where it contradicts itself."""
    url = _url_of(table)
    user = _once("user", url.user, table.user)
    password = _once("password", url.password, table.password.get_secret_value() or None if table.password else None)
    if password is not None and CONTROL.search(password):
        raise RelayFault("the password holds a line break or another control character", "password")
    provider = _provider_of(table, url)
    fixed = None if url.provider is None else url.provider.user
    if fixed is not None and user not in (None, fixed):
        raise RelayFault(
            f'{provider.title if provider else name} knows only the user "{fixed}": {_example(url)}', "user"
        )
    user = user or fixed
    if user is None and url.provider is not None:
        raise RelayFault(f"{url.provider.title} needs a user: write {url.provider.example()}")
    if user is None and password is not None:
        raise RelayFault(
            f"there is a password but no user: write {url.scheme}://user@{bracketed(url.host)}", "password"
        )
    security, verify = _security(url, user, _once("tls", url.tls, table.tls))
    sessions = [limits.max_sessions] + ([provider.max_sessions] if provider and provider.max_sessions else [])
    return Relay(
        name=name,
        host=url.host,
        port=url.port or _usual_port(url, user),
        security=security,
        verify=verify,
        user=user,
        password=None if password is None else SecretStr(password),
        weight=table.weight,
        backup=table.backup,
        max_sessions=table.max_sessions or min(sessions),
        session_messages=table.session_messages or limits.session_messages,
        rate_per_s=_rate(table.rate) or (provider.rate_per_s if provider else None),
        from_domains=tuple(_domain(domain) for domain in table.from_domains),
        provider=provider.name if provider else None,
        login_hint=provider.login_hint if provider else "",
    )


def _url_of(table: RelayTable) -> RelayUrl:
    if table.url is not None:
        try:
            return split_relay_url(table.url)
        except ValueError as error:
            raise RelayFault(str(error)) from None
    if table.provider is None:
        raise RelayFault('it needs url = "smtp://..." or provider = "gmail"', "provider")
    provider = _known(table.provider)
    if provider.region is not None:
        example = f'url = "{provider.name}://{provider.region}"'
        raise RelayFault(f"{provider.title} needs a region: write {example} instead of provider", "provider")
    return RelayUrl(provider.name, provider, None, None, provider.host, None, None)


def _known(name: str) -> Provider:
    provider = providers().get(name)
    if provider is None:
        near = did_you_mean(name, providers()) or f" Known are {', '.join(sorted(providers()))}."
        raise RelayFault(f'"{name[:60]}" is no known provider.{near}', "provider")
    return provider


def _provider_of(table: RelayTable, url: RelayUrl) -> Provider | None:
    """Whose limits and login hint apply: the one written, else the one that runs the host."""
    if table.provider is None:
        return url.provider or provider_of_host(url.host)
    provider = _known(table.provider)
    if url.provider not in (None, provider):
        raise RelayFault(f'provider = "{provider.name}" contradicts {url.scheme}://', "provider")
    return provider


def _once(key: str, in_url: _T | None, in_table: _T | None) -> _T | None:
    if in_url is not None and in_table is not None and in_url != in_table:
        raise RelayFault(f"the {key} stands in the URL and beside it: keep one", key)
    return in_table if in_url is None else in_url


def _example(url: RelayUrl) -> str:
    return f"write {url.provider.example()}" if url.provider else ""


def _security(url: RelayUrl, user: str | None, tls: TlsChoice | None) -> tuple[Security, bool]:
    at_once = url.scheme == "smtps" or (url.provider is not None and url.provider.security == "tls")
    if tls == "off":
        if at_once:
            raise RelayFault("TLS is spoken from the first byte here, so tls=off contradicts it", "tls")
        if user is not None and not is_private(url.host):
            raise RelayFault(f"tls=off would send the password to {url.host} in clear: take it away", "tls")
        return "none", True
    if tls == "insecure":
        if not is_private(url.host):
            words = f"tls=insecure would take any server for {url.host}: it is for this machine and private networks"
            raise RelayFault(words, "tls")
        return ("tls" if at_once else "starttls"), False
    if tls == "required" or user is not None:
        return ("tls" if at_once else "starttls"), True
    return ("tls" if at_once else "opportunistic"), not is_loopback(url.host)


def _usual_port(url: RelayUrl, user: str | None) -> int:
    if url.provider is not None:
        return url.provider.port
    if url.scheme == "smtps":
        return SMTPS_PORT
    return SMTP_PORT if user is None else SUBMISSION_PORT


def _rate(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_rate(text)
    except ValueError as error:
        raise RelayFault(str(error), "rate") from None


def _domain(text: str) -> str:
    try:
        if "@" in text:
            raise ValueError("write the domain alone, without an @")
        return host_name(text.strip())
    except ValueError as error:
        raise RelayFault(f'"{text[:60]}": {error}', "from_domains") from None


def relay_from_url(url: str, *, name: str = MAIN) -> Relay:
    """A relay from a URL alone, as a person types it; ConfigError in words where it cannot be one."""
    try:
        return make_relay(name, RelayTable(url=url), Limits(max_sessions=20, session_messages=100))
    except RelayFault as fault:
        raise ConfigError(f"the relay URL cannot be used: {fault}") from None
