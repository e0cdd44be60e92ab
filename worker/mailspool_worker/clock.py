"""Redis' clock, as this process knows it. No host's clock decides anything.

Every answer that carries Redis' time is an observation; in between time goes on by CLOCK_BOOTTIME, which counts sleep
and knows no adjustments. `jumps` counts how often one of the two has jumped, whoever observed it: then nobody sweeps
for a while (feeder.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

JUMP_MS = 5_000
"""More than a slow round trip, less than a lease."""


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_s() -> float:
    """Seconds since boot, sleep included; where the system has no such clock, its monotonic one."""
    return time.clock_gettime(_CLOCK)


class RedisClock:
    """Redis' milliseconds, estimated."""

    def __init__(self, boot: Callable[[], float] = boot_s) -> None:
        self.boot_s = boot
        self.jumps = 0
        """How often the clocks have parted by more than 5 s between two observations."""
        self.set_back = 0
        """How often it was Redis' clock that went back (or this host's boot clock that ran away)."""
        self._offset_ms = 0.0
        self._known = False

    def observe(self, now_ms: int) -> None:
        """Takes Redis' own `now`, as a script has answered it."""
        offset = now_ms - self.boot_s() * 1000
        if self._known and abs(offset - self._offset_ms) > JUMP_MS:
            self.jumps += 1
            self.set_back += offset < self._offset_ms
        self._offset_ms = offset
        self._known = True

    def now_ms(self) -> int:
        return int(self._offset_ms + self.boot_s() * 1000)

    def to_boot_s(self, at_ms: int) -> float:
        """When, on this host's boot clock, Redis' clock will show `at_ms`."""
        return (at_ms - self._offset_ms) / 1000
