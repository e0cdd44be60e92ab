"""Terms: what is refused before anything is asked of Redis, what is stored, and what counts as other terms."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from mailspool import InputError, Settings
from mailspool.client.terms import Terms

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def make(home: Path) -> Any:  # the arguments are wrong on purpose
    settings = Settings(data_dir=home)

    def terms(**changes: Any) -> Terms:
        nothing = dict.fromkeys(("key", "name", "send_at", "expires_after", "expires_at", "on_uncertain", "relay"))
        return Terms.make(settings, **{"class_": "bulk", "hold": False, **nothing, **changes})

    return terms


class Word(StrEnum):
    BULK = "bulk"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_": "urgent"}, 'class_ "urgent" is neither transactional nor bulk.'),
        ({"on_uncertain": "ignore"}, 'on_uncertain "ignore" is neither resend nor hold.'),
        ({"hold": "no"}, "hold is a str: give True or False."),
        ({"key": ""}, "the key is empty: leave it out, or give it a name such as invoices-2026-11."),
        ({"key": "  "}, "the key is empty: leave it out, or give it a name such as invoices-2026-11."),
        ({"key": 7}, "the key is an int: give a str."),
        ({"key": "x" * 501}, "the key has 501 characters; 500 is the most."),
        ({"key": "a\nb"}, "the key holds a control character."),
        ({"name": b"news"}, "the name is a bytes: give a str."),
        ({"name": "x" * 201}, "the name has 201 characters; 200 is the most."),
        ({"send_at": datetime(2026, 11, 24)}, "send_at is a naive datetime: use datetime.now().astimezone()"),  # noqa: DTZ001
        ({"expires_at": datetime(2026, 11, 24)}, "expires_at is a naive datetime: use"),  # noqa: DTZ001
        ({"send_at": date(2026, 11, 24)}, "send_at is a date: give a datetime with a time zone."),
        ({"send_at": "08:00"}, "send_at is a str: give a datetime with a time zone."),
        ({"expires_after": 3600}, "expires_after is an int: give a timedelta."),
        ({"expires_after": timedelta(0)}, "expires_after is 0:00:00: the mail would never be sent."),
        ({"expires_after": -HOUR}, "the mail would never be sent."),
        ({"expires_after": timedelta(days=5000)}, "expires_after is more than ten years."),
        ({"expires_after": HOUR, "expires_at": NOW + HOUR}, "expires_after and expires_at are both given"),
        ({"send_at": NOW + HOUR, "expires_at": NOW}, "expires_at is not after send_at: the mail would never be sent."),
        ({"send_at": NOW, "expires_at": NOW}, "expires_at is not after send_at: the mail would never be sent."),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(make: Any, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        make(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize("relay", ["smtp://me:secret@mail.x.test", "MAIN", "a b", "", 7])
def test_a_relay_is_a_name_and_never_shown(make: Any, relay: object) -> None:
    with pytest.raises(InputError, match=r"never a URL") as caught:
        make(relay=relay)
    assert "secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"send_at": NOW - timedelta(minutes=2)}, "is in the past; leave it out to send now."),
        ({"expires_at": NOW - HOUR}, "is over: the mail would never be sent."),
        ({"expires_at": NOW}, "is over: the mail would never be sent."),
        ({"send_at": NOW + timedelta(days=4000)}, "send_at 2037-11-05T20:00:00+00:00 is more than ten years ahead."),
        ({"expires_at": NOW + timedelta(days=4000)}, "is more than ten years ahead."),
    ],
)
def test_dates_are_looked_at_by_the_clock(make: Any, changes: dict[str, object], words: str) -> None:
    error = make(**changes).over(NOW)
    assert error is not None
    assert words in str(error)


@pytest.mark.parametrize(
    "changes", [{}, {"send_at": NOW - timedelta(seconds=59)}, {"send_at": NOW + HOUR, "expires_at": NOW + 2 * HOUR}]
)
def test_dates_that_are_fine(make: Any, changes: dict[str, object]) -> None:
    assert make(**changes).over(NOW) is None


@pytest.mark.parametrize("when", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_are_dates_like_others(make: Any, when: datetime) -> None:
    for offset in (-14, 14):
        assert make(send_at=when.replace(tzinfo=timezone(timedelta(hours=offset)))).over(NOW) is not None


def test_what_is_stored(make: Any) -> None:
    fields = make(key="k", name="news", send_at=NOW, expires_after=HOUR, relay="main", hold=True).fields("abc")
    assert fields == {
        "v": 1,
        "class": "bulk",
        "name": "news",
        "digest": "abc",
        "send_at": 1795464000000,
        "lifetime": 3_600_000,
        "expires": 0,
        "asked": "3600000/0",
        "claim": "0",
        "relay": "main",
        "hold": "1",
        "keep": 7 * 86_400_000,
        "keep_bad": 30 * 86_400_000,
    }


def test_the_default_lifetime_follows_the_class(make: Any) -> None:
    assert make().fields("")["lifetime"] == 5 * 86_400_000
    assert make(class_="transactional").fields("")["lifetime"] == 86_400_000
    assert make(expires_at=NOW).fields("")["lifetime"] == 0


def stored(terms: Terms) -> dict[str, str]:
    return {name: str(value) for name, value in terms.fields("").items()}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ()),
        ({"name": "other"}, ("name",)),
        ({"class_": "transactional", "expires_after": timedelta(days=5)}, ("class",)),
        ({"class_": "transactional"}, ("class", "expires_after")),
        ({"send_at": NOW}, ("send_at",)),
        ({"expires_at": NOW + HOUR}, ("expires_at",)),
        ({"expires_after": HOUR}, ("expires_after",)),
        ({"on_uncertain": "hold"}, ("on_uncertain",)),
        ({"relay": "main"}, ("relay",)),
    ],
)
def test_differing_terms_are_named(make: Any, changes: dict[str, object], names: tuple[str, ...]) -> None:
    assert make(**changes).differing(stored(make(name="news"))) == names


def test_a_text_like_bulk_is_bulk(make: Any) -> None:
    assert make(class_=Word.BULK).fields("")["class"] == "bulk"
