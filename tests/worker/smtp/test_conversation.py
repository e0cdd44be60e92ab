"""What is kept of an attempt's conversation: its own lines, in order, with times, and nothing that must not be told."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr

from mailspool.contract.talks import Line
from mailspool.settings import Relay
from mailspool_worker.smtp.conversation import Opened, Opening, Secrets, shown
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.takeover import OpenFailed
from tests.support.scripted_server import Peer, Scripted
from tests.support.smtp_talk import PIPELINED, STEPS, MemoryTransport, Talk
from tests.support.worker_parts import make_items
from tests.worker.smtp.conftest import Run, Trust
from tests.worker.smtp.test_session import OK3, SENT, with_354
from tests.worker.smtp.test_session_bodies import large
from tests.worker.smtp.test_takeover import against, auth, finish, open_to, relay, starttls

MAIL, RCPT, DATA = "> MAIL FROM:<news@sender.test>", "> RCPT TO:<a@x.test>", "> DATA"
BODY = "> <{} bytes of body>"


def one(**options: object) -> Talk:
    return Talk(["a@x.test"], **options)  # type: ignore[arg-type]  # a table's options


def told(lines: list[Line]) -> list[str]:
    return [f"{line.dir} {line.text}" for line in lines]


def said(talk: Talk) -> list[str]:
    """Of the only attempt."""
    (lines,) = talk.said
    return told(lines)


def body_of(talk: Talk) -> str:
    (item,) = talk.items
    return BODY.format(item.render().size)


# An attempt's own lines


def test_a_refusal_pipelined_with_what_follows_from_it() -> None:
    talk = one()
    talk.say("250 2.1.0 ok", "550 5.1.1 no such user", "554 5.5.1 nobody")
    answers = ["< 250 2.1.0 ok", "< 550 5.1.1 no such user", "< 554 5.5.1 nobody"]
    assert said(talk) == [MAIL, RCPT, DATA, *answers]


def test_step_by_step_only_what_was_written() -> None:
    talk = one(features=STEPS)
    talk.say("250 2.1.0 ok")
    talk.say("450 4.2.1 later")
    assert said(talk) == [MAIL, "< 250 2.1.0 ok", RCPT, "< 450 4.2.1 later"]


def test_the_final_reply_stands_behind_the_size_of_the_body() -> None:
    talk = with_354(one())
    body = body_of(talk)
    talk.say("554-5.7.1 spam", "554 5.7.1 see https://x.test")
    replies = ["< 250 2.1.0 ok", "< 250 2.1.5 ok", "< 354 go"]
    assert said(talk) == [MAIL, RCPT, DATA, *replies, body, "> .", "< 554-5.7.1 spam", "< 554 5.7.1 see https://x.test"]


def test_each_of_pipelined_messages_has_its_own_lines() -> None:
    talk = with_354(Talk(["a@x.test", "b@x.test"]))
    talk.say(SENT, "250 2.1.0 b", "550 5.1.1 b", "554 5.5.1 b")
    lines = told(talk.said[1])
    assert lines[:3] == [MAIL, "> RCPT TO:<b@x.test>", DATA]
    assert lines[3:] == ["< 250 2.1.0 b", "< 550 5.1.1 b", "< 554 5.5.1 b"]


def test_times_count_from_the_first_line() -> None:
    talk = one()
    talk.clock.now_s += 0.25
    talk.say(*OK3)
    talk.clock.now_s += 1.5
    talk.say("451 4.3.0 later")
    assert [line.at_ms for line in talk.said[0]] == [0, 0, 0, 250, 250, 250, 250, 250, 1_750]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda talk: talk.close(), "- the connection ended"),
        (lambda talk: talk.session.abort("stopping"), "- the connection ended (stopping)"),
    ],
)
def test_a_loss_is_told_in_words(end: object, words: str) -> None:
    talk = with_354(one())
    end(talk)  # type: ignore[operator]  # one of the two above
    assert said(talk)[-3:] == [body_of(talk), "> .", words]


def test_a_timeout_is_told_in_words() -> None:
    talk = with_354(one())
    talk.session.check_deadline(talk.clock.now_s + 601)
    assert said(talk)[-1] == "- no answer in time"


def test_a_line_that_is_no_reply_is_shown_harmlessly() -> None:
    talk = with_354(one())
    talk.session.data_received(b"250\x1b[2J\xff ok\r\n")
    assert said(talk)[-2:] == [r"< 250\x1b[2J\xff ok", "- not what SMTP allows here (malformed reply)"]


def test_a_body_that_was_answered_too_early_went_in_part() -> None:
    talk = large()
    size = talk.items[0].render().size
    talk.say("552 5.3.4 too big")
    assert said(talk)[-2:] == [f"> <a part of {size:,} bytes of body>", "< 552 5.3.4 too big"]


# The opening


def opened_talk() -> Talk:
    talk = Talk([])
    opened = Opened([Line(0, "-", "connect x.test:25"), Line(40, "<", "220 x.test")], 0.05)
    talk.queue.extend(make_items(talk.run, ["a@x.test", "b@x.test"]))
    talk.session = Session(talk, PIPELINED, talk._limits, talk.clock)
    talk.session.start(MemoryTransport(), opened)
    return talk


def test_a_young_session_tells_how_it_was_opened() -> None:
    talk = opened_talk()
    talk.say("250 ok", "450 4.7.1 greylisted", "554 nobody")
    assert told(talk.said[0])[:3] == ["- connect x.test:25", "< 220 x.test", MAIL]
    assert [line.at_ms for line in talk.said[0]][:3] == [0, 40, 50]


def test_a_session_that_has_delivered_does_not() -> None:
    talk = opened_talk()
    talk.say(*OK3)
    talk.say(SENT, "250 ok", "450 4.7.1 greylisted", "554 nobody")
    assert told(talk.said[1])[0] == MAIL


# Lines


def test_lines_are_cut_and_counted() -> None:
    talk = one()
    many = [f"550-line {number}" for number in range(20)]
    talk.say("250 ok", *many, "550 last", "554 " + "x" * 5_000)
    lines = said(talk)
    assert lines[4:13] == [*(f"< 550-line {number}" for number in range(8)), "- (13 lines more)"]
    assert lines[13] == "< 554 " + "x" * 193 + "..."


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "a\u202eb", "\r\n", "\ud800", "\x9b31m", "\u2028"])
def test_what_does_not_print_is_written_out(text: str) -> None:
    assert shown(text, Secrets()).isprintable()


LOGIN = cast("Relay", SimpleNamespace(user="me", password=SecretStr("hunter2")))


def test_secrets_are_masked_before_a_line_is_cut() -> None:
    secrets = Secrets(LOGIN)
    for secret in ("hunter2", base64.b64encode(b"hunter2").decode(), base64.b64encode(b"\0me\0hunter2").decode()):
        for before in range(180, 205):
            line = shown("x" * before + secret, secrets)
            assert secret[:4] not in line, line


def test_a_reply_of_an_attempt_that_repeats_the_password() -> None:
    talk = opened_talk()
    talk.session._opening = talk.session._opening._replace(secrets=Secrets(LOGIN))
    talk.say("250 ok", "550 5.7.1 hunter2 may not", "554 nobody")
    assert "< 550 5.7.1 **** may not" in told(talk.said[0])


def test_an_opening_tells_times() -> None:
    now = [5.0]
    opening = Opening(lambda: now[0], Secrets())
    now[0] = 5.25
    opening.note("-", "connect")
    assert opening.done() == Opened(opening.lines, 0.25, secrets=opening.secrets)
    assert opening.lines == [Line(250, "-", "connect")]


# Openings that fail


def failed(opened: object) -> OpenFailed:
    error = getattr(opened, "failed", None)
    assert isinstance(error, OpenFailed)
    return error


def test_a_refused_login_is_told_by_its_mechanism_alone(run: Run) -> None:
    async def look(server: Scripted) -> None:
        error = failed(await open_to(relay(server.port, user="me")))
        lines = told(list(error.lines))
        assert lines[-2:] == ["> AUTH PLAIN ****", "< 535 5.7.8 no such login"]
        assert lines[0] == f"- connect 127.0.0.1:{server.port}"
        assert not [line for line in lines if "secret" in line or base64.b64encode(b"\0me\0secret").decode() in line]

    run(against(auth("535 5.7.8 no such login"), look))


def test_words_and_lines_of_a_long_refusal_hold_no_part_of_a_secret(run: Run) -> None:
    async def look(server: Scripted) -> None:
        error = failed(await open_to(relay(server.port, user="me")))
        assert "secr" not in error.words
        assert not [line for line in error.lines if "secr" in line.text]

    run(against(auth("535 " + "x" * 288 + " secret and more"), look))
    run(against(auth("535 " + "x" * 188 + " secret and more"), look))


def test_a_server_that_hangs_up_after_its_banner(run: Run) -> None:
    async def rude(peer: Peer) -> None:
        peer.say("220 rude.test")
        await peer.expect("EHLO")

    async def look(server: Scripted) -> None:
        error = failed(await open_to(relay(server.port)))
        assert told(list(error.lines))[1:] == ["< 220 rude.test", "> EHLO sender.test", "- the connection was lost"]

    run(against(rude, look))


def test_a_session_that_is_open_knows_how(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"), trust=trust.client)
        assert opened.session is not None
        lines = told(list(opened.session._opening.lines))
        assert lines[4] == "> STARTTLS"
        assert "- TLSv1.3" in lines
        finish(opened)

    run(against(starttls(trust.server), look))
