"""`deliver` hop by hop, with a spool and routes that the test plays: how each run ends, whatever happens where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest

from mailspool.content.mime import Compiled
from mailspool.contract.codec import DecodeError, encode_outcome, encode_row
from mailspool.contract.moves import Leased, Moves, Refused
from mailspool.contract.records import Outcome, Row
from mailspool.contract.states import DEFERRED, FAILED, SENT
from mailspool.redis_server.link import Link
from mailspool_worker import job as module
from mailspool_worker.bounces import Bounces
from mailspool_worker.clock import RedisClock
from mailspool_worker.contents import Contents
from mailspool_worker.events import Events
from mailspool_worker.feeder import Feeder
from mailspool_worker.job import Delivery, Parts
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.refusals import Refusals
from mailspool_worker.routes.choice import Assigned, Blocked, Routes
from mailspool_worker.routes.route import Route
from mailspool_worker.runs import Item, Place, Run
from tests.support.waiting import until
from tests.support.worker_parts import Desk, TestClock, compiled

NOW_MS = 1_700_000_000_000
LATER_MS = NOW_MS + 86_400_000


def array(rows: Sequence[Row]) -> bytes:
    return b"\xdc" + len(rows).to_bytes(2, "big") + b"".join(map(encode_row, rows))


class Stage:
    """Moves, contents, routes and feeder, as the test wants them. `asked`: the moves, in order."""

    def __init__(self, count: int = 3, *, lost_runs: int = 0, claim: str = "0") -> None:
        self.boot = TestClock()
        self.clock = RedisClock(self.boot)
        self.desk = Desk()
        self.rows = [Row(f"u{i}@x.test", {"name": "Ali"}) for i in range(count)]
        self.outcomes: dict[int, bytes] = {}
        self.state, self.lost_runs, self.claim = "live", lost_runs, claim
        self.expires = str(LATER_MS)
        self.lease_answer: Refused | None = None
        self.renew_states: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, BaseException] = {}
        self.asked: list[tuple[object, ...]] = []
        self.put_items: list[Item] = []
        self.on_assign: Callable[[list[Item]], tuple[list[Item], Blocked | None]] = lambda items: (items, None)
        self.forgot = 0
        self.names = ("main",)
        self.delivery = Delivery(
            Parts(
                cast("Moves", self),
                cast("Contents", self),
                cast("Routes", self),
                self.desk.as_recorder,
                RenderedMemory(1 << 20),
                self.clock,
                Events(None),
                cast("Feeder", self),
                "worker",
                Bounces(
                    cast("Link", self),
                    cast("Moves", self),
                    Refusals(self.desk.as_recorder, self.clock, Events(None)),
                    Events(None),
                    suppress=True,
                ),
            )
        )

    async def _ask(self, what: str, *args: object) -> None:
        self.asked.append((what, *args))
        if what in self.gates:
            await self.gates[what].wait()
        if what in self.errors:
            raise self.errors.pop(what)

    # moves

    async def lease(self, b: str, k: int, gen: int, token: str, relays: Sequence[str]) -> Leased | Refused:
        await self._ask("lease")
        if self.lease_answer is not None:
            return self.lease_answer
        fields = {"class": "bulk", "expires": self.expires, "created": "1", "claim": self.claim}
        return Leased(NOW_MS, array(self.rows), self.outcomes, self.state, self.lost_runs, fields)

    async def detach(self, *ref: object) -> str:
        await self._ask("detach")
        return "OK"

    async def settle(self, *args: object) -> str:
        await self._ask("settle", *(arg for arg in args[3:] if arg != ""))
        return "OK"

    async def renew(self, runs: Sequence[object]) -> list[str]:
        await self._ask("renew", len(runs))
        return self.renew_states

    # contents, routes, one route, feeder

    async def of(self, batch: str, fields: Mapping[str, str]) -> Compiled:
        await self._ask("contents")
        return compiled()

    def assign(self, run: Run, items: list[Item], left_s: float) -> Assigned:
        taken, blocked = self.on_assign(list(items))
        stay = [item for item in items if item not in taken]
        return Assigned([(cast("Route", self), taken)] if taken else [], stay, blocked)

    def put(self, items: list[Item]) -> None:
        self.put_items += items

    def forget(self, run: Run) -> None:
        self.forgot += 1

    def wish(self, class_: str) -> None:
        self.asked.append(("wish",))

    # what the test does

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.delivery.deliver("b1", 0, 7))

    async def given(self, count: int) -> list[Item]:
        await until(lambda: len(self.put_items) >= count, f"{count} items in the route")
        return self.put_items

    def finish(self, items: Sequence[Item]) -> None:
        for item in items:
            item.run.finished(item)

    def said(self, what: str) -> list[tuple[object, ...]]:
        return [one[1:] for one in self.asked if one[0] == what]

    def is_over(self) -> None:
        assert self.delivery.runs == set()
        assert self.delivery._finishing == set()


async def ended(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(5):
        await asyncio.wait((task,))


async def test_a_chunk_that_goes_well() -> None:
    stage = Stage()
    task = stage.start()
    stage.finish(await stage.given(3))
    await task
    assert stage.asked == [("lease",), ("contents",), ("settle",), ("wish",)]
    stage.is_over()


async def test_only_what_has_no_outcome_or_is_due_is_handed_out() -> None:
    stage = Stage(5)
    stage.outcomes = {
        0: encode_outcome(Outcome(SENT, 1)),
        1: encode_outcome(Outcome(DEFERRED, NOW_MS, 1)),
        2: encode_outcome(Outcome(DEFERRED, NOW_MS + 1, 1)),
        3: encode_outcome(Outcome(FAILED, 1)),
    }
    task = stage.start()
    items = await stage.given(2)
    assert [(item.index, item.previous is not None) for item in items] == [(1, True), (4, False)]
    stage.finish(items)
    await task


@pytest.mark.parametrize("why", ["busy", "held", "expired", "relay"])
async def test_without_a_lease_nothing_happens(why: str) -> None:
    stage = Stage()
    stage.lease_answer = Refused(why)
    await stage.start()
    assert stage.asked == [("lease",)]
    stage.is_over()


async def test_what_cannot_be_read_waits_a_minute() -> None:
    stage = Stage()
    stage.errors["contents"] = DecodeError("batch b1 has no spec")
    await stage.start()
    assert stage.said("settle") == [(60_000, "closed", "chunk")]
    stage.is_over()


async def test_what_comes_back_goes_out_again_until_nothing_is_left() -> None:
    stage = Stage(2)
    task = stage.start()
    first, second = await stage.given(2)
    first.run.finished(first)
    second.run.give_back(second)
    again = (await stage.given(3))[2]
    assert again.index == 1
    stage.finish([again])
    await task
    assert stage.said("settle") == [()]


@pytest.mark.parametrize(
    ("taken", "settled"),
    [(0, (5_000, "closed", "batch")), (1, (5_000, "closed", "chunk"))],
)
async def test_what_no_route_takes_waits_and_only_then_the_whole_batch(taken: int, settled: tuple[object, ...]) -> None:
    stage = Stage(3)
    left = [taken]

    def assign(items: list[Item]) -> tuple[list[Item], Blocked | None]:
        number, left[0] = left[0], 0
        return items[:number], Blocked(5_000, "closed", "batch")

    stage.on_assign = assign
    task = stage.start()
    stage.finish(await stage.given(taken))
    await task
    assert stage.said("settle") == [settled]


async def test_at_the_end_of_the_budget_what_is_on_the_wire_detaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET_S", 0.05)
    stage = Stage(3)
    task = stage.start()
    wire, *others = await stage.given(3)
    wire.place = Place.WIRE
    await task
    assert stage.asked[2:] == [("detach",), ("wish",)]
    assert [item.place for item in others] == [Place.DONE, Place.DONE]
    assert stage.forgot == 1
    stage.renew_states = ["live"]
    await stage.delivery.renew()
    assert stage.said("renew") == [(1,)], "the lease is kept"
    stage.finish([wire])
    await until(lambda: stage.said("settle") == [()], "the settle")
    await stage.delivery.finished()
    stage.is_over()


@pytest.mark.parametrize("state", ["held", "closing", "expired"])
async def test_a_batch_that_stops_is_settled_without_more(state: str) -> None:
    stage = Stage(3)
    task = stage.start()
    wire, *_ = await stage.given(3)
    wire.place = Place.WIRE
    wire.run.take_state(state)
    stage.finish([wire])
    await task
    assert stage.said("settle") == [()]
    assert len(stage.put_items) == 3


async def test_a_batch_that_is_held_already_is_given_back_at_once() -> None:
    stage = Stage()
    stage.state = "held"
    await stage.start()
    assert stage.put_items == []
    assert stage.said("settle") == [()]


async def test_a_lost_run_is_left_alone() -> None:
    stage = Stage(2)
    task = stage.start()
    items = await stage.given(2)
    stage.renew_states = ["LOST"]
    await stage.delivery.renew()
    await task
    assert stage.said("settle") == []
    assert all(item.place is Place.DONE for item in items)
    stage.is_over()


@pytest.mark.parametrize("where", ["lease", "contents", "work", "settle", "detach"])
async def test_a_cancelled_deliver_leaves_no_run_behind(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """arq's time limit, or its worker's death: else the lease would be renewed for ever."""
    if where == "detach":
        monkeypatch.setattr(module, "BUDGET_S", 0.05)
    stage = Stage(2)
    if where != "work":
        stage.gates[where] = asyncio.Event()
    task = stage.start()
    if where in ("work", "settle", "detach"):
        first, second = await stage.given(2)
        if where == "settle":
            stage.finish([first, second])
        else:
            first.place = Place.WIRE
    if where != "work":
        await until(lambda: bool(stage.said(where)), "it is there")
    task.cancel()
    await ended(task)
    assert task.cancelled()
    if where in stage.gates:
        stage.gates.pop(where).set()
    if where in ("work", "detach"):
        assert stage.said("settle") == [], "what is on the wire comes first"
        stage.finish([first])
    await until(lambda: stage.said("settle")[-1:] == [()], "the chunk is given back")
    await stage.delivery.finished()
    stage.is_over()


async def test_a_bug_leaves_no_run_behind() -> None:
    stage = Stage()

    def broken(items: list[Item]) -> tuple[list[Item], Blocked | None]:
        raise ZeroDivisionError

    stage.on_assign = broken
    with pytest.raises(ZeroDivisionError):
        await stage.start()
    await stage.delivery.finished()
    assert stage.said("settle") == [()]
    stage.is_over()


@pytest.mark.parametrize("what", ["an index", "an outcome", "the deadline"])
async def test_a_chunk_that_cannot_be_read_is_put_off(what: str) -> None:
    stage = Stage()
    if what == "an index":
        stage.errors["lease"] = DecodeError("a leased chunk cannot be read: ValueError")
    elif what == "an outcome":
        stage.outcomes = {0: b"zz"}
    else:
        stage.expires = "soon"
    await stage.start()
    assert stage.said("settle") == [(60_000, "closed", "chunk")]
    stage.is_over()


async def test_a_settle_that_fails_for_good_lets_the_lease_run_out() -> None:
    stage = Stage(1)
    stage.errors["settle"] = ValueError("first")
    task = stage.start()
    stage.finish(await stage.given(1))
    with pytest.raises(ValueError, match="first"):
        await task
    stage.errors["settle"] = ValueError("second")
    await stage.delivery.finished()
    stage.is_over()


# Suspects


# The process
