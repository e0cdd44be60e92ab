"""`mailspool sandbox`: a receiving server that keeps what it gets, shows it, and misbehaves by local part.

stdout: a line a mail. Ends by Ctrl-C (130) or SIGTERM (0). Raises ConfigError (78) where it cannot listen or keep.
"""

from __future__ import annotations

import re
import signal
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailspool.cli import sandbox_flags as flags
from mailspool.cli.failures import Interrupted
from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Line
    from mailspool.sandbox import ReceivedMail, Receiver, ReceiverOptions

_LISTEN: Final = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[^:\[\]]*):)?([0-9]{1,5})", re.ASCII)
_SUBJECT_SHOWN: Final = 60


@dataclass(frozen=True)
class Taken:
    """A mail that the sandbox took; its JSON."""

    at: str
    recipients: tuple[str, ...]
    mail_from: str
    subject: str
    size_bytes: int
    parts: int
    attachments: tuple[str, ...]
    message_id: str | None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """Where it listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _place(text: str | Place) -> Place:
    """HOST:PORT, for typer, which hands over the default too; a port alone is one of this machine's own address."""
    if isinstance(text, Place):
        return text
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[2]) > 65_535:
        raise typer.BadParameter(f'"{text[:60]}" is no HOST:PORT such as 127.0.0.1:2525.')
    return Place((found[1] or "127.0.0.1").strip("[]"), int(found[2]))


_DEFAULT_PLACE: Final = Place("127.0.0.1", 2525)


def sandbox(
    ask: Ask,
    listen: Annotated[
        Place, typer.Option("--listen", metavar="HOST:PORT", parser=_place, help="Port 0: a free one.")
    ] = _DEFAULT_PLACE,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep each mail as an .eml file there, with an index.jsonl."),
    ] = None,
    no_pipelining: flags.NoPipelining = False,
    no_eight_bit: flags.NoEightBit = False,
    broken_starttls: flags.Broken = None,
    certificate: flags.Certificate = None,
    key: flags.PrivateKey = None,
    refuse_auth: flags.RefuseAuth = False,
    quota: flags.Quota = None,
    session_messages: flags.PerSession = None,
    max_sessions: flags.Sessions = None,
    greylist: flags.Greylist = None,
    banner_delay: flags.BannerDelay = None,
    early_talker: flags.EarlyTalker = False,
    slow: flags.Slow = None,
    nested_mail: flags.NestedMail = "refused",
) -> int:
    """Run a receiving server that misbehaves on command.

    For trying things out: it keeps mail, shows it, and never sends it on. An address's local part orders what goes
    wrong; the table is printed when it starts. Flags order what goes wrong for everybody.
    """
    from mailspool.cli import interrupt
    from mailspool.sandbox import ReceiverOptions

    options = ReceiverOptions(
        keep=keep, remember_mails=False, remember_log=False, pipelining=not no_pipelining,
        eight_bit_mime=not no_eight_bit, broken_starttls=broken_starttls, certificate=certificate, key=key,
        refuse_auth=refuse_auth, quota=quota, session_messages=session_messages, max_sessions=max_sessions,
        greylist_s=None if greylist is None else greylist.total_seconds(), banner_delay_s=_seconds(banner_delay),
        early_talker=early_talker, dot_delay_s=_seconds(slow), nested_mail=nested_mail,
    )  # fmt: skip

    async def main(signals: Signals) -> int:
        return await _serve(ask, listen, options, signals)

    return interrupt.run(main)


def _seconds(time: timedelta | None) -> float:
    return 0.0 if time is None else time.total_seconds()


async def _serve(ask: Ask, listen: Place, options: ReceiverOptions, signals: Signals) -> int:
    import asyncio

    from mailspool.sandbox import serve

    def ready(receiver: Receiver) -> None:
        _greet(ask, receiver, options.keep)

    def show(mail: ReceivedMail) -> None:
        taken = _taken(mail)
        if ask.say.json:
            ask.say.object(taken.to_dict())
        else:
            ask.say.lines([_line(taken)])

    try:
        await serve(options, show, host=listen.host, port=listen.port, on_ready=ready)
    except asyncio.CancelledError:
        if signals.first == signal.SIGTERM:
            return 0
        raise Interrupted("Stopped.", signals.exit_code) from None
    return 0


def _greet(ask: Ask, receiver: Receiver, keep: Path | None) -> None:
    from mailspool.sandbox import order_help

    if ask.say.json:
        ask.say.notice("listening", receiver.url)
        return
    kept = f"; mail is kept in {keep}" if keep else "; mail is shown and forgotten (--keep DIR keeps it)"
    ask.say.note(f"listening on {receiver.url}{kept}")
    ask.say.note(f"send to it:   MAILSPOOL_RELAY_URL={receiver.url} mailspool send ... --deliver")
    ask.say.note("it reads and shows every mail, some hundreds a second: what you see is its speed, not Mailspool's")
    ask.say.note("it takes every mail; these local parts make it misbehave (x is any text, N a number):")
    for row in order_help().splitlines():
        ask.say.note(f"  {row}")


def _taken(mail: ReceivedMail) -> Taken:
    from mailspool.sandbox import summarise

    summary = summarise(mail.data, excerpt_characters=0)
    at = datetime.fromtimestamp(mail.received_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    files = tuple(file.name for file in summary.attachments)
    return Taken(
        at, mail.recipients, mail.mail_from, summary.subject, summary.size, summary.parts, files, mail.message_id
    )


def _line(taken: Taken) -> Line:
    from mailspool.cli.paint import Span, harmless, line
    from mailspool.cli.screens import counted

    at = datetime.fromisoformat(taken.at).astimezone()
    files = f"   {', '.join(harmless(name) for name in taken.attachments)}" if taken.attachments else ""
    return line(
        Span(f"{at:%H:%M:%S}  ", "dim"),
        harmless(", ".join(taken.recipients)),
        "   ",
        Span(taken.subject[:_SUBJECT_SHOWN] or "(no subject)", "bold"),
        Span(f"   {taken.size_bytes:,} bytes, {counted(taken.parts, 'part')}{files}", "dim"),
    )
