"""`mailspool demo`: a thousand personal mails through a real queue to a receiver that misbehaves, on this machine.

Its own spool in a temporary folder, its own receiver on a free port of 127.0.0.1, a worker in this process. Settings of
the environment and of files do not count. Leaves nothing, unless `--keep DIR` asks for what a second program needs to
compare: the received mails with their `index.jsonl`, and `show.jsonl`, the account of every message.
Exit: 0; 70 if the receiver and the account disagree.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailspool.cli.failures import Interrupted, Usage
from mailspool.cli.options import Ask
from mailspool.errors import MailspoolError

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Line
    from mailspool.sandbox import ReceivedMail, Receiver
    from mailspool.status import BatchStatus

_SHARE: Final = 0.9
"""The last tenth waits for later tries, which says nothing about speed."""
_SHOWN: Final = 400
YOURS: Final = (
    "export MAILSPOOL_RELAY_URL=smtp://user:password@mail.example.com:587",
    "{command} send --from you@example.com --subject 'Hi {{ name }}' \\",
    "  --text hello.txt --to people.csv --key hello --deliver",
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo did; its JSON."""

    count: int
    sent: int
    failed: int
    deferred: int
    rate_per_s: float | None
    seconds: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def demo(
    ask: Ask,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=1_000_000, help="How many mails.")] = 1000,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep the received mails and their account in this new folder."),
    ] = None,
) -> int:
    """Send 1,000 mails to a receiver that misbehaves, on this machine."""
    import asyncio

    from mailspool.cli import interrupt

    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise Usage(f"{keep} is there already and not empty: name a new folder.")

    async def main(signals: Signals) -> int:
        try:
            return await _demo(ask, count, keep, signals)
        except asyncio.CancelledError:
            raise Interrupted("Stopped; nothing is left behind.", signals.exit_code) from None

    return interrupt.run(main, fast=True)


async def _demo(ask: Ask, count: int, keep: Path | None, signals: Signals) -> int:
    from mailspool.cli import demo_mail
    from mailspool.cli.inline import delivering
    from mailspool.cli.live import follow
    from mailspool.cli.own_spool import own_settings, sweep
    from mailspool.sandbox import Receiver, ReceiverOptions
    from mailspool.spool import Spool

    async with AsyncExitStack() as stack:
        options = ReceiverOptions(hostname="receiver.example.org", keep=keep, remember_log=False)
        receiver = await stack.enter_async_context(Receiver(options=options))
        settings = stack.enter_context(own_settings("demo", receiver.url))
        signals.last_chore = lambda: sweep(settings.data_dir)
        spool = await stack.enter_async_context(Spool(settings))
        ask.say.note(_introduction(count, receiver.url))
        batch = await spool.send_batch(demo_mail.message(), demo_mail.rows(count), name="demo", key="demo")
        async with delivering(settings):
            status = await follow(ask.say, batch, None)
        await _tell(ask, batch, status, receiver)
        if keep is not None:
            await _keep_account(batch, keep)
            ask.say.note(f"kept in {keep}: the received mails, index.jsonl, and show.jsonl, the account")
        expected = count - demo_mail.unknown(count)
        if not receiver.received == status.sent == expected:
            raise MailspoolError(
                f"the receiver took {receiver.received:,} mails, the account says {status.sent:,}, and {expected:,} "
                "should have arrived. That is a bug of Mailspool's: please report it.",
                code="bug",
            )
    return 0


def _introduction(count: int, url: str) -> str:
    from mailspool.cli import demo_mail
    from mailspool.cli.screens import counted

    missing = counted(demo_mail.unknown(count), "receiver does", "receivers do")
    return (
        f"{counted(count, 'personal mail')} through a queue in a temporary folder to a receiver on {url}:\n"
        f"{missing} not exist, some greylist once, one hangs up. Nothing leaves this machine."
    )


async def _tell(ask: Ask, batch: Batch, status: BatchStatus, receiver: Receiver) -> None:
    from mailspool.cli.watch import show_report

    rate = steady_rate([mail.received_ms for mail in receiver.mails])
    seconds = _seconds(status)
    if ask.say.json:
        result = DemoResult(status.total, status.sent, status.failed, status.deferred, rate, seconds)
        ask.say.object(result.to_dict())
        return
    await show_report(ask, batch, status, next_step=False)
    speed = f"{rate:,.0f} mails/s while nothing had to wait; " if rate else ""
    ask.say.text(f"{speed}the receiver took {receiver.received:,}, exactly those that the account calls sent.")
    ask.say.lines(_one_mail(receiver.mails))
    ask.say.text("", "Send yours:", *(f"  {words}" for words in yours(as_called(sys.argv[0]))))


def yours(command: str) -> list[str]:
    """What to type next."""
    return [words.replace("{command}", command) for words in YOURS]


def as_called(argv0: str) -> str:
    """How this program was called, for the next command: from a clone it is not on the PATH."""
    called = Path(argv0)
    if called.name == "__main__.py":
        return "python -m mailspool.cli"
    found = shutil.which("mailspool")
    if called.name != "mailspool" or (found is not None and called.exists() and called.samefile(found)):
        return "mailspool"
    return shlex.quote(argv0)


def _seconds(status: BatchStatus) -> float:
    if status.finished_at is None or status.created_at is None:
        return 0.0
    return round((status.finished_at - status.created_at).total_seconds(), 3)


def steady_rate(received_ms: Sequence[int]) -> float | None:
    """Mails a second until most had arrived; None where there are too few to tell."""
    most = int(len(received_ms) * _SHARE)
    if most < 2:
        return None
    times_ms = sorted(received_ms)
    return round((most - 1) * 1000 / max(1, times_ms[most - 1] - times_ms[0]), 1)


def _one_mail(mails: Sequence[ReceivedMail]) -> list[Line]:
    """As it came; the first Arabic one shows most."""
    from mailspool.cli.paint import Span, line
    from mailspool.sandbox import describe

    if not mails:
        return []
    chosen = next((mail for mail in mails if "guest5@" in mail.recipient), mails[0])
    lines = describe(chosen.data, excerpt_characters=_SHOWN).splitlines()
    return [
        line(""),
        line(Span("One of them, as it arrived:", "bold")),
        *(line(f"  {text}".rstrip()) for text in lines),
    ]


async def _keep_account(batch: Batch, folder: Path) -> None:
    from mailspool.cli.say import json_text

    lines = [json_text(message.to_dict()) + "\n" async for message in batch.messages()]
    path = folder / "show.jsonl"
    path.touch(mode=0o600)
    path.write_text("".join(lines), encoding="utf-8")
