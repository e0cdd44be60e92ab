"""The group commit: what goes together, who is told what, and that nothing is lost or told twice in an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import hiredis
import pytest

from mailspool.contract.moves import Arg
from mailspool.contract.scripts import scripts
from mailspool_worker import recorder as module
from mailspool_worker.events import Events
from mailspool_worker.recorder import Recorder
from mailspool_worker.redis_wire import RedisRefusesError, RedisWire, Then
from mailspool_worker.runs import Item, Run
from tests.support.waiting import until
from tests.support.worker_parts import TestClock, make_items, make_run

OK_LIVE = [b"OK", b"live"]
SCRIPT = scripts("t")["record"]


class Wire:
    """A connection whose other end is the test."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.sent: list[tuple[Sequence[Arg], Then]] = []
        self.asked: list[tuple[Arg, ...]] = []
        self.is_closed = False
        self._on_lost = on_lost

    def send(self, command: Sequence[Arg], then: Then) -> None:
        self.sent.append((command, then))

    async def ask(self, *command: Arg) -> object:
        self.asked.append(command)
        return b"OK"

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self._on_lost)

    def answer(self, *answers: Sequence[object] | Exception) -> None:
        """To the oldest call: one list for each run in it, or an error for all of it."""
        _, then = self.sent.pop(0)
        then(answers[0] if isinstance(answers[0], Exception) else list(answers))


class Told:
    """A listener."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bool]] = []

    def recorded(self, item: Item, accepted: bool) -> None:
        self.heard.append((item.index, accepted))


class Bench:
    """A recorder, its connections in order, and a run of items."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.wires: list[Wire] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.recorder = Recorder(self._connect, SCRIPT, self.clock, Events(None))
        self.told = Told()
        self.run = make_run(self.clock)
        self.items = make_items(self.run, [f"u{i}@x.test" for i in range(4)])

    async def _connect(self, on_lost: Callable[[], None]) -> RedisWire:
        await self.gate.wait()
        self.wires.append(Wire(on_lost))
        return cast("RedisWire", self.wires[-1])

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def add(self, *indexes: int) -> None:
        for index in indexes:
            self.recorder.add(self.items[index], b"s%d" % index, self.told)


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.recorder.open()
    return bench


def arguments(run: Run, *notes: tuple[int, bytes]) -> list[Arg]:
    return [*run.ref, len(notes), *(part for note in notes for part in note)]


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_in_one_turn_goes_in_one_call(bench: Bench) -> None:
    other = make_run(bench.clock, k=1)
    (item,) = make_items(other, ["z@x.test"])
    bench.add(0, 1)
    bench.recorder.add(item, b"s9", bench.told)
    bench.add(2)
    await turn()
    ((command, _),) = bench.wire.sent
    expected = [*arguments(bench.run, (0, b"s0"), (1, b"s1"), (2, b"s2")), *arguments(other, (0, b"s9"))]
    assert command == ["EVALSHA", SCRIPT.sha, 0, 0, *expected]
    assert bench.wire.asked == [("SCRIPT", "LOAD", SCRIPT.text)]


async def test_one_call_at_a_time_while_the_next_group_gathers(bench: Bench) -> None:
    bench.add(0)
    await turn()
    bench.add(1)
    bench.add(2)
    await turn()
    assert len(bench.wire.sent) == 1
    bench.wire.answer(OK_LIVE)
    await turn()
    assert bench.told.heard == [(0, True)]
    ((command, _),) = bench.wire.sent
    assert list(command[4:]) == arguments(bench.run, (1, b"s1"), (2, b"s2"))


async def test_a_group_has_a_largest_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROUP_LIMIT", 3)
    bench.add(0, 1, 2, 3)
    await turn()
    bench.wire.answer(OK_LIVE)
    await turn()
    bench.wire.answer(OK_LIVE)
    assert [index for index, _ in bench.told.heard] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "heard", "stop"),
    [
        ([b"OK", b"live"], [(0, True), (1, True)], ""),
        ([b"OK", b"live", 1], [(0, True), (1, False)], ""),
        ([b"OK", b"held"], [(0, True), (1, True)], "held"),
        ([b"LOST", b"live", 0], [(0, False), (1, True)], "LOST"),
        ([b"GONE", b"gone"], [(0, False), (1, False)], "LOST"),
    ],
)
async def test_who_is_told_what(bench: Bench, answer: list[object], heard: list[tuple[int, bool]], stop: str) -> None:
    bench.add(0, 1)
    await turn()
    bench.wire.answer(answer)
    assert bench.told.heard == heard
    assert bench.run.stop == stop


async def test_flushed_waits_for_everything(bench: Bench) -> None:
    flushed = asyncio.create_task(bench.recorder.flushed())
    await turn()
    assert flushed.done()
    bench.add(0)
    flushed = asyncio.create_task(bench.recorder.flushed())
    await turn()
    bench.add(1)
    bench.wire.answer(OK_LIVE)
    await turn()
    assert not flushed.done()
    assert bench.recorder.unrecorded == 1
    bench.wire.answer(OK_LIVE)
    async with asyncio.timeout(1):
        await flushed


async def test_a_lost_connection_sends_what_flew_again_and_first(bench: Bench) -> None:
    lost = asyncio.Event()
    bench.recorder.on_lost = lost.set
    bench.add(0)
    await turn()
    bench.add(1)
    bench.gate.clear()
    bench.wire.abort()
    await turn()
    assert lost.is_set()
    bench.add(2)
    bench.gate.set()
    await until(lambda: len(bench.wires) == 2 and bool(bench.wire.sent), "a new connection")
    ((command, _),) = bench.wire.sent
    assert list(command[4:]) == arguments(bench.run, (0, b"s0"))
    bench.wire.answer(OK_LIVE)
    await turn()
    bench.wire.answer(OK_LIVE)
    assert [index for index, _ in bench.told.heard] == [0, 1, 2]


async def test_a_connection_lost_while_nothing_flies_sends_what_waits(bench: Bench) -> None:
    bench.gate.clear()
    bench.wire.abort()
    await turn()
    bench.add(0)
    await turn()
    bench.gate.set()
    await until(lambda: len(bench.wires) == 2 and bool(bench.wire.sent), "a new connection")
    bench.wire.answer(OK_LIVE)
    assert bench.told.heard == [(0, True)]


@pytest.mark.parametrize("error", ["NOSCRIPT No matching script", "OOM command not allowed", "LOADING"])
async def test_an_error_reply_keeps_the_outcomes(bench: Bench, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AFTER_ERROR_S", 0.01)
    bench.add(0)
    await turn()
    bench.wire.answer(hiredis.ReplyError(error))
    assert bench.told.heard == []
    await until(lambda: len(bench.wires) == 2 and bool(bench.wire.sent), "a new connection")
    assert bench.wire.asked == [("SCRIPT", "LOAD", SCRIPT.text)]
    bench.wire.answer(OK_LIVE)
    assert bench.told.heard == [(0, True)]


async def test_an_answer_that_is_owed_too_long_means_a_new_connection(bench: Bench) -> None:
    bench.add(0)
    await turn()
    bench.clock.now_s += 9
    bench.recorder.check()
    assert not bench.wire.is_closed
    assert bench.recorder.unanswered_s == 9
    bench.clock.now_s += 2
    bench.recorder.check()
    await until(lambda: len(bench.wires) == 2 and bool(bench.wire.sent), "a new connection")
    assert bench.recorder.unanswered_s == 11, "redis owes the answer since it was asked first"
    bench.recorder.check()
    assert not bench.wire.is_closed, "the new connection has its own time"
    bench.wire.answer(OK_LIVE)
    assert bench.recorder.unanswered_s == 0


async def test_a_bug_in_one_listener_does_not_keep_the_others_waiting(bench: Bench) -> None:
    class Broken:
        def recorded(self, item: Item, accepted: bool) -> None:
            raise ZeroDivisionError

    bench.recorder.add(bench.items[0], b"s", Broken())
    bench.add(1)
    await turn()
    bench.wire.answer(OK_LIVE)
    assert bench.told.heard == [(1, True)]
    async with asyncio.timeout(1):
        await bench.recorder.flushed()


async def test_a_listener_that_adds_at_once_goes_with_the_next_group(bench: Bench) -> None:
    class Again:
        def recorded(self, item: Item, accepted: bool) -> None:
            bench.add(2)

    bench.recorder.add(bench.items[0], b"s", Again())
    await turn()
    bench.wire.answer(OK_LIVE)
    await turn()
    ((command, _),) = bench.wire.sent
    assert list(command[4:]) == arguments(bench.run, (2, b"s2"))


async def test_what_ends_it_for_good_is_told(bench: Bench) -> None:
    ended: list[BaseException] = []
    bench.recorder.on_failed = ended.append

    async def moved(_on_lost: Callable[[], None]) -> RedisWire:
        raise PermissionError("the folder belongs to another user")

    bench.recorder._connect = moved
    bench.wire.abort()
    await until(lambda: bool(ended), "the failure is told")
    assert isinstance(ended[0], PermissionError)


async def test_a_server_that_takes_no_command_yet_is_asked_again() -> None:
    bench = Bench()
    refused = 0

    async def starting(on_lost: Callable[[], None]) -> RedisWire:
        wire = Wire(on_lost)

        async def ask(*command: Arg) -> object:
            nonlocal refused
            refused += 1
            if refused == 1:
                raise hiredis.ReplyError("LOADING Redis is loading the dataset in memory")
            return b"OK"

        wire.ask = ask  # type: ignore[method-assign]  # this wire only
        bench.wires.append(wire)
        return cast("RedisWire", wire)

    bench.recorder._connect = starting
    await bench.recorder.open()
    assert [wire.is_closed for wire in bench.wires] == [True, False]


async def test_close_ends_a_reconnection_and_the_connection(bench: Bench) -> None:
    bench.gate.clear()
    bench.wire.abort()
    await turn()
    await bench.recorder.close()
    other = Bench()
    await other.recorder.open()
    await other.recorder.close()
    assert other.wire.is_closed
    await turn()
    assert len(other.wires) == 1


NOPERM = "NOPERM User w has no permissions to run the 'script|load' command"


class Teller(Events):
    """Writes down what it is told of Redis."""

    def __init__(self) -> None:
        super().__init__(None)
        self.refused: list[tuple[str, int]] = []

    def redis_refused(self, why: str, unrecorded: int) -> None:
        self.refused.append((why, unrecorded))


class Guarded(Bench):
    """A Redis that lets this user do nothing while `shut`."""

    def __init__(self) -> None:
        super().__init__()
        self.shut = False
        self.asked = 0
        self.teller = Teller()
        self.recorder = Recorder(self._connect, SCRIPT, self.clock, self.teller)

    async def _connect(self, on_lost: Callable[[], None]) -> RedisWire:
        self.asked += 1
        if self.shut:
            raise RedisRefusesError(NOPERM)
        return await super()._connect(on_lost)


async def test_a_user_who_may_not_record_is_no_start() -> None:
    guarded = Guarded()
    guarded.shut = True
    with pytest.raises(RedisRefusesError, match=r"^NOPERM"):
        await guarded.recorder.open()


async def test_a_refusal_while_it_runs_is_told_once_a_minute_and_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AFTER_REFUSAL_S", 0.001)
    monkeypatch.setattr(module, "_AFTER_ERROR_S", 0.001)
    guarded = Guarded()
    await guarded.recorder.open()
    guarded.add(0)
    await turn()
    guarded.shut = True
    guarded.wire.answer(hiredis.ReplyError("NOPERM no permissions to run the 'evalsha' command"))
    await until(lambda: guarded.asked > 5, "it tries again")
    assert guarded.teller.refused == [("NOPERM no permissions to run the 'evalsha' command", 1)]
    guarded.clock.now_s += 61.0
    await until(lambda: len(guarded.teller.refused) == 2, "a minute later it is told again")
    guarded.shut = False
    await until(lambda: len(guarded.wires) == 2 and bool(guarded.wire.sent), "it is let in")
    guarded.wire.answer(OK_LIVE)
    assert guarded.told.heard == [(0, True)]
    assert guarded.teller.refused[1:] == [(NOPERM, 1)]
