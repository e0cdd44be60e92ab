"""The waiting time that a greylisting reply names, if it names one.

Called by classify.py. Knows the notations of postgrey, sqlgrey, milter-greylist, Exim's recipes and rspamd:
`300 seconds`, `5 minutes`, `4 minutes 30 seconds`, `5m`, `00:04:30`.
Known limit: only English units; a number without a unit is not a time.
"""

from __future__ import annotations

import re
from typing import Final

NAMED_LIMIT_S: Final = 86_400.0
"""No honest greylisting asks for more than a day; a receiver must not be able to put a message off for ever."""

_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0}
_LEAD: Final = r"\b(?:in|after|for|wait) (?:at least |about |approximately |another )?"
_CLOCK: Final = re.compile(_LEAD + r"(\d{1,2}):([0-5]\d):([0-5]\d)(?!\d)")
_UNIT: Final = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)"
_SPAN: Final = re.compile(_LEAD + rf"((?:\d{{1,6}} ?{_UNIT}\b(?:,? (?:and )?)?){{1,3}})")
_PART: Final = re.compile(r"(\d{1,6}) ?([smh])")


def named_delay_s(text: str) -> float | None:
    """Seconds to wait, at most `NAMED_LIMIT_S`; None if the text names no time."""
    lowered = text.lower()
    clock = _CLOCK.search(lowered)
    if clock is not None:
        delay_s = int(clock[1]) * 3_600.0 + int(clock[2]) * 60.0 + int(clock[3])
    else:
        span = _SPAN.search(lowered)
        if span is None:
            return None
        delay_s = sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(span[1]))
    return min(delay_s, NAMED_LIMIT_S) if delay_s > 0 else None
