"""Text to numbers and back: durations (`90s`), retry schedules (`5m 1h 6h*`), sizes (`25 MiB`), rates (`14/s`).

Called by the settings, and by the command line for its own `--at`, `--timeout` and `--expires`. Pure.
Raises: ValueError, whose text is a sentence for the person who typed the value; it never repeats the value, because
the caller shows it beside the setting's name.
Known limit: a bare number is refused where a unit is needed; `25` may mean seconds to one and minutes to another.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, NamedTuple

_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+", re.ASCII)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])", re.ASCII)
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?", re.ASCII)
_SIZE_UNIT: Final = {
    "B": 1,
    "kB": 1_000,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_RATE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*([smh])", re.ASCII)
_RATE_S: Final = {"s": 1, "m": 60, "h": 3_600}

LONGEST: Final = timedelta(days=3650)
"""Ten years: longer is a slip of the keyboard, and scores in milliseconds keep their 13 digits."""

DURATION_WORDS: Final = "write a number and a unit (ms, s, m, h, d, w), such as 90s, 15m or 1h30m"
SCHEDULE_WORDS: Final = 'write the waits between tries, such as "5m 30m 2h 6h*"; * repeats the last one'


class Schedule(NamedTuple):
    """The waits between tries. `last_repeats`: the last wait goes on until the message is too old."""

    steps_s: tuple[float, ...]
    last_repeats: bool


def parse_duration(text: str) -> timedelta:
    """`90s`, `1h30m`, `0.5s`, `250ms`; ValueError with words otherwise."""
    text = text.strip()
    if _DURATION.fullmatch(text) is None:
        if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text, re.ASCII):
            raise ValueError(f"a unit is missing: {text}s is seconds, {text}m minutes, {text}h hours, {text}d days")
        raise ValueError(DURATION_WORDS)
    total_ms = sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text))
    if total_ms > LONGEST / timedelta(milliseconds=1):
        raise ValueError("longer than ten years")
    return timedelta(milliseconds=total_ms)


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: `5d`, `1h30m`, `25s`."""
    rest_ms = round(value / timedelta(milliseconds=1))
    if rest_ms == 0:
        return "0s"
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, rest_ms = divmod(rest_ms, _UNIT_MS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def parse_schedule(text: str) -> Schedule:
    """`5m 15m 6h*` as seconds; only the last wait may carry the `*`."""
    words = text.split()
    if not words:
        raise ValueError(f"the schedule is empty: {SCHEDULE_WORDS}")
    last_repeats = words[-1].endswith("*")
    if last_repeats:
        words[-1] = words[-1][:-1]
    if any("*" in word for word in words):
        raise ValueError("only the last wait may carry a *")
    steps_s: list[float] = []
    for word in words:
        try:
            step_s = parse_duration(word).total_seconds()
        except ValueError as error:
            raise ValueError(f'"{word[:20]}" is no wait: {error}') from None
        if step_s <= 0:
            raise ValueError("a wait must be longer than 0")
        steps_s.append(step_s)
    return Schedule(tuple(steps_s), last_repeats)


def parse_size(text: str) -> int:
    """Bytes of `25 MiB`, `10MB` or `26214400`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("write a number of bytes, or one with a unit such as 25 MiB or 10 MB")
    number, unit = match.groups()
    return int(float(number) * _SIZE_UNIT[unit]) if unit else int(float(number))


def format_size(size_bytes: int) -> str:
    """`25 MiB`, `1.5 GiB`, `999 B`: for people, so rounded to one decimal."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes >= _SIZE_UNIT[unit]:
            return f"{size_bytes / _SIZE_UNIT[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes} B"


def parse_rate(text: str) -> float:
    """Mails a second of `14/s`, `30/m` or `500/h`."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError("write mails and a time, such as 14/s, 30/m or 500/h")
    return float(match[1]) / _RATE_S[match[2]]
