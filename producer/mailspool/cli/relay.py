"""`mailspool relay list|pause NAME|resume NAME`: each relay that is known, and the switch of one.

`pause` acts for everybody within a second or so, until `resume`; what is on the wire finishes. `resume` also lets a
relay look again at once that its workers have closed. Raises NotFound (66) with the known names.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mailspool.cli.failures import Usage
from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Cell, Line, Style
    from mailspool.client.relays import RelayStatus
    from mailspool.spool import Spool

Action = Literal["list", "pause", "resume"]
_STYLES: Final[dict[str, Style]] = {"ok": "green", "unserved": "dim"}


def relay(
    ask: Ask,
    action: Annotated[Action, typer.Argument(metavar="list|pause|resume", help="What to do.", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of the relay to pause or resume.", show_default=False)
    ] = None,
) -> int:
    """List the relays, or pause or resume one for everybody."""
    from mailspool.cli import interrupt

    if (name is None) != (action == "list"):
        raise Usage("which relay? mailspool relay pause NAME" if name is None else "relay list takes no name.")

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            if name is None:
                _show(ask, await spool.relays())
            else:
                await _switch(ask, spool, action, name)
        return 0

    return interrupt.run(main)


def _show(ask: Ask, relays: Sequence[RelayStatus]) -> None:
    if ask.say.json:
        for found in relays:
            ask.say.object(found.to_dict())
    elif relays:
        ask.say.lines(relay_table(relays, datetime.now(UTC), ask.say.columns))
    else:
        ask.say.note("no relay is known: neither the settings nor a running worker have one")


def relay_table(relays: Sequence[RelayStatus], now: datetime, columns: int | None = None) -> list[Line]:
    """Each relay in one line."""
    from mailspool.cli.paint import Span, harmless, table
    from mailspool.cli.when import clock

    titles = ("RELAY", "STATE", "SESSIONS", "WORKERS", "SINCE", "UNTIL", "WHY")
    rows: list[Sequence[Cell]] = [[Span(title, "dim") for title in titles]]
    for found in relays:
        last = f"{clock(found.last_failure_at, now)} " if found.last_failure_at else ""
        failed = f"last failure: {last}{found.last_failure}" if found.last_failure and not found.why else ""
        notes = [found.why or failed, *(f"takes no mail from {sender}" for sender in found.held_senders)]
        if found.slowed:
            whole = f", until {clock(found.slowed_until, now)}" if found.slowed_until else ""
            notes.append(f"asked for less{whole}: {found.slowed}")
        rows.append(
            (
                harmless(found.name),
                Span(found.state, _STYLES.get(found.state, "red")),
                f"{found.sessions:,}",
                f"{found.workers:,}",
                clock(found.since, now) if found.since else "-",
                clock(found.until, now) if found.until and found.until > now else "-",
                harmless("; ".join(note for note in notes if note) or "-"),
            )
        )
    return table(rows, right={2, 3}, columns=columns)


async def _switch(ask: Ask, spool: Spool, action: Action, name: str) -> None:
    changed = await (spool.pause_relay(name) if action == "pause" else spool.resume_relay(name))
    if ask.say.json:
        (found,) = [relay for relay in await spool.relays() if relay.name == name]
        ask.say.object({**found.to_dict(), "changed": changed})
        return
    already = "" if changed else " already"
    if action == "pause":
        ask.say.text(f"The relay {name} is paused{already}.   Go on:  mailspool relay resume {name}")
    else:
        words = (
            "goes on" if changed else "was not paused by you; if it has stopped by itself, its workers look again now"
        )
        ask.say.text(f"The relay {name} {words}.   Look:  mailspool why {name}")
