"""Log lines: one function an event, nothing of a mail in them, nothing built that nobody reads."""

from __future__ import annotations

import pytest
import structlog

from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED, FAILED, SENT, UNCERTAIN
from mailspool_worker.events import Events
from mailspool_worker.runs import Item
from tests.support.worker_parts import TestClock, make_items, make_run


class Lines:
    """A logger that keeps what is written, at a level."""

    def __init__(self, level: str = "info") -> None:
        self.kept: list[structlog.typing.EventDict] = []
        self.logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[structlog.processors.add_log_level, self._keep],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        )

    def _keep(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> str:
        self.kept.append(dict(event))
        return ""


def item() -> Item:
    run = make_run(TestClock(), batch="b7", k=2)
    return make_items(run, ["ali@dest.test", "sara@dest.test"])[1]


def outcome(state: str, **fields: object) -> Outcome:
    known: dict[str, object] = {"at_ms": 61_000, "last_ms": 1_000, "attempts": 2, "relay": "main"}
    return Outcome(state, **(known | fields))  # type: ignore[arg-type]  # a table's fields


def test_an_outcome_names_the_message_and_never_the_recipient() -> None:
    lines = Lines()
    Events(lines.logger).outcome(
        item(), outcome(FAILED, reply="550 5.1.1 <sara@dest.test>: no such user", reason="mailbox_unknown")
    )
    (line,) = lines.kept
    assert line == {
        "event": "failed",
        "level": "info",
        "message": "b7-202",
        "domain": "dest.test",
        "relay": "main",
        "attempts": 2,
        "reply": "550 5.1.1 <address>: no such user",
        "reason": "mailbox_unknown",
    }


def test_a_reply_that_names_the_local_part_alone_tells_no_recipient() -> None:
    """The domain stands in the same line."""
    lines = Lines()
    Events(lines.logger).outcome(item(), outcome(FAILED, reply="550 5.1.1 unknown user Sara (sarajevo)"))
    assert lines.kept[0]["reply"] == "550 5.1.1 unknown user <address> (sarajevo)"


def test_a_deferred_one_says_for_how_long() -> None:
    lines = Lines()
    Events(lines.logger).outcome(item(), outcome(DEFERRED, reply="450 later", reason="temporary"))
    assert lines.kept[0]["delay_s"] == 60


@pytest.mark.parametrize(
    ("state", "counter"), [(SENT, "sent"), (DEFERRED, "deferred"), (FAILED, "failed"), (UNCERTAIN, "uncertain")]
)
@pytest.mark.parametrize("level", ["info", "warning"])
def test_counters_move_whoever_reads(state: str, counter: str, level: str) -> None:
    lines = Lines(level)
    events = Events(lines.logger)
    events.outcome(item(), outcome(state))
    assert getattr(events.counters, counter) == 1
    assert len(lines.kept) == (level == "info")


def test_an_exception_is_told_by_type_and_place_not_by_its_text() -> None:
    lines = Lines()
    try:
        raise ValueError("Dear Sara, your code is 4711")
    except ValueError as error:
        Events(lines.logger).bug("deliver", error)
    (line,) = lines.kept
    assert line["error"] == "ValueError"
    assert str(line["at"]).startswith(__file__)
    assert "4711" not in repr(line)


def test_without_a_logger_everything_is_silent() -> None:
    events = Events(None)
    events.chunk_leased("b", 0, 3)
    events.chunk_settled("b", 0, "OK")
    events.run_lost("b", 0)
    events.chunk_suspect("b", 0, 3)
    events.chunk_unreadable("b", 0, "why")
    events.batch_expired("b", 3)
    events.session_opened("main", 1)
    events.session_closed("main", "quit", 3)
    events.session_failed("main", "CONNECT", "refused")
    events.route_slowed("main", 1, None, "421")
    events.route_closed("main", "waiting", "refused", 60)
    events.route_open("main")
    events.started(pid=1)
    events.stopped(exit=0)
    events.warning("settings", words="x")
    events.redis_away("ConnectionError")
    events.arq_restarted("bulk", "ConnectionError")
    events.clock_jumped()
    events.bug("x", ValueError())
    assert events.counters.sessions_opened == 1


@pytest.mark.parametrize(
    ("call", "event", "level"),
    [
        (lambda e: e.session_failed("main", "AUTH", "535 <a@b.test> no"), "session_failed", "warning"),
        (lambda e: e.route_closed("main", "paused", "535 <a@b.test> no", 300), "route_closed", "error"),
        (lambda e: e.route_paused("main", "by a person"), "route_closed", "warning"),
        (lambda e: e.route_slowed("main", 2, 1.5, "421 <a@b.test>"), "route_slowed", "info"),
        (lambda e: e.sender_held("main", "a@b.test", "553 <a@b.test>", 3_600.0), "sender_held", "error"),
        (lambda e: e.sender_awake("main", "a@b.test"), "sender_awake", "info"),
        (lambda e: e.breaker("b1", "550 <a@b.test>"), "batch_held_by_breaker", "error"),
        (lambda e: e.redis_away("ConnectionError"), "redis_away", "warning"),
        (lambda e: e.redis_refused("NOPERM", 3), "redis_refused", "error"),
        (lambda e: e.went_on(12.34), "went_on", "warning"),
        (lambda e: e.chunk_unreadable("b", 0, "why"), "chunk_unreadable", "error"),
        (lambda e: e.run_lost("b", 0), "run_lost", "warning"),
    ],
)
def test_names_and_levels_are_stable(call: object, event: str, level: str) -> None:
    lines = Lines("debug")
    assert callable(call)
    call(Events(lines.logger))
    (line,) = lines.kept
    assert (line["event"], line["level"]) == (event, level)
    assert "a@b.test" not in repr(line)


def test_redis_is_back_when_all_parts_of_the_worker_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("mailspool_worker.events.boot_s", lambda: now_s)
    lines = Lines("info")
    events = Events(lines.logger)
    events.redis_answers("moves")
    events.redis_away("ConnectionError", "moves")
    now_s = 103.25
    events.redis_away("ConnectionError", "recorder")
    events.redis_away("OutOfMemoryError")
    events.redis_answers("moves")
    assert [line["event"] for line in lines.kept] == ["redis_away"] * 3
    now_s = 112.5
    events.redis_answers("recorder")
    events.redis_answers("recorder")
    assert [(line["event"], line.get("after_s")) for line in lines.kept[3:]] == [("redis_back", 12.5)]
