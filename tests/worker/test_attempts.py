"""Verdicts to outcomes: what counts, what waits how long, what is uncertain, what a claim leaves behind."""

from __future__ import annotations

import pytest

from mailspool.contract.codec import encode_outcome
from mailspool.contract.records import Outcome
from mailspool.contract.states import CLAIMED, DEFERRED, FAILED, SENT, UNCERTAIN
from mailspool_worker.attempts import AT_ONCE, Attempt, Policy, accepted, claim, next_outcome
from mailspool_worker.classify import OK, Action, Reason, Verdict
from mailspool_worker.classify import UNCERTAIN as IN_DOUBT
from mailspool_worker.schedule import Schedule

NOW_MS = 1_700_000_000_000
LATER_MS = NOW_MS + 5 * 86_400_000
ATTEMPT = Attempt(NOW_MS, "main", 812, "451 4.3.0 not now")


def policy(*, expires_ms: int = LATER_MS, holds_doubts: bool = False) -> Policy:
    return Policy(Schedule((300.0, 900.0)), 0.2, expires_ms, holds_doubts, rand=lambda: 0.0)


def verdict(action: Action, reason: Reason = "", *, counts: bool = False, pause_s: float | None = None) -> Verdict:
    return Verdict(action, "message", reason, counts_attempt=counts, pause_s=pause_s)


def before(**fields: object) -> Outcome:
    known: dict[str, object] = {"state": DEFERRED, "at_ms": NOW_MS - 1, "attempts": 2, "first_ms": NOW_MS - 600_000}
    return Outcome(**(known | fields))  # type: ignore[arg-type]  # a table's fields


def result(found: Outcome | None) -> Outcome:
    assert found is not None
    return found


def test_sent_at_once_is_short() -> None:
    outcome = accepted(None, Attempt(NOW_MS, "main", 4_096, "250 2.0.0 Ok: queued as 4F1C2A9B3D"))
    assert (outcome.state, outcome.attempts, outcome.first_ms, outcome.reason) == (SENT, 1, NOW_MS, "")
    assert len(encode_outcome(outcome)) <= 64, "a chunk's outcomes stay one listpack in Redis as it comes"


def test_sent_at_last_keeps_when_it_began() -> None:
    outcome = result(next_outcome(before(doubts=1, strikes=2), OK, ATTEMPT, policy()))
    assert (outcome.state, outcome.attempts, outcome.doubts, outcome.strikes) == (SENT, 3, 1, 0)
    assert (outcome.first_ms, outcome.last_ms, outcome.at_ms) == (NOW_MS - 600_000, NOW_MS, NOW_MS)


@pytest.mark.parametrize("action", ["fail", "fail+suppress", "fail+suspect"])
def test_a_final_verdict_fails_whatever_was_before(action: Action) -> None:
    outcome = result(next_outcome(before(), verdict(action, "mailbox_unknown", counts=True), ATTEMPT, policy()))
    assert (outcome.state, outcome.attempts, outcome.reason) == (FAILED, 3, "mailbox_unknown")
    assert outcome.reply == ATTEMPT.reply


@pytest.mark.parametrize(("attempts", "wait_s"), [(0, 300), (1, 900), (5, 900)])
def test_later_follows_the_schedule(attempts: int, wait_s: int) -> None:
    known = before(attempts=attempts) if attempts else None
    outcome = result(next_outcome(known, verdict("later", "temporary", counts=True), ATTEMPT, policy()))
    assert (outcome.state, outcome.attempts) == (DEFERRED, attempts + 1)
    assert outcome.at_ms == NOW_MS + wait_s * 1000


def test_too_old_for_another_try_rests_until_the_deadline() -> None:
    soon = NOW_MS + 60_000
    outcome = result(next_outcome(None, verdict("later", "temporary", counts=True), ATTEMPT, policy(expires_ms=soon)))
    assert (outcome.state, outcome.at_ms) == (DEFERRED, soon)


@pytest.mark.parametrize(
    ("given", "wait_s", "strikes"),
    [
        (verdict("slow", "rate"), 30, 2),
        (verdict("later", "protocol"), 30, 2),
        (verdict("slow", "rate", pause_s=600), 600, 2),
        (verdict("pause-route", "quota", pause_s=3_600), 3_600, 1),
        (verdict("hold-sender", "sender", pause_s=3_600), 3_600, 1),
        (verdict("blocked", "blocked", pause_s=3_600), 3_600, 1),
    ],
)
def test_what_is_about_us_costs_no_attempt(given: Verdict, wait_s: int, strikes: int) -> None:
    """Only replies about our pace or dialect are strikes: three of those in a row count."""
    outcome = result(next_outcome(before(strikes=1), given, ATTEMPT, policy()))
    assert (outcome.state, outcome.attempts, outcome.strikes) == (DEFERRED, 2, strikes)
    assert outcome.at_ms == NOW_MS + wait_s * 1000


def test_an_uncounted_wait_never_passes_the_deadline() -> None:
    soon = NOW_MS + 1_000
    outcome = result(next_outcome(None, verdict("slow", "rate"), ATTEMPT, policy(expires_ms=soon)))
    assert outcome.at_ms == soon


@pytest.mark.parametrize("action", sorted(AT_ONCE))
def test_what_goes_again_at_once_leaves_no_outcome(action: Action) -> None:
    assert next_outcome(before(), verdict(action), ATTEMPT, policy()) is None


@pytest.mark.parametrize(
    ("doubts", "holds", "state"),
    [(0, False, DEFERRED), (1, False, UNCERTAIN), (0, True, UNCERTAIN), (5, False, UNCERTAIN)],
)
def test_a_doubt_is_tried_once_more_or_rests(doubts: int, holds: bool, state: str) -> None:
    outcome = result(next_outcome(before(doubts=doubts), IN_DOUBT, ATTEMPT, policy(holds_doubts=holds)))
    assert (outcome.state, outcome.doubts, outcome.attempts) == (state, doubts + 1, 3)
    assert outcome.reason == "lost_reply"


@pytest.mark.parametrize(("suspect", "reason"), [(False, "lost_reply"), (True, "worker_crash")])
def test_a_claim_says_what_becomes_of_it_if_this_process_dies(suspect: bool, reason: str) -> None:
    outcome = claim(before(doubts=1), ATTEMPT, suspect=suspect)
    assert (outcome.state, outcome.reason, outcome.attempts, outcome.doubts) == (CLAIMED, reason, 3, 2)
    assert claim(None, ATTEMPT, suspect=suspect).attempts == 1
