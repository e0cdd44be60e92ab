"""`diagnose(settings)`: everything that mail needs to leave, looked at once, each with what to do about it.

Called by `mailspool doctor`. Queues nothing and sends nothing; with an embedded spool it starts the server, as every
command does. Secrets stand in no check. Raises nothing that the outside can cause: what cannot be asked is a check.
"""

from __future__ import annotations

from mailspool.client.doctor.around import of_ehlo, of_settings, of_variables
from mailspool.client.doctor.relays import of_relays
from mailspool.client.doctor.report import Check, DoctorReport, failed
from mailspool.client.doctor.spool import of_spool
from mailspool.errors import ConfigError
from mailspool.settings import Relay, Settings

__all__ = ["Check", "DoctorReport", "diagnose", "without_settings"]


async def diagnose(settings: Settings) -> DoctorReport:
    """All checks."""
    seen = await of_spool(settings)
    relays: dict[str, Relay] = {}
    try:
        relays = settings.relay_table()
    except ConfigError as error:
        of_them = failed("relay", error.message, error.hint, "mailspool settings")
    else:
        of_them = await of_relays(settings, relays, seen.relays)
    around = [*of_settings(settings), *of_variables()]
    ehlo = await of_ehlo(settings, relays.values()) if relays else []
    return DoctorReport((*seen.checks, *of_them, *ehlo, *around))


def without_settings(error: ConfigError) -> DoctorReport:
    """Where the settings cannot be read there is nothing else to ask; every fault of theirs is a check."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    found = [check for line in lines for check in failed("settings", line, error.hint, "mailspool settings --help")]
    return DoctorReport((*found, *of_variables()))
