"""Times as people write and read them: WHEN (`08:00`, `2026-11-24T08:00`, `+2h`, `90m`) and DUR; `3 minutes ago`.

Used by every command. Pure: `now` is passed in, the local zone may be. Raises ValueError with words for the person who
typed the value; they never repeat it, the caller shows it.
Known limit: a local time that a change of clocks skips or repeats is taken as Python's `astimezone` takes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

WHEN_WORDS: Final = "write a time such as 08:00, 2026-11-24T08:00, +2h or 90m"
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """What WHEN says: a point in time (`at`), or a span (`after`) from a start that is not known here."""

    at: datetime | None = None
    after: timedelta | None = None

    def from_(self, start: datetime) -> datetime:
        """As a point in time."""
        return self.at if self.at is not None else start + (self.after or timedelta(0))


def duration(text: str) -> timedelta:
    """DUR: `90s`, `15m`, `2h`, `5d`, `1h30m`."""
    from mailspool.settings.durations import parse_duration

    return parse_duration(text)


def when(text: str, now: datetime, zone: tzinfo | None = None) -> Moment:
    """A time of day is the next one; `+2h` and `90m` stay spans."""
    text = text.strip()
    found = _CLOCK.fullmatch(text)
    if found:
        return Moment(at=_next_clock(int(found[1]), int(found[2]), now, zone))
    if _DATE.fullmatch(text):
        raise ValueError(f"the time of day is missing: {text}T08:00")
    if _DATE.match(text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"no such time ({error}): {WHEN_WORDS}") from None
        return Moment(at=moment if moment.tzinfo else _local(moment, zone))
    if text.startswith("-"):
        raise ValueError(f"that lies in the past: {WHEN_WORDS}")
    try:
        return Moment(after=duration(text.removeprefix("+")))
    except ValueError as error:
        words = str(error) if "unit is missing" in str(error) or "ten years" in str(error) else WHEN_WORDS
        raise ValueError(words) from None


def _next_clock(hour: int, minute: int, now: datetime, zone: tzinfo | None) -> datetime:
    try:
        wanted = time(hour, minute)
    except ValueError:
        raise ValueError(f"a day has no such time: {WHEN_WORDS}") from None
    today = now.astimezone(zone).date()
    moment = _local(datetime.combine(today, wanted), zone)
    # Tomorrow by the calendar, not 24 h later: a night with a change of clocks is longer or shorter.
    return moment if moment > now else _local(datetime.combine(today + timedelta(days=1), wanted), zone)


def _local(naive: datetime, zone: tzinfo | None) -> datetime:
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)


def spelled(span_s: float) -> str:
    """`45 s`, `1 min 2 s`, `2 h 5 min`, `3 d 4 h`: the two largest units."""
    if span_s < 10:
        return f"{max(0.0, span_s):.1f}".removesuffix(".0") + " s"
    rest = round(span_s)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        parts.append((number, unit))
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def ago(moment: datetime, now: datetime) -> str:
    """`just now`, `3 minutes ago`, `2 days ago`."""
    passed_s = (now - moment).total_seconds()
    if passed_s < 10:
        return "just now"
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        number = int(passed_s // size)
        if number:
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def clock(moment: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """`21:11` today, else `Sat 28 Nov 21:04`, in another year with the year."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    return f"{local:%a %d %b %H:%M}" if local.year == today.year else f"{local:%a %d %b %Y %H:%M}"


def clock_zone(moment: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """The same, always with its day, and with the zone: an echo of what somebody typed."""
    local = moment.astimezone(zone)
    year = "" if local.year == now.astimezone(zone).year else f" {local:%Y}"
    return f"{local:%a %d %b}{year} {local:%H:%M %z}"


def day(moment: datetime, zone: tzinfo | None = None) -> str:
    """`Sat 28 Nov`."""
    return f"{moment.astimezone(zone):%a %d %b}"
