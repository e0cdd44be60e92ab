"""How sessions begin, against scripted servers, on both event loops: what is taken over, what is refused, and why.

The first tests are the contract with aiosmtplib: what lies below its public face may move with any release.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar, cast

import aiosmtplib
import pytest
from pydantic import SecretStr

from mailspool.settings import Relay
from mailspool_worker.classify import Reply
from mailspool_worker.smtp import takeover
from mailspool_worker.smtp.deadlines import Waits
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.takeover import OpenFailed, open_session
from mailspool_worker.smtp.transaction import Features
from tests.support.scripted_server import Dialogue, Peer, Scripted
from tests.support.smtp_talk import MemoryTransport, Talk
from tests.support.waiting import until
from tests.worker.smtp.conftest import Run


@dataclass
class Opened:
    """What an opening came to."""

    session: Session | None = None
    failed: OpenFailed | None = None
    features: list[Features] = field(default_factory=list)
    talk: Talk | None = None

    @property
    def words(self) -> tuple[str, str]:
        assert self.failed is not None
        event = self.failed.event
        return self.failed.stage.name, str(event.code) if isinstance(event, Reply) else event.value


def relay(port: int, security: str = "opportunistic", *, user: str | None = None, verify: bool = True) -> Relay:
    return Relay(
        name="main",
        host="127.0.0.1",
        port=port,
        security=security,  # type: ignore[arg-type]  # a table's word
        verify=verify,
        user=user,
        password=SecretStr("secret") if user else None,
    )


PATIENT = Waits(5.0, 5.0, 5.0)


async def open_to(
    to: Relay, *, trust: ssl.SSLContext | None = None, clear: bool = False, waits: Waits = PATIENT
) -> Opened:
    opened = Opened()

    def make(features: Features) -> Session:
        opened.features.append(features)
        opened.talk = Talk(["a@x.test"], features=features)
        opened.talk.run.withdraw()
        opened.talk.session = Session(opened.talk, features, opened.talk._limits, opened.talk.clock)
        return opened.talk.session

    try:
        opened.session = await open_session(to, make, ehlo_name="sender.test", waits=waits, clear=clear, tls=trust)
    except OpenFailed as failed:
        opened.failed = failed
    return opened


async def is_over(opened: Opened) -> None:
    """It failed, or the session has noticed that it is gone."""
    await until(
        lambda: opened.failed is not None or (opened.talk is not None and opened.talk.why_gone is not None), "an end"
    )


def finish(opened: Opened) -> None:
    if opened.session is not None:
        opened.session.abort("the test is over")


async def against(dialogue: Dialogue, then: Callable[[Scripted], Awaitable[None]]) -> None:
    async with Scripted(dialogue) as server:
        await then(server)


# The contract with aiosmtplib


def test_bytes_that_came_with_the_last_reply_lie_in_the_buffer(run: Run) -> None:
    async def early(peer: Peer) -> None:
        peer.say("220 scripted.test")
        await peer.expect("EHLO")
        peer.say("250 scripted.test", "421 4.3.2 closing soon")
        await peer.gone()

    async def look(server: Scripted) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port, start_tls=False, local_hostname="s.test")
        await client.connect()
        before = client.is_ehlo_or_helo_needed
        await client.ehlo()
        assert (before, client.is_ehlo_or_helo_needed) == (True, False)
        assert client.protocol is not None
        assert client.protocol._buffer == b"421 4.3.2 closing soon\r\n"
        assert client.protocol.is_connected
        cast("asyncio.Transport", client.transport).abort()

    run(against(early, look))


def test_the_old_protocol_knows_a_loss_after_the_takeover(run: Run) -> None:
    async def polite(peer: Peer) -> None:
        await peer.greet()
        await peer.gone()

    async def look(server: Scripted) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port, start_tls=False, local_hostname="s.test")
        await client.connect()
        protocol, transport = client.protocol, client.transport
        assert protocol is not None
        protocol.connection_lost(None)
        assert not protocol.is_connected
        cast("asyncio.Transport", transport).abort()

    run(against(polite, look))


async def test_a_loss_that_was_on_its_way_to_the_old_protocol_reaches_the_session() -> None:
    """Under TLS the transport does not look closed then; without this the session would wait for its deadline."""

    class Old:
        _buffer = b""
        is_connected = True

    class Client:
        transport = MemoryTransport()
        protocol = Old()
        esmtp_extensions: ClassVar[dict[str, str]] = {}

    talk = Talk([])
    session = Session(talk, Features(), talk._limits, talk.clock)
    asyncio.get_running_loop().call_soon(setattr, Client.protocol, "is_connected", False)
    takeover._take_over(cast("aiosmtplib.SMTP", Client()), lambda _features: session)
    assert talk.why_gone is None
    await asyncio.sleep(0)
    assert talk.why_gone == "closed"


# What is taken over


def test_what_ehlo_offers_becomes_features(run: Run) -> None:
    async def offers(peer: Peer) -> None:
        await peer.greet("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        assert opened.features == [Features(True, True, True, 1000, True)]
        assert opened.talk is not None
        assert opened.talk.is_idle
        finish(opened)

    run(against(offers, look))


@pytest.mark.parametrize(
    ("size", "limit", "told"),
    [("SIZE", None, True), ("SIZE 0", None, True), ("SIZE much", None, True), ("SIZE " + "9" * 30, None, True)],
)
def test_a_size_that_is_no_number_is_no_limit(run: Run, size: str, limit: int | None, told: bool) -> None:
    async def offers(peer: Peer) -> None:
        await peer.greet(size)
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        assert (opened.features[0].size_limit, opened.features[0].tells_size) == (limit, told)
        finish(opened)

    run(against(offers, look))


# What is refused. Dialogue -> (stage, reply code or loss)


async def _early(peer: Peer) -> None:
    peer.say("220 scripted.test")
    await peer.expect("EHLO")
    peer.say("250 scripted.test", "250 what else")
    await peer.gone()


async def _silent(peer: Peer) -> None:
    await peer.gone()


async def _closes(peer: Peer) -> None:
    peer.writer.close()


async def _busy(peer: Peer) -> None:
    peer.say("421 4.7.0 too many connections")
    await peer.gone()


async def _go_away(peer: Peer) -> None:
    peer.say("554 5.7.1 go away")
    await peer.gone()


async def _noise(peer: Peer) -> None:
    peer.say("HTTP/1.1 400 Bad Request")
    await peer.gone()


async def _no_ehlo(peer: Peer) -> None:
    peer.say("220 scripted.test")
    for word in ("EHLO", "HELO"):
        await peer.expect(word)
        peer.say("550 5.7.1 not you")
    await peer.gone()


async def _busy_ehlo(peer: Peer) -> None:
    peer.say("220 scripted.test")
    await peer.expect("EHLO")
    peer.say("451 4.3.0 not now")
    await peer.gone()


async def _closes_in_ehlo(peer: Peer) -> None:
    peer.say("220 scripted.test")
    await peer.expect("EHLO")
    peer.writer.close()


REFUSED: dict[str, tuple[Dialogue, tuple[str, str], bool]] = {
    "early bytes": (_early, ("EHLO", "protocol"), False),
    "silence": (_silent, ("CONNECT", "timeout"), True),
    "closed before the banner": (_closes, ("CONNECT", "closed"), True),
    "421 banner": (_busy, ("BANNER", "421"), False),
    "554 banner": (_go_away, ("BANNER", "554"), False),
    "noise for a banner": (_noise, ("CONNECT", "protocol"), False),
    "EHLO and HELO refused": (_no_ehlo, ("EHLO", "550"), False),
    "EHLO for now": (_busy_ehlo, ("EHLO", "451"), False),
    "closed in EHLO": (_closes_in_ehlo, ("EHLO", "closed"), True),
}


# TLS


def starttls(context: ssl.SSLContext, *, injected: bool = False, extensions: tuple[str, ...] = ()) -> Dialogue:
    async def serve(peer: Peer) -> None:
        await peer.greet("STARTTLS", "PIPELINING")
        await peer.expect("STARTTLS")
        peer.say("220 go ahead", *(["250-injected", "250 PIPELINING"] if injected else []))
        await peer.start_tls(context)
        await peer.expect("EHLO")
        peer.say("250-scripted.test", *(f"250-{word}" for word in extensions), "250 SIZE 4711")
        await peer.gone()

    return serve


async def _refuses_starttls(peer: Peer) -> None:
    await peer.greet("STARTTLS")
    await peer.expect("STARTTLS")
    peer.say("454 4.7.0 TLS not available")
    await peer.gone()


async def _no_starttls(peer: Peer) -> None:
    await peer.greet("PIPELINING")
    await peer.gone()


async def _handshake_of_noise(peer: Peer) -> None:
    await peer.greet("STARTTLS")
    await peer.expect("STARTTLS")
    peer.say("220 go ahead")
    await peer.reader.read(1)  # the client's hello
    peer.say("this is no handshake", "at all")
    await peer.gone()


# Login


def auth(*replies: str, offered: str = "AUTH PLAIN") -> Dialogue:
    async def serve(peer: Peer) -> None:
        await peer.greet(*([offered] if offered else []))
        for reply in replies:
            await peer.expect("AUTH")
            peer.say(reply)
        await peer.gone()

    return serve
