"""Redis' clock is set back: leases, waits and next tries that were written in the old time are as long as they were."""

from __future__ import annotations

import pytest

from mailspool.contract.codec import decode_outcome
from mailspool.contract.states import LEASE_MS, UPLOAD_SILENT_MS
from tests.producer.contract.batches import (
    BULK,
    accounts,
    begin,
    commit,
    due_in,
    feed,
    lease,
    one_chunk,
    record,
    running,
    settle,
    staffed,
    state,
)
from tests.storm import ops
from tests.storm.world import World

HOUR_MS = 3_600_000
LONG = {"lifetime": 5 * 86_400_000}


def set_back(world: World, by_ms: int = HOUR_MS) -> None:
    """The storm's own memory of turns begins anew, too."""
    world.now -= by_ms
    world.auditor.feeding.able_since.clear()
    world.auditor.feeding.ask_until.clear()


def rewind(world: World, b: str = "b1") -> None:
    start = 0
    while start >= 0:
        start = world.do(ops.Rewind(b, start))
    world.do(ops.RewindLeases(BULK))


def test_what_was_queued_in_the_old_time_goes_at_once(world: World) -> None:
    one_chunk(world, **LONG)
    set_back(world)
    staffed(world)
    assert not feed(world)
    rewind(world)
    assert due_in(world) == 0
    assert len(feed(world)) == 1


def test_a_next_try_is_as_far_away_as_it_was(world: World) -> None:
    run = running(world, 2, **LONG)
    record(world, run, (0, "s"), (1, "d", world.now + 300_000))
    settle(world, run)
    set_back(world)
    rewind(world)
    assert due_in(world) == 300_000
    outcome = decode_outcome(world.db.outcomes("b1", 0)["1"].encode("latin-1"))
    assert (outcome.first_ms, outcome.last_ms) == (world.now, world.now)
    assert accounts(world) == {"sent": 1, "deferred": 1}


def test_a_try_that_was_written_in_the_right_time_stays_where_it_is(world: World) -> None:
    run = running(world, 1, **LONG)
    record(world, run, (0, "d", world.now + 2 * HOUR_MS))
    settle(world, run)
    world.now += HOUR_MS + 1_000
    set_back(world)
    rewind(world)
    assert due_in(world) == 2 * HOUR_MS - 1_000


@pytest.mark.parametrize("scope", ["chunk", "batch"])
def test_what_was_put_off_waits_a_minute_at_most(world: World, scope: str) -> None:
    run = running(world, **LONG)
    settle(world, run, 60_000, "closed", scope)
    set_back(world)
    rewind(world)
    world.now += 60_000
    staffed(world)
    assert len(feed(world)) == 1


def test_the_lease_of_a_worker_that_is_gone_is_over_a_lease_later(world: World) -> None:
    running(world, **LONG)
    set_back(world)
    rewind(world)
    assert world.do(ops.Sweep(BULK)).freed == 0
    world.now += LEASE_MS
    assert world.do(ops.Sweep(BULK)).freed == 1


def test_an_upload_that_is_gone_holds_its_key_no_longer_than_ever(world: World) -> None:
    begin(world, "u1", "K")
    set_back(world)
    rewind(world)
    world.now += UPLOAD_SILENT_MS
    assert begin(world, "u2", "K").kind == "LOAD"


def test_a_held_batch_is_corrected_and_stays_held(world: World) -> None:
    one_chunk(world, **LONG)
    world.do(ops.Hold("b1"))
    set_back(world)
    rewind(world)
    assert (state(world), due_in(world)) == ("held", 0)


def test_more_than_a_slice_is_corrected_whole(world: World) -> None:
    """Those that are corrected leave the slice: the next start counts those that stay."""
    commit(world, "u1", [[f"a{n}"] for n in range(130)], given=LONG)
    staffed(world)
    later = 0
    for _ in range(28):
        for job in feed(world):
            run = lease(world, job)
            record(world, run, (0, "d", world.now + 10 * HOUR_MS))
            settle(world, run)
            later += 1
    set_back(world)
    rewind(world)
    due = sorted(at - world.now for at in world.db.due("b1").values())
    assert due == [0] * (130 - later) + [10 * HOUR_MS] * later


def test_nothing_is_corrected_where_no_clock_was_set_back(world: World) -> None:
    run = running(world, 2, **LONG)
    record(world, run, (0, "d", world.now + 7_200_000), (1, "d", world.now + 300_000))
    settle(world, run)
    world.now += 1_000
    before = world.db
    rewind(world)
    assert world.db.due("b1") == before.due("b1")
    assert world.db.outcomes("b1", 0) == before.outcomes("b1", 0)


def test_a_batch_at_rest_and_one_that_is_not_there(world: World) -> None:
    one_chunk(world)
    world.do(ops.Close("b1", "cancelled"))
    assert world.do(ops.Rewind("b1")) == -1
    assert world.do(ops.Rewind("nobody")) == -1
