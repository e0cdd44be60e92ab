"""What people are told, from what Redis holds: pure, one case a line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mailspool.contract.codec import DecodeError, encode_outcome
from mailspool.contract.moves import Snapshot
from mailspool.contract.records import Outcome
from mailspool.status import (
    BatchStatus,
    MessageStatus,
    PauseStatus,
    RouteStatus,
    Sample,
    SpoolStatus,
    batch_status,
    handled,
    json_value,
    message_status,
    route_status,
)

NOW = 1_795_464_000_000  # 2026-11-23 20:00:00 UTC
FIELDS = {"state": "live", "class": "bulk", "name": "invoices", "total": "50000", "created": str(NOW - 60_000)}
DAY_MS = 86_400_000


def seen(
    batch: Mapping[str, object] | None = None,
    *,
    due: int | None = NOW - 1,
    coming: int | None = None,
    able: bool = True,
    workers: int = 1,
    all_workers: int = 0,
    pauses: tuple[tuple[str, int], ...] = (),
    routes: dict[str, dict[str, str]] | None = None,
) -> Snapshot:
    given = {**FIELDS, **{name: str(value) for name, value in (batch or {}).items()}}
    known = {"main": {}} if routes is None else routes
    return Snapshot(NOW, given, due, able, workers, bool(pauses), known, coming, pauses, all_workers)


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_the_line_of_the_first_page() -> None:
    status = batch_status("b1", seen({"state": "done", "n_sent": 49988, "n_failed": 9, "n_suppressed": 3}))
    assert str(status) == "50000: 49988 sent, 9 failed, 3 suppressed"


def test_queued_is_shown_unless_there_is_none() -> None:
    assert str(batch_status("b1", seen({"n_sent": 1, "n_deferred": 14}))) == "50000: 49985 queued, 1 sent, 14 deferred"
    assert str(batch_status("b1", seen({"state": "done", "total": 0}))) == "0: 0 sent"


STATES = [
    ({"state": "loading"}, "loading", False),
    ({"state": "live"}, "active", False),
    ({"state": "live", "send_at": NOW + 1}, "scheduled", False),
    ({"state": "live", "send_at": NOW - 1}, "active", False),
    ({"state": "held"}, "held", False),
    ({"state": "held", "send_at": NOW + 1}, "held", False),
    ({"state": "done", "n_sent": 50_000}, "done", True),
    ({"state": "closing", "verdict": "cancelled"}, "cancelled", False),
    ({"state": "closed", "verdict": "cancelled"}, "cancelled", True),
    ({"state": "purging", "verdict": "cancelled"}, "cancelled", True),
    ({"state": "closing", "verdict": "expired"}, "done", False),
    ({"state": "closed", "verdict": "expired"}, "done", True),
    ({"state": "purging"}, "done", True),
]


@pytest.mark.parametrize(("batch", "state", "done"), STATES)
def test_state_and_done(batch: dict[str, object], state: str, done: bool) -> None:
    status = batch_status("b1", seen(batch))
    assert (status.state, status.done) == (state, done)


@pytest.mark.parametrize(
    ("counts", "ok"),
    [
        ({"n_sent": 50000}, True),
        ({"n_sent": 49999, "n_suppressed": 1}, True),
        ({"n_sent": 49999, "n_cancelled": 1}, True),
        ({"n_sent": 49999, "n_failed": 1}, False),
        ({"n_sent": 49999, "n_expired": 1}, False),
        ({"n_sent": 49999, "n_uncertain": 1}, False),
    ],
)
def test_ok(counts: dict[str, int], ok: bool) -> None:
    assert batch_status("b1", seen({"state": "done", **counts})).ok is ok
    assert batch_status("b1", seen({"state": "live", **counts})).ok is False


def test_every_snapshot_adds_up() -> None:
    counts = {"n_sent": 5, "n_deferred": 4, "n_failed": 3, "n_expired": 2, "n_cancelled": 1, "n_suppressed": 6}
    status = batch_status("b1", seen({**counts, "n_uncertain": 7, "n_claimed": 50}))
    parts = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")
    assert sum(getattr(status, name) for name in parts) == status.total
    assert handled(status) == 24


PAUSED = {"state": "paused", "why": "535 5.7.8 bad credentials", "until": str(NOW + 1)}
BY_HAND = {**PAUSED, "paused_at": str(NOW - 7_200_000)}
WAITING = [
    ({}, {}, None),
    ({"state": "held"}, {"workers": 0}, "held by you"),
    ({"state": "loading"}, {"workers": 0}, "its rows are still being loaded"),
    ({"send_at": NOW + 3_600_000}, {"workers": 0}, "starts 21:00"),
    ({"send_at": NOW + 5 * DAY_MS}, {}, "starts Sat 28 Nov 20:00"),
    ({}, {"pauses": (("spool", NOW - 7_200_000),), "workers": 0}, "the spool is paused by you since 18:00"),
    ({}, {"pauses": (("bulk", NOW - DAY_MS),)}, "bulk mail is paused by you since Sun 22 Nov 20:00"),
    ({"state": "held", "held_why": "breaker: 31 of 100 bounced"}, {}, "held by the breaker: 31 of 100 bounced"),
    ({"state": "held", "held_why": "audit"}, {}, "held: audit"),
    ({}, {"routes": {"main": BY_HAND}}, "relay main paused by you since 18:00"),
    (
        {},
        {"routes": {"main": BY_HAND, "b": PAUSED}},
        "relay main paused by you since 18:00; relay b paused: 535 5.7.8 bad credentials",
    ),
    ({}, {"routes": {"main": {"state": "paused", "why": "paused by you"}}}, None),  # resumed a moment ago
    ({}, {"workers": 0}, "no worker is running"),
    (
        {},
        {"workers": 0, "all_workers": 2},
        "no worker is running for bulk mail: mailspool worker --class bulk starts one",
    ),
    ({"relay": "backup"}, {"able": False}, "no running worker has the relay backup"),
    ({}, {"able": False}, "no running worker reads this batch's format"),
    ({}, {"routes": {"main": PAUSED}}, "relay main paused: 535 5.7.8 bad credentials"),
    ({}, {"routes": {"main": PAUSED, "backup": {"state": "ok"}}}, None),
    ({}, {"routes": {"main": PAUSED, "backup": {}}}, None),
    ({"relay": "main"}, {"routes": {"main": PAUSED, "backup": {}}}, "relay main paused: 535 5.7.8 bad credentials"),
    (
        {},
        {"routes": {"main": PAUSED, "b": {"state": "waiting", "why": ""}}},
        "relay main paused: 535 5.7.8 bad credentials; relay b waiting",
    ),
    ({"wait_until": NOW + 1, "wait_why": "closed"}, {}, "no relay that it may use is open"),
    ({"wait_until": NOW + 1, "wait_why": "closed", "closed_why": "a sender sleeps"}, {}, "a sender sleeps"),
    ({"closed_until": NOW + 1, "closed_why": "a sender sleeps"}, {"due": NOW + 1}, "a sender sleeps"),
    ({"closed_until": NOW + 1, "closed_why": "a sender sleeps"}, {"due": NOW}, None),
    ({"closed_until": NOW, "closed_why": "a sender sleeps"}, {"due": NOW + 1}, None),
    ({"state": "held", "held_why": "breaker: 61 of 400: 550"}, {}, "held by the breaker: 61 of 400: 550"),
    ({"wait_until": NOW, "wait_why": "closed"}, {}, None),
    ({"wait_until": NOW + 1, "wait_why": "rate"}, {}, None),
    ({"n_deferred": 50000}, {"due": NOW + 65_000}, "a later try at 20:01:05"),
    ({"n_deferred": 50000}, {"due": NOW + DAY_MS}, "a later try at Tue 24 Nov 20:00:00"),
    ({"n_deferred": 50000}, {"due": NOW}, None),
    ({"n_deferred": 14}, {"due": NOW + 1}, None),
    ({"state": "done", "n_sent": 50_000}, {"workers": 0}, None),
    ({"state": "closed", "verdict": "expired"}, {"workers": 0}, None),
]


@pytest.mark.parametrize(("batch", "about", "words"), WAITING)
def test_what_it_waits_for(batch: dict[str, object], about: dict[str, Any], words: str | None) -> None:
    assert batch_status("b1", seen(batch, **about)).waiting_for == words


def test_the_next_try_is_the_first_that_is_to_come() -> None:
    with_queued = batch_status("b1", seen({"n_deferred": 14}, coming=NOW + 60_000))
    assert with_queued.next_try == datetime(2026, 11, 23, 20, 1, tzinfo=UTC)
    assert batch_status("b1", seen({}, coming=NOW + 60_000)).next_try is None
    assert batch_status("b1", seen({"state": "held", "n_deferred": 14}, coming=NOW + 60_000)).next_try is None


def test_the_next_try_is_not_before_a_relay_opens() -> None:
    def tried(routes: dict[str, dict[str, str]], **batch: object) -> datetime | None:
        return batch_status("b1", seen({"n_deferred": 2, **batch}, coming=NOW + 60_000, routes=routes)).next_try

    hour = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
    quota = {"state": "paused", "why": "450 quota", "until": str(NOW + 3_600_000)}
    assert tried({"main": quota}) == hour
    minute = datetime(2026, 11, 23, 20, 1, tzinfo=UTC)
    assert tried({"main": quota, "b": {}}) == minute, "another one is open"
    assert tried({"main": quota, "b": {}}, relay="main") == hour
    assert tried({"main": {**quota, "until": str(NOW + 9_000)}}) == minute


RATES = [
    ({}, None, None, None),  # nothing has started
    ({"started": NOW - 10_000, "n_sent": 10_000}, None, 1000.0, 40),
    ({"started": NOW - 10_000, "n_sent": 10_000, "n_deferred": 1_000}, None, 1000.0, 39),
    ({"started": NOW - 3_600_000, "n_sent": 20_000}, Sample(NOW - 2_000, 18_000), 1000.0, 30),
    ({"started": NOW - 10_000, "n_sent": 0}, None, 0.0, None),
    ({"started": NOW - 10_000, "n_sent": 5}, Sample(NOW - 2_000, 9), 0.0, None),  # some were reopened
    ({"started": NOW - 10, "n_sent": 10}, None, None, None),  # too short to say
    ({"started": NOW - 10_000, "n_sent": 50_000}, None, 5000.0, None),
    ({"started": NOW - 10_000, "n_sent": 10_000, "state": "held"}, None, 1000.0, None),
    ({"started": NOW - 10_000, "n_sent": 50_000, "state": "done"}, None, None, None),
]


@pytest.mark.parametrize(("batch", "sample", "rate", "eta_s"), RATES)
def test_speed_and_time_left(
    batch: dict[str, object], sample: Sample | None, rate: float | None, eta_s: int | None
) -> None:
    status = batch_status("b1", seen(batch), sample)
    assert (status.rate_per_s, status.eta_s) == (rate, eta_s)


BATCH_JSON = [
    "id", "name", "key", "class", "state", "total", "queued", "sent", "deferred", "failed", "expired", "cancelled",
    "suppressed", "uncertain", "created_at", "send_at", "expires_at", "started_at", "finished_at", "next_try",
    "rate_per_s", "eta_s", "waiting_for", "done", "ok",
]  # fmt: skip
MESSAGE_JSON = [
    "id", "batch", "row", "recipient", "state", "attempts", "reply", "reason", "next_try", "message_id", "relay",
    "remote_id", "first_try", "last_try", "size_bytes",
    "erased",
]  # fmt: skip


def test_the_json_of_a_batch() -> None:
    found = batch_status("b1", seen({"key": "k", "send_at": NOW, "expires": NOW + 999, "finished": NOW})).to_dict()
    assert list(found) == BATCH_JSON
    assert json.loads(json.dumps(found)) == found
    assert (found["class"], found["key"], found["started_at"]) == ("bulk", "k", None)
    assert found["created_at"] == "2026-11-23T19:59:00Z"
    assert [found[name] for name in ("send_at", "expires_at", "finished_at")] == ["2026-11-23T20:00:00Z"] * 3


def test_zero_is_no_date() -> None:
    status = batch_status("b1", seen({"send_at": 0, "expires": 0}))
    assert (status.send_at, status.expires_at, status.key) == (None, None, None)


def outcome(state: str, **changes: Any) -> bytes:
    whole = Outcome(state, NOW, 2, 0, "main", "250 2.0.0 Ok: queued as 4F1C2", "", NOW - 1000, NOW, 812)
    for name, value in changes.items():
        setattr(whole, name, value)
    return encode_outcome(whole)


def told(stored: bytes | None, verdict: str | None = None) -> MessageStatus:
    return message_status("b1", 17, "ali@x.test", stored, verdict=verdict, message_id="<b1.17.abc@x.test>")


def test_the_json_of_a_message() -> None:
    found = told(outcome("s")).to_dict()
    assert list(found) == MESSAGE_JSON
    assert found == {
        "id": "b1-17",
        "batch": "b1",
        "row": 17,
        "recipient": "ali@x.test",
        "state": "sent",
        "attempts": 2,
        "reply": "250 2.0.0 Ok: queued as 4F1C2",
        "reason": None,
        "next_try": None,
        "message_id": "<b1.17.abc@x.test>",
        "relay": "main",
        "remote_id": "4F1C2",
        "first_try": "2026-11-23T19:59:59Z",
        "last_try": "2026-11-23T20:00:00Z",
        "size_bytes": 812,
        "erased": False,
    }


MESSAGES = [
    (None, None, "queued", None),
    (None, "cancelled", "cancelled", None),
    (None, "expired", "expired", "expired"),
    (outcome("c"), None, "queued", None),
    (outcome("d", reason="greylisted"), None, "deferred", "greylisted"),
    (outcome("d", reason="greylisted"), "expired", "expired", "expired"),
    (outcome("d", reason="greylisted"), "cancelled", "cancelled", "greylisted"),
    (outcome("f", reason="mailbox_unknown"), "expired", "failed", "mailbox_unknown"),
    (outcome("u", reason="lost_reply"), "cancelled", "uncertain", "lost_reply"),
    (outcome("x", reason="suppressed"), None, "suppressed", "suppressed"),
    (outcome("s"), "cancelled", "sent", None),
]


@pytest.mark.parametrize(("stored", "verdict", "state", "reason"), MESSAGES)
def test_the_state_of_a_message(stored: bytes | None, verdict: str | None, state: str, reason: str | None) -> None:
    status = told(stored, verdict)
    assert (status.state, status.reason) == (state, reason)
    assert (status.next_try is not None) == (state == "deferred")


@pytest.mark.parametrize(
    ("reply", "remote_id"),
    [
        ("250 2.0.0 Ok: queued as 4F1C2", "4F1C2"),
        ("250 OK id=1tXyZ-0001", "1tXyZ-0001"),
        ("250 2.0.0 OK  1700000000 abc - gsmtp", None),
        ("250 queued as ", None),
    ],
)
def test_the_receivers_own_id(reply: str, remote_id: str | None) -> None:
    assert told(outcome("s", reply=reply)).remote_id == remote_id


def test_only_what_was_sent_has_the_receivers_id() -> None:
    assert told(outcome("f", reply="550 5.1.1 id=7 unknown")).remote_id is None


def test_a_relay_without_news_is_well() -> None:
    assert route_status("main", {}) == RouteStatus("main", "ok", None, None)
    assert route_status("main", {"state": "ok", "why": "old", "until": str(NOW)}) == RouteStatus(
        "main", "ok", None, None
    )
    assert str(route_status("main", PAUSED)) == "relay main paused: 535 5.7.8 bad credentials"


def test_the_whole_spool_in_a_line_and_as_json() -> None:
    batch = batch_status("b1", seen())
    routes = (route_status("main", PAUSED), route_status("backup", {}))
    status = SpoolStatus("redis://queue:6379", "append-only", 2, 19471, 14, 0, 60, routes, (batch,))
    assert str(status) == (
        "redis://queue:6379: 2 workers; 19471 queued, 14 deferred, 0 uncertain; "
        "relay main paused: 535 5.7.8 bad credentials"
    )
    assert str(replace(status, workers=0, routes=())).startswith("redis://queue:6379: no worker is running; ")
    assert str(replace(status, workers=1)).startswith("redis://queue:6379: 1 worker; ")
    paused = replace(status, paused=(PauseStatus("spool", None), PauseStatus("bulk", None)), routes=())
    assert str(paused).startswith(
        "redis://queue:6379: 2 workers; the spool is paused by you; bulk mail is paused by you; 19471 queued"
    )
    assert paused.to_dict()["paused"] == [{"what": "spool", "since": None}, {"what": "bulk", "since": None}]
    found = status.to_dict()
    assert {"spool", "workers", "queued", "deferred", "uncertain", "oldest_s", "routes", "batches"} <= set(found)
    assert found["batches"] == [batch.to_dict()]
    assert found["routes"] == [
        {
            "name": "main", "state": "paused", "why": "535 5.7.8 bad credentials", "until": "2026-11-23T20:00:00Z",
            "since": None,
        },
        {"name": "backup", "state": "ok", "why": None, "until": None, "since": None},
    ]  # fmt: skip
    assert json.loads(json.dumps(found)) == found


def test_snapshots_are_frozen() -> None:
    status = batch_status("b1", seen())
    with pytest.raises(AttributeError):
        status.sent = 1  # type: ignore[misc]  # that is the point
    assert {field.name for field in fields(BatchStatus)} == {"class_" if n == "class" else n for n in BATCH_JSON}
    assert json_value((1, "a")) == [1, "a"]


def test_done_with_mail_that_has_come_to_no_end_is_no_answer() -> None:
    with pytest.raises(DecodeError, match="it is done, and 100 of its messages"):
        batch_status("b1", seen({"state": "done", "n_sent": 49_900}))


@pytest.mark.parametrize("since_ms", [0, NOW - 60_000])
def test_a_pause_of_an_unknown_time(since_ms: int) -> None:
    words = batch_status("b1", seen(pauses=(("spool", since_ms),))).waiting_for or ""
    assert words.startswith("the spool is paused by you")
    assert (" since " in words) == bool(since_ms)
