"""`python -m tests.storm SECONDS [SEED]`: storms in a row from a seed, until the time is over or one fails."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tests.storm.server import Link, Server
from tests.storm.storm import named


def main(seconds: float, seed: int) -> None:
    counts: Counter[str] = Counter()
    start, n = time.monotonic(), 0
    with Server() as server:
        link = Link(server.socket)
        while time.monotonic() - start < seconds:
            counts += named(seed + n, link)
            n += 1
        link.close()
    print(f"{n} storms from seed {seed}: no violation;", *(f"{name} {count}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
