"""How a chunk comes to a worker and back, each guard at its limits: feed, lease, renew, detach, sweep, leave."""

from __future__ import annotations

import pytest

from mailspool.contract.moves import Leased, Refused
from mailspool.contract.states import FEED_GRACE_MS, LEASE_MS, POISON_CLAIMS, SUSPECT_RUNS, WORKER_ALIVE_MS
from tests.producer.contract.batches import (
    BULK,
    LIFETIME_MS,
    Run,
    accounts,
    commit,
    due_in,
    feed,
    lease,
    names,
    one_chunk,
    record,
    running,
    settle,
    staffed,
    state,
)
from tests.storm import ops
from tests.storm.workers import outcome
from tests.storm.world import World

# feed


def test_without_workers_nothing_is_fed(world: World) -> None:
    one_chunk(world)
    assert feed(world) == ()


def test_batches_of_a_later_release_are_left_to_its_own_feeders(world: World) -> None:
    staffed(world)
    newer = commit(world, "u1", [names(1)], given={"v": 9})
    ours = commit(world, "u2", [names(1)])
    assert [job.split(":")[1] for job in feed(world)] == [ours]
    assert newer in world.db.scores("open:bulk"), "its turn has come, and stays"


@pytest.mark.parametrize(("silent_ms", "fed"), [(WORKER_ALIVE_MS - 1, 1), (WORKER_ALIVE_MS, 0)])
def test_a_worker_counts_as_long_as_it_beats(world: World, silent_ms: int, fed: int) -> None:
    staffed(world)
    world.now += silent_ms
    one_chunk(world)
    assert len(feed(world)) == fed


@pytest.mark.parametrize(("workers", "chunks"), [(("w1",), 4), (("w0", "w1"), 4), (("w0", "w1", "w2"), 6)])
def test_the_window_is_twice_the_slots_at_least_four(world: World, workers: tuple[str, ...], chunks: int) -> None:
    staffed(world, *workers)
    commit(world, "u1", [[name] for name in names(9)])
    assert len(feed(world)) == chunks
    assert feed(world) == ()


@pytest.mark.parametrize(("early_ms", "fed"), [(1, 0), (0, 1), (-1, 1)])
def test_nothing_goes_before_send_at(world: World, early_ms: int, fed: int) -> None:
    one_chunk(world, send_at=world.now + 1000)
    world.now += 1000 - early_ms
    staffed(world)
    assert len(feed(world)) == fed


def test_batches_take_turns(world: World) -> None:
    staffed(world)
    for u in ("u1", "u2"):
        commit(world, u, [[f"{u}{name}"] for name in names(3)])
    assert [world.keys.parse_job_id(job)[0] for job in feed(world)] == ["b1", "b2", "b1", "b2"]


def test_what_nobody_can_serve_waits_a_second_and_holds_up_nobody(world: World) -> None:
    staffed(world)
    commit(world, "u1", [["a"]], given={"relay": "al"})
    commit(world, "u2", [["b"]], given={"v": "3"})
    commit(world, "u3", [["c"]])
    assert [world.keys.parse_job_id(job)[0] for job in feed(world)] == ["b3"]
    assert set(world.db.scores("later:bulk").values()) == {world.now + 1000}


@pytest.mark.parametrize("what", ["spool", "bulk"])
def test_a_pause_stops_the_feed(world: World, what: str) -> None:
    staffed(world)
    one_chunk(world)
    world.do(ops.Pause(what))
    assert feed(world) == ()
    world.do(ops.Unpause(what))
    assert len(feed(world)) == 1


def test_a_pause_of_the_other_class_does_not(world: World) -> None:
    staffed(world)
    one_chunk(world)
    world.do(ops.Pause("transactional"))
    assert len(feed(world)) == 1


def test_a_worker_that_leaves_is_not_waited_for(world: World) -> None:
    staffed(world)
    one_chunk(world)
    assert world.do(ops.Leave("w1"), again=0) == 1
    assert world.do(ops.Leave("w1")) == 0
    assert feed(world) == ()


# lease


def test_a_lease_hands_over_all_that_is_known(world: World) -> None:
    run = running(world, rows=2)
    record(world, run, (1, "d", world.now + 1000))
    settle(world, run)
    world.now += 1000
    again = lease(world, feed(world)[0], "w1.y").lease
    assert (again.state, again.lost_runs, set(again.outcomes)) == ("live", 0, {1})
    assert again.outcomes[1][:1] == b"d"
    assert again.batch["digest"] == "D"


def test_only_the_fed_gen_is_leased(world: World) -> None:
    staffed(world)
    one_chunk(world)
    feed(world)
    for gen in (0, 2):
        assert world.do(ops.Lease("b1", 0, gen, "w1.x", ("main",))) == Refused("busy")
    assert isinstance(world.do(ops.Lease("b1", 0, 1, "w1.x", ("main",))), Leased)
    assert world.do(ops.Lease("b1", 0, 1, "w1.y", ("main",))) == Refused("busy")
    assert world.do(ops.Lease("b1", 1, 1, "w1.x", ("main",))) == Refused("notfed")


@pytest.mark.parametrize(("left_ms", "leased"), [(1, True), (0, False), (-1, False)])
def test_nothing_is_leased_at_the_deadline(world: World, left_ms: int, leased: bool) -> None:
    one_chunk(world)
    world.now += LIFETIME_MS - left_ms - 1
    staffed(world)
    feed(world)
    world.now += 1
    answer = world.do(ops.Lease("b1", 0, 1, "w1.x", ("main",)))
    assert isinstance(answer, Leased) if leased else answer == Refused("expired")


def test_a_held_chunk_goes_back_and_keeps_its_time(world: World) -> None:
    run = running(world, rows=1)
    record(world, run, (0, "d", world.now + 90_000))
    settle(world, run)
    assert due_in(world) == 90_000
    world.now += 90_000
    staffed(world)
    job = feed(world)[0]
    world.do(ops.Hold("b1"))
    world.now -= 1_000
    assert world.do(ops.Lease("b1", 0, 2, "w1.y", ("main",)), again=0) == Refused("held")
    assert due_in(world) == 1_000
    world.do(ops.Release("b1"))
    assert feed(world) == ()
    world.job_ends(BULK, job)


def test_a_batch_of_a_paused_class_is_given_back_like_a_held_one(world: World) -> None:
    staffed(world)
    one_chunk(world)
    feed(world)
    world.do(ops.Pause(BULK))
    assert world.do(ops.Lease("b1", 0, 1, "w1.x", ("main",))) == Refused("held")
    assert state(world) == "live"


def test_a_pinned_chunk_goes_back_for_a_second(world: World) -> None:
    staffed(world, "w0", "w1")
    one_chunk(world, relay="alt")
    feed(world)
    assert world.do(ops.Lease("b1", 0, 1, "w0.x", ("main", "al", "alter"))) == Refused("relay")
    assert due_in(world) == 1000


# leases and the sweep


@pytest.mark.parametrize(("left_ms", "swept"), [(1, 0), (0, 1), (-1, 1)])
def test_a_run_is_swept_when_its_lease_is_over(world: World, left_ms: int, swept: int) -> None:
    running(world)
    world.now += LEASE_MS - left_ms
    assert world.do(ops.Sweep(BULK)).freed == swept
    assert world.db.lost_runs("b1", 0) == swept


def test_a_renewal_counts_from_now(world: World) -> None:
    run = running(world)
    world.now += LEASE_MS - 1
    assert world.do(ops.Renew((run.ref,))) == ["live"]
    world.now += LEASE_MS - 1
    assert world.do(ops.Sweep(BULK)).freed == 0


def test_one_renewal_for_all_runs_of_a_process(world: World) -> None:
    staffed(world)
    for u in ("u1", "u2", "u3"):
        commit(world, u, [[u]])
    runs = [lease(world, job, f"w1.{n}") for n, job in enumerate(feed(world))]
    world.do(ops.Hold("b2"))
    settle(world, runs[2])
    assert world.do(ops.Renew(tuple(run.ref for run in runs))) == ["live", "held", "LOST"]


def test_a_detached_run_leaves_the_window_and_keeps_its_lease(world: World) -> None:
    run = running(world)
    assert world.do(ops.Detach(*run.ref)) == "OK"
    assert (len(world.db.scores("flight:bulk")), len(world.db.scores("apart:bulk"))) == (0, 1)
    world.now += LEASE_MS - 1
    assert world.do(ops.Renew((run.ref,))) == ["live"]
    world.now += LEASE_MS
    assert world.do(ops.Sweep(BULK)).freed == 1
    assert world.do(ops.Detach(*run.ref)) == "LOST"


@pytest.mark.parametrize(("left_ms", "swept"), [(1, 0), (0, 1), (-1, 1)])
def test_a_lost_enqueue_is_healed_after_the_grace(world: World, left_ms: int, swept: int) -> None:
    staffed(world)
    one_chunk(world)
    world.do(ops.Feed(BULK))
    world.now += FEED_GRACE_MS - left_ms
    assert world.do(ops.Sweep(BULK)).freed == swept
    assert world.db.lost_runs("b1", 0) == 0


def test_a_job_that_waits_in_arq_is_left_there(world: World) -> None:
    staffed(world)
    one_chunk(world)
    (job,) = feed(world)
    world.now += FEED_GRACE_MS
    staffed(world)
    assert world.do(ops.Sweep(BULK)).freed == 0
    world.now += WORKER_ALIVE_MS
    assert world.do(ops.Sweep(BULK)).freed == 1
    assert job not in world.db.queue(BULK, "1")


def lost_runs(world: World, count: int) -> Run:
    """A run of a chunk that `count` workers have died of."""
    staffed(world)
    one_chunk(world, rows=2)
    for n in range(count):
        lease(world, feed(world)[0], f"w1.{n}")
        world.now += LEASE_MS
        staffed(world)
        assert world.do(ops.Sweep(BULK)).freed == 1
    return lease(world, feed(world)[0])


@pytest.mark.parametrize(
    ("died_before", "doubts", "account"),
    [
        (SUSPECT_RUNS - 1, 1, "uncertain"),
        (SUSPECT_RUNS, POISON_CLAIMS - 1, "deferred"),
        (SUSPECT_RUNS, POISON_CLAIMS, "failed"),
    ],
)
def test_a_claim_of_a_dead_worker_names_its_poison(world: World, died_before: int, doubts: int, account: str) -> None:
    """The third time: before, the message may have been near by chance, and goes again at once."""
    run = lost_runs(world, died_before)
    assert run.lease.lost_runs == died_before
    world.do(ops.Record(((run.b, run.k, run.token, ((0, outcome("c", world.now, doubts=doubts)),)),)))
    world.now += LEASE_MS
    world.do(ops.Sweep(BULK))
    assert accounts(world) == {account: 1, "queued": 1}


def test_a_settled_run_forgives_the_lost_ones(world: World) -> None:
    settle(world, lost_runs(world, 2))
    assert world.db.lost_runs("b1", 0) == 0
