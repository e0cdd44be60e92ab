"""`mailspool probe [NAME|URL|HOST:PORT]`: the exact conversation with an SMTP server, and what it means.

Exit: 0 ready, 69 not reached or it will not take mail, 77 login refused, 78 no such relay. Credentials are masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailspool.cli.failures import Usage
from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Line
    from mailspool.probe import ProbeReport


def probe(
    ask: Ask,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|URL|HOST:PORT]", help="Without one: the first relay.", show_default=False),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Go on to RCPT: would it take mail to this address?")
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Deliver a small test mail to --to.")] = False,
) -> int:
    """Talk to a relay and show every line."""
    from mailspool.cli import interrupt
    from mailspool.probe import probe as converse
    from mailspool.probe import probe_relay

    if send and to is None:
        raise Usage("a test mail needs a receiver: --to you@example.org --send")
    settings = ask.settings()
    relay = probe_relay(settings, target)

    async def main(signals: Signals) -> int:
        report = await converse(
            relay,
            ehlo_name=settings.ehlo(),
            to=to,
            send=send,
            mail_from=_address_of(settings.default_from),
            connect_timeout_s=settings.connect_timeout.total_seconds(),
        )
        if ask.say.json:
            ask.say.object(report.to_dict())
        else:
            ask.say.lines(_screen(report))
        return report.exit_code

    return interrupt.run(main)


def _address_of(mailbox: str | None) -> str | None:
    if mailbox is None:
        return None
    from mailspool.content.address import parse_mailbox

    return parse_mailbox(mailbox).address


def _screen(report: ProbeReport) -> list[Line]:
    from mailspool.cli.paint import Span, line

    lines = [
        line(Span(f"{step.at_ms:5,} ms  ", "dim"), f"{step.dir + ' ' if step.dir != '-' else ''}{step.line}")
        for step in report.steps
    ]
    return [*lines, line(Span(report.verdict, "red" if report.exit_code else "green"))]
