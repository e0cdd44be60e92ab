"""One fault, and storms until somebody notices it. Called by test_mutants.py and `python -m tests.storm.mutants`."""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.storm.case import Violation
from tests.storm.mutants import ending, named, prelude, producing, running
from tests.storm.mutants.fault import Fault, scripts_with
from tests.storm.server import Link, Server
from tests.storm.storm import storm

FAULTS = (*named.NAMED, *prelude.FAULTS, *producing.FAULTS, *running.FAULTS, *ending.FAULTS)
FIRST_SEED = 5000


class Tried(NamedTuple):
    """`noticed`: what the oracle said, empty if nobody noticed."""

    fault: Fault
    storms: int
    noticed: str


def notice(fault: Fault, link: Link, seed: int) -> str:
    """One storm with this fault: what the oracle said, or nothing."""
    try:
        storm(seed, link, scripts_with(fault))
    except Violation as violation:
        return ": ".join(str(fact) for fact in violation.args[:2])
    return ""


def try_for(fault: Fault, seconds: float) -> Tried:
    start, storms = time.monotonic(), 0
    with Server() as server:
        link = Link(server.socket)
        while time.monotonic() - start < seconds:
            storms += 1
            if said := notice(fault, link, FIRST_SEED + storms):
                return Tried(fault, storms, said)
    return Tried(fault, storms, "")
