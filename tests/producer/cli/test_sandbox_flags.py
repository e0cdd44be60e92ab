"""Each flag of `sandbox` becomes its order; one that makes no sense is refused before anything listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailspool.sandbox import ReceiverOptions
from tests.producer.cli.commands import Here


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ReceiverOptions]:
    """The options of every receiver that would have been started."""
    found: list[ReceiverOptions] = []

    async def noted(options: ReceiverOptions, *_: object, **__: object) -> None:
        found.append(options)

    monkeypatch.setattr("mailspool.sandbox.serve", noted)
    return found


PLAIN = ReceiverOptions(remember_mails=False, remember_log=False)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--no-pipelining", "pipelining", False),
        ("--no-8bitmime", "eight_bit_mime", False),
        ("--broken-starttls injected", "broken_starttls", "injected"),
        ("--refuse-auth", "refuse_auth", True),
        ("--quota 5", "quota", 5),
        ("--session-messages 3", "session_messages", 3),
        ("--max-sessions 2", "max_sessions", 2),
        ("--greylist 5m", "greylist_s", 300.0),
        ("--banner-delay 3s", "banner_delay_s", 3.0),
        ("--early-talker", "early_talker", True),
        ("--slow 200ms", "dot_delay_s", 0.2),
        ("--nested-mail accepted", "nested_mail", "accepted"),
        ("--keep kept", "keep", Path("kept")),
    ],
)
def test_a_flag_is_an_order(here: Here, asked: list[ReceiverOptions], words: str, field: str, value: object) -> None:
    assert here.run("sandbox", *words.split()).code == 0
    (options,) = asked
    changed = {name for name in ReceiverOptions.__slots__ if getattr(options, name) != getattr(PLAIN, name)}
    assert changed == {field}
    assert getattr(options, field) == value


@pytest.mark.parametrize(("words", "code"), [("--quota -3", 78), ("--nested-mail weird", 2), ("--greylist soon", 2)])
def test_what_makes_no_sense_is_refused(here: Here, asked: list[ReceiverOptions], words: str, code: int) -> None:
    assert here.run("sandbox", *words.split()).code == code
    assert not asked
