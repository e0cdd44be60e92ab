"""`python -m tests.storm.mutants SECONDS [WORD...]`: put every fault in (or those with a word), and see who notices.

Each fault gets so many seconds of storms, two faults at a time. Prints one line a fault: caught after how many storms
and by which oracle, or MISSED; then how many of how many. Exits with 1 if one was missed.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.storm.mutants.trial import FAULTS, try_for

AT_ONCE = 2


def main(seconds: float, words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    caught = 0
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for done in as_completed([pool.submit(try_for, fault, seconds) for fault in chosen]):
            tried = done.result()
            caught += bool(tried.noticed)
            word = "caught" if tried.noticed else "MISSED"
            print(f"{word} [{tried.storms}] {tried.fault.name} <- {tried.noticed[:120]}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return int(caught < len(chosen))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
