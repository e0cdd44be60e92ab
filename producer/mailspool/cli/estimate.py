"""How long a batch takes through the real relays: from their sessions, their rate and one round trip. Pure.

Every mail of a session costs one round trip (body, dot and the next envelope leave in one write), and its share of the
connection's opening. Known limit: how long the receiver thinks at the dot is not known before it has a mail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from mailspool.settings import Relay

Basis = Literal["probed", "assumed"]
Limit = Literal["rate", "sessions", "this machine"]
ASSUMED_MS: Final = 50
"""A relay in the same part of the world, TLS included."""
ASSUMED_OPENING_MS: Final = 6 * ASSUMED_MS
"""TCP, greeting, EHLO, TLS, EHLO again, login."""


@dataclass(frozen=True, slots=True)
class Trip:
    """What a relay takes: a way there and back, and a new connection up to the login."""

    round_trip_ms: int
    opening_ms: int
    basis: Basis


ASSUMED: Final = Trip(ASSUMED_MS, ASSUMED_OPENING_MS, "assumed")


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds`: until every mail was tried once. `retry_s`: when greylisted ones come back, beyond that."""

    relays: tuple[str, ...]
    seconds: int
    rate_per_s: float
    limited_by: Limit
    sessions: int
    round_trip_ms: int
    basis: Basis
    retry_s: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def chosen(relays: Mapping[str, Relay], pinned: str | None, from_domain: str) -> list[Relay]:
    """Those that would carry it: the pinned one, else all that may send for this domain; backups only alone."""
    if pinned is not None:
        return [relays[pinned]] if pinned in relays else []
    fit = [relay for relay in relays.values() if not relay.from_domains or from_domain in relay.from_domains]
    return [relay for relay in fit if not relay.backup] or fit


def pace(relay: Relay, trip: Trip) -> tuple[float, Limit]:
    """Mails a second through one relay, and what bounds them."""
    each_s = max(1, trip.round_trip_ms) / 1000 + trip.opening_ms / 1000 / max(1, relay.session_messages)
    by_sessions = relay.max_sessions / each_s
    if relay.rate_per_s is not None and relay.rate_per_s < by_sessions:
        return relay.rate_per_s, "rate"
    return by_sessions, "sessions"


def estimate(
    mails: int, relays: Sequence[tuple[Relay, Trip]], here_per_s: float | None, retry_s: float
) -> Estimate | None:
    """`here_per_s`: what the rehearsal reached on this machine, which no relay makes faster."""
    if not relays:
        return None
    paces = [pace(relay, trip) for relay, trip in relays]
    rate, limit = sum(per_s for per_s, _ in paces), paces[0][1]
    if any(kind != limit for _, kind in paces):
        limit = "sessions"
    if here_per_s is not None and here_per_s < rate:
        rate, limit = here_per_s, "this machine"
    slowest = max((trip for _, trip in relays), key=lambda trip: trip.round_trip_ms)
    return Estimate(
        tuple(relay.name for relay, _ in relays),
        math.ceil(mails / rate) if mails else 0,
        round(rate, 1),
        limit,
        sum(relay.max_sessions for relay, _ in relays),
        slowest.round_trip_ms,
        "probed" if all(trip.basis == "probed" for _, trip in relays) else "assumed",
        round(retry_s),
    )
