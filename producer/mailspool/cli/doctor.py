"""`mailspool doctor`: looks at everything that mail needs to leave, and says what to do. Sends nothing, queues nothing.

Exit: 0 all is well (warnings too), 1 something failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailspool.cli.failures import NOT_OK
from mailspool.cli.options import Ask
from mailspool.errors import ConfigError

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.paint import Cell, Line, Style
    from mailspool.client.doctor import DoctorReport

_STYLES: Final[dict[str, Style]] = {"ok": "green", "warn": "yellow", "FAIL": "red"}


_ONE_LINE: Final = 57
"""Detail and advice beside each other in a terminal of 80 columns; else the advice has a line of its own."""


def doctor(ask: Ask) -> int:
    """Look at Redis, workers, relays and settings; say what to do."""
    from mailspool.cli import interrupt
    from mailspool.cli.live import patience
    from mailspool.client.doctor import diagnose, without_settings

    try:
        settings = ask.settings(tell=False)
    except ConfigError as error:
        return _tell(ask, without_settings(error))

    async def main(signals: Signals) -> int:
        async with patience(ask.say, "Redis and the relays are asked"):
            report = await diagnose(settings)
        return _tell(ask, report)

    return interrupt.run(main)


def _tell(ask: Ask, report: DoctorReport) -> int:
    if ask.say.json:
        ask.say.object(report.to_dict())
    else:
        ask.say.lines(_screen(report))
    return 0 if report.ok else NOT_OK


def _screen(report: DoctorReport) -> list[Line]:
    from mailspool.cli.paint import Span, harmless, table

    rows: list[list[Cell]] = []
    for check in report.checks:
        label = "" if (check.fix or "").startswith("Did you mean") else "fix: "
        fix, detail = f"{label}{harmless(check.fix)}" if check.fix else "", harmless(check.detail)
        aside = fix and len(detail) + len(fix) > _ONE_LINE
        rows.append([Span(check.level, _STYLES[check.level]), harmless(check.name), detail])
        if aside:
            rows.append(["", "", fix])
        elif fix:
            rows[-1][-1] = f"{detail}   {fix}"
    return table(rows)
