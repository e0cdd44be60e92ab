"""`mailspool resolve BATCH --as sent|failed`: a person decides about messages whose final reply was lost.

Only uncertain ones are touched; the filters are those of `show`. Nothing to do is no error. Raises NotFound (66).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mailspool.cli.options import Ask, BatchRef, DomainFilter, ReplyFilter, ToFilter

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals

Resolved = Literal["sent", "failed"]


def resolve(
    ask: Ask,
    ref: BatchRef,
    as_: Annotated[Resolved, typer.Option("--as", help="What they are from now on.", show_default=False)],
    to: ToFilter = None,
    domain: DomainFilter = None,
    reply: ReplyFilter = None,
) -> int:
    """Decide about uncertain messages: they were sent, or they failed."""
    from mailspool.cli import interrupt
    from mailspool.cli.control import Moved
    from mailspool.cli.refs import known_batch
    from mailspool.cli.screens import counted

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            batch = await known_batch(spool, ref)
            moved = await batch.resolve(as_, recipient=to, domain=domain, reply=reply)
            if ask.say.json:
                ask.say.object(Moved(batch.id, moved).to_dict())
                return 0
            left = (await batch.status()).uncertain
            if not moved:
                none = f"no uncertain mail of {batch.id} matches the filter ({left:,} uncertain)"
                ask.say.text(f"Nothing to do: {none if left else f'no mail of {batch.id} is uncertain'}.")
                return 0
            rest = f"; {left:,} {'is' if left == 1 else 'are'} uncertain still" if left else ""
            ask.say.text(
                f"{counted(moved, 'uncertain mail')} of {batch.id} {'is' if moved == 1 else 'are'} {as_} now{rest}"
            )
        return 0

    return interrupt.run(main)
