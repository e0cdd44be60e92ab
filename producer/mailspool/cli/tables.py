"""What `status` and `show` print: the spool and its batches, messages, one message. Pure.

`columns`: of the terminal that shows it; None for a file or a pipe, which get everything in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mailspool.cli.paint import Cell, Line, Span, folded, harmless, line, plain, table, width
from mailspool.cli.screens import COUNTERS, STYLES, coloured, counted, speed
from mailspool.cli.when import clock, spelled

if TYPE_CHECKING:
    from mailspool.status import BatchStatus, MessageStatus, PauseStatus, RouteStatus, SpoolStatus


def spool_screen(spool: SpoolStatus, now: datetime, columns: int | None = None) -> list[Line]:
    """The whole spool and its batches."""
    moving = [batch for batch in spool.batches if batch.queued and not batch.done and not batch.waiting_for]
    rate = sum(batch.rate_per_s or 0 for batch in moving)  # of what only waits it is an average over its past
    workers = counted(spool.workers, "worker") if spool.workers else "no worker is running"
    facts: list[Sequence[Cell]] = [
        ("spool", f"{spool.spool}   {spool.durability}"),
        ("worker", f"{workers}{', ' + speed(rate) if rate and spool.workers else ''}"),
    ]
    if spool.paused:
        facts.append(("paused", Span(" · ".join(_pause(pause, now) for pause in spool.paused), "yellow")))
    if spool.routes:
        facts.append(("relays", " · ".join(_route(route, now) for route in spool.routes)))
    waiting = [f"{number:,} {name}" for name in ("queued", "deferred", "uncertain") if (number := getattr(spool, name))]
    if waiting:
        oldest = f"   the oldest batch is {spelled(spool.oldest_s)} old" if spool.oldest_s else ""
        facts.append(("mail", "  ".join(waiting) + oldest))
    lines = table(facts, gap=3, columns=columns)
    if not spool.batches:
        return [*lines, line("no batches here yet")]
    return [*lines, line(""), *batch_table(spool.batches, now, columns)]


def _pause(pause: PauseStatus, now: datetime) -> str:
    return f"{pause}{f' since {clock(pause.since, now)}' if pause.since else ''}"


def _route(route: RouteStatus, now: datetime) -> str:
    if route.state == "ok":
        return f"{route.name} ok"
    if route.since:
        return f"{route.name} {route.why} since {clock(route.since, now)}"
    until = f", until {clock(route.until, now)}" if route.until and route.until > now else ""
    return f"{route.name} {route.state}: {harmless(route.why or 'no reason known')}{until}"


def batch_table(batches: Sequence[BatchStatus], now: datetime, columns: int | None = None) -> list[Line]:
    """The latest first; a column of zeros is left out. Where `columns` are too few, counts stand below their batch."""
    shown = [name for name in COUNTERS if name == "sent" or any(getattr(batch, name) for batch in batches)]
    whole = _batch_rows(batches, shown, now)
    lines = table(whole, right=_numbers(batches, shown))
    if columns is None or max(width(plain(each)) for each in lines) <= columns:
        return lines
    names = 1 if any(batch.name for batch in batches) else None
    few = _batch_rows(batches, ["sent"], now)
    head, *rest = table(few, right=_numbers(batches, ["sent"]), columns=columns, shorten=names)
    found = [head]
    for batch, row in zip(batches, rest, strict=True):
        counts = [f"{number:,} {name}" for name in COUNTERS if name != "sent" and (number := getattr(batch, name))]
        found += [row, *(line("    ", Span(words, "dim")) for words in folded("  ".join(counts), columns - 4))]
    return found


def _numbers(batches: Sequence[BatchStatus], shown: Sequence[str]) -> set[int]:
    first = 4 if any(batch.name for batch in batches) else 3
    return set(range(first, first + 1 + len(shown)))


def _batch_rows(batches: Sequence[BatchStatus], shown: Sequence[str], now: datetime) -> list[Sequence[Cell]]:
    names = any(batch.name for batch in batches)
    header = ["BATCH", *(["NAME"] if names else []), "CLASS", "STATE", "TOTAL", *(name.upper() for name in shown)]
    rows: list[Sequence[Cell]] = [[Span(title, "dim") for title in (*header, "QUEUED AT")]]
    for batch in batches:
        cells: list[Cell] = [batch.id, *([harmless(batch.name)] if names else []), batch.class_]
        cells += [coloured(batch.state), f"{batch.total:,}"]
        cells += [
            Span(f"{number:,}", STYLES.get(name, "plain") if number else "dim")
            for name in shown
            for number in (getattr(batch, name),)
        ]
        rows.append([*cells, clock(batch.created_at, now) if batch.created_at else "-"])
    return rows


def message_table(
    messages: Sequence[MessageStatus], now: datetime, *, header: bool = True, columns: int | None = None
) -> list[Line]:
    """`show`."""
    titles = ("ROW", "RECIPIENT", "STATE", "TRIES", "NEXT", "REPLY")
    rows: list[Sequence[Cell]] = [[Span(title, "dim") for title in titles]] if header else []
    for message in messages:
        following = clock(message.next_try, now) if message.next_try else "-"
        why = message.reply or (message.reason or "-").replace("_", " ")
        rows.append(
            (
                f"{message.row}",
                harmless(message.recipient),
                coloured(message.state),
                f"{message.attempts}",
                following,
                harmless(why),
            )
        )
    return table(rows, columns=columns, shorten=1)


def _to_the_second(moment: datetime | None) -> str | None:
    return f"{moment.astimezone():%a %d %b %Y %H:%M:%S %z}" if moment else None


def message_screen(message: MessageStatus, columns: int | None = None) -> list[Line]:
    """One message, everything that is known of it."""
    facts: list[tuple[str, Cell | None]] = [
        ("recipient", harmless(message.recipient)),
        ("state", coloured(message.state)),
        ("tries", f"{message.attempts}"),
        ("reply", harmless(message.reply) if message.reply else None),
        ("reason", (message.reason or "").replace("_", " ") or None),
        ("next try", _to_the_second(message.next_try)),
        ("first try", _to_the_second(message.first_try)),
        ("last try", _to_the_second(message.last_try)),
        ("relay", message.relay),
        ("their id", harmless(message.remote_id) if message.remote_id else None),
        ("size", f"{message.size_bytes:,} bytes" if message.size_bytes else None),
        ("Message-ID", harmless(message.message_id)),
        ("content", "erased after it was sent" if message.erased else None),
    ]
    rows = [(name, value) for name, value in facts if value is not None]
    return [line(Span(message.id, "bold")), *table(rows, indent=2, columns=columns)]
