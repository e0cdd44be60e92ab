"""Batches, runs and outcomes for tests of the moves, each in one call.

All go through `World.do`: the auditor looks after every step, and every step is sent twice. Times are the world's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailspool.contract.moves import Arg, Begun, Leased, Loaded
from mailspool.contract.states import Class
from tests.storm import ops
from tests.storm.producers import BLOBS, SPECS, fields_of
from tests.storm.records import row_of
from tests.storm.workers import outcome
from tests.storm.world import World

Given = Mapping[str, Arg]
BULK: Class = "bulk"
LIFETIME_MS = 600_000
SHA, DATA = next(iter(BLOBS.items()))


@dataclass(frozen=True)
class Run:
    """A leased chunk."""

    b: str
    k: int
    token: str
    job: str
    lease: Leased

    @property
    def ref(self) -> tuple[str, int, str]:
        return self.b, self.k, self.token


def begin(world: World, u: str, key: str = "", digest: str = "D", given: Given | None = None) -> Begun:
    """The batch is called after the upload: u1 begins b1."""
    fields = fields_of(world, BULK, digest, **(given or {}))
    return world.do(ops.Begin(f"b{u[1:]}", u, key, SPECS[digest], fields))


def load(world: World, b: str, u: str, k: int, identities: Sequence[str], *, keyed: bool = True) -> Loaded:
    ids = tuple(identity.encode() for identity in identities) if keyed else None
    return world.do(ops.Load(b, u, k, tuple(map(row_of, identities)), ids))


def names(count: int, first: int = 0) -> list[str]:
    return [f"r{n:04d}" for n in range(first, first + count)]


def commit(world: World, u: str, chunks: Sequence[Sequence[str]], key: str = "", given: Given | None = None) -> str:
    """A whole upload; answers the batch it went to."""
    begun = begin(world, u, key, given=given)
    assert begun.kind == "LOAD", begun
    for n, rows in enumerate(chunks):
        assert load(world, begun.batch, u, begun.base + n, rows, keyed=bool(key)).kind == "OK"
    assert world.do(ops.Commit(begun.batch, u, sum(map(len, chunks)))).kind == "OK"
    return begun.batch


def one_chunk(world: World, rows: int = 2, **given: Arg) -> str:
    """A batch b1 of one chunk, committed now."""
    return commit(world, "u1", [names(rows)], given=given)


def staffed(world: World, *workers: str) -> None:
    """These workers beat now; w1 has the relays main and alt, and one slot a class, as each of them."""
    for worker in workers or ("w1",):
        world.beat(worker)


def feed(world: World) -> tuple[str, ...]:
    """What arq is told, and told."""
    ids = world.do(ops.Feed(BULK)).ids
    for job in ids:
        world.enqueue(BULK, job)
    return ids


def lease(world: World, job: str, who: str = "w1.x", relays: tuple[str, ...] = ("main", "alt")) -> Run:
    b, k, gen = world.keys.parse_job_id(job)
    leased = world.do(ops.Lease(b, k, gen, who, relays))
    assert isinstance(leased, Leased), leased
    world.job_starts(job)
    return Run(b, k, f"{gen}:{who}", job, leased)


def running(world: World, rows: int = 2, **given: Arg) -> Run:
    """The one chunk of b1 in the hands of w1."""
    staffed(world)
    one_chunk(world, rows, **given)
    (job,) = feed(world)
    return lease(world, job)


def record(world: World, run: Run, *outcomes: tuple[int, str, int] | tuple[int, str]) -> tuple[int, ...]:
    """(index, letter[, time]) each; "" takes a claim back. Answers what was refused."""
    packed = tuple(_packed((*one, world.now)[:3], world.now) for one in outcomes)
    told = world.do(ops.Record(((*run.ref, packed),)))
    return told[0].refused


def _packed(one: tuple[object, ...], now_ms: int) -> tuple[int, bytes]:
    i, letter, at_ms = one
    assert isinstance(i, int)
    assert isinstance(letter, str)
    assert isinstance(at_ms, int)
    return i, outcome(letter, at_ms, 1, now_ms) if letter else b""


def settle(world: World, run: Run, later_ms: int = 0, why: str = "", scope: str = "chunk") -> str:
    answer = world.do(ops.Settle(*run.ref, later_ms, why, scope))
    world.job_ends(BULK, run.job)
    return answer


def state(world: World, b: str = "b1") -> str:
    return world.db.batch(b).get("state", "gone")


def accounts(world: World, b: str = "b1") -> Mapping[str, int]:
    """The counters that are not 0, by their name for people, and what is queued."""
    fields = world.db.batch(b)
    found = {name[2:]: int(value) for name, value in fields.items() if name.startswith("n_") and int(value)}
    queued = int(fields["total"]) - sum(found.values())
    return {**found, "queued": queued} if queued else found


def due_in(world: World, b: str = "b1", k: int = 0) -> int:
    return int(world.db.due(b)[str(k)]) - world.now
