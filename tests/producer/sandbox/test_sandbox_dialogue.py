"""A session without its connection: which command gets which reply, and that pieces do not matter."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailspool.sandbox.options import ReceiverOptions
from tests.producer.sandbox.wire import Outcome, base64_of, converse, say, stuffed

MAIL = "MAIL FROM:<a@client.test>"
RCPT = "RCPT TO:<b@x.test>"
CONTENT = b"Message-ID: <1@client.test>\r\nSubject: x\r\n\r\n.one\r\n..two\r\n.\r\n\r\nend\r\n"


def codes(*lines: str, options: ReceiverOptions | None = None, hello: bool = True) -> list[str]:
    """The codes after the banner and the EHLO."""
    return converse([say(*lines, hello=hello)], options).codes[2 if hello else 1 :]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([MAIL, RCPT, RCPT, "RSET", MAIL], ["250", "250", "250", "250", "250"]),
        ([MAIL, MAIL, RCPT], ["250", "503", "250"]),
        ([RCPT], ["503"]),
        (["DATA"], ["503"]),
        ([MAIL, "DATA", MAIL, "RSET", MAIL], ["250", "554", "503", "250", "250"]),
        ([MAIL, "RCPT TO:<550-x@x.test>", "DATA", MAIL], ["250", "550", "554", "503"]),
        ([MAIL, "RCPT TO:<not an address>", "DATA"], ["250", "501", "554"]),
        ([MAIL, RCPT, "DATA x", "DATA"], ["250", "250", "501", "354"]),
        ([MAIL, "EHLO again", MAIL], ["250", "250", "250"]),
        ([MAIL, "EHLO", RCPT], ["250", "501", "250"]),
        (
            ["noop", "NOOP x", "Vrfy b", "VRFY", "EXPN x", "HELP", "BDAT 1 LAST"],
            ["250", "250", "252", "501", "502", "502", "502"],
        ),
        (["XYZ", "", " ", "MAIL", "MAIL x"], ["500", "500", "500", "501", "501"]),
        (["RSET x", "QUIT x", "QUIT", "NOOP"], ["501", "501", "221"]),
        (["STARTTLS", "AUTH PLAIN"], ["502", "502"]),
        (["é", MAIL], ["500", "250"]),
    ],
)
def test_commands(lines: list[str], expected: list[str]) -> None:
    assert codes(*lines) == expected


def test_mail_wants_a_greeting_first_and_helo_offers_nothing() -> None:
    assert codes(MAIL, "HELO x", MAIL + " SIZE=1", MAIL, hello=False) == ["503", "250", "555", "250"]


def test_the_ehlo_reply_offers_what_the_options_say() -> None:
    plain = [reply[4:] for reply in converse([say()]).replies[2:]]
    assert plain == ["PIPELINING", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
    options = ReceiverOptions(
        pipelining=False, eight_bit_mime=False, smtputf8=False, size_limit_bytes=0, refuse_auth=True
    )
    reduced = [reply[4:] for reply in converse([say()], options).replies[2:]]
    assert reduced == ["SIZE 0", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"]


def test_a_mail_is_taken_as_it_was_meant() -> None:
    outcome = converse(
        [say(MAIL + " BODY=8BITMIME", RCPT, "RCPT TO:<c@x.test>", "DATA") + stuffed(CONTENT) + say("QUIT", hello=False)]
    )
    assert outcome.codes[2:] == ["250", "250", "250", "354", "250", "221"]
    (mail,) = outcome.mails
    assert mail.data == CONTENT
    assert (mail.recipients, mail.mail_from, mail.body) == (("b@x.test", "c@x.test"), "a@client.test", "8BITMIME")
    assert (mail.message_id, mail.sha256) == ("<1@client.test>", hashlib.sha256(CONTENT).hexdigest())
    assert [event.stage for event in outcome.events] == [
        "connect",
        "ehlo",
        "rcpt",
        "rcpt",
        "dot",
        "dot",
        "quit",
        "close",
    ]
    dots = [event for event in outcome.events if event.stage == "dot"]
    assert [event.recipient for event in dots] == ["b@x.test", "c@x.test"]
    assert {(event.message_id, event.sha256, event.size) for event in dots} == {
        ("<1@client.test>", mail.sha256, len(CONTENT))
    }


def test_a_lone_dot_with_a_recipient_is_an_empty_mail() -> None:
    outcome = converse([say(MAIL, RCPT, "DATA", ".", MAIL)])
    assert outcome.codes[2:] == ["250", "250", "354", "250", "250"]
    assert [mail.data for mail in outcome.mails] == [b""]


def test_body_dot_and_the_next_envelope_in_one_write() -> None:
    envelope = say(MAIL, RCPT, "DATA", hello=False)
    outcome = converse([say(), envelope, stuffed(CONTENT) + envelope, stuffed(CONTENT) + envelope])
    assert outcome.codes[2:] == ["250", "250", "354"] + ["250", "250", "250", "354"] * 2
    assert [mail.number for mail in outcome.mails] == [1, 2]
    assert outcome.events[-2].stage == "body", "the third mail's body never came"
    assert (outcome.events[-2].size, outcome.events[-2].sha256) == (0, None)


@pytest.mark.parametrize(
    ("line", "code", "ends"),
    [
        (b"NOOP\n", "521", True),
        (b"NOOP\nMAIL FROM:<x@y.test>\r\n", "521", True),
        (b"NOOP x\rMAIL FROM:<x@y.test>\r\n", "500", False),
        (b"NOOP \0\r\n", "500", False),
        (b"NOOP \xff\r\n", "500", False),
        (b"NOOP " + b"x" * 2041 + b"\r\n", "250", False),
        (b"NOOP " + b"x" * 2042 + b"\r\n", "500", True),
        (b"x" * 3000, "500", True),
    ],
)
def test_lines_that_cannot_be_framed_end_the_session(line: bytes, code: str, ends: bool) -> None:
    for pieces in ([say() + line], [say(), *(line[n : n + 1] for n in range(len(line)))]):
        outcome = converse(pieces)
        assert outcome.codes[2:] == [code]
        assert (outcome.then == "close") is ends


def test_no_reply_repeats_what_the_client_sent() -> None:
    outcome = converse(
        [say("SECRET@VERB", "MAIL FROM:<SECRET x>", MAIL, "RCPT TO:<SECRET x>", "RCPT TO:<550-SECRET@x.test>")]
    )
    assert not any("SECRET" in reply for reply in outcome.replies)


@pytest.mark.parametrize(("octets", "code"), [(998, "250"), (999, "550")])
def test_the_limit_of_a_line(octets: int, code: str) -> None:
    content = b"." + b"x" * (octets - 1) + b"\r\n"
    outcome = converse([say(MAIL, RCPT, "DATA") + stuffed(content)])
    assert outcome.codes[-1] == code
    assert len(outcome.mails) == (code == "250")


@pytest.mark.parametrize(("octets", "code"), [(99, "250"), (100, "250"), (101, "552"), (5000, "552")])
def test_the_limit_of_a_mail(octets: int, code: str) -> None:
    options = ReceiverOptions(size_limit_bytes=100, line_limit_octets=None)
    outcome = converse(
        [say(MAIL, RCPT, "DATA") + stuffed(b"." * (octets - 2) + b"\r\n") + say("NOOP", hello=False)], options
    )
    assert outcome.codes[-2:] == [code, "250"]
    assert len(outcome.mails) == (code == "250")


def test_octets_above_127_need_8bitmime_to_be_offered() -> None:
    stream = say(MAIL, RCPT, "DATA") + stuffed("é\r\n".encode())
    assert converse([stream]).codes[-1] == "250"
    assert converse([stream], ReceiverOptions(eight_bit_mime=False)).replies[-1].startswith("554 5.6.3")


def test_a_mail_that_cannot_be_kept_is_not_acknowledged() -> None:
    from mailspool.sandbox.dialogue import Dialogue
    from mailspool.sandbox.policy import Policy
    from mailspool.sandbox.records import ReceivedMail

    def full(_: ReceivedMail) -> None:
        raise OSError(28, "No space left on device")

    dialogue = Dialogue(Policy(ReceiverOptions()), 1, full, tls=False)
    dialogue.receive(say(MAIL, RCPT, "DATA") + stuffed(CONTENT), 1_000)
    assert dialogue.talk.out[-1].startswith("451 4.3.0")
    assert dialogue.talk.mails == []
    assert dialogue.talk.events[-1].sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Message-ID: <a@b>\r\n", "<a@b>"),
        (b"message-id:<a@b>\r\n", "<a@b>"),
        (b"X-Message-ID: <no@b>\r\nMESSAGE-ID:\r\n <a@b>\r\n", "<a@b>"),
        (b"Message-ID: not in brackets \r\n", "not in brackets"),
        (b"Message-ID:\r\nSubject: x\r\n", None),
        (b"Subject: x\r\n\r\nMessage-ID: <body@b>\r\n", None),
        (b"", None),
    ],
)
def test_the_message_id_comes_from_the_header(header: bytes, expected: str | None) -> None:
    outcome = converse([say(MAIL, RCPT, "DATA") + stuffed(header + b"\r\nbody\r\n")])
    assert outcome.mails[0].message_id == expected


class TestAuth:
    options = ReceiverOptions(user="anna", password="gehéim")
    plain = base64_of("\0anna\0gehéim")

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ([f"AUTH PLAIN {plain}", MAIL], ["235", "250"]),
            (["AUTH plain", plain, MAIL], ["334", "235", "250"]),
            (["AUTH LOGIN", base64_of("anna"), base64_of("gehéim")], ["334", "334", "235"]),
            ([f"AUTH LOGIN {base64_of('anna')}", base64_of("gehéim")], ["334", "235"]),
            ([f"AUTH PLAIN {base64_of('x' + chr(0) + 'anna' + chr(0) + 'wrong')}", MAIL], ["535", "530"]),
            (["AUTH LOGIN", base64_of("bert"), base64_of("gehéim")], ["334", "334", "535"]),
            (["AUTH PLAIN", "*", MAIL], ["334", "501", "530"]),
            (["AUTH PLAIN =", "AUTH PLAIN !!!", f"AUTH PLAIN {base64_of('anna')}"], ["501", "501", "501"]),
            (["AUTH CRAM-MD5", "AUTH"], ["504", "504"]),
            ([f"AUTH PLAIN {plain}", f"AUTH PLAIN {plain}"], ["235", "503"]),
            ([f"AUTH PLAIN {plain}", MAIL, f"AUTH PLAIN {plain}"], ["235", "250", "503"]),
        ],
    )
    def test_exchanges(self, lines: list[str], expected: list[str]) -> None:
        assert codes(*lines, options=self.options) == expected

    def test_after_helo_there_is_none(self) -> None:
        assert codes("HELO x", f"AUTH PLAIN {self.plain}", options=self.options, hello=False) == ["250", "502"]

    def test_every_login_can_be_refused(self) -> None:
        for user in ("anna", None):
            options = ReceiverOptions(user=user, password=user and "gehéim", refuse_auth=True)
            assert codes(f"AUTH PLAIN {self.plain}", options=options) == ["535"]
        empty = base64_of("\0\0")
        assert codes(f"AUTH PLAIN {empty}", options=ReceiverOptions(refuse_auth=True)) == ["535"]

    def test_never_in_clear_where_tls_could_be_had(self) -> None:
        options = ReceiverOptions(user="anna", password="x", certificate=Path("c"), key=Path("k"))
        outcome = converse([say(f"AUTH PLAIN {self.plain}")], options)
        assert outcome.replies[-1].startswith("538 5.7.11")
        assert "250 STARTTLS" in outcome.replies

    def test_credentials_are_in_no_event_and_no_repr(self) -> None:
        outcome = converse(
            [say("AUTH LOGIN", base64_of("anna"), base64_of("gehéim"), f"AUTH PLAIN {self.plain}")], self.options
        )
        assert not any(secret in repr(outcome.events) for secret in (self.plain, base64_of("gehéim"), "gehéim"))
        assert "gehéim" not in repr(self.options)

    def test_a_response_may_be_longer_than_a_command(self) -> None:
        assert codes("AUTH PLAIN", "A" * 12_284, options=self.options) == ["334", "501"]
        assert codes("AUTH PLAIN", "A" * 12_290, "NOOP", options=self.options) == ["334", "500"]


def test_pipelining_that_was_not_offered_is_refused() -> None:
    options = ReceiverOptions(pipelining=False)
    lines = [line + b"\r\n" for line in say(MAIL, RCPT, "DATA").splitlines()]
    step_by_step = converse([*lines, stuffed(CONTENT), b"QUIT\r\n"], options)
    assert step_by_step.codes == ["220", "250", "250", "250", "354", "250", "221"]
    ahead = converse([lines[0], lines[1] + lines[2]], options)
    assert ahead.codes == ["220", "250", "250", "521"]
    assert ahead.then == "close"
    behind_the_dot = converse([*lines, stuffed(CONTENT) + lines[1]], options)
    assert behind_the_dot.codes[-2:] == ["250", "521"]


@pytest.mark.parametrize(
    ("every", "expected"), [(1, "550"), (2, "250 550 250 550"), (3, "250 250 550 250"), (0, "250")]
)
def test_every_nth_recipient_is_refused(every: int, expected: str) -> None:
    wanted = expected.split()
    lines = [f"RCPT TO:<{n}@x.test>" for n in range(len(wanted))]
    outcome = converse([say(MAIL, "RCPT TO:<bad address>", *lines)], ReceiverOptions(refuse_every=every))
    assert outcome.codes[4:] == wanted, "a malformed RCPT does not count"


@pytest.mark.parametrize("limit", [1, 2])
def test_after_so_many_mails_the_session_ends(limit: int) -> None:
    one = say(MAIL, RCPT, "DATA", hello=False) + stuffed(CONTENT)
    outcome = converse([say() + one * 3], ReceiverOptions(session_messages=limit))
    assert len(outcome.mails) == limit
    assert outcome.replies[-1].startswith("421 4.7.0")
    assert outcome.then == "close"


@pytest.mark.parametrize("limit", [1, 2])
def test_too_many_recipients(limit: int) -> None:
    wanted = ["250"] * limit + ["452"]
    assert codes(MAIL, *[RCPT] * (limit + 1), options=ReceiverOptions(max_recipients=limit))[1:] == wanted


ORDERS = [
    "550-5.1.1-x",
    "450-1-x",
    "421-x",
    "dot-451-x",
    "dot-421-x",
    "slow-5s-x",
    "drop-in-data-x",
    "close-after-dot-x",
]
ORDERS += ["close-after-rcpt-x", "stall-x", "greylist-x", "plain", "421-after-1-x"]
COMMANDS = [
    say("NOOP", "RSET", MAIL, RCPT, "DATA", hello=False),
    b"NOOP\nX\r\n",
    b"NO\rOP\r\n",
    b"QUIT\r\n",
    b".\r\n",
    b"\n.\n",
]
CONTENTS = [CONTENT, b"", b"\n.\r\nx\r\n", b"." * 998 + b"\r\n", b"x" * 999 + b"\r\n", b"y\r\n" * 100]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    stream = say()
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.integers(0, 3)) == 0:
            stream += draw(st.sampled_from(COMMANDS) | st.binary(max_size=10))
        recipients = draw(st.lists(st.sampled_from(ORDERS), min_size=1, max_size=2))
        stream += say(MAIL, *(f"RCPT TO:<{name}@x.test>" for name in recipients), "DATA", hello=False)
        stream += stuffed(draw(st.sampled_from(CONTENTS)))
    return stream[: len(stream) - draw(st.sampled_from([0, 0, 0, 1, 5, 400]))]


@settings(deadline=None)  # a busy machine is no fault
@given(streams(), st.data())
def test_the_same_bytes_in_any_pieces_give_the_same_replies_events_and_mails(
    stream: bytes, data: st.DataObject
) -> None:
    whole = converse([stream])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert converse(pieces) == whole
    assert converse([bytes([octet]) for octet in stream]) == whole


@given(st.lists(st.binary(max_size=200) | st.sampled_from(COMMANDS), max_size=20))
def test_garbage_gets_short_ascii_replies(pieces: list[bytes]) -> None:
    outcome: Outcome = converse([say(), *pieces])
    assert all(reply.isascii() and reply.isprintable() and len(reply) <= 510 for reply in outcome.replies)
    assert outcome.events[-1].stage == "close"
