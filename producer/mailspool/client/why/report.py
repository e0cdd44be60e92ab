"""`Why`: the answer to "why has it not gone yet, and until when", and the small words that answers are made of. Pure.

A cause is one sentence with its code, so that a program need not read English.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mailspool.status import _Snapshot, json_value, local_time, utc

Kind = Literal["spool", "batch", "message", "domain", "relay"]
Code = Literal[
    "done",  # came to rest; the counts
    "ok",  # nothing keeps it
    "loading",  # its rows are still being loaded
    "held",  # a person or the breaker
    "paused",  # the spool, a class, or a relay: by a person
    "send_at",  # a date ahead
    "no_worker",  # none runs, or none that serves its class, relay or record version
    "relay",  # closed: breaker, login, quota, reputation
    "partly",  # a relay is closed, and others are open; of a relay: a class is paused
    "sender",  # a relay refuses this From domain
    "rate",  # a relay's rate is used up
    "slow",  # a relay asked for less
    "lost_worker",  # a chunk in the hands of a worker that is silent
    "in_flight",  # with a worker now
    "turn",  # behind others
    "reply",  # a later try, by the last reply
    "uncertain",  # a person must decide
    "failed",  # final, for context
    "expiry",  # the last chance
    "batch",  # of a domain's mail: its batch waits as a whole
    "bound",  # what this answer did not look at
]
ENDLESS: Final = frozenset(("held", "paused", "no_worker", "loading"))
"""Nobody knows until when."""
_BESIDE: Final = frozenset(("done", "ok", "slow", "expiry", "failed", "bound"))
"""Said for whoever reads the whole answer; nothing waits for it."""
_ASIDE: Final = frozenset(("expiry", "partly", "failed"))
"""Their times are no tries."""


@dataclass(frozen=True)
class Cause(_Snapshot):
    """One thing that keeps mail. `words`: a sentence for people; `mails` and `until` where they are known; `do`: the
    command that helps."""

    code: Code
    words: str
    mails: int | None = None
    until: datetime | None = None
    do: str | None = None

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Why(_Snapshot):
    """What keeps `about`. `str()` is the whole answer, a sentence a line."""

    kind: Kind
    about: str
    causes: tuple[Cause, ...]
    next_try: datetime | None

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The sentences of what keeps mail; none for what nothing keeps."""
        return tuple(cause.words for cause in self.causes if cause.code not in _BESIDE)

    @property
    def do(self) -> tuple[str, ...]:
        """Commands that help, the most important first, each once."""
        return tuple(dict.fromkeys(cause.do for cause in self.causes if cause.do))

    def to_dict(self) -> dict[str, object]:
        """The JSON object; `waiting_for` holds the sentences."""
        return {
            "kind": self.kind,
            "about": self.about,
            "waiting_for": list(self.waiting_for),
            "next_try": json_value(self.next_try),
            "causes": [cause.to_dict() for cause in self.causes],
        }

    def __str__(self) -> str:
        return "\n".join(cause.words for cause in self.causes)


def moment(at_ms: int, now_ms: int) -> str:
    """`21:11`, `21:11:04` where seconds count, `Sat 28 Nov 21:11` on another day."""
    return local_time(at_ms, now_ms, "%H:%M:%S" if abs(at_ms - now_ms) < 600_000 else "%H:%M")


def when(at: datetime | None, now_ms: int) -> str:
    """The same of what a status holds; nothing for None."""
    return moment(ms_of(at), now_ms) if at is not None else ""


def ms_of(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def counted(number: int, thing: str) -> str:
    """`1 mail`, `1,200 mails`."""
    many = f"{thing}{'es' if thing.endswith('ch') else 's'}"
    return f"{number:,} {thing if number == 1 else many}"


def subject(number: int, thing: str, one: str, many: str) -> str:
    """`1 mail waits`, `1,200 mails wait`."""
    return f"{counted(number, thing)} {one if number == 1 else many}"


def verb(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def span(seconds: float) -> str:
    """`24 s`, `7 min`, `3.5 h`."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def earliest(causes: tuple[Cause, ...] | list[Cause], now_ms: int, more_ms: int | None = None) -> datetime | None:
    """The next time at which something may go; None where something without an end keeps it, or nothing is to come."""
    if any(cause.code in ENDLESS for cause in causes):
        return None
    times = [ms_of(cause.until) for cause in causes if cause.until is not None and cause.code not in _ASIDE]
    times += [more_ms] if more_ms is not None else []
    return utc(min((time for time in times if time > now_ms), default=None))
