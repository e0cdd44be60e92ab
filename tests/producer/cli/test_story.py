"""`show MESSAGE`: the screen of a history and of conversations, and what no server can do to a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailspool.cli.paint import plain
from mailspool.cli.story import conversation_lines, history_lines
from mailspool.conversation import Conversation, ConversationLine, Happened

pytestmark = pytest.mark.usefixtures("tehran")
AT = datetime(2026, 11, 23, 17, 34, 0, tzinfo=UTC)  # 21:04 in Tehran


def talk(*lines: tuple[int, str]) -> Conversation:
    spoken = tuple(ConversationLine(at_ms, "<", text) for at_ms, text in lines)
    return Conversation(AT, "main", "deferred", "450 later", spoken)


def test_a_conversation() -> None:
    shown = [plain(line) for line in conversation_lines([talk((0, "220 hello"), (1_250, "450 later"))])]
    assert shown == [
        "Mon 23 Nov 21:04:00  deferred over main",
        "      0 ms  <  220 hello",
        "  1,250 ms  <  450 later",
    ]


def test_a_history() -> None:
    entries = [
        Happened(AT, "first_try", None, None),
        Happened(AT + timedelta(minutes=1), "deferred", "main", None),
        Happened(AT + timedelta(minutes=5), "sent", "main", "250 2.0.0 queued"),
    ]
    assert [plain(line).rstrip() for line in history_lines(entries)] == [
        "history",
        "  Mon 23 Nov 21:04:00  first try",
        "  Mon 23 Nov 21:05:00  deferred   main  no final reply came",
        "  Mon 23 Nov 21:09:00  sent       main  250 2.0.0 queued",
    ]
    assert history_lines(entries[:1]) == [], "the screen above tells it"


def test_nothing_that_lies_in_redis_steers_a_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\u202e"
    entry = Happened(AT, evil, evil, evil)
    lines = history_lines([entry, entry])
    lines += conversation_lines([Conversation(None, evil, evil, evil, (ConversationLine(1, evil, evil),))])  # type: ignore[arg-type]  # what a decoder would refuse
    assert all(plain(line).isprintable() for line in lines)
