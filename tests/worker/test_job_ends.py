"""How a job ends when something else ends first: the process, the lease, the budget."""

from __future__ import annotations

import asyncio

import pytest

from mailspool.contract.codec import encode_outcome
from mailspool.contract.records import Outcome
from mailspool.contract.states import CLAIMED, DEFERRED, SUSPECT_RUNS
from mailspool_worker import job as module
from mailspool_worker.runs import Place
from tests.support.waiting import until
from tests.worker.test_job import NOW_MS, Stage, ended


async def test_a_lease_that_took_long_is_renewed_before_anything_goes_out() -> None:
    stage = Stage(1)
    stage.gates["contents"] = asyncio.Event()
    stage.renew_states = ["live"]
    task = stage.start()
    await until(lambda: bool(stage.said("contents")), "contents are asked for")
    stage.boot.now_s += 12
    stage.gates["contents"].set()
    items = await stage.given(1)
    assert stage.said("renew") == [(1,)]
    assert items[0].run.may_start_body()
    stage.finish(items)
    await task


async def test_a_suspect_chunk_goes_one_by_one_each_claimed_before_it_is_rendered() -> None:
    stage = Stage(2, lost_runs=SUSPECT_RUNS)
    task = stage.start()
    for index in (0, 1):
        await until(lambda: bool(stage.desk.notes), "the claim")
        assert len(stage.put_items) == index
        assert stage.desk.outcome(index).state == CLAIMED
        assert stage.desk.outcome(index).reason == "worker_crash"
        stage.desk.answer()
        item = (await stage.given(index + 1))[index]
        assert (item.claimed, item.rendered) == (True, None)
        stage.finish([item])
    await task
    assert stage.said("settle") == [()]


async def test_a_claim_that_is_refused_is_the_end_of_its_message() -> None:
    stage = Stage(2, lost_runs=SUSPECT_RUNS)
    task = stage.start()
    await until(lambda: bool(stage.desk.notes), "the claim")
    stage.desk.answer(accepted=False)
    await until(lambda: bool(stage.desk.notes), "the next claim")
    stage.desk.answer()
    stage.finish(await stage.given(1))
    await task
    assert [item.index for item in stage.put_items] == [1]


async def test_two_suspects_are_never_in_work_at_once() -> None:
    stage = Stage(1, lost_runs=SUSPECT_RUNS)
    first = stage.start()
    await until(lambda: bool(stage.desk.notes), "the claim")
    async with asyncio.timeout(5):
        await stage.delivery.deliver("b1", 1, 8)
    assert stage.said("settle") == [(2_000, "rate", "chunk")]
    stage.desk.answer()
    stage.finish(await stage.given(1))
    await first


@pytest.mark.parametrize("when", ["claim asked", "claim recorded"])
async def test_a_stop_takes_the_claim_back_and_what_was_known_stands_again(when: str) -> None:
    stage = Stage(1, lost_runs=SUSPECT_RUNS)
    known = Outcome(DEFERRED, NOW_MS - 1, 2, first_ms=5, last_ms=6, relay="main")
    stage.outcomes = {0: encode_outcome(known)}
    task = stage.start()
    await until(lambda: bool(stage.desk.notes), "the claim")
    if when == "claim recorded":
        stage.desk.answer()
        await stage.given(1)
    stage.delivery.stop_starting()
    assert stage.said("settle") == [], "settle would make the claim uncertain"
    stage.desk.answer_all()
    await task
    assert stage.desk.outcome(0) == known
    assert stage.said("settle") == [()]


async def test_a_stop_before_the_put_hands_nothing_out() -> None:
    stage = Stage(1, lost_runs=SUSPECT_RUNS)
    task = stage.start()
    await until(lambda: bool(stage.desk.notes), "the claim")
    stage.delivery.stop_starting()
    stage.desk.answer_all()
    await task
    assert stage.put_items == []


async def test_a_process_that_stops_takes_no_more_chunks_and_gives_back_what_it_has() -> None:
    stage = Stage(3)
    task = stage.start()
    wire, *_ = await stage.given(3)
    wire.place = Place.WIRE
    stage.delivery.stop_starting()
    await stage.delivery.deliver("b1", 1, 8)
    assert stage.said("settle") == [()], "a job that was picked just now is given back, not left to the sweep"
    stage.asked.clear()
    finished = asyncio.create_task(stage.delivery.finished())
    await asyncio.sleep(0)
    assert not finished.done()
    stage.finish([wire])
    await task
    await finished
    assert stage.said("wish") == []
    assert stage.said("settle") == [()]


async def test_a_lease_granted_while_the_process_stops_is_given_back() -> None:
    stage = Stage()
    stage.gates["lease"] = asyncio.Event()
    task = stage.start()
    await until(lambda: bool(stage.said("lease")), "the lease is asked for")
    stage.delivery.stop_starting()
    stage.gates["lease"].set()
    await task
    assert stage.put_items == []
    assert stage.said("settle") == [()]


async def test_what_comes_back_while_something_is_on_the_wire_goes_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tarpit that holds one message of a chunk must not hold the others of that chunk."""
    monkeypatch.setattr(module, "BUDGET_S", 0.05)
    stage = Stage(3)
    task = stage.start()
    wire, *_ = await stage.given(3)
    wire.place = Place.WIRE
    await task
    again = (await stage.given(5))[3:5]
    assert sorted(item.index for item in again) == [1, 2]
    stage.finish([*again, wire])
    await until(lambda: not stage.delivery.runs, "the end")
    assert stage.said("settle") == [()]


async def test_a_hold_that_one_run_hears_of_stops_the_other() -> None:
    stage = Stage(1)
    first, second = stage.start(), asyncio.create_task(stage.delivery.deliver("b1", 1, 8))
    one, other = await stage.given(2)
    one.place = Place.WIRE
    one.run.take_state("held")
    assert other.place is Place.DONE
    stage.finish([one])
    await asyncio.gather(first, second)
    stage.is_over()


async def test_nothing_to_renew_asks_nothing() -> None:
    stage = Stage()
    await stage.delivery.renew()
    assert stage.asked == []


async def test_close_ends_what_still_waits() -> None:
    stage = Stage(1)
    task = stage.start()
    (item,) = await stage.given(1)
    item.place = Place.WIRE
    task.cancel()
    await ended(task)
    await stage.delivery.close()
    stage.is_over()
