"""`mailspool why [BATCH|MESSAGE|DOMAIN|RELAY]`: why it has not gone yet, until when, and what to do.

Without an argument: the whole spool. Always 0: a batch that waits is an answer. Raises NotFound (66).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailspool.cli.options import Ask
from mailspool.errors import NotFound

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Line
    from mailspool.client.why import Why
    from mailspool.spool import Spool

_COMMANDS_SHOWN: Final = 3


def why(
    ask: Ask,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[BATCH|MESSAGE|DOMAIN|RELAY]",
            help="A batch, a message (b7k2m9q4x-17), a domain or an address, a relay's name; without one: the spool.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Say why mail has not gone yet, until when, and what to do."""
    from mailspool.cli import interrupt

    ask.tell_unknown_variables()

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            found = await _asked(spool, ref)
            if ask.say.json:
                ask.say.object(found.to_dict())
            else:
                ask.say.lines(screen(found))
        return 0

    return interrupt.run(main)


async def _asked(spool: Spool, ref: str | None) -> Why:
    try:
        return await spool.why(ref)
    except NotFound as error:
        if ref is None or error.code != "no_such_batch" or "." in ref or "@" in ref:
            raise
        from mailspool.cli.refs import known_batch

        batch, _, row = ref.rpartition("-")
        await known_batch(spool, batch if batch and row.isdecimal() else ref)  # raises with what may have been meant
        raise


def screen(found: Why) -> list[Line]:
    """A sentence a line, then what to do."""
    from mailspool.cli.paint import Span, harmless, line

    lines = [line(harmless(cause.words)) for cause in found.causes]
    labels = ["next", *[""] * _COMMANDS_SHOWN]
    advice = zip(labels, found.do[:_COMMANDS_SHOWN], strict=False)
    return [*lines, *(line(Span(f"{label:4}", "dim"), "  ", harmless(do)) for label, do in advice)]
