"""`retry`, `hold`, `release`, `cancel`: what a person may do to a batch that is on its way.

Each answers `{batch, moved}`; nothing to do is no error. Raises NotFound (66), InputError (65: a cancelled batch
cannot be tried again). Only `cancel` asks, and only where somebody sits at a terminal; everywhere it says how many.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mailspool.cli.options import Ask, BatchRef, DomainFilter, ReplyFilter, ToFilter
from mailspool.errors import InputError

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.status import BatchStatus

_AFRESH: Final = "the same mailspool send with --again (or another --key)"
Retryable = Literal["deferred", "failed", "uncertain"]


@dataclass(frozen=True)
class Moved:
    """What one of these commands did; its JSON."""

    batch: str
    moved: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def retry(
    ask: Ask,
    ref: BatchRef,
    state: Annotated[Retryable, typer.Option("--state", help="Which ones.")] = "deferred",
    to: ToFilter = None,
    domain: DomainFilter = None,
    reply: ReplyFilter = None,
) -> int:
    """Try deferred messages now, or failed ones again."""

    async def act(batch: Batch) -> int:
        try:
            return await batch.retry(state, recipient=to, domain=domain, reply=reply)
        except InputError as error:
            raise _why_not(error, await batch.status()) from None

    narrowed = bool(to or domain or reply)
    return _act(
        ask, ref, act, lambda moved, batch: f"{_mails(moved)} of {batch.id} {'is' if moved == 1 else 'are'} due now",
        lambda status: _none_to_retry(status, state, narrowed=narrowed),
    )  # fmt: skip


def _none_to_retry(status: BatchStatus, state: Retryable, *, narrowed: bool) -> str:
    number: int = getattr(status, state)
    if number and narrowed:
        return f"no {state} mail of {status.id} matches the filter ({number:,} {state})"
    if number:
        return f"what is {state} of {status.id} is due already ({_mails(number)})"
    others = [name for name in ("deferred", "failed", "uncertain") if getattr(status, name)]
    counts = " and ".join(f"{getattr(status, name):,} {name}" for name in others)
    more = f" ({counts}; for those:  mailspool retry {status.id} --state {others[0]})" if others else ""
    return f"no mail of {status.id} is {state}{more}"


def _why_not(error: InputError, status: BatchStatus) -> InputError:
    """A batch that is closed for good, and the way out."""
    if status.state == "cancelled":
        why = "is cancelled, and a cancelled batch stays cancelled"
    elif status.expired:
        why = "is past its deadline, and what has expired stays so"
    else:
        return error
    words = f"batch {status.id} {why}: nothing of it can be tried again. To mail those after all, queue them again"
    all_of_them = " This mails all of them again, also those that were sent." if status.sent else ""
    return InputError(f"{words}: {_AFRESH}.{all_of_them}", hint=_AFRESH, code=error.code)


def hold(ask: Ask, ref: BatchRef) -> int:
    """Stop a batch until it is released; what is on the wire finishes."""
    return _act(
        ask, ref, lambda batch: batch.hold(),
        lambda moved, batch: f"{_mails(moved)} of {batch.id} held.   Go on:  mailspool release {batch.id}",
        lambda status: _nothing_open(status) or f"{status.id} is held already", asked="held",
    )  # fmt: skip


def release(ask: Ask, ref: BatchRef) -> int:
    """Let a held batch go on."""
    return _act(
        ask, ref, lambda batch: batch.release(), lambda moved, batch: f"{_mails(moved)} of {batch.id} released",
        lambda status: _nothing_open(status) or f"{status.id} is not held",
    )  # fmt: skip


def cancel(
    ask: Ask,
    ref: BatchRef,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Never send what has not been sent yet."""

    async def act(batch: Batch) -> int:
        if not yes and sys.stdin.isatty() and not await _agreed(batch):
            raise typer.Exit(0)
        return await batch.cancel()

    return _act(ask, ref, act, _cancelled, _nothing_open)


def _cancelled(moved: int, status: BatchStatus) -> str:
    """How many, and of what: a script is not asked."""
    name = f" ({status.name})" if status.name else ""
    before = f"; {status.sent:,} of its {status.total:,} were sent before" if status.sent else ""
    return f"{_mails(moved)} of {status.id}{name} cancelled{before}"


def _nothing_open(status: BatchStatus) -> str:
    """Why nothing can be held or cancelled; empty where there is mail that could be."""
    if status.state == "cancelled":
        return f"{status.id} is cancelled already"
    open_ones = status.queued + status.deferred
    return "" if open_ones and not status.done else f"{status.id} is done already: no mail of it is left to send"


async def _agreed(batch: Batch) -> bool:
    """Ask on stderr: stdout is for the answer of the command."""
    status = await batch.status()
    open_ones = status.queued + status.deferred
    if status.done or not open_ones:
        return True
    name = f" ({status.name})" if status.name else ""
    sys.stderr.write(f"Cancel {_mails(open_ones)} of {batch.id}{name}? {status.sent:,} are sent already. [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer in ("y", "yes"):
        return True
    sys.stderr.write("Nothing was cancelled.\n")
    return False


def _act(
    ask: Ask,
    ref: str,
    action: Callable[[Batch], Awaitable[int]],
    words: Callable[[int, BatchStatus], str],
    why_none: Callable[[BatchStatus], str],
    asked: str = "",
) -> int:
    """`words` for what was done, `why_none` where nothing could be; `asked`: the state that somebody wanted."""
    from mailspool.cli import interrupt
    from mailspool.cli.refs import known_batch

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            batch = await known_batch(spool, ref)
            moved = await action(batch)
            status = await batch.status()
            if ask.say.json:
                ask.say.object(Moved(batch.id, moved).to_dict())
            else:
                none = "" if moved else why_none(status)
                ask.say.text(f"Nothing to do: {none}." if none else words(moved, status))
            if moved and (told := _still_waits(status, asked)):
                ask.say.notice(*told)
        return 0

    return interrupt.run(main)


def _still_waits(status: BatchStatus, asked: str) -> tuple[str, str] | None:
    """What keeps it all the same: `retry` of a held batch sends nothing. (code, words)"""
    from mailspool.cli.paint import harmless
    from mailspool.cli.screens import next_step
    from mailspool.status import start_worker

    waits = status.waiting_for or ""
    if not waits or status.state == asked or waits.startswith(("a later try", "starts ")):
        return None
    if command := start_worker(waits):
        words = waits.partition(": ")[0]
        return "no_worker", f"{words[:1].upper()}{words[1:]}. Start one:  {command}"
    return "waiting", f"It waits: {harmless(waits)}.   Next:  {next_step(status)}"


def _mails(number: int) -> str:
    from mailspool.cli.screens import counted

    return counted(number, "mail")
