"""`mailspool status [BATCH]`: one batch, or the spool and its latest batches. Always 0: a failed batch is an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.spool import Spool
    from mailspool.status import BatchStatus

_OF_THE_SERVICE: Final = Path("/var/lib/mailspool")
"""Where the service keeps its spool: whoever looks for its batches in their own finds nothing."""
_EVERY: Final = 1_000_000


def status(
    ask: Ask,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[BATCH]", help='An id, its beginning, "key:KEY", "last" or "last:bulk".', show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every batch and single mail, not only the latest 20.")] = False,
) -> int:
    """Show a batch, or the spool and its latest batches."""
    from mailspool.cli import interrupt

    ask.tell_unknown_variables()

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            await (_spool(ask, spool, every) if ref is None else _batch(ask, spool, ref))
        return 0

    return interrupt.run(main)


async def _batch(ask: Ask, spool: Spool, ref: str) -> None:
    from mailspool.cli.refs import known_batch
    from mailspool.cli.watch import show_report

    batch = await known_batch(spool, ref)
    found = await batch.status()
    if ask.say.json:
        ask.say.object(found.to_dict())
    else:
        await show_report(ask, batch, found)


async def _spool(ask: Ask, spool: Spool, every: bool) -> None:
    from mailspool.cli import singles, tables

    found = await spool.status()
    if every:
        found = replace(found, batches=tuple([batch async for batch in spool.batches(_EVERY)]))
    if ask.say.json:
        ask.say.object(found.to_dict())
        return
    away: list[BatchStatus] = []
    looked = 0
    if not every and any(map(singles.is_single, found.batches)):
        latest = [batch async for batch in spool.batches(singles.LOOKED_AT)]
        shown, away = singles.folded(latest)
        found, looked = replace(found, batches=tuple(shown)), len(latest)
    ask.say.lines(tables.spool_screen(found, datetime.now(UTC), ask.say.columns))
    if away:
        ask.say.lines([singles.folded_line(away, looked)])
    for route in found.routes:
        if route.state != "ok":
            look = f"Look:  mailspool probe {route.name}"
            if route.since:
                look = f"Go on:  mailspool relay resume {route.name}"
            ask.say.notice("relay", f"Nothing leaves by the relay {route.name}.   {look}")
    for pause in found.paused:
        which = "" if pause.what == "spool" else f" --class {pause.what}"
        ask.say.notice("paused", f"{str(pause).capitalize()}.   Go on:  mailspool resume{which}")
    if not found.workers and found.queued + found.deferred:
        ask.say.notice("no_worker", "No worker is running, so nothing leaves. Start one:  mailspool worker")
    if not found.batches and ask.settings().redis_url is None and _elsewhere(spool.settings.data_dir):
        ask.say.note(f"there is also {_OF_THE_SERVICE} (mailspool-worker.service)")


def _elsewhere(data_dir: Path) -> bool:
    return _OF_THE_SERVICE.is_dir() and data_dir.expanduser().resolve() != _OF_THE_SERVICE
