"""Single mails (`spool.send`, `mailspool send --to ann@x.org`) among batches: folded, so that they fill no screen.

Used by `status`. Pure. A web application queues thousands of them a day; the newsletter that somebody looks for would
be below the edge. The youngest few stay: whoever has just sent one looks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mailspool.cli.paint import Line, Span, line
from mailspool.cli.screens import COUNTERS, counted

if TYPE_CHECKING:
    from mailspool.status import BatchStatus

LOOKED_AT: Final = 200
"""Batches that are read to find SHOWN that are none, a round trip each."""
SHOWN: Final = 20
_KEPT: Final = 3


def is_single(batch: BatchStatus) -> bool:
    """Nobody has given it a name, and it is no list."""
    return batch.total == 1 and batch.class_ == "transactional" and not batch.name


def folded(batches: Sequence[BatchStatus]) -> tuple[list[BatchStatus], list[BatchStatus]]:
    """(what the screen shows, single mails that it only counts), both in their order."""
    shown: list[BatchStatus] = []
    away: list[BatchStatus] = []
    kept = 0
    for batch in batches:
        single = is_single(batch)
        if single and kept >= _KEPT:
            away.append(batch)
        elif len(shown) < SHOWN:
            shown.append(batch)
            kept += single
    return (shown, away) if len(away) > 1 else (list(batches[:SHOWN]), [])


def folded_line(away: Sequence[BatchStatus], looked: int) -> Line:
    """`and 29 single mails (2 queued, 27 sent); --all shows each`; `looked`: among how many batches they were found."""
    found = Counter(name for batch in away for name in COUNTERS if getattr(batch, name))
    states = ", ".join(f"{found[name]:,} {name}" for name in COUNTERS if found[name])
    among = f" among the latest {looked}" if looked >= LOOKED_AT else ""
    return line(Span(f"and {counted(len(away), 'single mail')}{among} ({states}); --all shows each", "dim"))
