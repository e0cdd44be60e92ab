"""Blows that scenarios and `make crash` deal alike: a worker killed, a worker frozen, the embedded server killed.

Each one answers what it met: by the receiver's log, and by what the spool knew then (`is_sent`). A session holds a body
at a blow when the receiver has the whole mail and the spool does not know yet that it was sent.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.embedded import server_of
from tests.support.ground import Background, ReceiverProcess, now_ms
from tests.support.oracle import SessionSeen, is_receipt
from tests.support.waiting import until, until_quiet

IsSent = Callable[[str], Awaitable[bool]]
"""Does the spool know that the mail to this recipient was sent?"""


@dataclass
class Blow:
    """What one kill met, by the receiver's log and by what the spool knew then."""

    at_ms: int
    ended_ms: int
    """All its sessions had ended by then."""
    rate_per_s: float
    sessions: int
    holding: list[str] = field(default_factory=list)
    cut: int = 0


async def kill_worker(worker: Background, receiver: ReceiverProcess, is_sent: IsSent, *, first: int = 0) -> Blow:
    """kill -9. What it held is known before another worker starts. `first`: from which record on to count the speed."""
    log = receiver.log
    log.read()
    ended_before = {session.number for session in log.sessions.values() if session.closed}
    at_ms = now_ms()
    worker.kill()
    await until(lambda: not log.open_sessions(), "the receiver sees every session end")
    ended_ms = now_ms()
    ended = [session for session in log.sessions.values() if session.number not in ended_before]
    times = [record.at_ms for record in log.records[first:] if is_receipt(record)]
    rate = (len(times) - 1) * 1000 / max(1, times[-1] - times[0]) if times else 0.0
    cut = sum(session.cut is not None for session in ended)
    return Blow(at_ms, ended_ms, rate, len(ended), await in_doubt(ended, is_sent), cut)


async def freeze_worker(worker: Background, receiver: ReceiverProcess, is_sent: IsSent) -> list[str]:
    """SIGSTOP; the mails that its sessions had delivered, and that are not known as sent."""
    worker.send(signal.SIGSTOP)
    await until(lambda: worker.state() == "T", "it is stopped")
    await until_quiet(receiver.log.count, "what was on the wire has arrived")
    return await in_doubt(receiver.log.sessions.values(), is_sent)


async def in_doubt(sessions: Iterable[SessionSeen], is_sent: IsSent) -> list[str]:
    """Of each session's last mail: those that are not known as sent."""
    last = [session.last for session in sessions if session.last is not None]
    return [name for name in last if not await is_sent(name)]


async def kill_server(folder: Path) -> float:
    """kill -9 of the embedded server; seconds until another one serves the folder."""
    pid = server_of(folder)
    assert pid is not None, "no server runs"
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: server_of(folder) not in (None, pid), "somebody starts the server again")
    return time.monotonic() - killed_s


def speeds(blows: Iterable[Blow]) -> str:
    """In words."""
    rates = [blow.rate_per_s for blow in blows]
    return f"{min(rates):.0f} to {max(rates):.0f} (median {statistics.median(rates):.0f})"
