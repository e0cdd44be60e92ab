"""What Redis might hold about a batch, for the tests of `why`: nothing keeps it, except for what is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailspool.client.relays import RelayStatus, relay_status
from mailspool.client.why.facts import (
    BatchFacts,
    QueueFact,
    ReplyGroup,
    WorkerFact,
)
from mailspool.contract.moves import Snapshot
from mailspool.status import batch_status

NOW = 1_795_464_000_000  # 2026-11-23 20:00:00 UTC
HOUR, DAY = 3_600_000, 86_400_000
CREW = {"relays": "main", "slots:bulk": "20", "sessions:main": "3"}
WORKER = WorkerFact("w1", ("main",), ("1",), {"bulk": 20, "transactional": 20})
BUSY = QueueFact(ahead=0, given_out=3, window=40, due_chunks=2, waiting_chunks=9)
LAST = "Last chance Sat 28 Nov 20:00: what has not gone by then expires."


def relay(name: str = "main", told: Mapping[str, object] | None = None, workers: int = 1) -> RelayStatus:
    fields = {key: str(value) for key, value in (told or {}).items()}
    return relay_status(name, fields, [{**CREW, "relays": name}] * workers, NOW)


def facts(batch: Mapping[str, object] | None = None, seen: Mapping[str, Any] | None = None, **more: Any) -> BatchFacts:
    """A live batch of 50,000 that nothing keeps, except for what is given."""
    fields = {"state": "live", "class": "bulk", "v": "1", "total": "50000", "expires": str(NOW + 5 * DAY)}
    fields |= {key: str(value) for key, value in (batch or {}).items()}
    snapshot = Snapshot(NOW, fields, NOW - 1, True, 1, False, {"main": {}})._replace(**(seen or {}))
    given: dict[str, Any] = {"workers": (WORKER,), "relays": (relay(),), **more}
    return BatchFacts(snapshot, batch_status("b1", snapshot), **given)


def group(mails: int = 14, at_ms: int = NOW + HOUR, reply: str = "450 4.2.0 greylisted", **more: Any) -> ReplyGroup:
    return ReplyGroup(**{"letter": "d", "kind": reply, "relay": "main", "batch": "b1", "mails": mails,
                         "next_ms": at_ms, "replies": {reply}, **more})  # fmt: skip


WAIT_14 = "14 messages wait after 450 4.2.0 greylisted by main, next try 21:00."
REFUSED = {"state": "paused", "why": "535 5.7.8 bad credentials", "until": NOW + 300_000}
BROKEN = {"state": "waiting", "why": "connection refused", "until": NOW + 60_000}
BY_HAND = {"paused_at": NOW - 2 * HOUR}
NONE: dict[str, Any] = {"live_workers": 0, "able_to_serve": False}
