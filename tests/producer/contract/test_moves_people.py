"""What anyone may call, each guard at its limits: hold, release, close, reopen, resolve, purge, broom, status."""

from __future__ import annotations

import pytest

from mailspool.contract.moves import Recorded
from mailspool.contract.states import LEASE_MS, UPLOAD_SILENT_MS
from tests.producer.contract.batches import (
    BULK,
    DATA,
    LIFETIME_MS,
    SHA,
    accounts,
    begin,
    commit,
    due_in,
    feed,
    lease,
    load,
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

KEEP_MS, KEEP_BAD_MS = 40_000, 90_000
"""As `fields_of` gives them."""

# hold, release


def test_hold_and_release_count_what_is_not_final(world: World) -> None:
    run = running(world, rows=4)
    record(world, run, (0, "s"), (1, "f"), (2, "d"))
    assert world.do(ops.Hold("b1"), again=0) == 2
    assert world.do(ops.Hold("b1")) == 0
    assert world.do(ops.Release("b1"), again=0) == 2
    assert world.do(ops.Release("b1")) == 0


def test_a_held_batch_comes_to_rest_with_its_last_run(world: World) -> None:
    run = running(world, rows=1)
    record(world, run, (0, "s"))
    world.do(ops.Hold("b1"))
    settle(world, run)
    assert state(world) == "done"
    assert world.do(ops.Release("b1")) == 0


# close


def test_cancel_leaves_what_is_sent_and_lets_a_run_finish(world: World) -> None:
    run = running(world, rows=3)
    record(world, run, (0, "s"), (1, "d"))
    assert world.do(ops.Close("b1", "cancelled"), again=0) == 2
    assert world.do(ops.Close("b1", "cancelled")) == 0
    assert state(world) == "closing"
    assert record(world, run, (1, "s")) == ()
    settle(world, run)
    assert (state(world), accounts(world)) == ("closed", {"sent": 2, "cancelled": 1})


def test_cancel_drops_what_is_only_fed(world: World) -> None:
    staffed(world)
    one_chunk(world)
    feed(world)
    world.do(ops.Close("b1", "cancelled"))
    assert (state(world), accounts(world)) == ("closed", {"cancelled": 2})


def test_a_dead_run_closes_by_the_sweep(world: World) -> None:
    running(world)
    world.do(ops.Close("b1", "cancelled"))
    world.now += LEASE_MS
    world.do(ops.Sweep(BULK))
    assert (state(world), accounts(world)) == ("closed", {"cancelled": 2})


@pytest.mark.parametrize(("left_ms", "touched"), [(1, 0), (0, 2), (-1, 2)])
@pytest.mark.parametrize("hold", ["0", "1"])
def test_a_batch_expires_at_its_deadline(world: World, left_ms: int, touched: int, hold: str) -> None:
    one_chunk(world, hold=hold)
    world.now += LIFETIME_MS - left_ms
    assert world.do(ops.Close("b1", "expired"), again=0) == touched
    assert accounts(world) == ({"expired": 2} if touched else {"queued": 2})


# reopen, resolve


def finished(world: World, *letters: str) -> None:
    """b1 at rest with these outcomes; a deferred one is cut off by closing its run only."""
    run = running(world, rows=len(letters))
    record(world, run, *((i, letter, world.now + 90_000 * (letter == "d")) for i, letter in enumerate(letters)))
    settle(world, run)


@pytest.mark.parametrize(
    ("letters", "indexes", "moved", "left"),
    [
        ("d", (), 1, {"sent": 1, "failed": 1, "uncertain": 1, "suppressed": 1, "deferred": 1}),
        ("f", (), 1, {"sent": 1, "uncertain": 1, "suppressed": 1, "deferred": 2}),
        ("fu", (), 2, {"sent": 1, "suppressed": 1, "deferred": 3}),
        ("fu", (2,), 1, {"sent": 1, "failed": 1, "suppressed": 1, "deferred": 2}),
        ("sx", (), 0, {"sent": 1, "failed": 1, "uncertain": 1, "suppressed": 1, "deferred": 1}),
    ],
)
def test_retry_chooses_by_state_and_by_message(
    world: World, letters: str, indexes: tuple[int, ...], moved: int, left: dict[str, int]
) -> None:
    finished(world, "s", "f", "u", "x", "d")
    assert world.do(ops.Reopen("b1", 0, letters, indexes)) == moved
    assert accounts(world) == left


def test_a_deferred_message_keeps_its_attempts_and_a_failed_one_begins_anew(world: World) -> None:
    finished(world, "f", "d")
    world.now += 10
    assert world.do(ops.Reopen("b1", 0, "df")) == 2
    outs = world.db.outcomes("b1", 0)
    assert [outs[i][14:18] for i in "01"] == ["0000", "0010"]
    assert due_in(world) == 0


@pytest.mark.parametrize(("past_ms", "lifetime_ms"), [(-1, 1), (0, LIFETIME_MS), (1, LIFETIME_MS)])
def test_a_done_batch_lives_again(world: World, past_ms: int, lifetime_ms: int) -> None:
    finished(world, "f")
    assert state(world) == "done"
    world.now += LIFETIME_MS + past_ms
    assert world.do(ops.Reopen("b1", 0, "f"), again=0) == 1
    assert state(world) == "live"
    assert int(world.db.batch("b1")["expires"]) == world.now + lifetime_ms


@pytest.mark.parametrize(("left_ms", "moved"), [(1, 1), (0, -1), (-1, -1)])
def test_a_live_batch_is_not_retried_at_its_deadline(world: World, left_ms: int, moved: int) -> None:
    finished(world, "d")
    world.now += LIFETIME_MS - left_ms
    assert world.do(ops.Reopen("b1", 0, "d"), again=0) == moved


def test_a_closed_batch_is_not_retried(world: World) -> None:
    finished(world, "d", "f")
    world.do(ops.Close("b1", "cancelled"))
    assert world.do(ops.Reopen("b1", 0, "df")) == -1


def test_a_running_chunk_keeps_its_place(world: World) -> None:
    run = running(world, rows=2)
    record(world, run, (0, "f"))
    assert world.do(ops.Reopen("b1", 0, "f")) == 1
    assert not world.db.due("b1")
    settle(world, run)
    assert due_in(world) == 0


@pytest.mark.parametrize(("letter", "account"), [("s", "sent"), ("f", "failed")])
def test_a_person_decides_about_uncertain_ones_only(world: World, letter: str, account: str) -> None:
    finished(world, "u", "u", "x", "d")
    world.do(ops.Close("b1", "cancelled"))
    assert world.do(ops.Resolve("b1", 0, letter, (0, 2, 3, 9)), again=0) == 1
    assert accounts(world) == {account: 1, "uncertain": 1, "suppressed": 1, "cancelled": 1}


# purge


@pytest.mark.parametrize(("letter", "keep_ms"), [("s", KEEP_MS), ("f", KEEP_BAD_MS), ("u", KEEP_BAD_MS)])
def test_a_batch_is_kept_for_its_time(world: World, letter: str, keep_ms: int) -> None:
    finished(world, letter)
    world.now += keep_ms - 1
    assert world.do(ops.Purge("b1")) == "BUSY"
    world.now += 1
    assert world.do(ops.Purge("b1")) == "OK"
    assert world.do(ops.Purge("b1")) == "GONE"


def test_an_expired_batch_is_kept_as_a_bad_one(world: World) -> None:
    one_chunk(world)
    world.now += LIFETIME_MS
    world.do(ops.Close("b1", "expired"))
    world.now += KEEP_BAD_MS - 1
    assert world.do(ops.Purge("b1")) == "BUSY"


def test_nothing_living_is_purged(world: World) -> None:
    one_chunk(world)
    world.now += KEEP_BAD_MS * 10
    assert world.do(ops.Purge("b1")) == "BUSY"
    world.do(ops.Hold("b1"))
    assert world.do(ops.Purge("b1")) == "BUSY"


def test_nothing_is_purged_under_an_upload(world: World) -> None:
    commit(world, "u1", [], "A")
    world.now += KEEP_MS
    begin(world, "u2", "A")
    assert world.do(ops.Purge("b1")) == "BUSY"
    world.do(ops.Abandon("b1", "u2"))
    assert world.do(ops.Purge("b1")) == "OK"
    load(world, "b1", "u2", 0, names(1))
    assert world.do(ops.Collect("u2")) == "OK"
    assert world.do(ops.Broom(BULK, 1)) == -1
    assert {name for name in world.db.raw if not name.startswith("storm:totals")} <= {"storm:turn"}


@pytest.mark.parametrize(("chunks", "more"), [(99, 0), (100, 1), (101, 1)])
def test_a_batch_is_purged_in_slices_and_its_key_goes_first(world: World, chunks: int, more: int) -> None:
    world.again = 0
    begin(world, "u1", "A")
    world.do(ops.Attach("b1", "u1", SHA, DATA))
    for k in range(chunks):
        load(world, "b1", "u1", k, [f"r{k}"])
    world.do(ops.Commit("b1", "u1", chunks, (SHA,)))
    world.do(ops.Close("b1", "cancelled"))
    world.now += KEEP_MS
    for _ in range(more):
        assert world.do(ops.Purge("b1")) == "MORE"
        assert (state(world), world.db.text("key:A")) == ("purging", None)
        late = ops.Record((("b1", 0, "1:w1.x", ((0, outcome("s", world.now)),)),))
        assert world.do(late, again=1) == [Recorded("GONE", "gone", ())]
        assert world.do(ops.Resolve("b1", 0, "s", (0,))) == 0
        assert world.do(ops.Reopen("b1", 0, "d")) == -1
        assert begin(world, "u2", "A", digest="E").kind == "LOAD"
        world.do(ops.Abandon("b2", "u2"))
    assert world.do(ops.Purge("b1")) == "OK"
    assert (state(world), world.db.text(f"blob:{SHA}")) == ("gone", None)


# broom, status


def test_the_broom_takes_ids_without_a_run(world: World) -> None:
    staffed(world)
    commit(world, "u1", [["a"], ["b"]])
    first, second = feed(world)
    run = lease(world, first)
    settle(world, run)
    world.enqueue(BULK, first)
    world.enqueue(BULK, "storm:b9:0:1")
    assert world.do(ops.Broom(BULK, 1)) == -1
    assert set(world.db.queue(BULK, "1")) == {second}


def test_the_broom_leaves_what_is_none_of_ours(world: World) -> None:
    """arq's own cron jobs wait in the same queue; other spools have another prefix."""
    for job in ("upkeep:1700000000000", "other:b1:0:1"):
        world.write(("ZADD", "storm:q:bulk:v1", 1, job), ("SET", f"arq:job:{job}", 1))
    assert world.do(ops.Broom(BULK, 1)) == -1
    assert len(world.db.queue(BULK, "1")) == 2


def test_the_broom_goes_on_where_it_left_off(world: World) -> None:
    jobs = [f"storm:b{n:03d}:0:1" for n in range(450)]
    one_chunk(world)
    staffed(world)
    feed(world)
    world.write(*(("ZADD", "storm:q:bulk:v1", n + 2, job) for n, job in enumerate(jobs)))
    starts = [0]
    while starts[-1] >= 0:
        starts.append(world.do(ops.Broom(BULK, 1, starts[-1]), again=0))
    assert starts == [0, 1, 1, -1]


def test_status_says_why_a_batch_waits(world: World) -> None:
    one_chunk(world, relay="alt")
    world.do(ops.Status("b9"))
    snapshot = world.do(ops.Status("b1"))
    assert snapshot is not None
    assert (snapshot.able_to_serve, snapshot.live_workers, snapshot.paused) == (False, 0, False)
    assert snapshot.all_workers == 0
    staffed(world, "w0", "w1")
    world.do(ops.Pause(BULK))
    world.write(("HSET", "storm:route:alt", "state", "paused"))
    snapshot = world.do(ops.Status("b1"))
    assert snapshot is not None
    assert (snapshot.able_to_serve, snapshot.live_workers, snapshot.paused) == (True, 2, True)
    assert snapshot.all_workers == 2
    assert snapshot.routes == {"main": {}, "alt": {"state": "paused"}}
    assert snapshot.pauses == ((BULK, world.now),)
    since = world.now
    world.do(ops.Pause("spool"))
    world.do(ops.Pause("relay:main"))
    snapshot = world.do(ops.Status("b1"))
    assert snapshot is not None
    assert dict(snapshot.pauses) == {"spool": world.now, BULK: since}
    assert snapshot.routes["main"] == {"paused_at": str(world.now)}


def test_a_pause_that_is_said_twice_keeps_since_when(world: World) -> None:
    assert world.do(ops.Pause("spool"), again=0) == 1
    since = world.db.hash("paused")["spool"]
    world.now += 5_000
    assert world.do(ops.Pause("spool")) == 0
    assert world.db.hash("paused")["spool"] == since
    assert world.do(ops.Unpause("spool"), again=0) == 1


def test_a_relay_that_is_resumed_may_look_at_once_and_a_class_has_none(world: World) -> None:
    world.do(ops.Pause("relay:main"))
    world.do(ops.Unpause(BULK))
    assert world.db.hash("route:main") == {}
    world.do(ops.Unpause("relay:main"), again=0)  # said twice it looks twice, which harms nobody
    assert world.db.hash("route:main") == {"resumed": "1"}
    assert world.db.hash("paused") == {}


def test_a_silent_upload_does_not_keep_a_purge_for_ever(world: World) -> None:
    commit(world, "u1", [], "A")
    begin(world, "u2", "A")
    world.now += UPLOAD_SILENT_MS
    begin(world, "u3", "A")
    world.do(ops.Commit("b1", "u3", 0))
    world.now += KEEP_MS
    assert world.do(ops.Purge("b1")) == "OK"
    assert world.do(ops.Collect("u2")) == "OK"
