"""`mailspool verify [--repair]`: recounts the spool from its records, and proves that every sum fits.

Others may go on sending meanwhile. Exit: 0 nothing is wrong (or nothing any more, with `--repair`), 1 something is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailspool.cli.failures import NOT_OK
from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Cell, Line
    from mailspool.client.verify import VerifyReport

_SUM: Final = (
    "For each:  total = queued + sent + deferred + failed + expired",
    "                   + cancelled + suppressed + uncertain",
)
_SHOWN: Final = 50
"""On a screen; `--json` has up to 1,000."""


def verify(
    ask: Ask,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be: counters, places, indexes, keys of nobody.")
    ] = False,
) -> int:
    """Recount everything from the records; say what is wrong."""
    from mailspool.cli import interrupt
    from mailspool.cli.live import patience
    from mailspool.client.verify import verify as verified

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            connection = await spool.connection()
            async with patience(ask.say, "every batch, message and key is looked at; mail goes on meanwhile"):
                found = await interrupt.stoppable(verified(connection, repair=repair))
            if ask.say.json:
                ask.say.object(found.to_dict())
            else:
                ask.say.lines(_screen(found, connection.link.name, repair=repair))
            for words in found.unproved:
                ask.say.notice("unproved", f"not proved: {words}. Run it again when less is on its way.")
        return 0 if found.ok else NOT_OK

    return interrupt.run(main)


def _screen(found: VerifyReport, spool: str, *, repair: bool) -> list[Line]:
    from mailspool.cli.paint import Span, harmless, line, table
    from mailspool.cli.screens import counted

    rows: list[list[Cell]] = []
    for one in found.wrong[:_SHOWN]:
        word = Span("repaired", "green") if one.repaired else Span("wrong", "red")
        place = " ".join(part for part in (one.batch or "", one.where if one.batch else "") if part)
        rows.append([word, Span(harmless(place or "spool")), harmless(one.detail)])
    lines = table(rows)
    hidden = found.more + max(0, len(found.wrong) - _SHOWN)
    if hidden:
        lines.append(line(Span(f"and {hidden:,} more", "dim")))
    seen = f"{spool}: {counted(found.messages, 'message')} in {counted(found.batches, 'batch', 'batches')}"
    if found.left:
        lines.append(line(Span(f"{seen}, {counted(found.left, 'fault')}.", "red")))
        if not repair:
            lines.append(line("next  mailspool verify --repair"))
    elif found.unproved:
        lines.append(line(f"{seen}; nothing wrong was found."))
    else:
        lines.append(line(Span(f"{seen}, all in order.", "green")))
        lines += [line(words) for words in _SUM]
    return lines
