"""Large mails: in slices as fast as the peer reads, the dot last, and early answers that decide nothing."""

from __future__ import annotations

import pytest

from mailspool_worker.smtp.transaction import PIECE_LIMIT
from tests.support.smtp_talk import PIPELINED, STEPS, Talk, envelope
from tests.support.worker_parts import compiled, spec

OK3 = ("250 2.1.0 ok", "250 2.1.5 ok", "354 go")
SENT = "250 2.0.0 queued"


def large(takes: int | None = 1) -> Talk:
    """About 400 KB of personal text, for a peer that takes one slice at a time."""
    talk = Talk(["a@x.test", "b@x.test"], content=compiled(spec(".{{ name }}\r\n" * 10, lines=4_000)), takes=takes)
    talk.wrote()
    for reply in OK3:
        talk.say(reply)
    return talk


def test_one_slice_at_a_time_while_the_peer_is_slow() -> None:
    talk = large()
    sent = talk.wrote()
    assert len(sent) == 1
    while talk.session._body is not None and talk.session._body.is_writing:
        talk.transport.take()
        fresh = talk.wrote()
        assert len(fresh) <= 2  # the last slice, and the dot with the next envelope
        sent += fresh
    assert max(map(len, sent)) <= PIECE_LIMIT + 100
    assert sent[-1] == ".\r\n" + envelope("b")
    assert "\r\n..a\r\n" in "".join(sent)


def test_a_peer_that_keeps_up_gets_it_at_once() -> None:
    talk = large(takes=None)
    sent = "".join(talk.wrote())
    assert sent.endswith("\r\n.\r\n" + envelope("b"))
    talk.say(SENT)
    assert talk.over == [(0, "DOT", SENT)]


@pytest.mark.parametrize("reply", ["552 5.3.4 too big", "451 4.3.1 disk full", "421 4.3.2 closing", "250 ok already"])
def test_an_answer_before_the_dot_ends_the_connection(reply: str) -> None:
    talk = large()
    talk.say(reply)
    assert talk.over == [(0, "BODY", reply)]
    assert talk.again == [1]
    assert talk.transport.aborted


def test_a_connection_lost_before_the_dot_is_not_in_doubt() -> None:
    talk = large()
    talk.close()
    assert talk.over == [(0, "BODY", "closed")]
    assert talk.again == [1]


def test_the_deadline_of_a_slice_starts_when_the_peer_has_taken_the_one_before() -> None:
    talk = large()
    for _ in range(3):
        talk.clock.now_s += 170
        talk.session.check_deadline(talk.clock.now_s)
        assert not talk.transport.aborted
        talk.transport.take()
    talk.session.check_deadline(talk.clock.now_s + 181)
    assert talk.over == [(0, "BODY", "timeout")]


def test_a_drip_while_the_body_is_written_restarts_nothing() -> None:
    talk = large()
    talk.clock.now_s += 170
    talk.session.data_received(b"2")
    talk.session.check_deadline(talk.clock.now_s + 11)
    assert talk.over == [(0, "BODY", "timeout")]


def test_a_stop_in_the_middle_gives_the_message_back() -> None:
    talk = large()
    talk.run.take_state("stopping")
    assert not talk.transport.aborted, "what is on the wire finishes"
    talk.session.abort("stopping")
    assert talk.over == []
    assert {item.index for item in talk.run.take_given_back()} == {0, 1}


def test_resuming_after_the_end_does_nothing() -> None:
    talk = large()
    talk.close()
    talk.wrote()
    talk.session.resume_writing()
    assert talk.wrote() == []


@pytest.mark.parametrize("features", [PIPELINED, STEPS])
def test_dots_are_stuffed(features: object) -> None:
    content = compiled(spec(".one\r\n..two\r\n.\r\nend {{ name }}\r\n"))
    talk = Talk(["a@x.test"], content=content, features=features)  # type: ignore[arg-type]  # parametrized
    for reply in OK3:
        talk.say(reply)
    body = talk.wrote()[-1]
    assert "\r\n..one\r\n...two\r\n..\r\nend a\r\n" in body


def test_what_is_withdrawn_while_it_waits_behind_a_large_body_is_left_out() -> None:
    talk = large()
    talk.run.withdraw()
    talk.wrote()
    while talk.session._body is not None and talk.session._body.is_writing:
        talk.transport.take()
    assert talk.wrote()[-1] == ".\r\n"
    assert talk.run.pending == 1


def test_each_body_has_a_dot_of_its_own() -> None:
    """What was true of the one before says nothing about this one."""
    talk = large()
    while talk.session._body is not None and talk.session._body.is_writing:
        talk.transport.take()
    talk.say(SENT)
    talk.record()
    for reply in OK3:
        talk.say(reply)
    talk.close()
    assert talk.over == [(0, "DOT", SENT), (1, "BODY", "closed")]
