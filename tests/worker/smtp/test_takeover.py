"""How sessions begin, against scripted servers, on both event loops: what is taken over, what is refused, and why.

The first tests are the contract with aiosmtplib: what lies below its public face may move with any release.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import ClassVar, cast

import aiosmtplib
import pytest
import uvloop
from pydantic import SecretStr

from mailspool.settings import Relay
from mailspool_worker.classify import Loss, Reply, Stage
from mailspool_worker.smtp import takeover
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.takeover import OpenFailed, open_session, tls_context
from mailspool_worker.smtp.transaction import Features
from tests.support.scripted_server import Dialogue, Peer, Scripted
from tests.support.smtp_talk import MemoryTransport, Talk
from tests.support.waiting import until
from tests.worker.smtp.conftest import Trust

LIMIT_S = 10.0
Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both loops: their transports differ below the surface that they share."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_it(work: Coroutine[None, None, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(LIMIT_S):
                await work

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return run_it


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


async def open_to(
    to: Relay, *, trust: ssl.SSLContext | None = None, clear: bool = False, timeout_s: float = 5.0
) -> Opened:
    opened = Opened()

    def make(features: Features) -> Session:
        opened.features.append(features)
        opened.talk = Talk(["a@x.test"], features=features)
        opened.talk.run.withdraw()
        opened.talk.session = Session(opened.talk, features, opened.talk._limits, opened.talk.clock)
        return opened.talk.session

    try:
        opened.session = await open_session(
            to, make, ehlo_name="sender.test", timeout_s=timeout_s, clear=clear, tls=trust
        )
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


def test_a_server_that_refuses_ehlo_gets_helo(run: Run) -> None:
    async def old(peer: Peer) -> None:
        peer.say("220 old.test")
        await peer.expect("EHLO")
        peer.say("502 5.5.1 what is EHLO?")
        await peer.expect("HELO")
        peer.say("250 old.test")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        assert opened.features == [Features()]
        finish(opened)

    run(against(old, look))


def test_replies_after_the_takeover_reach_the_session(run: Run) -> None:
    async def closes(peer: Peer) -> None:
        await peer.greet()
        peer.say("421 4.4.2 idle")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        await is_over(opened)

    run(against(closes, look))


def test_a_connection_that_ends_after_ehlo_is_noticed_at_once(run: Run) -> None:
    async def closes(peer: Peer) -> None:
        await peer.greet()
        peer.writer.close()

    async def look(server: Scripted) -> None:
        for _ in range(20):
            opened = await open_to(relay(server.port))
            assert opened.failed is None or opened.words == ("EHLO", "closed")
            await is_over(opened)

    run(against(closes, look))


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


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_session(run: Run, case: str) -> None:
    dialogue, words, chance = REFUSED[case]

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port), timeout_s=0.3 if case == "silence" else 5.0)
        assert opened.words == words
        assert opened.failed is not None
        assert opened.failed.may_be_chance is chance
        assert opened.features == []

    run(against(dialogue, look))


def test_nobody_listens(run: Run) -> None:
    async def look() -> None:
        async with Scripted(_silent) as server:
            port = server.port
        opened = await open_to(relay(port))
        assert opened.words == ("CONNECT", "refused")

    run(look())


def test_a_cancelled_opening_leaves_no_connection(run: Run) -> None:
    ended = asyncio.Event()

    async def waits(peer: Peer) -> None:
        peer.say("220 scripted.test")
        await peer.expect("EHLO")
        await peer.gone()
        ended.set()

    async def look(server: Scripted) -> None:
        task = asyncio.create_task(open_to(relay(server.port)))
        await until(lambda: bool(server.connections), "a connection")
        task.cancel()
        await asyncio.wait((task,))
        await ended.wait()

    run(against(waits, look))


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


@pytest.mark.parametrize("security", ["starttls", "opportunistic"])
def test_after_starttls_only_the_second_ehlo_counts(run: Run, trust: Trust, security: str) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, security), trust=trust.client)
        assert opened.features == [Features(size_limit=4711, tells_size=True)]
        finish(opened)

    run(against(starttls(trust.server), look))


def test_replies_injected_behind_starttls_are_not_believed(run: Run, trust: Trust) -> None:
    """Before the handshake anybody on the way can write them; the connection is given up, or they are thrown away."""

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"), trust=trust.client, timeout_s=2.0)
        assert not any(features.pipelining for features in opened.features)
        finish(opened)

    run(against(starttls(trust.server, injected=True), look))


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


@pytest.mark.parametrize(
    ("dialogue", "words"),
    [
        (_refuses_starttls, ("STARTTLS", "454")),
        (_no_starttls, ("STARTTLS", "no_tls")),
        (_handshake_of_noise, ("STARTTLS", "tls")),
    ],
)
def test_required_tls_that_is_not_to_be_had(run: Run, dialogue: Dialogue, words: tuple[str, str]) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"))
        assert opened.words == words
        assert opened.features == []

    run(against(dialogue, look))


def test_a_certificate_that_nobody_vouches_for(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"), trust=tls_context(verify=True))
        assert opened.words == ("STARTTLS", "tls")
        assert opened.failed is not None
        assert "self-signed" in opened.failed.words or "self signed" in opened.failed.words
        unchecked = await open_to(relay(server.port, "starttls", verify=False))
        assert unchecked.failed is None
        finish(unchecked)

    run(against(starttls(trust.server), look))


def test_in_clear_where_that_was_decided(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port), clear=True)
        assert opened.features == [Features(pipelining=True)]
        finish(opened)

    async def serve(peer: Peer) -> None:
        await peer.greet("STARTTLS", "PIPELINING")
        await peer.gone()

    run(against(serve, look))


def test_tls_from_the_first_byte(run: Run, trust: Trust) -> None:
    async def serve(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.gone()

    async def look() -> None:
        async with Scripted(serve, tls=trust.server) as server:
            opened = await open_to(relay(server.port, "tls"), trust=trust.client)
            assert opened.features == [Features(pipelining=True)]
            finish(opened)
            wrong = await open_to(relay(server.port, "tls"), trust=tls_context(verify=True))
            assert wrong.words == ("STARTTLS", "tls")

    run(look())


# Login


def auth(*replies: str, offered: str = "AUTH PLAIN") -> Dialogue:
    async def serve(peer: Peer) -> None:
        await peer.greet(*([offered] if offered else []))
        for reply in replies:
            await peer.expect("AUTH")
            peer.say(reply)
        await peer.gone()

    return serve


@pytest.mark.parametrize(
    ("dialogue", "words"),
    [
        (auth("535 5.7.8 no"), ("AUTH", "535")),
        (auth("454 4.7.0 later"), ("AUTH", "454")),
        (auth(offered=""), ("AUTH", "no_mechanism")),
        (auth(offered="AUTH GSSAPI"), ("AUTH", "no_mechanism")),
    ],
)
def test_a_login_that_fails(run: Run, dialogue: Dialogue, words: tuple[str, str]) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.words == words
        assert opened.failed is not None
        assert not opened.failed.may_be_chance, "too many refused logins lock an account"
        assert "secret" not in opened.failed.words

    run(against(dialogue, look))


@pytest.mark.parametrize("told", ["secret", "c2VjcmV0", "AGFsaQBzZWNyZXQ="])
def test_a_refusal_that_repeats_the_password_is_told_without_it(run: Run, told: str) -> None:
    """In clear, as LOGIN and as PLAIN encode it: these words are logged, and stored for `status`."""

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.failed is not None
        assert opened.failed.words.startswith("535 5.7.8 bad login ****")
        assert told.rstrip("=") not in opened.failed.words

    run(against(auth(f"535 5.7.8 bad login {told}"), look))


def test_a_login_that_goes_well(run: Run) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.failed is None
        finish(opened)

    run(against(auth("235 2.7.0 welcome"), look))


def test_stages_are_those_of_classify() -> None:
    assert OpenFailed(Stage.CONNECT, Loss.REFUSED, "words").words == "words"
