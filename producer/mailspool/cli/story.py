"""`show MESSAGE`: what happened to one message, and what was said. Pure: the public records in, lines out.

All that a server said is shown harmlessly, whatever lies in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mailspool.cli.paint import Cell, Line, Span, harmless, line, table

if TYPE_CHECKING:
    from mailspool.conversation import Conversation, Happened


_TRIED: Final = ("deferred", "failed", "uncertain")
"""What an attempt came to that was answered, or should have been."""


def history_lines(entries: Sequence[Happened]) -> list[Line]:
    """When, what it came to, over which relay, and the reply."""
    if len(entries) < 2:
        return []  # the screen above tells it
    rows: list[Sequence[Cell]] = [
        (
            f"{entry.at.astimezone():%a %d %b %H:%M:%S}",
            harmless(entry.what.replace("_", " ")),
            harmless(entry.relay or ""),
            harmless(entry.reply or ("no final reply came" if entry.what in _TRIED else "")),
        )
        for entry in entries
    ]
    return [line(Span("history", "bold")), *table(rows, indent=2)]


def conversation_lines(talks: Sequence[Conversation]) -> list[Line]:
    """Each failed attempt as it went over the wire, with the time since its first line."""
    lines: list[Line] = []
    for talk in talks:
        at = f"{talk.at.astimezone():%a %d %b %H:%M:%S}" if talk.at else "at an unknown time"
        words = f"  {harmless(talk.state or 'not opened')} over {harmless(talk.relay)}"
        lines.append(line(Span(at, "bold"), words))
        rows: list[Sequence[Cell]] = [
            (f"{spoken.at_ms:,} ms", harmless(spoken.dir), harmless(spoken.line)) for spoken in talk.lines
        ]
        lines += table(rows, right={0}, indent=2)
    return lines
