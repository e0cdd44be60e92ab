"""The words and numbers that both sides and every script agree on.

Letters are what is stored; names are what people read. Times are milliseconds of Redis' own clock.
"""

from __future__ import annotations

from typing import Final, Literal

Class = Literal["transactional", "bulk"]
OnUncertain = Literal["resend", "hold"]
BatchState = Literal["loading", "scheduled", "active", "held", "done", "cancelled"]
State = Literal["queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain"]

CLASSES: Final[tuple[Class, ...]] = ("transactional", "bulk")
STATES: Final[tuple[State, ...]] = (
    "queued",
    "sent",
    "deferred",
    "failed",
    "expired",
    "cancelled",
    "suppressed",
    "uncertain",
)

SENT: Final = "s"
DEFERRED: Final = "d"
FAILED: Final = "f"
UNCERTAIN: Final = "u"
SUPPRESSED: Final = "x"
CLAIMED: Final = "c"
"""Only while a run of a claiming (or suspect) chunk holds it; users see it as queued."""

NAME_OF: Final[dict[str, State]] = {
    SENT: "sent",
    DEFERRED: "deferred",
    FAILED: "failed",
    UNCERTAIN: "uncertain",
    SUPPRESSED: "suppressed",
    CLAIMED: "queued",
}
LETTER_OF: Final = {
    "sent": SENT,
    "deferred": DEFERRED,
    "failed": FAILED,
    "uncertain": UNCERTAIN,
    "suppressed": SUPPRESSED,
}

RECORD_VERSION: Final = 1
"""Format of spec, rows and outcomes. A worker names the versions it can read; the feeder gives it no others."""
VERSIONS_SERVED: Final = (1,)

CHUNK_SIZE: Final = 100
"""Messages in a chunk: amortises arq's five round trips a job to 0.05 a mail, and is what one crash may disturb."""
LEASE_MS: Final = 15_000
RENEW_EVERY_S: Final = 5.0
"""Three renewals fit into a lease: one may be lost, one late."""
LEASE_MARGIN_S: Final = 5.0
"""No first body byte with less than this left: a body that starts then may still be answered inside the lease."""
FEED_GRACE_MS: Final = 10_000
"""How long a fed chunk may wait for a worker before the sweep looks whether its arq job still exists."""
SEND1_GRACE_MS: Final = 2_000
"""Shorter for a single mail: its producer may die between the commit and arq's enqueue."""
WORKER_ALIVE_MS: Final = 15_000
UPLOAD_SILENT_MS: Final = 15_000
"""An upload without a sign of life for this long loses its reservation to the next one with the same key."""
UPLOAD_SIGN_S: Final = 5.0
UPLOAD_ABANDONED_MS: Final = 3_600_000
SUSPECT_RUNS: Final = 3
"""From so many lost runs on a chunk's messages are claimed one by one, so that a crash names its message."""
SUSPECT_AGE_MS: Final = 90 * 86_400_000
"""Of an address that one batch was told is perhaps dead, and no other since: mailboxes get full, and empty again."""
POISON_CLAIMS: Final = 3
"""So many crashes beside the same message, and it fails: a storm of kills has met an innocent one twice."""
LATER_LIMIT_MS: Final = 60_000
TALLY_LIMIT: Final = 20_000
"""Batches that one script may sum up: 60 ms of Redis."""
UNCERTAIN_TRIES: Final = 2
"""How often `on_uncertain="resend"` tries a message whose final reply was lost before it rests as uncertain."""
BREAKER_LEAST: Final = 50
BREAKER_SHARE: Final = 0.1
"""A batch with more bounces and refusals by policy than both is our own mistake until a person says otherwise."""
