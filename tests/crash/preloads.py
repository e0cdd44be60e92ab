"""Small libraries that are loaded before a process' own: a clock that is wrong, a note of what was really synced.

Built with the machine's C compiler when a disaster needs one; UnableError where there is none, or no Linux.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCES = Path(__file__).parent / "preload"


class UnableError(Exception):
    """This machine cannot play a disaster (no root, no compiler); the sentence says why."""


def build(name: str, folder: Path) -> Path:
    """The library of `preload/NAME.c`."""
    if sys.platform != "linux":
        raise UnableError("it needs Linux")
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnableError("there is no C compiler (cc) here")
    target = folder / f"{name}.so"
    words = [compiler, "-O1", "-shared", "-fPIC", "-o", str(target), str(SOURCES / f"{name}.c"), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return target


class WrongClock:
    """The wall clock of the processes that have `worn()` in their environment; `set` lets it jump."""

    def __init__(self, folder: Path) -> None:
        self._library = build("clock_offset", folder)
        self._file = folder / "clock-offset"
        self._file.write_bytes(bytes(8))

    def worn(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """From now on so many seconds ahead (or behind)."""
        with self._file.open("r+b") as file:  # in place: whoever has mapped it sees it
            file.write(struct.pack("=q", seconds))


def synced_sizes(log: Path) -> dict[Path, int]:
    """What of each append-only file had reached the disk."""
    found: dict[Path, int] = {}
    for line in log.read_text().splitlines():
        path, _, size = line.rpartition(" ")
        found[Path(path)] = int(size)
    return found
