"""Erasure of sent transactional mail, burial of a dead worker's leases, purge in slices; each guard at its limits.

Every call is judged by the storm's auditor, which knows what must be erased and what must not, and is sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

from mailspool.contract.codec import decode_rows, decode_spec
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Leased
from mailspool.contract.states import CHUNK_SIZE, LEASE_MS, Class
from tests.producer.contract.batches import (
    DATA,
    SHA,
    Run,
    begin,
    commit,
    feed,
    lease,
    load,
    names,
    one_chunk,
    record,
    running,
    settle,
    staffed,
)
from tests.storm import ops
from tests.storm.records import row_of
from tests.storm.server import Link, drive
from tests.storm.world import GOOD_WORKER, World

A = TypeVar("A")

NOW: Class = "transactional"
ONCE: Mapping[str, Arg] = {"class": NOW}


def unjudged(world: World, op: ops.Op[A]) -> A:
    """Where the keys are none that a storm could make."""
    return drive(op.send(world.moves, world.now))


def run_one(world: World) -> Run:
    (job,) = world.do(ops.Feed(NOW)).ids
    world.enqueue(NOW, job)
    b, k, gen = world.keys.parse_job_id(job)
    leased = world.do(ops.Lease(b, k, gen, "w1.x", ("main", "alt")))
    assert isinstance(leased, Leased)
    return Run(b, k, f"{gen}:w1.x", job, leased)


def sent_of(world: World, run: Run, *indexes: int) -> None:
    record(world, run, *((i, "s") for i in indexes))
    world.do(ops.Settle(*run.ref))
    world.job_ends(NOW, run.job)


def erased(world: World, b: str = "b1", k: int = 0) -> list[bool]:
    text = world.db.text(f"chunk:{b}:{k}") or ""
    return [not row.values for row in decode_rows(text.encode("latin-1"))]


def content(world: World, b: str = "b1") -> str | None:
    return decode_spec((world.db.text(f"spec:{b}") or "").encode("latin-1")).text


def sent_batch(world: World, rows: int = 2, key: str = "A") -> None:
    staffed(world)
    commit(world, "u1", [names(rows)], key, ONCE)
    sent_of(world, run_one(world), *range(rows))


def test_values_and_content_go_when_all_was_sent(world: World) -> None:
    sent_batch(world)
    assert (erased(world), content(world)) == ([True, True], None)


def test_only_what_was_sent_goes_and_only_when_the_chunk_is_finished(world: World) -> None:
    staffed(world)
    commit(world, "u1", [names(3)], "", ONCE)
    run = run_one(world)
    record(world, run, (0, "s"), (1, "f"))
    assert erased(world) == [False, False, False]
    record(world, run, (2, "u"))
    world.do(ops.Settle(*run.ref))
    assert (erased(world), content(world)) == ([True, False, False], "a secret")
    assert world.do(ops.Resolve("b1", 0, "s", (2,))) == 1
    assert (erased(world), content(world)) == ([True, False, True], "a secret")
    assert world.do(ops.Reopen("b1", 0, "f")) == 1
    sent_of(world, run_one(world), 1)
    assert (erased(world), content(world)) == ([True, True, True], None)


def test_a_person_says_that_it_was_sent(world: World) -> None:
    staffed(world)
    commit(world, "u1", [names(1)], "", ONCE)
    run = run_one(world)
    record(world, run, (0, "u"))
    world.do(ops.Settle(*run.ref))
    world.do(ops.Resolve("b1", 0, "s", (0,)))
    assert (erased(world), content(world)) == ([True], None)


def test_bulk_mail_keeps_all(world: World) -> None:
    run = running(world)
    record(world, run, (0, "s"), (1, "s"))
    settle(world, run)
    assert (erased(world), content(world)) == ([False, False], "a secret")


@pytest.mark.parametrize("end", ["commit", "abandon", "collect"])
def test_nothing_goes_under_an_upload_and_all_goes_when_it_brought_nothing(world: World, end: str) -> None:
    staffed(world)
    commit(world, "u1", [names(2)], "A", ONCE)
    assert begin(world, "u2", "A", given=ONCE).batch == "b1"
    sent_of(world, run_one(world), 0, 1)
    assert (erased(world), content(world)) == ([True, True], "a secret")
    if end == "commit":
        load(world, "b1", "u2", 1, names(2))
        assert world.do(ops.Commit("b1", "u2", 2)).known == 2
    elif end == "abandon":
        assert world.do(ops.Abandon("b1", "u2")) == "OK"
    else:
        world.now += 3_600_001
        assert world.do(ops.Collect("u2")) == "OK"
    assert content(world) is None


def test_rows_that_are_added_bring_the_content_again(world: World) -> None:
    staffed(world)
    begin(world, "u1", "A", given=ONCE)
    load(world, "b1", "u1", 0, names(1))
    world.do(ops.Attach("b1", "u1", SHA, DATA))
    world.do(ops.Commit("b1", "u1", 1, (SHA,)))
    sent_of(world, run_one(world), 0)
    assert (content(world), world.db.text(f"blob:{SHA}")) == (None, None)

    begin(world, "u2", "A", given=ONCE)
    assert content(world) is None
    load(world, "b1", "u2", 1, names(1, first=5))
    world.do(ops.Attach("b1", "u2", SHA, DATA))
    world.do(ops.Commit("b1", "u2", 1, (SHA,)))
    assert (content(world), world.db.text(f"blob:{SHA}")) == ("a secret", DATA.decode("latin-1"))
    sent_of(world, run_one(world), 0)
    assert (content(world), world.db.text(f"blob:{SHA}")) == (None, None)


def test_what_a_zombie_sent_waits_for_the_cron(world: World) -> None:
    staffed(world)
    commit(world, "u1", [names(2)], "", ONCE)
    run = run_one(world)
    record(world, run, (0, "s"))
    world.now += LEASE_MS
    world.do(ops.Sweep(NOW))
    world.do(ops.Close("b1", "cancelled"))
    assert world.db.members("erase") == {"b1"}
    record(world, run, (1, "s"))
    assert world.do(ops.Erase("b1")) == -1
    assert (erased(world), world.db.members("erase")) == ([True, True], frozenset())


def test_the_cron_looks_at_a_hundred_chunks_a_call(link: Link, world: World) -> None:
    prefix = world.keys.prefix
    world.write(("HSET", f"{prefix}:batch:b1", "class", NOW, "state", "closed", "next", 250, "n_sent", 1))
    world.write(*(("HSET", f"{prefix}:rows:b1", k, 1) for k in range(250)))
    payload = b"\xdc\x00\x01" + row_of("r")
    world.write(*(("SET", f"{prefix}:chunk:b1:{k}", payload) for k in range(250)))
    world.write(*(("HSET", f"{prefix}:out:b1:{k}", 0, "s0") for k in range(250)))
    starts, start = [], 0
    while start >= 0:
        starts.append(start)
        start = unjudged(world, ops.Erase("b1", start))
    assert starts == [0, 100, 200]


def test_bytes_of_somebody_else_stay_and_stop_nothing(world: World) -> None:
    """A chunk that cannot be read is told of by whoever reads it; here its run must come to its end."""
    staffed(world)
    commit(world, "u1", [names(1)], "", ONCE)
    run = run_one(world)
    record(world, run, (0, "s"))
    link, prefix = world.link, world.keys.prefix
    for broken in (b"", b"\xdc\x00\x01\x95\xa1", b"\xc1" * 9, b"\xdc\xff\xff"):
        link.command("SET", f"{prefix}:chunk:b1:0", broken)
        link.command("SET", f"{prefix}:spec:b1", broken)
        link.ask(("HSET", f"{prefix}:run:b1", "0", f"run:{run.token}"), ("HSET", f"{prefix}:batch:b1", "state", "live"))
        assert unjudged(world, ops.Settle(*run.ref)) == "OK"
        assert link.command("GET", f"{prefix}:chunk:b1:0") == broken


# bury


def test_a_buried_workers_leases_end_now_and_nobody_elses(world: World) -> None:
    staffed(world, "w0", "w1")
    world.beat("w11", GOOD_WORKER)
    commit(world, "u1", [[name] for name in names(4)])
    mine, apart, others, fed = feed(world)
    lease(world, mine, "w1.x")
    away = lease(world, apart, "w1.y")
    world.do(ops.Detach(*away.ref))
    lease(world, others, "w11.x")
    world.now += 1
    assert world.do(ops.Bury("w1")) == 2
    assert world.do(ops.Bury("w1")) == 0
    assert world.do(ops.Sweep("bulk")).freed == 2
    left = {job.rpartition(":")[0].rpartition(":")[2] for job in (others, fed)}
    assert set(world.db.runs("b1")) == left
    assert set(world.db.scores("workers")) == {"w0", "w11"}


def test_a_buried_worker_that_lives_loses_its_run_and_keeps_what_it_sent(world: World) -> None:
    run = running(world)
    world.do(ops.Bury("w1"))
    world.do(ops.Sweep("bulk"))
    assert world.do(ops.Renew((run.ref,))) == ["LOST"]
    assert record(world, run, (0, "s")) == ()
    assert settle(world, run) == "LOST"


# purge


def test_a_million_messages_go_in_bounded_slices_and_leave_nothing(link: Link) -> None:
    """As many keys as a batch of a million has; unjudged, for the auditor would read all of it each time."""
    world = World(0, link)
    one_chunk(world, keep=0, keep_bad=0)
    chunks, keys = 10_000, Keys(world.keys.prefix)
    link.command("EVAL", _FILL, 0, keys.prefix, "b1", chunks)
    unjudged(world, ops.Close("b1", "cancelled"))
    world.now += 1
    before, slices = _count(link, keys), 0
    assert before > 2 * chunks
    while (answer := unjudged(world, ops.Purge("b1"))) == "MORE":
        left = _count(link, keys)
        assert 0 < before - left <= 2 * CHUNK_SIZE + 4
        before, slices = left, slices + 1
    assert (answer, slices) == ("OK", chunks // 100)
    kinds = {bytes(name).decode().split(":")[1] for name in _names(link, keys)}
    assert kinds <= {"workers", "worker", "totals", "turn"}


_FILL = """
local P, b, n = ARGV[1]..':', ARGV[2], tonumber(ARGV[3])
for k = 1, n do
  redis.call('HSET', P..'rows:'..b, k, 100)
  redis.call('SET', P..'chunk:'..b..':'..k, 'rows')
  redis.call('HSET', P..'out:'..b..':'..k, 0, 's')
  redis.call('SADD', P..'odd:'..b, k)
  redis.call('SADD', P..'ids:u1', k)
end
redis.call('HSET', P..'talk:'..b, 1, 'talk')
"""


def _names(link: Link, keys: Keys) -> list[bytes]:
    found = link.command("KEYS", f"{keys.prefix}:*")
    assert isinstance(found, list)
    return [name for name in found if isinstance(name, bytes)]


def _count(link: Link, keys: Keys) -> int:
    size = link.command("DBSIZE")
    assert isinstance(size, int)
    return size
