"""What a worker writes down, each guard at its limits: record and settle, and the time of the next try."""

from __future__ import annotations

import pytest

from mailspool.contract.moves import Drained, Recorded
from mailspool.contract.states import LATER_LIMIT_MS, LEASE_MS
from tests.producer.contract.batches import (
    BULK,
    LIFETIME_MS,
    accounts,
    commit,
    due_in,
    feed,
    lease,
    record,
    running,
    settle,
    staffed,
    state,
)
from tests.storm import ops
from tests.storm.workers import outcome
from tests.storm.world import World

# record


def test_a_final_outcome_stays(world: World) -> None:
    run = running(world)
    assert record(world, run, (0, "f")) == ()
    assert record(world, run, (0, "d"), (1, "u")) == (0,)
    assert accounts(world) == {"failed": 1, "uncertain": 1}


def test_sent_is_a_fact_whoever_brings_it(world: World) -> None:
    run = running(world)
    record(world, run, (0, "u"))
    world.now += LEASE_MS
    world.do(ops.Sweep(BULK))
    assert record(world, run, (0, "s"), (1, "f")) == (1,)
    world.do(ops.Close("b1", "cancelled"))
    assert accounts(world) == {"sent": 1, "cancelled": 1}
    assert record(world, run, (1, "s")) == ()
    assert accounts(world) == {"sent": 2}


def test_a_claim_only_while_the_batch_may_send(world: World) -> None:
    run = running(world, rows=3)
    assert record(world, run, (0, "c"), (1, "d", world.now + 5)) == ()
    assert record(world, run, (1, "c"), (0, "c", world.now + 1)) == (0,)
    world.do(ops.Hold("b1"))
    assert record(world, run, (2, "c")) == (2,)
    assert accounts(world) == {"claimed": 2, "queued": 1}


def test_a_claim_is_taken_back_by_its_own_run(world: World) -> None:
    run = running(world, rows=3)
    record(world, run, (0, "c"), (1, "s"))
    assert record(world, run, (0, ""), (1, ""), (2, "")) == (1,)
    assert accounts(world) == {"sent": 1, "queued": 2}


@pytest.mark.parametrize("past_ms", [-1, 0, 1])
def test_a_next_try_is_cut_to_the_deadline(world: World, past_ms: int) -> None:
    run = running(world, rows=1)
    deadline = world.now + LIFETIME_MS
    record(world, run, (0, "d", deadline + past_ms))
    assert int(world.db.outcomes("b1", 0)["0"][1:14]) == min(deadline, deadline + past_ms)


def test_the_same_message_twice_in_one_call_counts_once(world: World) -> None:
    run = running(world, rows=3)
    assert record(world, run, (0, "s"), (0, "s"), (1, "u"), (1, "u"), (2, "c"), (2, "")) == ()
    assert accounts(world) == {"sent": 1, "uncertain": 1, "queued": 1}


def test_one_call_for_chunks_of_several_batches(world: World) -> None:
    staffed(world)
    for u in ("u1", "u2"):
        commit(world, u, [[f"{u}{k}{i}" for i in range(2)] for k in range(2)])
    runs = {run.ref[:2]: run for run in (lease(world, job, f"w1.{job}") for job in feed(world))}
    world.do(ops.Hold("b2"))
    sent, claim = outcome("s", world.now), outcome("c", world.now)
    groups = tuple(
        (*runs[place].ref, ((0, sent), (1, claim))) for place in (("b1", 0), ("b2", 0), ("b1", 1), ("b2", 1))
    )
    answers = world.do(ops.Record((*groups, ("b3", 0, "1:w1.x", ((0, sent),)), ("b1", 0, "1:w9.x", ()))))
    live, held = Recorded("OK", "live", ()), Recorded("OK", "held", (1,))
    assert answers == [live, held, live, held, Recorded("GONE", "gone", ()), Recorded("LOST", "live", ())]
    assert accounts(world, "b1") == {"sent": 2, "claimed": 2}
    assert accounts(world, "b2") == {"sent": 2, "queued": 2}


# settle


def test_the_last_settle_ends_the_batch(world: World) -> None:
    run = running(world, rows=2)
    record(world, run, (0, "s"), (1, "f"))
    assert state(world) == "live"
    assert settle(world, run) == "OK"
    assert (state(world), accounts(world)) == ("done", {"sent": 1, "failed": 1})
    assert settle(world, run) == "LOST"


def test_a_claim_that_is_left_is_uncertain(world: World) -> None:
    run = running(world, rows=1)
    record(world, run, (0, "c"))
    settle(world, run)
    assert (state(world), accounts(world)) == ("done", {"uncertain": 1})


@pytest.mark.parametrize(
    ("tries", "due"),
    [
        ((100_000,), 100_000),
        ((100_000, 110_000), 110_000),
        ((100_000, 110_001), 100_000),
        ((100_000, 110_001, 105_000), 105_000),
        ((9, 10), 9),
        ((500_000, 550_000), 550_000),
        ((500_000, 550_001), 500_000),
        ((0, 1), 0),
    ],
)
def test_next_tries_are_gathered_up_to_a_tenth_of_the_wait(world: World, tries: tuple[int, ...], due: int) -> None:
    run = running(world, rows=len(tries))
    record(world, run, *((i, "d", world.now + wait) for i, wait in enumerate(tries)))
    settle(world, run)
    assert due_in(world) == due


@pytest.mark.parametrize(("second", "due"), [(59_999, 59_999), (60_000, 60_000), (60_001, 0)])
def test_next_tries_are_gathered_up_to_a_minute(world: World, second: int, due: int) -> None:
    run = running(world, rows=2, lifetime=LIFETIME_MS * 10)
    first = world.now + 900_000
    record(world, run, (0, "d", first), (1, "d", first + second))
    settle(world, run)
    assert due_in(world) == 900_000 + due


def test_unattempted_messages_do_not_wait_for_the_others(world: World) -> None:
    run = running(world, rows=2)
    record(world, run, (0, "d", world.now + 5000))
    settle(world, run)
    assert due_in(world) == 0


@pytest.mark.parametrize("wait_ms", [0, 1, LATER_LIMIT_MS - 1, LATER_LIMIT_MS, LATER_LIMIT_MS + 1])
@pytest.mark.parametrize("why", ["rate", "closed"])
def test_a_blocked_chunk_waits_at_most_a_minute(world: World, wait_ms: int, why: str) -> None:
    settle(world, running(world), wait_ms, why)
    assert due_in(world) == min(wait_ms, LATER_LIMIT_MS)


def test_a_blocked_chunk_never_goes_before_its_next_try(world: World) -> None:
    run = running(world, rows=1)
    record(world, run, (0, "d", world.now + 30_000))
    settle(world, run, 1000, "closed")
    assert due_in(world) == 30_000


def test_a_blocked_batch_waits_and_its_chunks_keep_their_time(world: World) -> None:
    settle(world, running(world), 5000, "closed", "batch")
    assert due_in(world) == 0
    assert int(world.db.batch("b1")["wait_until"]) == world.now + 5000
    assert feed(world) == ()
    assert world.do(ops.AskDrained(BULK)) == Drained(0, 1)
    assert world.do(ops.Resume("b1")) == 1
    assert len(feed(world)) == 1


def test_a_rate_is_waited_for_and_not_resumed(world: World) -> None:
    settle(world, running(world), 5000, "rate", "batch")
    assert world.do(ops.Resume("b1")) == 0
    assert world.do(ops.AskDrained(BULK)) == Drained(1, 0)
    world.now += 5000
    staffed(world)
    assert len(feed(world)) == 1


def test_settled_without_a_reason_nothing_waits(world: World) -> None:
    settle(world, running(world), 5000, "", "batch")
    assert due_in(world) == 0
    assert "wait_until" not in world.db.batch("b1")
