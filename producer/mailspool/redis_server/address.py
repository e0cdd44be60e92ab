"""Where Redis is: a redis://, rediss:// or unix:// URL taken apart once, for everybody who opens a connection.

Called by link.py; `RedisAddress` is what the recorder and arq's pool get. Pure. Raises ConfigError, which never
quotes the URL's user part.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mailspool.errors import ConfigError

DEFAULT_PORT = 6379
Verify = Literal["required", "none"]
_EXAMPLES = "redis://host:6379/0, rediss://user@host:6379 (TLS) or unix:///run/redis.sock"
_OPTIONS = ("db", "password", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Either `path` (a unix socket) or `host` and `port`."""

    path: Path | None = None
    host: str = ""
    port: int = DEFAULT_PORT
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls_verify: Verify = "required"
    tls_check_host: bool = True
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """None without TLS. Certificate and host name are verified unless the URL says otherwise."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.tls_ca)
        context.check_hostname = self.tls_check_host
        context.verify_mode = ssl.CERT_NONE if self.tls_verify == "none" else ssl.CERT_REQUIRED
        if self.tls_certificate:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context


def parse_redis_url(url: str, password: str | None = None) -> RedisAddress:
    """The address that a URL names. `password` (setting redis_password) goes before the URL's own."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ConfigError(
            "redis_url cannot be read: its port is no number, or its password holds one of / # ?."
            f" Write such a password to redis_password. Examples: {_EXAMPLES}"
        ) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f'redis_url begins with "{parts.scheme}", which is no Redis. Examples: {_EXAMPLES}')
    if parts.fragment:  # an unescaped "#" would silently cut the URL short
        raise ConfigError(f"redis_url holds a #: write it as %23, or a password with it to redis_password. {_EXAMPLES}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS or (name.startswith("ssl_") and parts.scheme != "rediss"):
            raise ConfigError(f'redis_url: unknown option "{name}" after the ?. Known: {", ".join(_OPTIONS)}')
    username = unquote(parts.username) if parts.username else None
    secret = password or (unquote(parts.password) if parts.password else None) or options.get("password") or None
    verify: Verify = "none" if options.get("ssl_cert_reqs", "required") == "none" else "required"
    if options.get("ssl_cert_reqs", "required") not in ("none", "required"):
        raise ConfigError("redis_url: ssl_cert_reqs is required or none.")
    checks_host = options.get("ssl_check_hostname", "true").lower() not in ("0", "f", "false", "n", "no")
    path, host = _place(parts)
    return RedisAddress(
        path=path,
        host=host,
        port=port,
        tls=parts.scheme == "rediss",
        username=username,
        password=secret,
        db=_database(parts, options),
        tls_verify=verify,
        tls_check_host=checks_host and verify == "required",
        tls_ca=options.get("ssl_ca_certs"),
        tls_certificate=options.get("ssl_certfile"),
        tls_key=options.get("ssl_keyfile"),
    )


def human_path(path: Path) -> str:
    """The path as people write it: with ~ for their own home."""
    try:
        return str(Path("~") / path.expanduser().resolve().relative_to(Path.home()))
    except (ValueError, RuntimeError):  # not below the home; no home at all
        return str(path)


def human_url(url: str) -> str:
    """The URL as written, without user, password and options: how people call this Redis."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _place(parts: SplitResult) -> tuple[Path | None, str]:
    if parts.scheme == "unix":
        if not parts.path:
            raise ConfigError("redis_url names no socket: unix:///run/redis.sock")
        return Path(unquote(parts.path)), ""
    if not parts.hostname:
        raise ConfigError(f"redis_url names no host. Examples: {_EXAMPLES}")
    return None, unquote(parts.hostname)


def _database(parts: SplitResult, options: dict[str, str]) -> int:
    text = options.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "") or "0"
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f'redis_url: the database is a number from 0 on, not "{text[:20]}". Examples: {_EXAMPLES}')
    return int(text)
