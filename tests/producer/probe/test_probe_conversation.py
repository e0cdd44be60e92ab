"""The probe's conversation: what is shown, what is hidden, and that TLS and login go as the relay says."""

from __future__ import annotations

import asyncio
import hmac
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from mailspool.settings import relay_from_url
from tests.producer.probe.probe_server import PASSWORD, PLAIN, Server, ask, clear, lines


async def test_the_conversation_is_shown_line_by_line() -> None:
    async with Server().run() as server:
        report = await ask(clear(server))
    assert lines(report) == [
        f"- connect 127.0.0.1:{server.port}",
        "< 220 mail.acme.example ESMTP",
        "> EHLO laptop.acme.example",
        "< 250-mail.acme.example",
        "< 250-PIPELINING",
        "< 250-SIZE 35882577",
        "< 250 AUTH PLAIN LOGIN",
        "> QUIT",
        "< 221 bye",
    ]
    assert report.features == ("PIPELINING", "SIZE", "AUTH")
    assert (report.size, report.tls, report.auth, report.exit_code) == (35_882_577, None, None, 0)
    assert report.verdict == "Ready: no TLS, no login, up to 34.2 MiB a mail."
    times = [step.at_ms for step in report.steps]
    assert times == sorted(times)


async def test_starttls_and_login_are_shown_without_the_password(context: ssl.SSLContext, trusted: None) -> None:
    async with Server(context=context).run() as server:
        report = await ask(relay_from_url(f"smtp://billing:{PASSWORD}@127.0.0.1:{server.port}"))
    assert server.heard[:3] == ["EHLO laptop.acme.example", "STARTTLS", "EHLO laptop.acme.example"]
    assert f"AUTH PLAIN {PLAIN}" in server.heard
    assert "> AUTH PLAIN ****" in lines(report)
    assert report.tls is not None
    assert report.tls.expires_at is not None
    assert (report.tls.version, report.tls.verified, report.auth) == ("TLS 1.3", True, "ok")
    assert f"- TLS 1.3, certificate ok until {report.tls.expires_at[:10]}" in lines(report)
    assert report.verdict == "Ready: TLS 1.3, login accepted, up to 34.2 MiB a mail."
    assert PASSWORD not in str(report)
    assert PLAIN not in str(report)


async def test_tls_at_once(context: ssl.SSLContext, trusted: None) -> None:
    async with Server(context=context, tls_at_once=True, ehlo=[]).run() as server:
        report = await ask(relay_from_url(f"smtps://127.0.0.1:{server.port}?tls=required"))
    assert [line[0] for line in lines(report)] == list("--<><><")
    assert report.verdict == "Ready: TLS 1.3, no login."


async def test_a_certificate_nobody_vouches_for(context: ssl.SSLContext) -> None:
    async with Server(context=context).run() as server:
        url = f"smtp://u:p@127.0.0.1:{server.port}"
        refused = await ask(relay_from_url(url))
        taken = await ask(relay_from_url(f"{url}?tls=insecure"))
    assert refused.exit_code == 69
    assert refused.verdict == (
        "The certificate of 127.0.0.1 is not valid: self-signed certificate. "
        "Use the name that stands in it, or have it renewed."
    )
    assert (taken.exit_code, taken.tls and (taken.tls.verified, taken.tls.expires_at)) == (0, (False, None))
    assert "- TLS 1.3, certificate not verified" in lines(taken)


async def test_a_certificate_for_another_name(context: ssl.SSLContext, trusted: None) -> None:
    async with Server(context=context).run() as server:
        relay = relay_from_url(f"smtp://u:p@127.0.0.2:{server.port}")
        server_elsewhere = await asyncio.start_server(server._serve, "127.0.0.2", server.port)
        async with server_elsewhere:
            report = await ask(relay)
    assert report.verdict == (
        "The certificate of 127.0.0.2 is not valid: IP address mismatch, certificate is not valid for '127.0.0.2'. "
        "Use the name that stands in it, or have it renewed."
    )


async def test_without_a_login_a_failed_starttls_leads_to_a_second_try_in_clear(context: ssl.SSLContext) -> None:
    async with Server(context=context).run() as server:
        relay = replace(clear(server), security="opportunistic")
        failed = await ask(relay)
        server.answers["STARTTLS"] = [b"454 4.7.0 TLS not available\r\n"]
        refused = await ask(relay)
    for report, reason in (
        (failed, "the certificate of 127.0.0.1 is not valid: self-signed certificate."),
        (refused, "STARTTLS is offered and refused: 454 4.7.0 TLS not available"),
    ):
        assert (report.exit_code, report.tls) == (0, None)
        assert any(line.startswith(f"- {reason}") and line.endswith("once more without TLS:") for line in lines(report))
        assert report.verdict == "Ready: no TLS, no login, up to 34.2 MiB a mail."


async def test_tls_is_never_given_up_where_it_is_required() -> None:
    async with Server().run() as server:
        report = await ask(relay_from_url(f"smtp://u:p@127.0.0.1:{server.port}"))
    assert report.verdict == (
        "TLS is required here, and the server offers no STARTTLS. Perhaps it is smtps:// (port 465)."
    )
    assert (report.exit_code, report.auth) == (69, None)
    assert not [line for line in server.heard if line.startswith("AUTH")]


async def test_bytes_slipped_in_before_tls_are_refused(context: ssl.SSLContext, trusted: None) -> None:
    async with Server(context=context, behind_starttls=b"250 slipped in\r\n").run() as server:
        report = await ask(relay_from_url(f"smtp://u:p@127.0.0.1:{server.port}"))
    assert report.verdict == "The server sent more before TLS than it was asked for: somebody may sit in between."
    assert (report.exit_code, report.tls) == (69, None)


def cram_answer(heard: list[str]) -> bool:
    digest = hmac.new(PASSWORD.encode(), b"<1@acme>", "md5").hexdigest()
    return b64decode(heard[2]).decode() == f"billing {digest}"


def login_answer(heard: list[str]) -> bool:
    return [b64decode(part).decode() for part in heard[2:4]] == ["billing", PASSWORD]


CRAM = b"334 " + b64encode(b"<1@acme>") + b"\r\n"


@pytest.mark.parametrize(
    ("offer", "answers", "right", "shown"),
    [
        (
            "AUTH LOGIN",
            {"AUTH": [b"334 VXNlcm5hbWU6\r\n"]},
            login_answer,
            ["> AUTH LOGIN", "< 334 VXNlcm5hbWU6", "> ****", "< 334 UGFzc3dvcmQ6", "> ****", "< 235 ok"],
        ),
        ("AUTH CRAM-MD5", {"AUTH": [CRAM]}, cram_answer, ["> AUTH CRAM-MD5", f"< {CRAM.decode()[:-2]}", "> ****"]),
    ],
)
async def test_other_ways_to_log_in(
    offer: str, answers: dict[str, list[bytes]], right: Callable[[list[str]], bool], shown: list[str]
) -> None:
    first = b64encode(b"billing").decode().upper()
    second = b64encode(PASSWORD.encode()).decode().upper()
    replies = {first: [b"334 UGFzc3dvcmQ6\r\n"], second: [b"235 ok\r\n"]}
    async with Server(ehlo=[offer], answers=answers | replies).run() as server:
        report = await ask(clear(server, user=True))
    assert right(server.heard)
    assert report.auth == "ok"
    start = lines(report).index(shown[0])
    assert lines(report)[start : start + len(shown)] == shown
    assert b64encode(PASSWORD.encode()).decode() not in str(report)


@pytest.mark.parametrize(
    ("reply", "hint", "verdict"),
    [
        (
            b"535 5.7.8 BadCredentials\r\n",
            "Gmail wants an app password: https://support.google.com/accounts/answer/185833",
            "Login refused. Gmail wants an app password: https://support.google.com/accounts/answer/185833",
        ),
        (
            b"535 5.7.8 no\r\n",
            "",
            "Login refused. Check user and password; many providers want an app password or an API key here.",
        ),
        (
            b"454 4.7.0 too many login attempts\r\n",
            "",
            "Login refused for now, try again later: 454 4.7.0 too many login attempts",
        ),
    ],
)
async def test_a_refused_login(reply: bytes, hint: str, verdict: str) -> None:
    async with Server(answers={"AUTH": [reply]}).run() as server:
        report = await ask(replace(clear(server, user=True), login_hint=hint))
    assert (report.verdict, report.exit_code, report.auth) == (verdict, 77, "refused")


@pytest.mark.parametrize(
    ("ehlo", "verdict"),
    [
        (["AUTH XOAUTH2"], "The server offers only XOAUTH2, so a password is of no use here."),
        ([], "The server offers no login at all, so a password is of no use here."),
    ],
)
async def test_no_way_to_log_in(ehlo: list[str], verdict: str) -> None:
    async with Server(ehlo=ehlo).run() as server:
        report = await ask(clear(server, user=True))
    assert (report.verdict, report.exit_code, report.auth) == (verdict, 77, "refused")


async def test_a_server_that_repeats_the_password_is_masked() -> None:
    echo = f"535 5.7.8 {PASSWORD} {PLAIN} {b64encode(PASSWORD.encode()).decode()}\r\n".encode()
    async with Server(answers={"AUTH": [echo.replace(b"535", b"454")]}).run() as server:
        report = await ask(clear(server, user=True))
    assert "< 454 5.7.8 **** **** ****" in lines(report)
    assert report.verdict == "Login refused for now, try again later: 454 5.7.8 **** **** ****"
