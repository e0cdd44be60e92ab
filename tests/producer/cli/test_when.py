"""WHEN and DUR, and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailspool.cli.when import Moment, ago, clock, clock_zone, day, duration, spelled, when

TEHRAN = ZoneInfo("Asia/Tehran")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 17, 30, tzinfo=UTC)  # 21:00 in Tehran, 18:30 in Berlin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("21:01", "2026-11-23T21:01:00+03:30"),
        ("21:00", "2026-11-24T21:00:00+03:30"),  # now is no next one
        ("8:05", "2026-11-24T08:05:00+03:30"),
        ("00:00", "2026-11-24T00:00:00+03:30"),
        ("2026-11-24T08:00", "2026-11-24T08:00:00+03:30"),
        ("2026-11-24 08:00", "2026-11-24T08:00:00+03:30"),
        ("2026-11-24T08:00Z", "2026-11-24T08:00:00+00:00"),
        ("2026-11-24T08:00:30-05:00", "2026-11-24T08:00:30-05:00"),
        (" 2020-01-01T08:00 ", "2020-01-01T08:00:00+03:30"),  # that it is past is the spool's word
    ],
)
def test_a_point_in_time(text: str, expected: str) -> None:
    found = when(text, NOW, TEHRAN)
    assert found.after is None
    assert found.at is not None
    assert found.at.isoformat() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+2h", timedelta(hours=2)),
        ("90m", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("+5d", timedelta(5)),
    ],
)
def test_a_span(text: str, expected: timedelta) -> None:
    assert when(text, NOW, TEHRAN) == Moment(after=expected)
    assert when(text, NOW, TEHRAN).from_(NOW) == NOW + expected


def test_a_local_time_has_the_offset_of_its_own_day() -> None:
    """Berlin changes its clocks in the night before 2027-03-28."""
    summer = when("2027-03-28T08:00", NOW, BERLIN).at
    assert summer is not None
    assert summer.utcoffset() == timedelta(hours=2)
    evening = datetime(2027, 3, 27, 20, 0, tzinfo=BERLIN)
    following = when("08:00", evening, BERLIN).at
    assert following is not None
    assert following.isoformat() == "2027-03-28T08:00:00+02:00"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a time such as"),
        ("soon", "write a time such as"),
        ("25:00", "a day has no such time"),
        ("08:60", "a day has no such time"),
        ("2026-11-24", "the time of day is missing: 2026-11-24T08:00"),
        ("2026-13-24T08:00", "no such time"),
        ("-2h", "lies in the past"),
        ("90", "a unit is missing"),
        ("+90", "a unit is missing"),
        ("9999d", "longer than ten years"),
        ("٠٨:٠٠", "write a time such as"),
    ],
)
def test_what_is_no_time(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        when(text, NOW, TEHRAN)


def test_duration() -> None:
    assert [duration(text).total_seconds() for text in ("90s", "15m", "2h", "5d")] == [90, 900, 7200, 432_000]
    with pytest.raises(ValueError, match="a unit is missing"):
        duration("90")


@pytest.mark.parametrize(
    ("span_s", "words"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (0.44, "0.4 s"),
        (2.0, "2 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (62, "1 min 2 s"),
        (3600, "1 h"),
        (7_500, "2 h 5 min"),
        (7_203, "2 h"),
        (86_400 * 3 + 3_600 * 4, "3 d 4 h"),
    ],
)
def test_spelled(span_s: float, words: str) -> None:
    assert spelled(span_s) == words


@pytest.mark.parametrize(
    ("passed_s", "words"),
    [(-5, "just now"), (9, "just now"), (59, "59 seconds ago"), (60, "1 minute ago"), (190, "3 minutes ago"),
     (7_200, "2 hours ago"), (86_400, "1 day ago"), (6 * 86_400, "6 days ago")],
)  # fmt: skip
def test_ago(passed_s: int, words: str) -> None:
    assert ago(NOW - timedelta(seconds=passed_s), NOW) == words


def test_clocks() -> None:
    later = datetime(2026, 11, 28, 17, 34, tzinfo=UTC)
    assert clock(NOW, NOW, TEHRAN) == "21:00"
    assert clock(later, NOW, TEHRAN) == "Sat 28 Nov 21:04"
    assert clock(datetime(2027, 1, 2, tzinfo=UTC), NOW, UTC) == "Sat 02 Jan 2027 00:00"
    assert clock_zone(NOW, NOW, TEHRAN) == "Mon 23 Nov 21:00 +0330"
    assert clock_zone(datetime(2027, 1, 2, tzinfo=UTC), NOW, UTC) == "Sat 02 Jan 2027 00:00 +0000"
    assert day(later, TEHRAN) == "Sat 28 Nov"
