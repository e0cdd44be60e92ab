"""Durations, schedules, sizes and rates: what is read, what is refused and in which words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.settings.durations import (
    Schedule,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_schedule,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7_200),
        ("5d", 432_000),
        ("1w", 604_800),
        ("1h30m", 5_400),
        ("0.5s", 0.5),
        ("250ms", 0.25),
        ("0s", 0),
        (" 25s ", 25),
        ("3650d", 315_360_000),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


DURATION = "write a number and a unit (ms, s, m, h, d, w), such as 90s, 15m or 1h30m"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25", "a unit is missing: 25s is seconds, 25m minutes, 25h hours, 25d days"),
        ("", DURATION),
        ("five minutes", DURATION),
        ("5M", DURATION),
        ("-5m", DURATION),
        ("1h 30m", DURATION),
        ("٥m", DURATION),
        ("1.h", DURATION),
        ("3651d", "longer than ten years"),
    ],
)
def test_a_bad_duration_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == words


@given(st.integers(min_value=0, max_value=315_360_000_000))
def test_a_duration_survives_its_own_text(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("5m 15m 30m 1h 2h 4h 6h*", Schedule((300, 900, 1_800, 3_600, 7_200, 14_400, 21_600), True)),
        ("1s", Schedule((1,), False)),
        ("100ms*", Schedule((0.1,), True)),
        ("  1h   1m ", Schedule((3_600, 60), False)),
    ],
)
def test_a_schedule_is_read(text: str, schedule: Schedule) -> None:
    assert parse_schedule(text) == schedule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            " ",
            'the schedule is empty: write the waits between tries, such as "5m 30m 2h 6h*"; * repeats the last one',
        ),
        ("5m* 1h", "only the last wait may carry a *"),
        ("5m 1h**", "only the last wait may carry a *"),
        ("0s 1h", "a wait must be longer than 0"),
        ("5m, 1h", f'"5m," is no wait: {DURATION}'),
        ("*", f'"" is no wait: {DURATION}'),
    ],
)
def test_a_bad_schedule_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_schedule(text)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("26214400", 26_214_400), ("25 MiB", 26_214_400), ("10MB", 10_000_000), ("1.5KiB", 1_536), ("7 B", 7)],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "big", "25 mib", "-1", "1 TiB", "0x10"])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == "write a number of bytes, or one with a unit such as 25 MiB or 10 MB"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_024, "1 KiB"),
        (26_214_400, "25 MiB"),
        (35_882_577, "34.2 MiB"),
        (3 << 29, "1.5 GiB"),
    ],
)
def test_a_size_is_shown(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(("text", "rate_per_s"), [("14/s", 14), ("30/m", 0.5), ("7200 / h", 2), ("0.5/s", 0.5)])
def test_a_rate_is_read(text: str, rate_per_s: float) -> None:
    assert parse_rate(text) == rate_per_s


@pytest.mark.parametrize("text", ["14", "0/s", "-1/s", "14/d", "/s", "14 per second"])
def test_a_bad_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rate(text)
    assert str(caught.value) == "write mails and a time, such as 14/s, 30/m or 500/h"
