"""What `wait` logs while it waits, and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mailspool.client.patience import Patience, reply_code, waits_for_later_tries, words
from mailspool.status import NO_WORKER, BatchStatus
from tests.producer.cli.test_screens import ACTIVE, MESSAGE

NEXT = datetime(2026, 11, 23, 17, 41, tzinfo=UTC)
WORKING = replace(ACTIVE, waiting_for=None)
HELD = replace(ACTIVE, waiting_for="held by you")
ALONE = replace(ACTIVE, waiting_for=NO_WORKER)
LATER = replace(ACTIVE, queued=0, deferred=14, next_try=NEXT, waiting_for="a later try at 17:41:00")


def told(*seen: tuple[float, BatchStatus]) -> list[float]:
    """When something is told."""
    patience = Patience(0.0)
    return [at_s for at_s, status in seen if patience.due(status, at_s)]


def test_a_reason_that_lasts_is_told_once() -> None:
    assert told((0, HELD), (9, HELD), (10, HELD), (11, HELD), (1_000, HELD)) == [10]
    assert told((0, WORKING), (50, WORKING)) == []


def test_what_is_over_sooner_is_not_worth_a_line() -> None:
    assert told((0, HELD), (9, WORKING), (11, HELD), (20, HELD), (21, HELD)) == [21]


def test_another_reason_is_told_at_most_once_a_minute() -> None:
    assert told((0, HELD), (10, HELD), (11, ALONE), (21, ALONE), (69, ALONE), (70, ALONE)) == [10, 70]
    assert told((0, HELD), (10, HELD), (80, ALONE), (90, ALONE), (200, HELD), (210, HELD)) == [10, 90, 210]


def test_tries_that_come_and_go_are_one_waiting() -> None:
    """While a due mail is tried, nothing else keeps the batch for a moment."""
    trying = replace(LATER, waiting_for=None)
    after = replace(LATER, next_try=NEXT + timedelta(minutes=15))
    assert told((0, LATER), (5, trying), (10, LATER), (30, trying), (100, after)) == [10, 100]


def test_the_words() -> None:
    assert words(ALONE, Counter()) == "no worker is running. Start one: mailspool worker"
    assert words(HELD, Counter()) == "held by you"
    replies = Counter({"450 4.7.1 greylisted": 12, "421": 2})
    assert (
        words(LATER, replies)
        == f"14 wait for a later try (450 4.7.1 greylisted and others), next at {NEXT.astimezone():%H:%M}"
    )
    assert words(replace(LATER, deferred=1, next_try=None), Counter()) == "1 waits for a later try"


def test_only_later_tries() -> None:
    assert waits_for_later_tries(LATER)
    assert not waits_for_later_tries(replace(LATER, queued=1))
    assert not waits_for_later_tries(replace(LATER, waiting_for=NO_WORKER))
    assert not waits_for_later_tries(replace(LATER, done=True))


def test_a_log_names_no_receiver() -> None:
    reply = "450 4.2.0 <ali@example.org>: Recipient address rejected: Greylisted"
    assert reply_code(replace(MESSAGE, reply=reply, reason=None)) == "450 4.2.0"
    assert reply_code(replace(MESSAGE, reply=reply, reason="try_later")) == "450 4.2.0 try later"
    assert reply_code(replace(MESSAGE, reply=None, reason=None)) == "no reply"
