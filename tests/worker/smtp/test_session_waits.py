"""Sessions that wait: deadlines, overdue replies, and what goes to another session meanwhile."""

from __future__ import annotations

import pytest

from mailspool_worker.runs import Place
from tests.support.smtp_talk import PIPELINED, Talk
from tests.support.worker_parts import compiled, spec
from tests.worker.smtp.test_session import OK3, SENT, three, with_354


@pytest.mark.parametrize("reply", ["421 4.4.2 idle", "250 what"])
def test_an_answer_nobody_asked_for_ends_an_idle_session(reply: str) -> None:
    talk = Talk([])
    talk.say(reply)
    assert talk.transport.aborted
    assert talk.over == []
    assert not talk.session.is_stillborn


def test_retiring_finishes_what_is_on_the_wire_then_quits() -> None:
    talk = with_354(three())
    talk.wrote()
    talk.session.retire()
    talk.say(SENT, *OK3)
    talk.record()
    assert talk.wrote()[-1].endswith("\r\n.\r\n"), "the envelope behind it goes on, too, with nothing more behind"
    talk.say(SENT)
    assert talk.wrote() == [], "no QUIT while an outcome is unrecorded: another session would take its place"
    talk.record()
    assert talk.wrote() == ["QUIT\r\n"]
    talk.say("221 bye")
    assert talk.why_gone == "quit"
    assert len(talk.queue) == 1


def test_a_session_ends_after_so_many_messages_or_so_long() -> None:
    talk = with_354(three(messages=1))
    assert talk.wrote()[-1].endswith("\r\n.\r\n")
    talk.say(SENT)
    talk.record()
    assert talk.wrote() == ["QUIT\r\n"]
    old = three(age_s=10.0)
    old.clock.now_s += 11
    old.run.renewed(old.clock.now_s)
    with_354(old).say(SENT)
    old.record()
    assert old.wrote()[-1] == "QUIT\r\n"


def test_abort_waiting_spares_a_body_on_the_wire() -> None:
    talk = with_354(three())
    talk.session.abort_waiting("redis is away")
    assert talk.why_gone is None
    talk.say(SENT, *OK3)
    talk.session.abort_waiting("redis is away")
    assert sorted(talk.again) == [1, 2]
    assert talk.transport.aborted


def test_abort_leaves_only_a_whole_body_in_doubt() -> None:
    talk = with_354(three())
    talk.session.abort("stopping")
    assert talk.over == [(0, "DOT", "closed")]
    assert talk.again == [1]
    big = Talk(["a@x.test", "b@x.test"], content=compiled(spec(lines=3_000)), takes=1)
    big.say(*OK3)
    big.session.abort("stopping")
    assert big.over == [], "without its dot nothing was delivered"
    assert [item.index for item in big.run.take_given_back()] == [0]
    assert big.again == [1]


def test_what_this_receiver_cannot_take_never_reaches_the_wire() -> None:
    small = PIPELINED.__class__(pipelining=True, size_limit=100, tells_size=True)
    talk = three(features=small)
    assert [why for _, why in talk.local] == ["too_big"] * 3
    assert talk.wrote() == []
    assert talk.is_idle


def test_what_cannot_be_rendered_is_refused_with_words() -> None:
    talk = three(content=compiled(spec("Hello {{ nothing }}\n")))
    assert len(talk.local) == 3
    assert talk.local[0][1].startswith("render: ")


@pytest.mark.parametrize("address", ["a b@x.test", "a@x.test>\r\nDATA", "no-at", "<a@x.test"])
def test_an_address_that_could_end_a_command_is_refused(address: str) -> None:
    talk = Talk([address])
    assert talk.local[0][1].startswith("render: ")
    assert talk.wrote() == []


@pytest.mark.parametrize(
    ("said", "waits_s", "reported"),
    [
        ((), 300, [(0, "MAIL", "timeout")]),
        (("250 ok",), 300, [(0, "RCPT", "timeout")]),
        (("250 ok", "250 ok"), 120, [(0, "DATA", "timeout")]),
        (OK3, 600, [(0, "DOT", "timeout")]),
    ],
)
def test_each_reply_has_its_own_deadline(
    said: tuple[str, ...], waits_s: int, reported: list[tuple[int, str, str]]
) -> None:
    talk = three()
    talk.say(*said)
    talk.session.check_deadline(talk.clock.now_s + waits_s)
    assert talk.over == []
    talk.session.check_deadline(talk.clock.now_s + waits_s + 1)
    assert talk.over == reported
    assert talk.transport.aborted


def test_a_reply_that_drips_restarts_nothing() -> None:
    talk = three()
    for letter in b"250-still here\r\n":
        talk.clock.now_s += 30
        talk.session.data_received(bytes([letter]))
    talk.session.check_deadline(talk.clock.now_s)
    assert talk.over == [(0, "MAIL", "timeout")]


@pytest.mark.parametrize(("late_s", "others_free", "moves"), [(6, True, True), (4, True, False), (6, False, False)])
def test_what_waits_behind_an_overdue_reply_goes_to_a_free_session(late_s: int, others_free: bool, moves: bool) -> None:
    """Nobody waits behind one slow answer; but where all are slow, another session would be no faster."""
    talk = with_354(three())
    talk.session.check_deadline(talk.clock.now_s + late_s, others_free=others_free)
    assert talk.again == ([1] if moves else [])
    assert talk.run.pending == 3
    assert not talk.transport.aborted
    if moves:
        talk.say(SENT, *OK3)
        talk.record()
        assert talk.why_gone == "withdrawn", "its 354 cannot be taken back"
        assert talk.queue[0].index == 1
        assert talk.queue[0] is not talk.items[1]


def test_an_idle_session_and_one_that_waits_for_the_recorder_have_no_deadline() -> None:
    idle = Talk([])
    idle.session.check_deadline(1e12)
    assert not idle.transport.aborted
    waits = with_354(three())
    waits.say(SENT, *OK3)
    waits.session.check_deadline(1e12)
    assert not waits.transport.aborted
    assert waits.items[1].place is Place.ENVELOPE
