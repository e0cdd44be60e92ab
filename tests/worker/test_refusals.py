"""Messages that never reach a session: a failure with its reason, recorded once, and the run goes on."""

from __future__ import annotations

from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED, FAILED
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.refusals import Refusals
from mailspool_worker.runs import Place
from tests.support.worker_parts import Desk, TestClock, make_items, make_run

NOW_MS = 1_700_000_000_000


def refusals(desk: Desk) -> tuple[Refusals, Events]:
    clock = RedisClock(TestClock())
    clock.observe(NOW_MS)
    events = Events(None)
    return Refusals(desk.as_recorder, clock, events), events


def test_a_refused_message_fails_without_an_attempt() -> None:
    desk = Desk()
    refuse, events = refusals(desk)
    run = make_run(TestClock())
    (item,) = make_items(run, ["a@x.test"])
    refuse.refuse(item, "too_big", "larger than the receiver takes")
    outcome = desk.outcome(0)
    assert (outcome.state, outcome.reason, outcome.attempts) == (FAILED, "too_big", 0)
    assert (outcome.at_ms, outcome.first_ms, outcome.reply) == (NOW_MS, NOW_MS, "larger than the receiver takes")
    assert events.counters.failed == 1
    assert run.pending == 1
    desk.answer()
    assert run.pending == 0


def test_what_was_known_before_stays_known() -> None:
    desk = Desk()
    refuse, _ = refusals(desk)
    known = Outcome(DEFERRED, 5, attempts=3, doubts=1, first_ms=4)
    (item,) = make_items(make_run(TestClock()), ["a@x.test"], {0: known})
    refuse.refuse(item, "render", "text: {{ name }} has no value")
    outcome = desk.outcome(0)
    assert (outcome.attempts, outcome.doubts, outcome.first_ms) == (3, 1, 4)


def test_a_hold_before_the_record_changes_nothing() -> None:
    desk = Desk()
    refuse, _ = refusals(desk)
    run = make_run(TestClock())
    (item,) = make_items(run, ["a@x.test"])
    refuse.refuse(item, "render", "")
    run.take_state("held")
    assert (run.pending, item.place) == (1, Place.DECIDED)
    desk.answer()
    assert run.pending == 0
    assert run.take_given_back() == []
