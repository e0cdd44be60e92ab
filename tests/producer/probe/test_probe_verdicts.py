"""What the probe makes of refusals, nonsense and silence, of an address to try, and of what it is asked to probe."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import replace

import pytest

from mailspool.errors import ConfigError, InputError
from mailspool.probe import probe_relay
from mailspool.settings import Relay, Settings, relay_from_url
from tests.producer.probe.probe_server import Server, ask, clear, lines


async def test_to_goes_up_to_rcpt_and_delivers_nothing() -> None:
    async with Server(answers={"RCPT": [b"250 2.1.5 welcome\r\n"]}).run() as server:
        report = await ask(clear(server), to="ali@bücher.example", mail_from="me@acme.example")
    assert server.heard[1:] == [
        "MAIL FROM:<me@acme.example>",
        "RCPT TO:<ali@xn--bcher-kva.example>",
        "RSET",
        "QUIT",
    ]
    assert report.verdict == "Ready: ali@xn--bcher-kva.example would be accepted: 250 2.1.5 welcome"


async def test_send_delivers_a_small_mail() -> None:
    async with Server().run() as server:
        report = await ask(clear(server), to="ali@acme.example", send=True)
    assert server.heard[1:4] == ["MAIL FROM:<ali@acme.example>", "RCPT TO:<ali@acme.example>", "DATA"]
    assert server.mail.startswith(b"From: <ali@acme.example>\r\nTo: <ali@acme.example>\r\nSubject: Mailspool test mail")
    assert server.mail.count(b"\r\n") == server.mail.count(b"\n")
    assert report.verdict == "Sent: 250 2.0.0 queued as 4FzX"
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("answers", "verdict", "exit_code"),
    [
        ({"MAIL": b"550 5.7.1 no\r\n"}, "The sender a@acme.example is refused: 550 5.7.1 no", 69),
        ({"MAIL": b"530 5.7.0 log in\r\n"}, "The server wants a login before it takes mail: 530 5.7.0 log in", 77),
        (
            {"RCPT": b"550-5.1.1 no\r\n550 5.1.1 such user\r\n"},
            "The receiver b@acme.example is refused: 550 5.1.1 no 5.1.1 such user",
            69,
        ),
        ({"DATA": b"452 4.3.1 full\r\n"}, "The server takes no mail: 452 4.3.1 full", 69),
        ({".": b"554 5.6.0 spam\r\n"}, "The test mail is refused: 554 5.6.0 spam", 69),
        (
            {"EHLO": b"502 no\r\n", "HELO": b"550 bad name\r\n"},
            "The server refuses our name laptop.acme.example: 550 bad name Set ehlo_name.",
            69,
        ),
        ({"QUIT": b"500 what\r\n"}, "Sent: 250 2.0.0 queued as 4FzX", 0),
        ({"QUIT": b"nonsense\r\n"}, "Sent: 250 2.0.0 queued as 4FzX", 0),
        ({"MAIL": b"250-one\r\n550 two\r\n"}, "One reply with two codes: this is no sane SMTP server.", 69),
        ({"MAIL": b"999 what\r\n"}, 'This is no SMTP server: it says "999 what".', 69),
    ],
)
async def test_what_a_refusal_means(answers: dict[str, bytes], verdict: str, exit_code: int) -> None:
    server = Server(answers={word: [reply] for word, reply in answers.items()})
    async with server.run():
        report = await ask(clear(server), to="b@acme.example", mail_from="a@acme.example", send=True)
    assert (report.verdict, report.exit_code) == (verdict, exit_code)


async def test_a_server_without_ehlo_is_greeted_with_helo() -> None:
    async with Server(answers={"EHLO": [b"500 what\r\n"]}).run() as server:
        report = await ask(clear(server))
    assert server.heard == ["EHLO laptop.acme.example", "HELO laptop.acme.example", "QUIT"]
    assert (report.features, report.size, report.verdict) == ((), None, "Ready: no TLS, no login.")


MANY = b"".join(b"220-%d\r\n" % number for number in range(200))


@pytest.mark.parametrize(
    ("greeting", "verdict"),
    [
        (b"554 5.7.1 not you\r\n", "The server turns us away at once: 554 5.7.1 not you"),
        (b"SSH-2.0-OpenSSH_9\r\n", 'This is no SMTP server: it says "SSH-2.0-OpenSSH_9".'),
        (b"220 " + b"x" * 40_000, "A reply of more than 32 KiB: this is no sane SMTP server."),
        (b"220 " + b"x" * 40_000 + b"\r\n", "A reply of more than 32 KiB: this is no sane SMTP server."),
        (MANY, "A reply of more than 100 lines: this is no sane SMTP server."),
        (b"\x1b[2J\x07\xff\r\n", 'This is no SMTP server: it says "\\x1b[2J\\x07\\xff".'),
    ],
)
async def test_a_bad_greeting(greeting: bytes, verdict: str) -> None:
    async with Server(greeting=greeting).run() as server:
        report = await ask(clear(server))
    assert (report.verdict, report.exit_code) == (verdict, 69)
    assert all(len(step.line) <= 520 for step in report.steps)


async def test_what_a_server_says_cannot_move_the_cursor() -> None:
    async with Server(greeting="220 \x1b[31mred\u202e\u200b \x85\r\n".encode()).run() as server:
        report = await ask(clear(server))
    assert lines(report)[1] == "< 220 \\x1b[31mred\\u202e\\u200b \\x85"


async def test_silence_has_an_end() -> None:
    async with Server(greeting=b"").run() as server:
        report = await ask(clear(server), reply_timeout_s=0.05)
    assert report.verdict == (
        "No answer to greeting within 0.05 s. If it speaks TLS from the first byte, write smtps:// instead of smtp://."
    )


async def test_a_reply_that_drips_does_not_restart_its_deadline() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"220-more\r\n")
            await asyncio.sleep(0.01)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        relay = Relay("main", "127.0.0.1", server.sockets[0].getsockname()[1], "none", True)
        report = await ask(relay, reply_timeout_s=0.1)
    assert report.verdict.startswith("No answer to greeting within 0.1 s.")


async def test_a_server_that_hangs_up() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        report = await ask(Relay("main", "127.0.0.1", server.sockets[0].getsockname()[1], "none", True))
    assert report.verdict == "The server hung up instead of answering greeting."


async def test_smtps_to_a_server_in_clear_says_the_right_scheme() -> None:
    async with Server().run() as server:
        report = await ask(relay_from_url(f"smtps://127.0.0.1:{server.port}"))
    where = f"127.0.0.1:{server.port}"
    assert report.verdict == f"{where} answers in clear where TLS was to begin: write smtp:// instead of smtps://."
    assert report.exit_code == 69


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        report = await ask(Relay("main", "127.0.0.1", port, "none", True))
    assert report.verdict == f"127.0.0.1:{port} cannot be reached: connection refused."
    assert lines(report) == [f"- connect 127.0.0.1:{port}", "- connection refused"]


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server().run() as server:

        async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(0, 0, 0, "", (address, server.port)) for address in ("127.0.0.3", "127.0.0.1")]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        report = await ask(replace(clear(server), host="mail.acme.example"))
    assert lines(report)[:3] == [
        f"- connect 127.0.0.3:{server.port}",
        "- connection refused",
        f"- connect 127.0.0.1:{server.port}",
    ]
    assert report.exit_code == 0


async def test_a_name_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere)
    report = await ask(Relay("main", "mail.acme.example", 25, "none", True))
    assert report.verdict == "The name mail.acme.example leads nowhere: Name or service not known."
    assert report.exit_code == 69


async def test_a_connection_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    report = await ask(Relay("main", "127.0.0.1", 25, "none", True), connect_timeout_s=0.05)
    assert report.verdict == (
        "127.0.0.1:25 does not answer within 0.05 s. Many networks block port 25: try 587 with a login."
    )


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (
            "ali@acme.example\r\nRCPT TO:<x@y>",
            '"ali@acme.example\\r\\nRCPT TO:<x@y>" is no address that can stand in an envelope.',
        ),
        ("a>b@acme.example", '"a>b@acme.example" is no address that can stand in an envelope.'),
        ("ali", '"ali" is no address that can stand in an envelope.'),
        ("@acme.example", '"@acme.example" is no address that can stand in an envelope.'),
    ],
)
async def test_an_address_that_could_become_a_command_is_refused(to: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        await ask(Relay("main", "127.0.0.1", 1, "none", True), to=to)
    assert str(caught.value) == words


async def test_what_cannot_be_asked() -> None:
    with pytest.raises(InputError) as caught:
        await ask(Relay("main", "127.0.0.1", 1, "none", True), send=True)
    assert str(caught.value) == "a test mail needs a receiver: --to you@example.org --send"
    with pytest.raises(ConfigError) as refused:
        await ask(Relay("main", "127.0.0.1", 1, "none", True, user="u"))
    assert str(refused.value) == 'relay main logs in as "u", but there is no password: set one.'


async def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    async with Server().run() as server:
        refused = await ask(clear(server), to="علی@acme.example", mail_from="a@acme.example")
        server.ehlo = ["SMTPUTF8"]
        taken = await ask(clear(server), to="علی@acme.example", mail_from="a@acme.example")
    assert refused.verdict == "The address is not ASCII, and the server offers no SMTPUTF8."
    assert "MAIL FROM:<a@acme.example> SMTPUTF8" in server.heard
    assert taken.exit_code == 0


async def test_the_report_is_json() -> None:
    async with Server().run() as server:
        report = await ask(clear(server))
    found = json.loads(json.dumps(report.to_dict()))
    assert list(found) == ["steps", "tls", "auth", "size", "features", "verdict", "exit_code"]
    assert list(found["steps"][0]) == ["at_ms", "dir", "line"]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (None, "smtp://one.example:25"),
        ("two", "smtps://two.example:465"),
        ("smtps://u:p@three.example", "smtps://three.example:465 as u"),
        ("mail.acme.example", "smtp://mail.acme.example:25"),
        ("mail.acme.example:2525", "smtp://mail.acme.example:2525"),
        ("mail.acme.example:465", "smtps://mail.acme.example:465"),
        ("localhost:2525", "smtp://localhost:2525"),
        ("[::1]:2525", "smtp://[::1]:2525"),
    ],
)
def test_what_can_be_named_to_be_probed(target: str | None, shown: str) -> None:
    relays = {"one": {"url": "smtp://one.example"}, "two": {"url": "smtps://two.example"}}
    assert str(probe_relay(Settings(config=os.devnull, relay_url=None, relays=relays), target)) == shown


def test_a_relay_that_is_not_there() -> None:
    settings = Settings(config=os.devnull, relay_url=None, relays={"main": {"url": "smtp://one.example"}})
    with pytest.raises(ConfigError) as caught:
        probe_relay(settings, "mian")
    assert str(caught.value) == 'there is no relay "mian". Did you mean "main"?'
    with pytest.raises(ConfigError) as caught:
        probe_relay(settings, "zzz")
    assert str(caught.value) == 'there is no relay "zzz". Give a relay\'s name, a URL or HOST:PORT.'
    with pytest.raises(ConfigError) as caught:
        probe_relay(Settings(config=os.devnull, relay_url=None, relays={}), None)
    assert str(caught.value).startswith("No relay is set")
