"""`python -m tests.storm.mutants SECONDS [WORD...]`: put every fault in (or those with a word), and see who notices.

Each fault gets so many seconds of storms, two faults at a time. Prints one line a fault: caught after how many storms and
by which oracle, or MISSED; then how many of how many. Exits with 1 if one was missed.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from typing import NamedTuple

from tests.storm.case import Violation
from tests.storm.mutants import named, prelude, producing, running
from tests.storm.mutants.fault import Fault, scripts_with
from tests.storm.server import Link, Server
from tests.storm.storm import storm

FAULTS = (*named.NAMED, *prelude.FAULTS, *producing.FAULTS, *running.FAULTS)
AT_ONCE = 2
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


def try_for(job: tuple[Fault, float]) -> Tried:
    fault, seconds = job
    start, storms = time.monotonic(), 0
    with Server() as server:
        link = Link(server.socket)
        while time.monotonic() - start < seconds:
            storms += 1
            if said := notice(fault, link, FIRST_SEED + storms):
                return Tried(fault, storms, said)
    return Tried(fault, storms, "")


def main(seconds: float, words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    caught = 0
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        for tried in pool.imap_unordered(try_for, [(fault, seconds) for fault in chosen]):
            caught += bool(tried.noticed)
            word = "caught" if tried.noticed else "MISSED"
            print(f"{word} [{tried.storms}] {tried.fault.name} <- {tried.noticed[:120]}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return int(caught < len(chosen))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
