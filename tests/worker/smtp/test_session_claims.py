"""Claims, withdrawals and stops at each place of a session: every message ends once, and no claim is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailspool_worker.runs import Place
from tests.support.smtp_talk import STEPS, Talk, envelope

OK3 = ("250 2.1.0 ok", "250 2.1.5 ok", "354 go")
SENT = "250 2.0.0 queued"


def claiming(addresses: int = 2) -> Talk:
    return Talk([f"{letter}@x.test" for letter in "abcdef"[:addresses]], holds_doubts=True)


def ends(talk: Talk) -> None:
    """Whatever was started comes to its end: nothing pending, no claim open."""
    talk.record_all()
    assert talk.run.pending == len([item for item in talk.queue if item.place is Place.QUEUED])
    assert not any(item.claimed for item in talk.run.take_given_back())


def test_a_body_waits_for_its_claim() -> None:
    talk = claiming()
    talk.wrote()
    talk.say(*OK3)
    assert talk.wrote() == []
    assert talk.items[0].claim_asked
    talk.record()
    (body,) = talk.wrote()
    assert body.endswith(envelope("b"))


def test_the_claim_travels_with_the_record_of_the_one_before() -> None:
    talk = claiming()
    talk.say(*OK3)
    talk.record()
    talk.wrote()
    talk.say(SENT, *OK3)
    assert [item.index for item, _, _ in talk.desk.notes] == [0, 1]
    talk.record()
    assert talk.wrote() == []
    talk.record()
    assert len(talk.wrote()) == 1


def test_a_refused_claim_of_a_live_run_means_that_something_final_is_known() -> None:
    """It must not be handed out again and again: each try would cost a connection."""
    talk = claiming()
    talk.say(*OK3)
    talk.record(accepted=False)
    assert talk.transport.aborted, "a 354 cannot be taken back"
    assert talk.items[0].place is Place.DONE
    assert talk.run.take_given_back() == []
    assert talk.again == [1]
    ends(talk)


def test_a_hold_that_comes_with_the_refused_claim_gives_the_message_back() -> None:
    talk = claiming()
    talk.say(*OK3)
    talk.run.take_state("held")
    talk.record(accepted=False)
    assert talk.transport.aborted
    assert len(talk.desk.notes) == 1, "what may stand is taken back"
    ends(talk)


PLACES: dict[str, tuple[str, ...]] = {
    "nothing is answered": (),
    "MAIL is answered": ("250 ok",),
    "a recipient is refused": ("250 ok", "550 5.1.1 no"),
    "a 354 is held": OK3,
    "a body is on the wire": (*OK3, "record"),
    "the final reply is in": (*OK3, "record", SENT),
    "the next 354 waits for the recorder": (*OK3, "record", SENT, *OK3),
    "a claim is recorded before the outcome": (*OK3, "record", SENT, *OK3, "record the newest"),
}


def bring(talk: Talk, place: str) -> None:
    for step in PLACES[place]:
        if not step.startswith("record"):
            talk.say(step)
        elif talk.desk.notes:
            if step.endswith("newest"):
                talk.desk.notes.rotate(1)
            talk.record()


EVENTS: dict[str, Callable[[Talk], None]] = {
    "hold": lambda talk: talk.run.take_state("held"),
    "lost": lambda talk: talk.run.take_state("LOST"),
    "budget over": lambda talk: talk.run.withdraw(),
    "connection lost": lambda talk: talk.close(),
    "redis away": lambda talk: talk.session.abort_waiting("redis is away"),
    "abort": lambda talk: talk.session.abort("stopping"),
    "timeout": lambda talk: talk.session.check_deadline(talk.clock.now_s + 10_000),
    "lease too short": lambda talk: setattr(talk.clock, "now_s", talk.clock.now_s + 12),
    "421": lambda talk: None if talk.session.is_idle else talk.say("421 4.3.2 closing"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("holds_doubts", [False, True], ids=["plain", "claiming"])
def test_whatever_happens_wherever_each_message_ends_once(place: str, event: str, holds_doubts: bool) -> None:
    talk = Talk(["a@x.test", "b@x.test", "c@x.test"], holds_doubts=holds_doubts)
    bring(talk, place)
    EVENTS[event](talk)
    # The server goes on as if nothing had been, until the session is gone or has nothing left.
    for _ in range(40):
        talk.record_all()
        if talk.why_gone is not None or not talk.session._expected:
            break
        stage = talk.session._expected[0]
        talk.say({"DATA": "354 go", "QUIT": "221 bye"}.get(getattr(stage, "name", ""), "250 ok"))
    ends(talk)
    reported = [index for index, _, _ in talk.over]
    assert len(reported) == len(set(reported)), "an outcome for the same message twice"


def test_a_withdrawn_message_whose_354_comes_later_is_never_sent() -> None:
    talk = Talk(["a@x.test", "b@x.test"])
    talk.wrote()
    talk.run.take_state("held")
    talk.run.take_state("live")
    (again, _) = talk.run.take_given_back()
    talk.run.hand_out([again])
    talk.say(*OK3)
    assert talk.wrote() == [], "the message may be on its way through another session by now"
    assert talk.transport.aborted
    assert again.place is Place.QUEUED


def test_a_withdrawn_message_that_is_refused_is_not_counted_twice() -> None:
    talk = Talk(["a@x.test"], features=STEPS)
    talk.run.withdraw()
    talk.say("550 5.1.1 no")
    assert talk.over == []
    assert talk.run.pending == 0


def test_a_reported_message_cannot_be_withdrawn_before_it_is_recorded() -> None:
    talk = Talk(["a@x.test", "b@x.test"])
    talk.say("250 ok", "550 5.1.1 no", "554 no")
    talk.run.take_state("held")
    assert talk.run.pending == 1
    talk.record()
    assert talk.run.pending == 0
    assert [item.index for item in talk.run.take_given_back()] == [1]


def test_a_message_that_was_withdrawn_while_it_waited_behind_a_body_is_left_out() -> None:
    talk = Talk(["a@x.test", "b@x.test"], unrecorded=1)
    talk.say(*OK3)
    talk.say(SENT)
    assert talk.session._next is not None
    assert talk.items[1].place is Place.ENVELOPE
    talk.run.withdraw()
    talk.say(*OK3)
    assert talk.transport.aborted
    assert talk.run.pending == 1  # the outcome of the first
    ends(talk)


@pytest.mark.parametrize("reason", ["lease", "deadline"])
def test_no_body_starts_too_late(reason: str) -> None:
    talk = Talk(["a@x.test", "b@x.test"])
    talk.wrote()
    if reason == "lease":
        talk.clock.now_s += 11
    else:
        talk.run.expires_boot_s = talk.clock.now_s
    talk.say(*OK3)
    assert talk.wrote() == []
    assert talk.transport.aborted
    assert [item.index for item in talk.run.take_given_back()] == [0]
