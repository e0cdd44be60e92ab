"""The server-wide orders of a receiver: what it offers, whom it lets in, how it misbehaves for everybody.

`ReceiverOptions` is frozen and checked when it is made: a contradiction raises ConfigError with what to change, before
anything listens. The command line turns its flags into one; tests make them directly. Per-recipient orders: orders.py.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mailspool.errors import ConfigError
from mailspool.sandbox.grammar import NOTHING_OFFERED, Offer
from mailspool.sandbox.orders import Order

MIB = 1024 * 1024

BrokenStartTls = Literal["refused", "garbage", "dropped", "injected"]
NestedMail = Literal["refused", "accepted", "dropped"]

_COUNTS = ("session_messages", "max_sessions", "max_recipients", "refuse_every", "line_limit_octets", "quota")


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """0 or None switches a limit off, except `size_limit_bytes`, where 0 is announced as "no limit"."""

    hostname: str = "sandbox.mailspool.test"
    banner: str | None = None
    """Text after `220 `, or a whole reply such as `554 5.7.1 go away`, after which the connection is closed."""
    banner_delay_s: float = 0.0
    early_talker: bool = False
    """Whoever sends before the banner (see `banner_delay_s`) gets 554 and is dropped, as postscreen does."""
    dot_delay_s: float = 0.0
    """The final dot of every mail is answered after that time: a receiver that is slow for everybody."""

    size_limit_bytes: int = 25 * MIB
    """The same default as `max_message_bytes`, so a mail that the queue takes is not too big here."""
    line_limit_octets: int | None = 998
    """RFC 5322 2.1.1; a longer line is refused at the dot."""
    pipelining: bool = True
    """Off: not offered, and a client that sends ahead all the same is refused and dropped."""
    eight_bit_mime: bool = True
    """Off: not offered, and content with octets above 127 is refused at the dot."""
    smtputf8: bool = True

    certificate: Path | None = None
    key: Path | None = None
    implicit_tls: bool = False
    """TLS from the first byte; otherwise STARTTLS is offered where a certificate is given."""
    broken_starttls: BrokenStartTls | None = None
    """STARTTLS is offered, certificate or not. `refused`: 454; `garbage`: what answers the handshake is no TLS;
    `dropped`: the connection ends after 220; `injected`: a second reply in clear comes with the 220.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    """With a user, MAIL needs AUTH, and AUTH needs TLS where a certificate is given."""
    refuse_auth: bool = False
    """AUTH is offered and every login gets 535."""

    session_messages: int | None = None
    """After so many accepted mails in a session, MAIL gets 421 and the connection is closed."""
    quota: int | None = None
    """After so many accepted mails, over all sessions, MAIL gets 450 4.7.1 with the words of a daily quota."""
    greylist_s: float | None = None
    """A triplet (client, sender, recipient) gets 450 4.7.1 until it is so old."""
    nested_mail: NestedMail = "refused"
    """MAIL inside a transaction. `refused`: 503, as Postfix; `accepted`: it begins anew; `dropped`: 421 and the end."""
    max_sessions: int | None = None
    """One more connection than this gets 421 instead of a banner."""
    max_recipients: int = 1000
    """RFC 5321 4.5.3.1.8 asks for at least 100; Postfix allows 1000. More: 452 4.5.3."""
    refuse_every: int | None = None
    """Every N-th well-formed RCPT, counted over all sessions, gets 550 5.1.1."""
    temper: Callable[[str], Order | None] | None = field(default=None, repr=False)
    """What a recipient orders, whatever its local part says; None: the local part orders."""
    idle_timeout_s: float = 300.0
    """RFC 5321 4.5.3.2.7: 421 4.4.2 after five silent minutes."""

    keep: Path | None = None
    """A folder: one .eml file a mail and `index.jsonl`."""
    remember_mails: bool = True
    """In `Receiver.mails`; off for runs without end."""
    log: Path | None = None
    """Append each event to this file as a JSON line."""
    remember_log: bool = True
    """In `Receiver.log`; off for runs without end."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("a certificate needs its key, and a key its certificate: give both or none")
        if self.implicit_tls and self.certificate is None:
            raise ConfigError("TLS from the first byte needs a certificate and a key")
        if (self.user is None) != (self.password is None):
            raise ConfigError("a user needs a password, and a password a user: give both or none")
        for name in ("hostname", "banner"):
            text = getattr(self, name)
            if text is not None and not (text.isascii() and text.isprintable() and 0 < len(text) <= 400):
                raise ConfigError(f"{name} must be 1 to 400 printable ASCII characters")
        if "@" in self.hostname or " " in self.hostname:
            raise ConfigError(f"hostname must be a host name, not {self.hostname!r}")
        for name in _COUNTS:
            number = getattr(self, name)
            if number is not None and number < 0:
                raise ConfigError(f"{name} must not be negative")
        delays_s = (self.banner_delay_s, self.dot_delay_s, self.greylist_s or 0)
        if self.size_limit_bytes < 0 or min(delays_s) < 0 or self.idle_timeout_s <= 0:
            raise ConfigError("sizes and delays must not be negative, and the idle timeout must be positive")

    @property
    def auth(self) -> bool:
        """Is AUTH offered at all (perhaps only after TLS)?"""
        return self.user is not None or self.refuse_auth

    def auth_now(self, *, tls: bool) -> bool:
        """Is AUTH offered in this state of the session? Never in clear where TLS could be had."""
        return self.auth and (tls or self.certificate is None)

    def extensions(self, *, tls: bool) -> list[str]:
        """The EHLO keywords."""
        words = [("PIPELINING", self.pipelining), (f"SIZE {self.size_limit_bytes}", True)]
        words += [("8BITMIME", self.eight_bit_mime), ("SMTPUTF8", self.smtputf8), ("ENHANCEDSTATUSCODES", True)]
        starttls = self.certificate is not None or self.broken_starttls is not None
        words += [("STARTTLS", starttls and not tls), ("AUTH PLAIN LOGIN", self.auth_now(tls=tls))]
        return [word for word, offered in words if offered]

    def offer(self, *, esmtp: bool, tls: bool) -> Offer:
        """The MAIL parameters that go with `extensions`."""
        if not esmtp:
            return NOTHING_OFFERED
        return Offer(self.size_limit_bytes, self.eight_bit_mime, self.smtputf8, self.auth_now(tls=tls))

    def tls_context(self) -> ssl.SSLContext | None:
        """For STARTTLS or implicit TLS; ConfigError where the files cannot be used."""
        if self.certificate is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one too
            pem = isinstance(error, ssl.SSLError)
            reason = "not a PEM certificate with its unlocked key" if pem else error.strerror
            raise ConfigError(f"cannot use certificate {self.certificate} with key {self.key}: {reason}") from error
        return context
