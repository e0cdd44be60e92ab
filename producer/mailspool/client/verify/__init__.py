"""`verify(connection)`: recounts a live spool from its records, says what is wrong, and repairs what can be.

Called by `mailspool verify`. Reads all batches, then all keys, streamed; other processes go on meanwhile, so nothing is
called wrong that was seen at two different moments. With `repair` what was found is put right as it is found, and a
further pass tells what is left. Raises SpoolUnavailable.
Known limit: what is lost (rows, content, outcomes that cannot be read) is told and stays.
"""

from __future__ import annotations

from typing import Final

from mailspool.client.connection import Connection
from mailspool.client.verify.batches import Batches
from mailspool.client.verify.orphans import Orphans
from mailspool.client.verify.report import Fault, Findings, VerifyReport, Wrong, summed_up
from mailspool.client.verify.totals import Totals
from mailspool.contract.inspection import Inspection

_REPAIRS: Final = 5
"""An upload of nobody, its batch, that batch's parts: no chain of owners is longer."""

__all__ = ["Fault", "VerifyReport", "Wrong", "verify"]


async def verify(connection: Connection, *, repair: bool = False) -> VerifyReport:
    """One pass; with `repair` as many as find something new to repair: what owned a key may have been litter itself."""
    passes = [await _passed(connection, repair=repair)]
    while repair and passes[-1].count and len(passes) < _REPAIRS:
        passes.append(await _passed(connection, repair=True))
        if passes[-1].faults.keys() == passes[-2].faults.keys():
            break
    return summed_up(passes)


async def _passed(connection: Connection, *, repair: bool) -> Findings:
    findings = Findings()
    inspection = Inspection(connection.moves.caller, connection.keys)
    batches = Batches(connection, inspection, findings, repair=repair)
    await batches.run()
    await Orphans(connection, inspection, batches, findings, repair=repair).run()
    await Totals(connection, inspection, batches, findings, repair=repair).run()
    return findings
