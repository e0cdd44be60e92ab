"""The end of `send --watch` and `send --deliver`: follow the batch until it is done, its time is over, or Ctrl-C.

`--deliver` brings a worker of its own, and what that one has on the wire finishes whatever ends the waiting; it says so
when that begins. Called by queueing.py. Raises Interrupted, WaitTimeout (after the report of what there is so far), and
what following and delivering raise.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from mailspool.cli import screens
from mailspool.cli.failures import Interrupted
from mailspool.cli.inline import delivering
from mailspool.cli.live import follow
from mailspool.cli.watch import exit_code, show_report, stopped_watching
from mailspool.cli.when import spelled
from mailspool.errors import SpoolUnavailable, WaitTimeout

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.options import Ask
    from mailspool.cli.send import After
    from mailspool.settings import Settings
    from mailspool.spool import Spool
    from mailspool.status import BatchStatus

GO_ON: Final = "the same command again (for a list), or mailspool worker"
ALONE: Final = "run `mailspool worker` to go on"
_DROPPED: Final = "Dropped: mails that were on the wire are in doubt and may be sent again."


async def end(ask: Ask, after: After, batch: Batch, spool: Spool, signals: Signals) -> int:
    """Its exit code."""
    say, settings = ask.say, spool.settings
    try:
        async with delivering(settings) if after.deliver else contextlib.nullcontext():
            try:
                status = await follow(say, batch, after.timeout)
            except asyncio.CancelledError:
                if after.deliver:
                    say.note(f"finishing what is on the wire ({_at_most(settings)}); Ctrl-C again drops it")
                    signals.last_words = _DROPPED
                raise
            except WaitTimeout:
                if after.deliver:
                    say.note(f"the time is over: stops here; what is on the wire finishes ({_at_most(settings)})")
                    signals.last_words = _DROPPED
                raise
    except asyncio.CancelledError:
        status = await batch.status()
        raise Interrupted(_gone(status, deliver=after.deliver), signals.exit_code) from None
    except WaitTimeout as error:
        if not after.deliver:
            raise
        try:  # our own worker has stopped by now
            status, workers = await batch.status(), (await spool.status()).workers
        except SpoolUnavailable:
            raise WaitTimeout(error.message, status=error.status, hint=advice(error)) from None
        if not status.done:
            await _tell(ask, batch, status, next_step=False)
            raise stopped(error, status, workers) from None
    await _tell(ask, batch, status)
    return exit_code(status)


async def _tell(ask: Ask, batch: Batch, status: BatchStatus, *, next_step: bool = True) -> None:
    if ask.say.json:
        ask.say.object(status.to_dict())
    else:
        await show_report(ask, batch, status, next_step=next_step)


def _at_most(settings: Settings) -> str:
    return f"at most {spelled(settings.stop_timeout.total_seconds())}"


def stopped(error: WaitTimeout, status: BatchStatus, workers: int) -> WaitTimeout:
    """`workers`: those that run now; without one nothing of it moves. A relay in trouble is to be looked at first."""
    message = error.message
    if not workers:
        message = message.replace(", still going", f"; {ALONE}", 1)
    return WaitTimeout(message, status=status, hint=advice(error))


def advice(error: WaitTimeout) -> str:
    """Where the relay is at fault, going on does not help before somebody has looked at it."""
    from mailspool.status import BatchStatus

    look = screens.probe_of(error.status) if isinstance(error.status, BatchStatus) else ""
    return f"{look} tells more; then {GO_ON}" if look else GO_ON


def _gone(status: BatchStatus, *, deliver: bool) -> str:
    if not deliver or status.done:
        return stopped_watching(status.id)
    far = f"{status.sent:,} of {status.total:,} are sent, the rest is kept"
    return f"Stopped: {far}. Go on: {GO_ON}"
