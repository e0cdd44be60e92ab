"""Where log lines go, and that the shorter way of outcomes says what structlog would say."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from mailspool.contract.states import DEFERRED, SENT
from mailspool_worker.events import Events
from mailspool_worker.logs import OutcomeLines, configure
from tests.worker.test_events import Lines, item, outcome


def redirected(monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    """Inside the test: pytest puts its own stderr back between a fixture and its test."""
    written = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    monkeypatch.setattr("sys.stderr", written)
    return written


def lines_of(stderr: io.TextIOWrapper) -> list[dict[str, object]]:
    assert isinstance(stderr.buffer, io.BytesIO)
    return [json.loads(line) for line in stderr.buffer.getvalue().splitlines()]


def test_json_lines_begin_with_when_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = redirected(monkeypatch)
    Events(*configure("info", "auto")).started(relays=["smtp://x.test:25"], version="1")
    (line,) = lines_of(stderr)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["relays"] == ["smtp://x.test:25"]


def test_a_console_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    events = Events(*configure("warning", "console"))
    events.started(version="1")
    events.redis_away("ConnectionError")
    assert "redis_away" in written.getvalue()
    assert "worker_started" not in written.getvalue()


@pytest.mark.parametrize(
    ("state", "fields"), [(SENT, {}), (DEFERRED, {"reason": "temporary", "reply": '450 "later" \u2028 n\u0131'})]
)
async def test_outcomes_read_as_if_structlog_had_written_them(
    monkeypatch: pytest.MonkeyPatch, state: str, fields: dict[str, object]
) -> None:
    stderr = redirected(monkeypatch)
    slow = Lines()
    Events(slow.logger).outcome(item(), outcome(state, **fields))
    Events(*configure("info", "json")).outcome(item(), outcome(state, **fields))
    await asyncio.sleep(0)
    (line,) = lines_of(stderr)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    stamp = str(line.pop("timestamp"))
    assert line == slow.kept[0]
    assert len(stamp) == len("2026-11-23T22:10:00.123456Z")


async def test_a_loop_turn_is_one_write() -> None:
    class Stream:
        def __init__(self) -> None:
            self.written: list[bytes] = []

        def write(self, data: bytes, /) -> None:
            self.written.append(data)

        def flush(self) -> None: ...

    stream = Stream()
    lines = OutcomeLines(stream)
    events = Events(Lines().logger, lines)
    for _ in range(3):
        events.outcome(item(), outcome(SENT))
    assert not stream.written
    await asyncio.sleep(0)
    assert [data.count(b"\n") for data in stream.written] == [3]


def test_nothing_is_built_that_nobody_reads() -> None:
    assert configure("warning", "json").lines is None
    assert configure("info", "console").lines is None


async def test_what_would_steer_a_terminal_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = redirected(monkeypatch)
    words = "\x7f\x9b31m\u202egpj.exe\u2066 \u061cs\u0131 \x1b"
    events = Events(*configure("info", "json"))
    events.route_closed("main", "closed", words, 1)
    events.outcome(item(), outcome(DEFERRED, reply=words))
    await asyncio.sleep(0)
    assert isinstance(stderr.buffer, io.BytesIO)
    text = stderr.buffer.getvalue().decode()
    assert not set(text) & set("\x1b\x7f\x9b\u202e\u2066\u061c")
    first, second = lines_of(stderr)
    assert (first["why"], second["reply"]) == (words, words)
