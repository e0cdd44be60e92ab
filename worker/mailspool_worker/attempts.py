"""What an attempt comes to: verdict + what was known before -> the outcome that is recorded. Pure.

Called by the route when a session reports a reply or a loss, and before a claimed message's body. `next_outcome`
answers None when nothing is to be recorded: the same message goes again at once (another host, another session,
without parameters); how often it may is for the route to say.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from mailspool.contract.records import Outcome
from mailspool.contract.states import CLAIMED, DEFERRED, FAILED, SENT, UNCERTAIN, UNCERTAIN_TRIES
from mailspool_worker.classify import OK, Verdict
from mailspool_worker.classify import UNCERTAIN as IN_DOUBT
from mailspool_worker.schedule import Schedule, next_try_ms

_UNCOUNTED_DELAY_MS = 30_000
"""After "slow down" the same message waits this long; the route itself goes on with others, more slowly."""
AT_ONCE = frozenset(("next-host", "reconnect", "plain", "clear", "helo"))


class Attempt(NamedTuple):
    """One attempt as it ended: when (Redis' clock), over which relay, with how many bytes, and the words about it."""

    now_ms: int
    relay: str
    size: int
    reply: str


class Policy(NamedTuple):
    """What the settings and the batch say about tries."""

    schedule: Schedule
    jitter: float
    expires_ms: int
    holds_doubts: bool
    rand: Callable[[], float] = random.random


def accepted(previous: Outcome | None, attempt: Attempt) -> Outcome:
    """A 2xx after the final dot. What nearly all attempts come to, so it has a way of its own."""
    if previous is None:
        now_ms = attempt.now_ms
        return Outcome(SENT, now_ms, 1, 0, attempt.relay, attempt.reply, "", now_ms, now_ms, attempt.size)
    return _outcome(SENT, attempt.now_ms, previous, OK, attempt, counts=True)


def next_outcome(previous: Outcome | None, verdict: Verdict, attempt: Attempt, policy: Policy) -> Outcome | None:
    """Attempts count per message, over all relays."""
    if verdict.action == "ok":
        return accepted(previous, attempt)
    if verdict.final:
        return _outcome(FAILED, attempt.now_ms, previous, verdict, attempt, counts=True)
    if verdict.action == "uncertain":
        return _after_a_doubt(previous, verdict, attempt, policy)
    if verdict.action in AT_ONCE:
        return None
    if verdict.counts_attempt:
        return _deferred(previous, verdict, attempt, policy)
    delay_ms = max(int((verdict.pause_s or 0) * 1000), int((verdict.min_delay_s or 0) * 1000), _UNCOUNTED_DELAY_MS)
    due_ms = min(attempt.now_ms + delay_ms, policy.expires_ms)
    uncounted = _outcome(DEFERRED, due_ms, previous, verdict, attempt, counts=False)
    # A strike is for our pace or dialect (slow, later): a paused route says nothing about this message.
    uncounted.strikes = (previous.strikes if previous else 0) + (verdict.action in ("slow", "later"))
    return uncounted


def claim(previous: Outcome | None, attempt: Attempt, *, suspect: bool) -> Outcome:
    """What stands in the records while a claimed message is on its way, and stays if this process dies with it."""
    outcome = _outcome(CLAIMED, attempt.now_ms, previous, IN_DOUBT, attempt, counts=True)
    outcome.doubts += 1
    if suspect:
        outcome.reason = "worker_crash"
    return outcome


def _deferred(previous: Outcome | None, verdict: Verdict, attempt: Attempt, policy: Policy) -> Outcome:
    attempts = (previous.attempts if previous else 0) + 1
    due_ms = next_try_ms(
        attempts,
        attempt.now_ms,
        policy.rand(),
        schedule=policy.schedule,
        jitter=policy.jitter,
        min_delay_s=verdict.min_delay_s,
        expires_ms=policy.expires_ms,
    )
    # None: too old for another try. It rests until its batch's deadline, which is what calls it expired.
    due_ms = policy.expires_ms if due_ms is None else due_ms
    return _outcome(DEFERRED, due_ms, previous, verdict, attempt, counts=True)


def _after_a_doubt(previous: Outcome | None, verdict: Verdict, attempt: Attempt, policy: Policy) -> Outcome:
    doubts = (previous.doubts if previous else 0) + 1
    if policy.holds_doubts or doubts >= UNCERTAIN_TRIES:
        outcome = _outcome(UNCERTAIN, attempt.now_ms, previous, verdict, attempt, counts=True)
    else:
        outcome = _deferred(previous, verdict, attempt, policy)
    outcome.doubts = doubts
    return outcome


def _first(previous: Outcome | None, attempt: Attempt) -> int:
    return min(previous.first_ms, attempt.now_ms) if previous and previous.first_ms else attempt.now_ms


def _outcome(
    state: str, at_ms: int, previous: Outcome | None, verdict: Verdict, attempt: Attempt, *, counts: bool
) -> Outcome:
    return Outcome(
        state,
        at_ms,
        attempts=(previous.attempts if previous else 0) + counts,
        doubts=previous.doubts if previous else 0,
        relay=attempt.relay,
        reply=attempt.reply,
        reason="" if state == SENT else verdict.reason,
        first_ms=_first(previous, attempt),
        last_ms=attempt.now_ms,
        size=attempt.size,
    )
