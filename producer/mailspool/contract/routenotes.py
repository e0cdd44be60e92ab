"""What workers tell each other, and people, in `ms:route:<name>` beside its state: sleeping senders, and less speed.

Field `sender:<who>` (an address, or a domain with its `@`) is "<until, Redis' ms> <why>"; field `slow` is a JSON list.
Written by workers, read by workers once a second, and by whoever shows a relay. What cannot be read is passed over: a
worker then finds out by itself. Raises nothing. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

SENDER: Final = "sender:"
SLOW: Final = "slow"
FORGOTTEN_MS: Final = 3_600_000
"""A sender whose sleep ended so long ago, and whom nobody has written for since, need not be probed."""


class Asleep(NamedTuple):
    """A sender that a relay takes nothing from until then; after that one message tries."""

    until_ms: int
    why: str

    def encode(self) -> str:
        return f"{self.until_ms} {self.why}"


class Slowed(NamedTuple):
    """A worker was asked for less at `at_ms`: its sessions and messages a second from then on, whole by `until_ms`."""

    at_ms: int
    until_ms: int
    sessions: int
    rate_per_s: float | None
    why: str

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


_slow = msgspec.json.Decoder(Slowed).decode


def sleeping_in(fields: Mapping[str, str]) -> dict[str, Asleep]:
    """By who."""
    found: dict[str, Asleep] = {}
    for name, value in fields.items():
        until, _, why = value.partition(" ")
        if name.startswith(SENDER) and until.isdecimal() and len(until) < 16:
            found[name.removeprefix(SENDER)] = Asleep(int(until), why)
    return found


def slowed_in(fields: Mapping[str, str]) -> Slowed | None:
    try:
        return _slow(fields[SLOW]) if fields.get(SLOW) else None
    except msgspec.MsgspecError:
        return None
