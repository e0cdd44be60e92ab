"""When to try again: arithmetic on a written schedule. Pure; time and randomness are passed in.

Called by deliver (a message's next try) and by routes (breaker, pauses, blocks). Times are milliseconds of Redis'
clock. No try is earlier than written: jitter only adds, and milliseconds are rounded up.
`Schedule` raises ValueError for steps that are no schedule.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

BREAKER_AFTER: Final = 3
"""Failed connects or handshakes in a row that open the breaker: one may be chance, two a restart."""
BREAKER_FIRST_S: Final = 60.0
BREAKER_LIMIT_S: Final = 1_800.0
"""A relay that comes back after a long outage is noticed within half an hour."""
PAUSE_FIRST_S: Final = 300.0
PAUSE_LIMIT_S: Final = 3_600.0
"""A person has to act; too many refused logins lock an account."""
BLOCKED_FIRST_S: Final = 3_600.0
BLOCKED_LIMIT_S: Final = 21_600.0
"""Lists of bad senders forget within hours; each early try may renew the entry."""
_MOST_DOUBLINGS: Final = 62
"""Keeps the arithmetic finite for any count."""


class Schedule(msgspec.Struct, frozen=True):
    """Steps between tries. `last_repeats`: the last one for ever (`6h*`); else there is no try after the last step."""

    steps_s: tuple[float, ...]
    last_repeats: bool = True

    def __post_init__(self) -> None:
        if not self.steps_s:
            raise ValueError("a retry schedule needs at least one step")
        for step_s in self.steps_s:
            if not (math.isfinite(step_s) and step_s > 0):
                raise ValueError(f"a step of a retry schedule must be longer than nothing, not {step_s} s")

    def step_s(self, attempts: int) -> float | None:
        """The wait after this many counted attempts (none counted yet is as one). None: no step is left."""
        index = max(attempts, 1) - 1
        if index < len(self.steps_s):
            return self.steps_s[index]
        return self.steps_s[-1] if self.last_repeats else None


DEFAULT_SCHEDULE: Final = Schedule((300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0))
"""`5m 15m 30m 1h 2h 4h 6h*`: what the field has converged on; the first step passes greylisting."""


def next_try_ms(
    attempts: int,
    now_ms: int,
    rand: float,
    *,
    schedule: Schedule,
    jitter: float,
    min_delay_s: float | None = None,
    expires_ms: int,
) -> int | None:
    """When to try again after `attempts` counted attempts, or None if that is not before the deadline.

    None does not end the message: nothing is tried any more, and the batch's deadline closes it as expired.
    `rand` lies in [0, 1), `jitter` is the share of the wait that it may add.
    """
    if not 0.0 <= rand < 1.0:
        raise ValueError(f"rand must lie in [0, 1), not {rand}")
    if jitter < 0.0:
        raise ValueError(f"jitter must not be negative: {jitter}")
    step_s = schedule.step_s(attempts)
    if step_s is None:
        return None
    wait_s = step_s if min_delay_s is None else max(step_s, min_delay_s)
    at_ms = now_ms + _ceil_ms(wait_s * (1.0 + jitter * rand))
    return at_ms if at_ms < expires_ms else None


def _ceil_ms(wait_s: float) -> int:
    """Rounded up, but not by the last bits of a float: 0.3 s is 300 ms."""
    return math.ceil(round(wait_s * 1_000.0, 3))


def doubling_s(times: int, first_s: float, limit_s: float | None = None) -> float:
    """The first wait, doubled for each further time in a row, up to the limit. No limit: it never grows."""
    if limit_s is None:
        return first_s
    return float(min(first_s * 2.0 ** min(max(times, 1) - 1, _MOST_DOUBLINGS), limit_s))


def breaker_open_s(failures: int) -> float:
    """How long a breaker stays open that has opened (or failed its probe) this many times in a row: 60 s to 30 min."""
    return doubling_s(failures, BREAKER_FIRST_S, BREAKER_LIMIT_S)


def pause_s(probes: int) -> float:
    """How long a paused route waits for its next probe after this many refused ones in a row: 5 min to 1 h."""
    return doubling_s(probes, PAUSE_FIRST_S, PAUSE_LIMIT_S)


def blocked_s(times: int) -> float:
    """How long a blocked (route, site) sleeps the n-th time in a row: 1 h to 6 h."""
    return doubling_s(times, BLOCKED_FIRST_S, BLOCKED_LIMIT_S)
