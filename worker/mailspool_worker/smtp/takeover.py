"""How a session begins: aiosmtplib opens it, then its transport becomes ours. All that goes below aiosmtplib is here.

Of aiosmtplib: connect, starttls, ehlo, helo, is_ehlo_or_helo_needed, is_connected, auth_*, supports_extension,
esmtp_extensions, transport, protocol.is_connected, and one private name, `protocol._buffer`: bytes that came with the
last reply (tests/worker/smtp/test_takeover.py holds the contract). The takeover itself has no await inside: nothing may
arrive between the look at the buffer and the new protocol; a loss that was already on its way to the old one is looked
for one loop turn later. Raises OpenFailed, which says at which stage and with what reply or loss.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from mailspool.contract.talks import Line
from mailspool.redis_server.tasks import end
from mailspool.settings import Relay
from mailspool_worker.classify import Loss, Stage
from mailspool_worker.smtp.conversation import UNKNOWN, Opened, Opening, Secrets
from mailspool_worker.smtp.deadlines import Waits
from mailspool_worker.smtp.replies import MAX_TEXT_CHARS, Reply
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.transaction import Features


class OpenFailed(Exception):  # noqa: N818 - it is caught by name in one place
    """No session: what happened, and where."""

    def __init__(self, stage: Stage, event: Reply | Loss, words: str) -> None:
        super().__init__(words)
        self.stage = stage
        self.event = event
        self.words = words
        self.lines: tuple[Line, ...] = ()
        """What was said until then; nothing of a login but its mechanism and the answer."""

    @property
    def may_be_chance(self) -> bool:
        """Worth another try at once: no reply was read that says otherwise."""
        return (
            self.event in (Loss.REFUSED, Loss.TIMEOUT, Loss.RESET, Loss.CLOSED, Loss.DNS)
            and self.stage is not Stage.AUTH
        )


@lru_cache(maxsize=64)
def tls_context(verify: bool) -> ssl.SSLContext:
    """Made once: loading the system's certificates takes tens of milliseconds."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def open_session(
    relay: Relay,
    make: Callable[[Features], Session],
    *,
    ehlo_name: str,
    waits: Waits,
    clear: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Session:
    """Connect, STARTTLS, login, take over. `clear`: STARTTLS failed before, and this relay does not need it."""
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        use_tls=relay.security == "tls",
        start_tls=False,
        tls_context=tls or tls_context(relay.verify),
        timeout=max(waits.connect_s, waits.banner_s),
        local_hostname=ehlo_name,
    )
    way = _Way(client, relay, [Stage.CONNECT], Opening(asyncio.get_running_loop().time, Secrets(relay)))
    try:
        await _connect(way, waits.connect_s)
        client.timeout = waits.reply_s
        await _open(way, clear=clear)
        return _take_over(client, make, way.said.done())
    except OpenFailed as known:
        _drop(client)
        way.told(known)
        raise
    except (aiosmtplib.SMTPException, OSError, ssl.SSLError, TimeoutError, ValueError) as error:
        _drop(client)
        failed = _failed(way.at[0], error)
        way.told(failed)
        raise failed from error
    except BaseException:
        _drop(client)  # cancelled: a connection in the middle of an answer is of no use to anybody
        raise


class _Way(NamedTuple):
    """One opening under way: the client, the relay, the present stage, and the record of what is said."""

    client: aiosmtplib.SMTP
    relay: Relay
    at: list[Stage]
    said: Opening

    def note_tls(self) -> None:
        tunnel = self.client.transport.get_extra_info("ssl_object") if self.client.transport is not None else None
        if tunnel is not None:
            self.said.note("-", f"{tunnel.version() or 'TLS'}{'' if self.relay.verify else ', not verified'}")

    def told(self, failed: OpenFailed) -> None:
        """Its words and lines are logged, and stored for `status`."""
        if isinstance(failed.event, Reply):
            self.said.reply(failed.event)
            whole = self.said.secrets.masked(f"{failed.event.code} {failed.event.body}".rstrip())
            failed.words = whole[:MAX_TEXT_CHARS]  # cut only now, or half a secret might stay
        else:
            self.said.note("-", failed.words)
            failed.words = self.said.secrets.masked(failed.words)
        failed.lines = tuple(self.said.lines)


async def _connect(way: _Way, connect_s: float) -> None:
    """A receiver that takes the connection may greet late; one that does not even take it is given up soon."""
    client = way.client
    way.said.note("-", f"connect {way.relay.host}:{way.relay.port}")
    connecting = asyncio.create_task(client.connect())
    try:
        await asyncio.wait((connecting,), timeout=connect_s)
        if client.transport is None and not connecting.done():
            raise OpenFailed(Stage.CONNECT, Loss.TIMEOUT, "no answer in time")
        banner = await connecting
        way.note_tls()
        way.said.reply(Reply.of(banner.code, banner.message))
    finally:
        await end((connecting,))


async def _open(way: _Way, *, clear: bool) -> None:
    client, relay, at, said = way
    await _greet(way)
    offered = client.supports_extension("starttls")
    if relay.security == "starttls" and not offered:
        raise OpenFailed(Stage.STARTTLS, Loss.NO_TLS, "TLS is required, and the server does not offer STARTTLS")
    if relay.security == "starttls" or (relay.security == "opportunistic" and offered and not clear):
        at[0] = Stage.STARTTLS
        said.note(">", "STARTTLS")
        answer = await client.starttls()
        said.reply(Reply.of(answer.code, answer.message))
        way.note_tls()
        await _greet(way)
    if relay.user is not None:
        at[0] = Stage.AUTH
        if not client.supports_extension("auth"):
            raise OpenFailed(Stage.AUTH, Loss.NO_MECHANISM, "the server offers no login")
        password = relay.password.get_secret_value() if relay.password else ""
        await _login(way, relay.user, password)
        await _greet(way)


async def _login(way: _Way, user: str, password: str) -> None:
    """By one mechanism: `login` would try them all with the same password, and refused logins lock accounts."""
    client, said = way.client, way.said
    offered = client.server_auth_methods
    ways = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    name = next((name for name in ways if name in offered), None)
    if name is None:
        raise OpenFailed(Stage.AUTH, Loss.NO_MECHANISM, "the server offers no login that we speak")
    said.note(">", f"AUTH {name.upper()} ****")
    answer = await ways[name](user, password)
    said.reply(Reply.of(answer.code, answer.message))


async def _greet(way: _Way) -> None:
    """EHLO, unless it was said since the connection or its TLS began; HELO to a server that refuses EHLO."""
    client, said = way.client, way.said
    if not client.is_ehlo_or_helo_needed:
        return
    way.at[0] = Stage.EHLO
    said.note(">", f"EHLO {client.local_hostname}")
    try:
        answer = await client.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if not 500 <= error.code < 600 or not client.is_connected:
            raise
        said.reply(Reply.of(error.code, error.message))
        said.note(">", f"HELO {client.local_hostname}")
        answer = await client.helo()
    said.reply(Reply.of(answer.code, answer.message))


def _take_over(client: aiosmtplib.SMTP, make: Callable[[Features], Session], opened: Opened = UNKNOWN) -> Session:
    transport, protocol = client.transport, client.protocol
    if transport is None or protocol is None or transport.is_closing():
        raise OpenFailed(Stage.EHLO, Loss.CLOSED, "the server closed the connection after its greeting")
    if protocol._buffer:
        raise OpenFailed(Stage.EHLO, Loss.PROTOCOL, "the server sent something that nobody had asked for")
    session = make(_features(client))
    transport.set_protocol(session)
    session.start(cast("asyncio.Transport", transport), opened)
    asyncio.get_running_loop().call_soon(_look_again, protocol, session)
    return session


def _look_again(old: SMTPProtocol, session: Session) -> None:
    if not old.is_connected:
        session.connection_lost(None)


def _features(client: aiosmtplib.SMTP) -> Features:
    offered = client.esmtp_extensions
    size = offered.get("size", "").strip()
    limit = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0
    return Features(
        pipelining="pipelining" in offered,
        eight_bit="8bitmime" in offered,
        smtputf8="smtputf8" in offered,
        size_limit=limit or None,
        tells_size="size" in offered,
    )


def _drop(client: aiosmtplib.SMTP) -> None:
    """abort() frees socket and buffers at once; close() on a stalled peer keeps both."""
    if client.transport is not None:
        cast("asyncio.Transport", client.transport).abort()  # uvloop's transports derive from none of asyncio's


def _failed(stage: Stage, error: Exception) -> OpenFailed:
    if isinstance(error, aiosmtplib.SMTPConnectResponseError):
        return OpenFailed(Stage.BANNER, *_reply(error))
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if error.code < 200 or error.code > 599:
            return OpenFailed(stage, Loss.PROTOCOL, "the server answered with something that is no SMTP reply")
        return OpenFailed(stage, *_reply(error))
    tls_error = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(tls_error, ssl.SSLError):
        words = getattr(tls_error, "verify_message", "") or tls_error.reason or "the handshake was not finished"
        return OpenFailed(Stage.STARTTLS, Loss.TLS, f"TLS failed: {words}")
    if isinstance(error.__cause__, socket.gaierror):
        return OpenFailed(Stage.CONNECT, Loss.DNS, "its name cannot be resolved")
    if isinstance(error.__cause__, ConnectionRefusedError):
        return OpenFailed(stage, Loss.REFUSED, "connection refused")
    if isinstance(error, TimeoutError):
        return OpenFailed(stage, Loss.TIMEOUT, "no answer in time")
    if isinstance(error, aiosmtplib.SMTPNotSupported | ValueError):
        loss = Loss.NO_MECHANISM if stage is Stage.AUTH else Loss.PROTOCOL
        return OpenFailed(stage, loss, "the server lacks what this relay's settings ask for")
    if stage is Stage.AUTH and type(error) is aiosmtplib.SMTPException:
        return OpenFailed(stage, Loss.NO_MECHANISM, "the server offers no login that we speak")
    words = "it cannot be reached" if stage is Stage.CONNECT else "the connection was lost"
    return OpenFailed(stage, Loss.CLOSED, words)


def _reply(error: aiosmtplib.SMTPResponseException) -> tuple[Reply, str]:
    reply = Reply.of(error.code, error.message)
    return reply, reply.text
