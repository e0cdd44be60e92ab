"""What people are told: snapshots of a batch, a message, a spool. Public, frozen, `to_dict()` is the JSON.

`batch_status` and `message_status` are pure: they turn what Redis holds into what is shown. Every sum fits in every
snapshot: total = queued + sent + deferred + failed + expired + cancelled + suppressed + uncertain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import cast

from mailspool.contract.codec import DecodeError, decode_outcome
from mailspool.contract.moves import Snapshot
from mailspool.contract.records import Outcome
from mailspool.contract.states import NAME_OF, BatchState, Class, State

NO_WORKER = "no worker is running"
_WORKER = "mailspool worker"


def start_worker(waiting_for: str | None) -> str:
    """The command that starts what a batch waits for, if that is a worker."""
    if waiting_for == NO_WORKER:
        return _WORKER
    start, _, command = (waiting_for or "").partition(": ")
    return command.removesuffix(" starts one") if start.startswith(f"{NO_WORKER} for ") else ""


def no_worker_for(class_: str) -> str:
    """What mail of a class waits for where workers run, and all of them serve others."""
    return f"{NO_WORKER} for {class_} mail: {_WORKER} --class {class_} starts one"


PAUSED_BY_YOU = "paused by you"
"""The `why` of a relay that a person has paused."""
_FINAL_COUNTERS = ("sent", "failed", "expired", "cancelled", "suppressed", "uncertain")


def utc(ms: int | str | None) -> datetime | None:
    """Redis' milliseconds as an aware datetime; None for nothing. Raises ValueError for what is no time."""
    try:
        return datetime.fromtimestamp(int(ms) / 1000, UTC) if ms and int(ms) else None
    except (OSError, OverflowError):  # not the same one on every platform
        raise ValueError("a time beyond the calendar") from None


def since_when(ms: str | None) -> datetime | None:
    """The same for what is only told beside something else: None for what is no time."""
    try:
        return utc(ms)
    except ValueError:
        return None


def json_value(value: object) -> object:
    """Times are ISO 8601 UTC with a Z, to the second; everything else is itself."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    if isinstance(value, _Snapshot):
        return value.to_dict()
    return value


@dataclass(frozen=True)
class _Snapshot:
    def to_dict(self) -> dict[str, object]:
        """The JSON object. `class_` is called `class`."""
        return {field.name.rstrip("_"): json_value(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True)
class BatchStatus(_Snapshot):
    """One batch, at one moment. `str()` is its one-line report."""

    id: str
    name: str
    key: str | None
    class_: Class
    state: BatchState
    total: int
    queued: int
    sent: int
    deferred: int
    failed: int
    expired: int
    cancelled: int
    suppressed: int
    uncertain: int
    created_at: datetime | None
    send_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    next_try: datetime | None
    rate_per_s: float | None
    eta_s: int | None
    waiting_for: str | None
    done: bool
    ok: bool

    def __str__(self) -> str:
        counts = [
            f"{getattr(self, name)} {name}"
            for name in ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")
            if getattr(self, name) or name == "sent"
        ]
        return f"{self.total}: {', '.join(counts)}"


@dataclass(frozen=True)
class MessageStatus(_Snapshot):
    """One message. `reply` is the last server reply in one line, `reason` our word for it."""

    id: str
    batch: str
    row: int
    recipient: str
    state: State
    attempts: int
    reply: str | None
    reason: str | None
    next_try: datetime | None
    message_id: str
    relay: str | None
    remote_id: str | None
    first_try: datetime | None
    last_try: datetime | None
    size_bytes: int | None
    erased: bool = False
    """What it said is gone: values, texts and attachments of transactional mail go once it was sent."""


@dataclass(frozen=True)
class RouteStatus(_Snapshot):
    """What the workers say about a relay."""

    name: str
    state: str
    why: str | None
    until: datetime | None
    since: datetime | None = None
    """Of a pause by a person."""

    def __str__(self) -> str:
        if self.why == PAUSED_BY_YOU:
            return f"relay {self.name} {self.why}"
        return f"relay {self.name} {self.state}{f': {self.why}' if self.why else ''}"


@dataclass(frozen=True)
class PauseStatus(_Snapshot):
    """What a person has paused: the whole spool, or a class."""

    what: str
    since: datetime | None

    def __str__(self) -> str:
        return "the spool is paused by you" if self.what == "spool" else f"{self.what} mail is paused by you"


@dataclass(frozen=True)
class SpoolStatus(_Snapshot):
    """The whole spool, and its latest batches."""

    spool: str
    durability: str
    workers: int
    queued: int
    deferred: int
    uncertain: int
    oldest_s: int | None
    routes: tuple[RouteStatus, ...]
    batches: tuple[BatchStatus, ...]
    unreadable: int = 0
    """Of the latest batches: those whose record is broken, and which are therefore not among `batches`."""
    paused: tuple[PauseStatus, ...] = ()

    def __str__(self) -> str:
        workers = f"{self.workers} {'worker' if self.workers == 1 else 'workers'}" if self.workers else NO_WORKER
        counts = [f"{self.queued} queued", f"{self.deferred} deferred", f"{self.uncertain} uncertain"]
        closed = [str(route) for route in self.routes if route.state != "ok"]
        if self.unreadable:
            closed.append(f"{self.unreadable} {'batch' if self.unreadable == 1 else 'batches'} unreadable")
        pauses = [str(pause) for pause in self.paused]
        return "; ".join([f"{self.spool}: {workers}", *pauses, ", ".join(counts), *closed])


@dataclass(frozen=True)
class Sample:
    """An earlier snapshot of the same batch, for the present speed."""

    at_ms: int
    handled: int


def batch_status(batch: str, seen: Snapshot, sample: Sample | None = None) -> BatchStatus:
    """`sample`: an earlier look of the same handle; without one the speed is the average since the start."""
    fields_ = seen.batch
    total = int(fields_.get("total", 0))
    counts = {name: int(fields_.get(f"n_{name}", 0)) for name in (*_FINAL_COUNTERS, "deferred")}
    queued = total - sum(counts.values())
    stored = fields_["state"]
    done = stored in ("done", "closed", "purging")
    if stored == "done" and queued > 0:
        raise DecodeError(f"it is done, and {queued:,} of its messages have come to no end: mailspool verify --repair")
    rate = None if done else _rate(seen, counts, sample)
    waiting_for = None if done else _waiting_for(seen, queued)
    eta_s = round(queued / rate) if rate and queued and not waiting_for else None
    bad = counts["failed"] + counts["expired"] + counts["uncertain"]
    return BatchStatus(
        id=batch,
        name=fields_.get("name", ""),
        key=fields_.get("key") or None,
        class_=cast("Class", fields_["class"]),
        state=_state(seen),
        total=total,
        queued=queued,
        **counts,
        created_at=utc(fields_.get("created")),
        send_at=utc(fields_.get("send_at")),
        expires_at=utc(fields_.get("expires")),
        started_at=utc(fields_.get("started")),
        finished_at=utc(fields_.get("finished")),
        next_try=_next_try(seen, counts["deferred"]),
        rate_per_s=rate,
        eta_s=eta_s,
        waiting_for=waiting_for,
        done=done,
        ok=done and bad == 0,
    )


def handled(status: BatchStatus) -> int:
    """Messages that came to an end, for speed."""
    return status.total - status.queued - status.deferred


def _state(seen: Snapshot) -> BatchState:
    stored, verdict = seen.batch["state"], seen.batch.get("verdict")
    if stored in ("closing", "closed", "purging") and verdict == "cancelled":
        return "cancelled"
    if stored in ("done", "closed", "purging"):
        return "done"
    if stored == "held":
        return "held"
    if stored == "loading":
        return "loading"
    if int(seen.batch.get("send_at") or 0) > seen.now_ms:
        return "scheduled"
    return "done" if stored == "closing" else "active"


def _next_try(seen: Snapshot, deferred: int) -> datetime | None:
    """Of a deferred message; not before one of its relays looks again, where all of them are closed."""
    if not deferred or seen.batch["state"] != "live":
        return None
    due, routes = utc(seen.next_due_ms), _usable_routes(seen)
    if routes and all(route.state != "ok" and route.until is not None for route in routes):
        opens = min(route.until for route in routes if route.until is not None)
        return max(due, opens) if due is not None else None
    return due


def _usable_routes(seen: Snapshot) -> list[RouteStatus]:
    """What is known of the relays that this batch may use."""
    pinned = seen.batch.get("relay")
    return [route_status(name, told) for name, told in seen.routes.items() if not pinned or name == pinned]


def _rate(seen: Snapshot, counts: Mapping[str, int], sample: Sample | None) -> float | None:
    ended = sum(counts[name] for name in _FINAL_COUNTERS)
    if sample is None:
        started = seen.batch.get("started")
        if not started:
            return None
        sample = Sample(int(started), 0)
    passed_s = (seen.now_ms - sample.at_ms) / 1000
    return round(max(0.0, (ended - sample.handled) / passed_s), 1) if passed_s >= 0.05 else None


def _waiting_for(seen: Snapshot, queued: int) -> str | None:
    """One sentence on what keeps the batch, or None when it is only a matter of throughput."""
    fields_ = seen.batch
    if fields_["state"] == "held":
        return held_words(fields_.get("held_why", ""))
    if fields_["state"] == "loading":
        return "its rows are still being loaded"
    send_at = int(fields_.get("send_at") or 0)
    if send_at > seen.now_ms:
        return f"starts {local_time(send_at, seen.now_ms)}"
    if seen.pauses:
        what, since_ms = seen.pauses[0]
        since = f" since {local_time(since_ms, seen.now_ms)}" if since_ms else ""
        return f"{PauseStatus(what, None)}{since}"
    if seen.live_workers == 0:
        class_ = fields_.get("class", "")
        return no_worker_for(class_) if seen.all_workers else NO_WORKER
    if not seen.able_to_serve:
        relay = fields_.get("relay")
        return f"no running worker has the relay {relay}" if relay else "no running worker reads this batch's format"
    if closed := _closed_relays(seen):
        return closed
    due = seen.earliest_due_ms
    if queued == 0 and due is not None and due > seen.now_ms:
        return f"a later try at {local_time(due, seen.now_ms, '%H:%M:%S')}"
    return None


def held_words(why: str) -> str:
    """`why`: what Mailspool itself wrote (`breaker: ...`); nothing where somebody called hold()."""
    kind, _, rest = why.partition(": ")
    if kind == "breaker":
        return f"held by the breaker{f': {rest}' if rest else ''}"
    return f"held: {why}" if why else "held by you"


def _closed_relays(seen: Snapshot) -> str:
    """The relays that this batch may use, if not one of them is open; else nothing."""
    routes = _usable_routes(seen)
    if routes and all(route.state != "ok" for route in routes):
        return "; ".join(route_words(route, seen.now_ms) for route in routes)
    if seen.batch.get("wait_why") == "closed" and int(seen.batch.get("wait_until") or 0) > seen.now_ms:
        return seen.batch.get("closed_why") or "no relay that it may use is open"
    due = seen.earliest_due_ms
    if int(seen.batch.get("closed_until") or 0) > seen.now_ms and due is not None and due > seen.now_ms:
        return seen.batch.get("closed_why", "")  # rows of one sender; those of others are through
    return ""


def local_time(at_ms: int, now_ms: int, form: str = "%H:%M") -> str:
    """On the reader's clock; with the day if that is another one."""
    at, now = (datetime.fromtimestamp(ms / 1000, UTC).astimezone() for ms in (at_ms, now_ms))
    return f"{at:{form}}" if at.date() == now.date() else f"{at:%a %d %b {form}}"


def route_status(name: str, told: Mapping[str, str]) -> RouteStatus:
    """What the workers tell of a relay; nothing is good news."""
    if since := told.get("paused_at"):
        return RouteStatus(name, "paused", PAUSED_BY_YOU, None, since_when(since))
    state = told.get("state", "ok")
    if state == "ok" or told.get("why") == PAUSED_BY_YOU:  # resumed since; its workers say so in a moment
        return RouteStatus(name, "ok", None, None)
    return RouteStatus(name, state, told.get("why") or None, since_when(told.get("until")))


def route_words(route: RouteStatus, now_ms: int) -> str:
    """`relay main paused by you since 14:02`."""
    since = f" since {local_time(round(route.since.timestamp() * 1000), now_ms)}" if route.since else ""
    return f"{route}{since}"


def message_status(
    batch: str,
    row: int,
    recipient: str,
    stored: bytes | None,
    *,
    verdict: str | None,
    message_id: str,
    bare: bool = False,
) -> MessageStatus:
    """`verdict`: of a closed batch (cancelled, expired); it is the state of whatever is not final. `bare`: nothing of
    what it says lies here any more."""
    outcome = decode_outcome(stored) if stored is not None else Outcome("", 0)
    state: State = NAME_OF.get(outcome.state, "queued")
    if verdict and state in ("queued", "deferred"):
        state = cast("State", verdict)
    return MessageStatus(
        id=f"{batch}-{row}",
        batch=batch,
        row=row,
        recipient=recipient,
        state=state,
        attempts=outcome.attempts,
        reply=outcome.reply or None,
        reason=("expired" if state == "expired" else outcome.reason) or None,
        next_try=utc(outcome.at_ms) if state == "deferred" else None,
        message_id=message_id,
        relay=outcome.relay or None,
        remote_id=_remote_id(outcome.reply) if state == "sent" else None,
        first_try=utc(outcome.first_ms),
        last_try=utc(outcome.last_ms),
        size_bytes=outcome.size or None,
        erased=bare and state == "sent",
    )


def _remote_id(reply: str) -> str | None:
    """The receiver's own queue id: `250 2.0.0 Ok: queued as 4CF...` (Postfix), `id=1abc` (Exim), else None."""
    for mark in ("queued as ", "id="):
        _, found, rest = reply.partition(mark)
        if found and rest:
            return rest.split()[0].strip("<>;,")[:100]
    return None
