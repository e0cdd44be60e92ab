"""`mailspool watch BATCH`: follow a batch until it has come to rest, then its report.

Exit: 0 all is well, 1 something failed, expired or is uncertain, 75 --timeout, 130 Ctrl-C (only the watching stops).
`closing` is also the end of `send --watch` and `send --deliver`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mailspool.cli.failures import NOT_OK, Interrupted
from mailspool.cli.options import Ask, BatchRef, Timeout

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.status import BatchStatus


def watch(ask: Ask, ref: BatchRef, timeout: Timeout = None) -> int:
    """Follow a batch until it is done, then show its report."""
    from mailspool.cli import interrupt

    async def main(signals: Signals) -> int:
        return await _watch(ask, ref, timeout, signals)

    return interrupt.run(main)


async def _watch(ask: Ask, ref: str, timeout: timedelta | None, signals: Signals) -> int:
    import asyncio

    from mailspool.cli.live import follow
    from mailspool.cli.refs import known_batch

    async with ask.opened() as spool:
        batch = await known_batch(spool, ref)
        try:
            status = await follow(ask.say, batch, timeout, tell=True)
        except asyncio.CancelledError:
            raise Interrupted(stopped_watching(batch.id), signals.exit_code) from None
        if not ask.say.json:
            await show_report(ask, batch, status)
        return exit_code(status)


def stopped_watching(batch: str) -> str:
    return f"Stopped watching; {batch} goes on. Come back: mailspool watch {batch}"


def exit_code(status: BatchStatus) -> int:
    """Of a command that waited."""
    return 0 if status.ok else NOT_OK


async def show_report(ask: Ask, batch: Batch, status: BatchStatus, *, next_step: bool = True) -> None:
    from mailspool.cli import screens
    from mailspool.cli.live import reply_groups

    groups = await reply_groups(batch, status)
    ask.say.lines(screens.report(status, groups, datetime.now(UTC), advise=next_step, columns=ask.say.columns))
