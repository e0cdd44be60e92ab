"""`mailspool worker`: deliver what the spool holds, until a signal, until nothing is left for now, or until it is done.

The worker itself is another package, which is loaded by name: what scripts import must never need it.
Exit: 0 (also for SIGTERM and Ctrl-C, which finish what is on the wire), 1 and 75 with --until-done, 78 without a relay,
130 after a second signal.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, cast

import typer

from mailspool.cli.failures import Usage
from mailspool.cli.options import Ask, duration
from mailspool.errors import ConfigError

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.say import Say
    from mailspool.contract.states import Class
    from mailspool.settings import Settings


class RunWorker(Protocol):
    """`mailspool_worker.cli_entry.run_worker`."""

    def __call__(
        self,
        settings: Settings,
        *,
        class_: Class | None,
        drain: bool,
        until_done: Sequence[str] | None,
        timeout_s: float | None,
    ) -> int: ...


def worker(
    ask: Ask,
    batches: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BATCH]...", help="With --until-done: only until these are done.", show_default=False),
    ] = None,
    class_: Annotated[
        Literal["all", "transactional", "bulk"], typer.Option("--class", help="What to deliver.")
    ] = "all",
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing can be sent now (later tries are not waited for).")
    ] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when every batch (or each BATCH) is done, later tries included.")
    ] = False,
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", metavar="DUR", parser=duration, help="End after this in any case (exit 75)."),
    ] = None,
) -> int:
    """Deliver mail: until stopped, --drain, or --until-done."""
    if drain and until_done:
        raise Usage("--drain does not wait for later tries, --until-done does: give one of them.")
    if batches and not until_done:
        raise Usage("a BATCH is named to wait for it: add --until-done.")
    if timeout is not None and not (drain or until_done):
        raise Usage("--timeout bounds --drain or --until-done: a worker without them runs until it is stopped.")
    # The worker's own first log lines tell what is strange about them.
    settings = ask.settings(tell=False, **_log_settings(ask.say))
    if not settings.relay_table():
        ask.tell_unknown_variables()  # MAILSPOOL_RELAYURL; a worker that starts tells them in its log
        raise ConfigError(settings.no_relay_words(), code="no_relay")
    names = _ids(ask, batches or ()) if until_done else None
    run_worker = cast("RunWorker", importlib.import_module("mailspool_worker.cli_entry").run_worker)
    return run_worker(
        settings,
        class_=None if class_ == "all" else class_,
        drain=drain,
        until_done=names,
        timeout_s=None if timeout is None else timeout.total_seconds(),
    )


def _log_settings(say: Say) -> dict[str, object]:
    """What the global flags mean for the worker's log, which is all that it says."""
    found: dict[str, object] = {}
    if say.json:
        found["log_format"] = "json"
    if say.quiet:
        found["log_level"] = "error"
    return found


def _ids(ask: Ask, refs: Sequence[str]) -> list[str]:
    """What people call batches, as ids; an unknown one is told before anything is sent."""
    if not refs:
        return []
    from mailspool.cli import interrupt
    from mailspool.cli.refs import known_batch

    async def main(signals: Signals) -> list[str]:
        async with ask.opened() as spool:
            return [(await known_batch(spool, ref)).id for ref in refs]

    return interrupt.run(main)
