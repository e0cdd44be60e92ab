"""What a producer calls, each guard at its limits: begin, attach, load, commit, send1, abandon, collect."""

from __future__ import annotations

import pytest

from mailspool.contract.moves import Begun, Loaded, Sent1
from mailspool.contract.states import UPLOAD_ABANDONED_MS, UPLOAD_SILENT_MS
from tests.producer.contract.batches import (
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
    settle,
    staffed,
    state,
)
from tests.storm import ops
from tests.storm.producers import SPECS, fields_of
from tests.storm.records import row_of
from tests.storm.world import World

# begin


def test_two_keys_do_not_meet(world: World) -> None:
    assert begin(world, "u1", "A") == Begun("LOAD", "b1", 0)
    assert begin(world, "u2", "B") == Begun("LOAD", "b2", 0)
    assert begin(world, "u3") == Begun("LOAD", "b3", 0)


@pytest.mark.parametrize(("silent_ms", "kind"), [(UPLOAD_SILENT_MS - 1, "WAIT"), (UPLOAD_SILENT_MS, "LOAD")])
def test_a_silent_upload_loses_its_key(world: World, silent_ms: int, kind: str) -> None:
    begin(world, "u1", "A")
    world.now += silent_ms
    assert begin(world, "u2", "A", digest="E").kind == kind


@pytest.mark.parametrize(("silent_ms", "kind"), [(UPLOAD_SILENT_MS - 1, "WAIT"), (UPLOAD_SILENT_MS, "LOAD")])
def test_a_silent_adder_loses_its_place(world: World, silent_ms: int, kind: str) -> None:
    commit(world, "u1", [names(2)], "A")
    begin(world, "u2", "A")
    world.now += silent_ms
    assert begin(world, "u3", "A").kind == kind


@pytest.mark.parametrize("key", ["", "A", "B"])
def test_a_name_that_is_taken_overwrites_nothing(world: World, key: str) -> None:
    commit(world, "u1", [names(2)], "A")
    op = ops.Begin("b1", "u2", key, SPECS["D"], fields_of(world, "bulk", "D"))
    assert world.do(op) == Begun("NAMED")


def test_a_sign_of_life_keeps_the_key(world: World) -> None:
    begin(world, "u1", "A")
    world.now += UPLOAD_SILENT_MS - 1
    assert world.do(ops.SignOfLife("b1", "u1")) == Loaded("OK")
    world.now += UPLOAD_SILENT_MS - 1
    assert begin(world, "u2", "A").kind == "WAIT"


def test_who_lost_the_key_is_told_so_at_every_call(world: World) -> None:
    begin(world, "u1", "A")
    load(world, "b1", "u1", 0, names(2))
    world.now += UPLOAD_SILENT_MS
    assert begin(world, "u2", "A") == Begun("LOAD", "b2", 0)
    assert begin(world, "u1", "A") == Begun("TAKEN")
    assert world.do(ops.SignOfLife("b1", "u1")) == Loaded("TAKEN")
    assert world.do(ops.Attach("b1", "u1", SHA, DATA)) == "TAKEN"
    assert load(world, "b1", "u1", 1, names(1)) == Loaded("TAKEN")
    assert world.do(ops.Commit("b1", "u1", 2)) == Loaded("TAKEN")
    assert world.do(ops.Abandon("b1", "u1")) == "TAKEN"


def test_an_upload_begins_once(world: World) -> None:
    """Also when it went to the batch that had the key already."""
    commit(world, "u1", [names(2)], "A")
    commit(world, "u2", [names(4)], "A")
    assert begin(world, "u1", "A") == Begun("TAKEN")
    assert begin(world, "u2", "A") == Begun("TAKEN")


def test_a_committed_key_knows_its_content(world: World) -> None:
    commit(world, "u1", [names(2)], "A")
    assert begin(world, "u2", "A", digest="E") == Begun("CONFLICT", "b1")
    assert begin(world, "u3", "A") == Begun("LOAD", "b1", 1)


@pytest.mark.parametrize(
    ("past_ms", "begun"),
    [(-1, Begun("LOAD", "b1", 1)), (0, Begun("CLOSED", "b1", 0, "expired")), (1, Begun("CLOSED", "b1", 0, "expired"))],
)
def test_no_rows_join_at_the_deadline(world: World, past_ms: int, begun: Begun) -> None:
    commit(world, "u1", [names(2)], "A")
    world.now += LIFETIME_MS + past_ms
    assert begin(world, "u2", "A") == begun


def test_no_rows_join_what_is_cancelled(world: World) -> None:
    commit(world, "u1", [names(2)], "A")
    world.do(ops.Close("b1", "cancelled"))
    assert begin(world, "u2", "A", digest="E") == Begun("CLOSED", "b1", 0, "cancelled")


# attach


def test_an_attachment_is_sent_once(world: World) -> None:
    begin(world, "u1")
    begin(world, "u2")
    assert world.do(ops.Attach("b1", "u1", SHA)) == "SEND"
    assert world.do(ops.Attach("b1", "u1", SHA, DATA)) == "OK"
    assert world.do(ops.Attach("b2", "u2", SHA)) == "OK"


def test_an_attachment_lives_as_long_as_its_last_user(world: World) -> None:
    for u in ("u1", "u2"):
        begin(world, u)
        world.do(ops.Attach(f"b{u[1:]}", u, SHA, DATA))
        world.do(ops.Abandon(f"b{u[1:]}", u))
    world.do(ops.Collect("u1"))
    assert world.db.text(f"blob:{SHA}") == DATA.decode()
    world.do(ops.Collect("u2"))
    assert world.db.text(f"blob:{SHA}") is None


# load


def test_a_chunk_is_loaded_once(world: World) -> None:
    begin(world, "u1", "A")
    assert load(world, "b1", "u1", 0, names(2)) == Loaded("OK", 2, 0)
    assert load(world, "b1", "u1", 0, names(2)) == Loaded("OK", 2, 0)
    assert world.do(ops.Commit("b1", "u1", 2)) == Loaded("OK", 2, 0)


@pytest.mark.parametrize("rows", [1, 99, 100])
def test_a_chunk_of_any_size(world: World, rows: int) -> None:
    begin(world, "u1", "A")
    assert load(world, "b1", "u1", 0, names(rows)) == Loaded("OK", rows, 0)
    world.do(ops.Commit("b1", "u1", rows))
    assert accounts(world) == {"queued": rows}


def test_known_rows_are_counted_and_left_out(world: World) -> None:
    commit(world, "u1", [names(3)], "A")
    begin(world, "u2", "A")
    assert load(world, "b1", "u2", 1, names(3)) == Loaded("OK", 0, 3)
    assert load(world, "b1", "u2", 2, names(2, first=2)) == Loaded("OK", 1, 1)
    assert world.do(ops.Commit("b1", "u2", 5)) == Loaded("OK", 1, 4)
    assert accounts(world) == {"queued": 4}


def test_rows_of_an_upload_that_was_not_committed_are_not_known(world: World) -> None:
    commit(world, "u1", [names(1)], "A")
    begin(world, "u2", "A")
    load(world, "b1", "u2", 1, names(1, first=1))
    world.now += UPLOAD_SILENT_MS
    begun = begin(world, "u3", "A")
    assert load(world, "b1", "u3", begun.base, names(2)) == Loaded("OK", 1, 1)


def test_rows_without_a_key_are_all_taken(world: World) -> None:
    begin(world, "u1")
    assert load(world, "b1", "u1", 0, ["same", "same"], keyed=False) == Loaded("OK", 2, 0)


@pytest.mark.parametrize(("past_ms", "kind"), [(-1, "OK"), (0, "CLOSED"), (1, "CLOSED")])
def test_nothing_is_loaded_at_the_deadline(world: World, past_ms: int, kind: str) -> None:
    commit(world, "u1", [names(2)], "A")
    world.now += LIFETIME_MS - 100
    begin(world, "u2", "A")
    world.now += 100 + past_ms
    assert load(world, "b1", "u2", 1, names(4)).kind == kind
    assert world.do(ops.SignOfLife("b1", "u2")).kind == kind


# commit


@pytest.mark.parametrize(("total", "kind"), [(4, "INCOMPLETE"), (5, "OK"), (6, "INCOMPLETE")])
def test_a_commit_names_its_total(world: World, total: int, kind: str) -> None:
    begin(world, "u1", "A")
    load(world, "b1", "u1", 0, names(3))
    load(world, "b1", "u1", 1, names(2, first=3))
    assert world.do(ops.Commit("b1", "u1", total)).kind == kind


def test_uploads_that_added_nothing_are_forgotten_after_an_hour(world: World) -> None:
    """A script that is run every minute; its first commit, which added the rows, answers the same for ever."""
    commit(world, "u0", [names(2)], "A", given={"lifetime": 8 * UPLOAD_ABANDONED_MS})
    for n in range(1, 90):
        world.now += 60_000
        begin(world, f"u{n}", "A")
        load(world, "b0", f"u{n}", n, names(2))
        assert world.do(ops.Commit("b0", f"u{n}", 2)) == Loaded("OK", 0, 2)
    kept = world.db.hash("uploads:b0")
    assert len(kept) == 1 + UPLOAD_ABANDONED_MS // 60_000
    assert world.do(ops.Commit("b0", "u0", 2)) == Loaded("OK", 2, 0)
    assert world.do(ops.Commit("b0", "u89", 2)) == Loaded("OK", 0, 2)
    assert world.do(ops.Commit("b0", "u1", 2)) == Loaded("TAKEN")


def test_a_commit_without_its_attachment(world: World) -> None:
    begin(world, "u1")
    assert world.do(ops.Commit("b1", "u1", 0, (SHA,))) == Loaded("BLOB", detail=SHA)
    world.do(ops.Attach("b1", "u1", SHA, DATA))
    assert world.do(ops.Commit("b1", "u1", 0, (SHA,))) == Loaded("OK")


@pytest.mark.parametrize(("past_ms", "kind"), [(-1, "OK"), (0, "EXPIRED"), (1, "EXPIRED")])
def test_a_commit_at_its_absolute_deadline(world: World, past_ms: int, kind: str) -> None:
    begin(world, "u1", given={"lifetime": 0, "expires": world.now + 1000})
    load(world, "b1", "u1", 0, names(1), keyed=False)
    world.now += 1000 + past_ms
    assert world.do(ops.Commit("b1", "u1", 1)).kind == kind


@pytest.mark.parametrize(("past_ms", "kind"), [(-1, "OK"), (0, "CLOSED"), (1, "CLOSED")])
def test_added_rows_at_the_deadline(world: World, past_ms: int, kind: str) -> None:
    commit(world, "u1", [names(1)], "A")
    world.now += LIFETIME_MS - 10
    begin(world, "u2", "A")
    load(world, "b1", "u2", 1, names(2))
    world.now += 10 + past_ms
    assert world.do(ops.Commit("b1", "u2", 2)).kind == kind


def test_the_lifetime_counts_from_send_at(world: World) -> None:
    one_chunk(world, send_at=world.now + 5000)
    assert int(world.db.batch("b1")["expires"]) == world.now + 5000 + LIFETIME_MS


def test_an_empty_batch_is_done_at_once(world: World) -> None:
    commit(world, "u1", [], "A")
    assert (state(world), accounts(world)) == ("done", {})


def test_a_batch_may_begin_held(world: World) -> None:
    one_chunk(world, hold="1")
    assert (state(world), accounts(world)) == ("held", {"queued": 2})


def test_the_answer_of_a_commit_outlives_the_batch(world: World) -> None:
    commit(world, "u1", [names(2)], "A")
    world.do(ops.Close("b1", "cancelled"))
    assert world.do(ops.Commit("b1", "u1", 2)) == Loaded("OK", 2, 0)


def test_rows_added_to_a_held_batch_stay_held(world: World) -> None:
    commit(world, "u1", [names(1)], "A", {"hold": "1"})
    commit(world, "u2", [names(3)], "A")
    assert (state(world), accounts(world)) == ("held", {"queued": 3})


def test_rows_added_to_a_done_batch_wake_it_with_a_new_lifetime(world: World) -> None:
    commit(world, "u1", [names(1)], "A")
    staffed(world)
    run = lease(world, feed(world)[0])
    record(world, run, (0, "s"))
    settle(world, run)
    assert state(world) == "done"
    world.now += LIFETIME_MS + 5000
    commit(world, "u2", [names(3)], "A")
    assert (state(world), accounts(world)) == ("live", {"sent": 1, "queued": 2})
    assert int(world.db.batch("b1")["expires"]) == world.now + LIFETIME_MS


def test_known_rows_do_not_wake_a_done_batch(world: World) -> None:
    commit(world, "u1", [], "A")
    before = world.db.batch("b1")["expires"]
    world.now += 5000
    commit(world, "u2", [], "A")
    assert (state(world), world.db.batch("b1")["expires"]) == ("done", before)


# send1


def send1(world: World, n: int = 1, key: str = "", rows: int = 1, **given: str | int) -> Sent1:
    pairs = tuple((identity.encode(), row_of(identity)) for identity in names(rows))
    fields = fields_of(world, "bulk", "D", **given)
    return world.do(ops.SendOne(f"b{n}", f"u{n}", key, SPECS["D"], {SHA: DATA}, pairs, fields))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_single_mail_is_fed_in_the_same_call(world: World, rows: int) -> None:
    staffed(world)
    sent = send1(world, rows=rows)
    assert sent.ids == (world.keys.job_id("b1", 0, 1),)
    assert accounts(world) == {"queued": rows}


def test_a_single_mail_waits_for_its_time_or_its_release(world: World) -> None:
    staffed(world)
    assert send1(world, 1, send_at=world.now + 1).ids == ()
    assert send1(world, 2, hold="1").ids == ()
    assert due_in(world, "b1") == 0


def test_a_single_mail_with_a_known_key_goes_by_begin(world: World) -> None:
    assert send1(world, 1, "A").kind == "OK"
    assert send1(world, 2, "A") == Sent1("KEY")
    begin(world, "u3", "B")
    assert send1(world, 4, "B") == Sent1("KEY")


def test_a_single_mail_overwrites_no_other_batch(world: World) -> None:
    assert send1(world, 1, "").kind == "OK"
    fields = fields_of(world, "transactional", "D")
    pairs = ((b"other", row_of("other")),)
    assert world.do(ops.SendOne("b1", "u2", "", SPECS["D"], {}, pairs, fields)) == Sent1("NAMED")
    assert world.do(ops.SendOne("b1", "u2", "C", SPECS["D"], {}, pairs, fields)) == Sent1("NAMED")


@pytest.mark.parametrize(("left_ms", "kind"), [(1, "OK"), (0, "EXPIRED"), (-1, "EXPIRED")])
def test_a_single_mail_at_its_deadline(world: World, left_ms: int, kind: str) -> None:
    assert send1(world, lifetime=0, expires=world.now + left_ms).kind == kind


# abandon, collect


def test_an_abandoned_key_is_free_at_once(world: World) -> None:
    begin(world, "u1", "A")
    assert world.do(ops.Abandon("b1", "u1"), again=0) == "OK"
    assert world.do(ops.Abandon("b1", "u1")) == "TAKEN"
    assert begin(world, "u2", "A", digest="E").kind == "LOAD"


@pytest.mark.parametrize(("silent_ms", "answer"), [(UPLOAD_ABANDONED_MS - 1, "ALIVE"), (UPLOAD_ABANDONED_MS, "OK")])
def test_a_silent_upload_is_collected(world: World, silent_ms: int, answer: str) -> None:
    begin(world, "u1", "A")
    load(world, "b1", "u1", 0, names(2))
    world.now += silent_ms
    assert world.do(ops.Collect("u1")) == answer


@pytest.mark.parametrize(("chunks", "more"), [(0, 0), (99, 0), (100, 1), (101, 1)])
def test_an_upload_is_collected_in_slices(world: World, chunks: int, more: int) -> None:
    world.again = 0
    begin(world, "u1", "A")
    for k in range(chunks):
        load(world, "b1", "u1", k, [f"r{k}"])
    world.now += UPLOAD_ABANDONED_MS
    answers = [world.do(ops.Collect("u1")) for _ in range(more + 1)]
    assert answers == ["MORE"] * more + ["OK"]
    assert state(world) == "gone"


def test_an_adder_that_is_collected_leaves_the_batch(world: World) -> None:
    commit(world, "u1", [names(1)], "A")
    begin(world, "u2", "A")
    load(world, "b1", "u2", 1, names(2))
    world.now += UPLOAD_ABANDONED_MS
    assert world.do(ops.Collect("u2")) == "OK"
    assert accounts(world) == {"queued": 1}
    assert begin(world, "u3", "A").kind == "CLOSED"
