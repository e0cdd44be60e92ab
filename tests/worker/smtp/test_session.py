"""A session's dialogue, reply by reply: what it writes when, what it reports, and what it never does.

The rules: RFC 2920 (groups, lone dot, nothing matched by text), a body only after the previous outcome is recorded,
RSET where the last transaction did not end well, a 354 that is not wanted any more ends with the connection.
"""

from __future__ import annotations

import pytest

from tests.support.smtp_talk import STEPS, Talk, envelope
from tests.support.worker_parts import make_items

OK3 = ("250 2.1.0 ok", "250 2.1.5 ok", "354 go")
SENT = "250 2.0.0 queued"


def three(**options: object) -> Talk:
    return Talk(["a@x.test", "b@x.test", "c@x.test"], **options)  # type: ignore[arg-type]  # a table's options


def with_354(talk: Talk) -> Talk:
    """Up to the first body on the wire."""
    talk.say(*OK3)
    return talk


# Pipelined


def test_body_dot_and_next_envelope_go_out_in_one_write() -> None:
    talk = three()
    assert talk.wrote() == [envelope("a")]
    talk.say(*OK3)
    (body,) = talk.wrote()
    assert body.startswith("From: News <news@sender.test>\r\n")
    assert body.endswith("\r\n.\r\n" + envelope("b"))


def test_the_next_body_waits_for_the_record_of_the_one_before() -> None:
    talk = with_354(three())
    talk.wrote()
    talk.say(SENT, *OK3)
    assert talk.over == [(0, "DOT", SENT)]
    assert talk.wrote() == []
    talk.record()
    (body,) = talk.wrote()
    assert body.endswith(envelope("c"))


def test_the_limit_of_unrecorded_bodies_is_a_setting_and_never_that_of_a_claiming_batch() -> None:
    talk = with_354(three(unrecorded=2))
    talk.wrote()
    talk.say(SENT, *OK3)
    assert len(talk.wrote()) == 1
    talk.say(SENT, *OK3)
    assert talk.wrote() == []
    claiming = with_354(three(unrecorded=2, holds_doubts=True))
    claiming.record()
    claiming.wrote()
    claiming.say(SENT, *OK3)
    claiming.desk.notes.rotate(-1)  # the claim of the second is recorded before the outcome of the first
    claiming.record()
    assert claiming.wrote() == []


def test_the_last_mail_has_nothing_behind_its_dot() -> None:
    talk = with_354(Talk(["a@x.test"]))
    assert talk.wrote()[-1].endswith("\r\n.\r\n")
    talk.say(SENT)
    talk.record()
    assert talk.is_idle
    assert talk.session.accepted == 1
    assert talk.run.pending == 0


def test_an_idle_session_goes_on_when_it_is_nudged() -> None:
    talk = Talk([])
    assert talk.is_idle
    talk.queue.extend(make_items(talk.run, ["a@x.test"]))
    talk.session.nudge()
    assert talk.wrote() == [envelope("a")]


# Refusals. Replies to the first envelope -> (stage, reply) reported, what is written then.

REFUSALS: dict[str, tuple[tuple[str, ...], tuple[str, str], list[str]]] = {
    "rcpt": (
        ("250 ok", "550 5.1.1 no such user", "554 no valid recipients"),
        ("RCPT", "550 5.1.1 no such user"),
        [envelope("b", rset=True)],
    ),
    "mail": (
        ("553 5.1.8 sender rejected", "503 need MAIL", "503 need RCPT"),
        ("MAIL", "553 5.1.8 sender rejected"),
        [envelope("b", rset=True)],
    ),
    "data": (
        ("250 ok", "250 ok", "451 4.3.0 not now"),
        ("DATA", "451 4.3.0 not now"),
        [envelope("b", rset=True)],
    ),
    "data answered with 250": (
        ("250 ok", "250 ok", "250 what"),
        ("DATA", "250 what"),
        [envelope("b", rset=True)],
    ),
    "rcpt, and 354 all the same: a lone dot": (
        ("250 ok", "550 5.1.1 no such user", "354 go"),
        ("RCPT", "550 5.1.1 no such user"),
        [".\r\n"],
    ),
    "mail, and 354 all the same": (
        ("550 5.7.1 no", "550 5.1.1 no", "354 go"),
        ("MAIL", "550 5.7.1 no"),
        [".\r\n"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_the_first_refusal_of_a_group_decides(case: str) -> None:
    replies, reported, written = REFUSALS[case]
    talk = three()
    talk.wrote()
    talk.say(*replies)
    assert talk.over == [(0, *reported)]
    assert talk.wrote() == written


def test_after_a_lone_dot_its_reply_is_only_counted() -> None:
    talk = three()
    talk.say("250 ok", "550 5.1.1 no such user", "354 go")
    talk.wrote()
    talk.say("554 5.5.1 no valid recipients")
    assert talk.over == [(0, "RCPT", "550 5.1.1 no such user")]
    assert talk.wrote() == [envelope("b", rset=True)]


def test_no_lone_dot_where_a_recipient_was_accepted() -> None:
    """It might deliver an empty mail."""
    talk = three()
    talk.wrote()
    talk.say("550 5.7.1 sender no", "250 recipient yes", "354 go")
    assert talk.over == [(0, "MAIL", "550 5.7.1 sender no")]
    assert talk.wrote() == []
    assert talk.transport.aborted


def test_a_refusal_waits_for_the_last_reply_of_its_group() -> None:
    talk = three()
    talk.wrote()
    talk.say("250 ok", "550 5.1.1 no such user")
    assert talk.over == []
    talk.say("554 no valid recipients")
    assert talk.over == [(0, "RCPT", "550 5.1.1 no such user")]


def test_rset_leads_after_a_dot_that_was_refused_with_nothing_behind_it() -> None:
    talk = with_354(Talk(["a@x.test"]))
    talk.say("550 5.7.1 spam")
    talk.wrote()
    talk.queue.extend(make_items(talk.run, ["b@x.test"]))
    talk.record()
    assert talk.wrote() == [envelope("b", rset=True)]


def test_no_rset_behind_a_terminator() -> None:
    talk = with_354(three())
    talk.wrote()
    talk.say("451 4.3.0 later", *OK3)
    talk.record()
    (body,) = talk.wrote()
    assert "RSET" not in body


def test_the_reply_of_an_rset_is_only_counted() -> None:
    talk = three()
    talk.say("250 ok", "550 no", "554 no")
    talk.wrote()
    talk.say("250 reset", *OK3)
    talk.record()
    (body,) = talk.wrote()
    assert body.endswith(envelope("c"))


def test_after_five_refused_recipients_in_a_row_the_session_ends() -> None:
    talk = Talk([f"u{i}@x.test" for i in range(8)])
    for i in range(5):
        talk.say(*(["250 reset"] if i else []), "250 ok", "550 no", "554 no")
        talk.record()
    assert talk.wrote()[-1] == "QUIT\r\n"
    assert len(talk.over) == 5


# Step by step


def test_step_by_step_each_command_waits_for_its_reply() -> None:
    talk = three(features=STEPS)
    seen = [talk.wrote()]
    for reply in ("250 ok", "250 ok", "354 go", SENT):
        talk.say(reply)
        seen.append(talk.wrote())
    mail, rcpt, data, body, nothing = seen
    assert mail == ["MAIL FROM:<news@sender.test>\r\n"]
    assert rcpt == ["RCPT TO:<a@x.test>\r\n"]
    assert data == ["DATA\r\n"]
    assert len(body) == 1
    assert body[0].endswith("\r\n.\r\n")
    assert nothing == ["MAIL FROM:<news@sender.test>\r\n"], "an envelope may go before the record, a body may not"
    talk.say("250 ok", "250 ok")
    talk.wrote()


@pytest.mark.parametrize(
    ("replies", "reported"),
    [
        (("550 no",), ("MAIL", "550 no")),
        (("250 ok", "450 later"), ("RCPT", "450 later")),
        (("250 ok", "250 ok", "554 no"), ("DATA", "554 no")),
        (("250 ok", "250 ok", "354 go", "552 too big"), ("DOT", "552 too big")),
    ],
)
def test_step_by_step_a_refusal_ends_the_transaction_at_once(
    replies: tuple[str, ...], reported: tuple[str, str]
) -> None:
    talk = three(features=STEPS)
    for reply in replies:
        talk.wrote()
        talk.say(reply)
    assert talk.over == [(0, *reported)]
    assert talk.wrote() == ["RSET\r\n"], "no command is sent ahead of an answer"
    talk.say("250 ok")
    assert talk.wrote() == ["MAIL FROM:<news@sender.test>\r\n"]


# Ends of the connection. What was said before it -> what is reported, what goes again.

LOSSES: dict[str, tuple[tuple[str, ...], list[tuple[int, str, str]], list[int]]] = {
    "before any reply": ((), [], [0]),
    "after MAIL": (("250 ok",), [(0, "RCPT", "closed")], []),
    "after RCPT": (("250 ok", "250 ok"), [(0, "DATA", "closed")], []),
    "a refusal was read": (("250 ok", "550 5.1.1 no"), [(0, "RCPT", "550 5.1.1 no")], []),
    "after the terminator": (OK3, [(0, "DOT", "closed")], [1]),
    "in the second envelope": ((*OK3, SENT), [(0, "DOT", SENT)], [1]),
    "in the middle of the second envelope": ((*OK3, SENT, "250 ok"), [(0, "DOT", SENT), (1, "RCPT", "closed")], []),
    "holding a 354": ((*OK3, SENT, *OK3), [(0, "DOT", SENT)], [1, 2]),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_lost_connection_blames_only_whom_it_must(case: str) -> None:
    said, reported, again = LOSSES[case]
    talk = three()
    for reply in said:
        talk.say(reply)
    talk.close()
    assert talk.over == reported
    assert sorted(talk.again) == again
    assert talk.why_gone == "closed"
    talk.close()
    assert talk.over == reported, "a connection is lost once"


def test_a_message_whose_envelope_dies_again_and_again_is_to_blame() -> None:
    talk = three()
    (item, *_) = talk.items
    for times in (1, 2):
        talk.close()
        assert (talk.again, item.requeued) == ([0] * times, times)
        talk.reconnect()
    talk.close()
    assert talk.over == [(0, "MAIL", "closed")]


@pytest.mark.parametrize("said", [(), ("250 ok",), ("250 ok", "250 ok")])
def test_a_421_in_an_envelope_is_that_messages_reply(said: tuple[str, ...]) -> None:
    talk = three()
    talk.say(*said, "421 4.3.2 closing")
    assert [(index, text) for index, _, text in talk.over] == [(0, "421 4.3.2 closing")]
    assert talk.again == []
    assert talk.transport.aborted


def test_a_421_at_the_dot_costs_the_next_message_nothing() -> None:
    talk = with_354(three())
    talk.items[1].requeued = 2
    talk.say("421 4.3.2 closing")
    assert talk.over == [(0, "DOT", "421 4.3.2 closing")]
    assert talk.again == [1]
    talk.record()
    assert talk.run.pending == 2


def test_a_421_to_rset_costs_the_next_message_nothing() -> None:
    talk = three()
    talk.say("250 ok", "550 no", "554 no")
    talk.say("421 4.3.2 closing")
    assert talk.over == [(0, "RCPT", "550 no")]
    assert talk.again == [1]


def test_noise_after_a_reply_does_not_undo_the_reply() -> None:
    talk = with_354(three())
    talk.session.data_received(b"250 queued\r\nnoise\r\n")
    assert talk.over == [(0, "DOT", "250 queued"), (1, "MAIL", "protocol")]
    assert talk.transport.aborted


def test_a_malformed_reply_to_the_dot_is_uncertain() -> None:
    talk = with_354(three())
    talk.session.data_received(b"25x queued\r\n")
    assert talk.over == [(0, "DOT", "protocol")]
    assert talk.transport.aborted


# Being asked to stop


# Messages that cannot go


# Deadlines
