"""`python -m tests.crash [NAME ...] [--short] [--keep DIR] [--seed N] [--list]`: disasters, one after the other.

Prints a line when one begins, and the table of verdicts at the end. Exit 1 if any verdict is bad; 2 for a name that is
no disaster. `--keep`: the histories stay there (`python -m tests.crash.judge DIR/NAME` judges one again).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.catalogue import BY_NAME, DISASTERS
from tests.crash.judge import Verdict, table
from tests.crash.preloads import UnableError
from tests.crash.run import play


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Disasters, and what they did to the mail."
    )
    parser.add_argument("names", nargs="*", help="all of them by default")
    parser.add_argument("--short", action="store_true", help="the editions that CI runs")
    parser.add_argument("--keep", type=Path, help="a folder for the histories")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--list", action="store_true", help="names and promises")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    given = arguments(words)
    if given.list:
        say("\n".join(f"{disaster.name:<18}{disaster.promise}" for disaster in DISASTERS))
        return 0
    if unknown := [name for name in given.names if name not in BY_NAME]:
        say(f"no such disaster: {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
        return 2
    rows: list[tuple[str, Verdict]] = []
    root = given.keep or Path(tempfile.mkdtemp(prefix="crash-"))
    for disaster in [BY_NAME[name] for name in given.names] or DISASTERS:
        began_s = time.monotonic()
        say(f"{disaster.name}: {disaster.promise} ...")
        try:
            size = disaster.short if given.short else disaster.full
            played = asyncio.run(play(disaster, root / disaster.name, size, given.seed))
        except UnableError as reason:
            say(f"  skipped: {reason}")
            continue
        rows.append((disaster.name, played.verdict))
        figures = "".join(f", {name} {value}" for name, value in played.figures.items())
        words_ = "good" if played.verdict.good else "BAD: " + "; ".join(played.verdict.faults)
        say(f"  {words_} after {time.monotonic() - began_s:.0f} s (seed {played.seed}{figures})")
    say("\n" + table(rows))
    if given.keep is None:
        shutil.rmtree(root, ignore_errors=True)
    return 0 if all(verdict.good for _, verdict in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
