"""Who opens, who sleeps, how fast: a route's decisions. Pure; time (boot clock seconds) is passed in.

Breaker: an opening that failed closes the route for 60 s, doubling to 30 min; a refusal about us (login, quota,
reputation) for what its verdict says. When the time is over one session probes. What shows that it is over is the
opposite of what closed it: a session for what happened before MAIL, an accepted message for what happened after.
Only connect, handshake and login trouble and refusals about us close a route, never a verdict on a message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

BREAKER_S = 60.0
BREAKER_LIMIT_S = 1_800.0
STILLBORN_LIMIT = 3
"""Sessions in a row that were lost before their first reply; each looks like an opening that went well."""
_GROW_EVERY_S = 60.0
"""A route that was asked to slow down may add one session a minute again."""
_SLOWER_EVERY_S = 5.0
"""Twenty sessions that are asked at once to slow down were asked once."""
_GROW_BY = 0.1
"""Of the configured rate, a minute: from half of it back in five minutes."""
_SLOWEST = 1 / 64
"""Of the configured rate: six requests to slow down in a row; slower than that a route would look dead."""
_AT_A_TIME = 2
"""Openings under way at once: enough to reach 20 sessions in a few round trips, not enough to look like an attack."""

Cure = Literal["session", "mail"]


@dataclass(frozen=True, slots=True)
class Health:
    """state ok | waiting (breaker) | paused (somebody must look). `why` is shown to people."""

    state: str = "ok"
    until_s: float = 0.0
    why: str = ""
    failures: int = 0
    cure: Cure = "session"

    def is_closed(self, now_s: float) -> bool:
        return now_s < self.until_s

    def is_probing(self, now_s: float) -> bool:
        """The sleep is over, and nothing has gone well since."""
        return self.failures > 0 and not self.is_closed(now_s)


def trouble(
    health: Health, now_s: float, why: str, *, pause_s: float, limit_s: float, paused: bool, cure: Cure
) -> Health:
    """One more failure of the route itself. Failures while it is closed already (of other sessions) change nothing."""
    if health.is_closed(now_s):
        return health
    sleep_s = min(pause_s * 2 ** min(health.failures, _MOST_DOUBLINGS), max(limit_s, pause_s))
    return Health("paused" if paused else "waiting", now_s + sleep_s, why, health.failures + 1, cure)


_MOST_DOUBLINGS = 30
"""Keeps the arithmetic finite."""


def well(health: Health, now_s: float, sign: Cure) -> Health:
    """A session opened, or a message was accepted (which is the better sign)."""
    if health.state == "ok" or health.is_closed(now_s) or (sign == "session" and health.cure == "mail"):
        return health
    return Health()


def awake(health: Health, now_s: float) -> Health:
    """Its sleep ends now: the next session, or message, probes."""
    return replace(health, until_s=now_s) if health.is_closed(now_s) else health


@dataclass(frozen=True, slots=True)
class Width:
    """How many sessions the route may have. `limit` is configured; `allowed` shrinks and grows below it."""

    limit: int
    allowed: int
    changed_s: float = 0.0
    slowed_s: float = float("-inf")

    def slower(self, now_s: float, *, one: bool) -> Width:
        if now_s - self.slowed_s < _SLOWER_EVERY_S and not one:
            return self
        allowed = 1 if one else max(1, self.allowed // 2)
        return replace(self, allowed=allowed, changed_s=now_s, slowed_s=now_s)

    def told(self, sessions: int, at_s: float) -> Width:
        """Another worker was asked at `at_s` to do with so many."""
        return replace(self, allowed=max(1, min(self.allowed, sessions)), changed_s=at_s, slowed_s=at_s)

    def whole_at_s(self) -> float:
        """When it is as wide again as it may be, if nobody complains."""
        return self.changed_s + (self.limit - self.allowed) * _GROW_EVERY_S

    def grown(self, now_s: float) -> Width:
        if self.allowed >= self.limit:
            return self
        steps = int((now_s - self.changed_s) / _GROW_EVERY_S)
        if steps < 1:
            return self
        return replace(self, allowed=min(self.limit, self.allowed + steps), changed_s=now_s)


def to_open(health: Health, width: Width, now_s: float, *, waiting: int, idle: int, sessions: int, opening: int) -> int:
    """How many sessions to open now: one more while work waits, none while the route is closed."""
    if health.is_closed(now_s):
        return 0
    allowed = 1 if health.is_probing(now_s) else width.allowed
    wanted = min(waiting - idle - opening, allowed - sessions - opening)
    return max(0, min(wanted, _AT_A_TIME - opening))


@dataclass(slots=True)
class Pace:
    """A token bucket: `rate_per_s` messages a second, never more than a twentieth of a second's worth at once.

    The rate is what is configured, halved when the receiver asks for it, and grown back step by step.
    """

    rate_per_s: float | None
    _tokens: float = field(default=1.0, init=False)
    _at_s: float = field(default=0.0, init=False)
    _limit: float = field(default=0.0, init=False)
    _changed_s: float = field(default=0.0, init=False)
    _slowed_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._limit = self.rate_per_s or 0.0

    def slower(self, now_s: float) -> bool:
        """Half the rate, once for all who are asked at the same time. False: it stays as it is, or there is none."""
        if self.rate_per_s is None or now_s - self._slowed_s < _SLOWER_EVERY_S:
            return False
        self._refill(now_s)
        self.rate_per_s = max(self.rate_per_s / 2, self._limit * _SLOWEST)
        self._changed_s = self._slowed_s = now_s
        return True

    def told(self, rate_per_s: float | None, at_s: float) -> None:
        """Another worker was asked at `at_s` to keep to so much."""
        if self.rate_per_s is not None and rate_per_s is not None:
            self.rate_per_s = max(min(self.rate_per_s, rate_per_s), self._limit * _SLOWEST)
            self._changed_s = self._slowed_s = at_s

    def whole_at_s(self) -> float:
        if self.rate_per_s is None or self.rate_per_s >= self._limit:
            return self._changed_s
        return self._changed_s + math.ceil((1 - self.rate_per_s / self._limit) / _GROW_BY) * _GROW_EVERY_S

    def grow(self, now_s: float) -> None:
        """Called now and then: a step for each minute without a complaint."""
        if self.rate_per_s is None or self.rate_per_s >= self._limit:
            return
        steps = int((now_s - self._changed_s) / _GROW_EVERY_S)
        if steps > 0:
            self._refill(now_s)
            self.rate_per_s = min(self._limit, self.rate_per_s + steps * self._limit * _GROW_BY)
            self._changed_s = now_s

    def take(self, now_s: float) -> bool:
        if self.rate_per_s is None:
            return True
        self._refill(now_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def put_back(self) -> None:
        """The message was not sent after all."""
        self._tokens += 1.0

    def wait_s(self, now_s: float) -> float:
        """Until the next token."""
        if self.rate_per_s is None:
            return 0.0
        self._refill(now_s)
        return max(0.0, (1.0 - self._tokens) / self.rate_per_s)

    def _refill(self, now_s: float) -> None:
        rate = self.rate_per_s or 0.0
        if self._at_s:
            self._tokens = min(max(1.0, rate / 20), self._tokens + (now_s - self._at_s) * rate)
        self._at_s = now_s


def grant(pace: Pace, budget_s: float, *, asked: int, batches: int, waiting_of_batch: int) -> int:
    """How many messages of one batch the route takes on: its share of what leaves within a run's budget."""
    if pace.rate_per_s is None:
        return asked
    share = int(pace.rate_per_s * budget_s / max(1, batches)) or 1
    return max(0, min(asked, share - waiting_of_batch))
