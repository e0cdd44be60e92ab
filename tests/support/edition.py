"""Which edition of a scenario runs: the short one of every `make test`, or the full one of `make crash`.

A scenario is marked `storm` where its full edition differs. `show` prints its figures (`pytest -s`).
"""

from __future__ import annotations

import os
import sys
from typing import TypeVar

FULL = "MAILSPOOL_STORM_SECONDS" in os.environ

T = TypeVar("T")


def pick(short: T, full: T) -> T:
    """The size of this run."""
    return full if FULL else short


def show(title: str, **figures: object) -> None:
    """One line of figures."""
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    sys.stdout.write(f"\n  {title}: {words}\n")
