"""A message's history from what is known of it, and conversations that somebody has written into."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from mailspool.contract.states import State
from mailspool.contract.talks import Line, Talk, encode_talk, talk_text
from mailspool.conversation import conversations, failed_opening, history
from mailspool.status import MessageStatus, utc

FIRST_MS, SECOND_MS, LAST_MS = 1_700_000_000_001, 1_700_000_300_002, 1_700_000_900_003
T1, T2, T3 = utc(FIRST_MS), utc(SECOND_MS), utc(LAST_MS)


def message(state: State, *, first: datetime | None = T1, last: datetime | None = T3) -> MessageStatus:
    return MessageStatus(
        id="b7k2m9q4x-17", batch="b7k2m9q4x", row=17, recipient="a@x.test", state=state, attempts=3,
        reply="250 2.0.0 queued", reason=None, next_try=None, message_id="<x@y>", relay="main", remote_id=None,
        first_try=first, last_try=last, size_bytes=100,
    )  # fmt: skip


def stored(*times_ms: int) -> bytes:
    lines = (Line(0, ">", "MAIL"), Line(12, "<", "450 later"), Line(12, "<", "554 nobody"))
    return msgspec.msgpack.encode([encode_talk(Talk(at_ms, "main", "d", lines, "450 later")) for at_ms in times_ms])


def happened(state: State, *times_ms: int) -> list[tuple[datetime, str, str | None]]:
    told = history(message(state), conversations(stored(*times_ms)))
    return [(entry.at, entry.what, entry.reply) for entry in told]


def test_every_attempt_that_is_known_once_and_in_order() -> None:
    assert happened("sent", FIRST_MS, SECOND_MS) == [
        (T1, "deferred", "450 later"),
        (T2, "deferred", "450 later"),
        (T3, "sent", "250 2.0.0 queued"),
    ]


def test_without_conversations_the_first_and_the_last_try() -> None:
    assert happened("sent") == [(T1, "first_try", None), (T3, "sent", "250 2.0.0 queued")]


def test_the_last_try_of_what_expired_later_came_to_something_else() -> None:
    assert [what for _, what, _ in happened("expired")] == ["first_try", "last_try"]
    assert [what for _, what, _ in happened("expired", FIRST_MS, LAST_MS)] == ["deferred", "deferred"]


def test_a_message_that_nobody_tried_has_none() -> None:
    assert history(message("queued", first=None, last=None), ()) == ()


def test_the_json_is_the_dataclass() -> None:
    (talk,) = conversations(stored(FIRST_MS))
    assert talk.to_dict() == {
        "at": "2023-11-14T22:13:20Z", "relay": "main", "state": "deferred", "reply": "450 later",
        "lines": [
            {"at_ms": 0, "dir": ">", "line": "MAIL"},
            {"at_ms": 12, "dir": "<", "line": "450 later"},
            {"at_ms": 12, "dir": "<", "line": "554 nobody"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b"\x91\xc4\x01\x90"])
def test_nothing_and_nonsense_are_no_conversation(data: bytes | None) -> None:
    assert conversations(data) == ()


def test_a_time_that_is_none_is_left_out() -> None:
    (talk,) = conversations(stored(10**17))
    assert talk.at is None
    assert history(message("queued", first=None, last=None), (talk,)) == ()


def test_the_last_opening_that_failed() -> None:
    text = talk_text(Talk(FIRST_MS, "main", "", (Line(0, "-", "connect x:25"),)))
    opening = failed_opening(text)
    assert opening is not None
    assert (opening.at, opening.state, opening.lines[0].line) == (datetime(2023, 11, 14, 22, 13, 20, 1_000, UTC), None,
                                                                  "connect x:25")  # fmt: skip
    assert failed_opening(None) is None
    assert failed_opening("nonsense") is None
