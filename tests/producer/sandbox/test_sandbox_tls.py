"""STARTTLS, TLS from the first byte, and AUTH behind it, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from mailspool.errors import ConfigError
from mailspool.sandbox import Receiver, ReceiverOptions
from tests.producer.sandbox.conftest import Certificate
from tests.producer.sandbox.wire import Wire, base64_of, wire_to

Scenario = Callable[[], Awaitable[None]]
RUNNERS = [asyncio.run, uvloop.run]


def with_tls(made: Certificate, *, implicit: bool = False, login: bool = False) -> ReceiverOptions:
    return ReceiverOptions(
        certificate=made.certificate,
        key=made.key,
        implicit_tls=implicit,
        user="anna" if login else None,
        password="secret" if login else None,
    )


async def upgraded(wire: Wire, trust: ssl.SSLContext) -> Wire:
    """The same connection, now in TLS."""
    reply = await wire.ask("STARTTLS")
    assert reply == "220 2.0.0 ready for TLS"
    await wire.writer.start_tls(trust, server_hostname="localhost")
    return wire


@pytest.mark.parametrize("run", RUNNERS)
def test_starttls_begins_the_session_again(localhost_certificate: Certificate, run: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with Receiver(options=with_tls(localhost_certificate)) as receiver, wire_to(receiver) as wire:
            assert "STARTTLS" in await wire.hello()
            await wire.ask("MAIL FROM:<a@b.test>")
            await upgraded(wire, localhost_certificate.trust)
            assert (await wire.ask("MAIL FROM:<a@b.test>")).startswith("503 5.5.1 EHLO first")
            assert "STARTTLS" not in await wire.ask("EHLO again")
            assert (await wire.mail("anna@a.test", b"x" * 100_000 + b"\r\n")).startswith("550 5.6.0")
            content = b"line\r\n" * 100_000
            assert (await wire.mail("anna@a.test", content)).startswith("250 ")
            assert (receiver.mails[0].data, receiver.mails[0].tls) == (content, True)
            assert (await wire.ask("STARTTLS")).startswith("502 ")
            assert (await wire.ask("QUIT")).startswith("221 ")
            assert await wire.closed()
            assert receiver.url.startswith("smtp://")

    run(scenario())


@pytest.mark.parametrize("run", RUNNERS)
def test_tls_from_the_first_byte(localhost_certificate: Certificate, run: Callable[..., None]) -> None:
    async def scenario() -> None:
        options = with_tls(localhost_certificate, implicit=True, login=True)
        async with Receiver(options=options) as receiver, wire_to(receiver, localhost_certificate.trust) as wire:
            offered = await wire.hello()
            assert "AUTH PLAIN LOGIN" in offered
            assert "STARTTLS" not in offered
            assert (await wire.ask("MAIL FROM:<a@b.test>")).startswith("530 5.7.0")
            assert (await wire.ask("AUTH PLAIN " + base64_of("\0anna\0secret"))).startswith("235 ")
            assert (await wire.mail("slow-5ms-x@a.test")).startswith("250 ")
            assert (receiver.mails[0].tls, receiver.mails[0].user) == (True, "anna")
            assert receiver.url == f"smtps://127.0.0.1:{receiver.port}"

    run(scenario())


@pytest.mark.parametrize("run", RUNNERS)
def test_a_handshake_that_fails_ends_the_session_alone(
    localhost_certificate: Certificate, run: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with Receiver(options=with_tls(localhost_certificate)) as receiver:
            async with wire_to(receiver) as wire:
                await wire.hello()
                with pytest.raises(ssl.SSLCertVerificationError):
                    await upgraded(wire, ssl.create_default_context())
            async with wire_to(receiver) as wire:
                await wire.hello()
                assert (await wire.ask("STARTTLS")).startswith("220 ")
                await wire.send(b"EHLO in clear\r\n" * 10)
                assert await wire.closed()
            await receiver.wait_until(lambda: receiver.sessions == 0)
            assert [record.stage for record in receiver.log].count("close") == 2
            async with wire_to(receiver) as wire:
                await wire.hello()
                assert (await wire.mail("anna@a.test")).startswith("250 ")

    run(scenario())


@pytest.mark.parametrize("run", RUNNERS)
def test_a_session_that_never_begins_its_handshake_can_be_dropped(
    localhost_certificate: Certificate, run: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with Receiver(options=with_tls(localhost_certificate)) as receiver, wire_to(receiver) as wire:
            await wire.hello()
            assert (await wire.ask("STARTTLS")).startswith("220 ")
            receiver.drop_sessions()
            await receiver.wait_until(lambda: receiver.sessions == 0)

    run(scenario())


async def test_commands_smuggled_behind_starttls_are_not_obeyed(localhost_certificate: Certificate) -> None:
    async with Receiver(options=with_tls(localhost_certificate)) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(b"STARTTLS\r\nMAIL FROM:<attacker@evil.test>\r\n")
        assert (await wire.reply()).startswith("503 5.5.0")
        assert await wire.closed()


async def test_auth_needs_tls_where_there_is_a_certificate(localhost_certificate: Certificate) -> None:
    async with Receiver(options=with_tls(localhost_certificate, login=True)) as receiver, wire_to(receiver) as wire:
        assert "AUTH" not in await wire.hello()
        login = "AUTH PLAIN " + base64_of("\0anna\0secret")
        assert (await wire.ask(login)).startswith("538 5.7.11")
        await upgraded(wire, localhost_certificate.trust)
        assert "AUTH PLAIN LOGIN" in await wire.ask("EHLO again")
        assert (await wire.ask(login)).startswith("235 ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"certificate": Path("c")}, "needs its key"),
        ({"key": Path("k")}, "needs its key"),
        ({"implicit_tls": True}, "needs a certificate"),
        ({"user": "anna"}, "needs a password"),
        ({"banner": "two\r\nlines"}, "banner"),
        ({"hostname": "my host"}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"refuse_every": -1}, "refuse_every"),
        ({"size_limit_bytes": -1}, "negative"),
        ({"idle_timeout_s": 0}, "positive"),
    ],
)
def test_contradictions_are_refused_in_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ReceiverOptions(**options)  # type: ignore[arg-type] # one field each, by name


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing = ReceiverOptions(certificate=tmp_path / "no.pem", key=tmp_path / "no.key")
    with pytest.raises(ConfigError, match=r"no\.pem.*No such file"):
        Receiver(options=missing)
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ConfigError, match="not a PEM certificate"):
        Receiver(options=ReceiverOptions(certificate=wrong, key=wrong))
