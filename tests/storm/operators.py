"""Operators, crons and the tick: expire, retry, resolve, pause, purge, collect, sweep, feed, questions.

Called by storm.py; each function makes one call, chosen by the world's dice.
"""

from __future__ import annotations

from mailspool.contract.states import CLASSES, Class
from tests.storm import ops
from tests.storm.case import num
from tests.storm.producers import CHUNK
from tests.storm.snapshot import PREFIX
from tests.storm.world import World

MOSTLY_BULK: tuple[Class, ...] = ("transactional", "bulk", "bulk")
PAUSABLE = ("spool", *CLASSES)


def tick(world: World) -> None:
    """What every worker process does each second: sweep, expire, feed."""
    classes: tuple[Class, ...] = CLASSES if world.calm else (world.pick(MOSTLY_BULK),)
    for c in classes:
        world.do(ops.Sweep(c))
    for b, at in list(world.db.scores("deadline").items()):
        if at <= world.now and (world.calm or world.chance(0.4)):
            world.do(ops.Close(b, "expired"))
    for c in classes:
        world.feed(c)
        if world.chance(0.2):
            world.do(ops.AskDrained(c))


def reopen(world: World, b: str = "") -> None:
    """Of any batch, or rather of one that has something to try again, best of one that is past its deadline."""
    bad = {b: f for b, f in world.db.batches.items() if {"n_failed", "n_uncertain", "n_deferred"} & f.keys()}
    late = [b for b, fields in bad.items() if fields["state"] == "done" and num(fields, "expires") <= world.now]
    b = b or world.pick(late or (list(bad) if bad and world.chance(0.6) else [world.any_batch()]))
    if not (chunks := sorted(world.db.members(f"odd:{b}")) or list(world.db.rows(b))):
        return
    indexes = tuple(world.dice.sample(range(CHUNK), 2)) if world.chance(0.3) else ()
    k = int(world.pick(chunks))
    before = world.db.outcomes(b, k)
    op = ops.Reopen(b, k, world.pick(("d", "f", "u", "fu", "fu")), indexes)
    if world.do(op) > 0:
        for i, value in world.db.outcomes(b, k).items():
            if before[i] != value and before[i][0] in "uf":
                world.redone[b, k, int(i)] += 1


def resolve(world: World) -> None:
    b = world.any_batch()
    if chunks := list(world.db.rows(b)):
        world.do(ops.Resolve(b, int(world.pick(chunks)), world.pick("sf"), tuple(range(CHUNK))))


def resume(world: World) -> None:
    world.do(ops.Resume(_rather(world, [b for b, f in world.db.batches.items() if num(f, "wait_until") > world.now])))


def rewind(world: World) -> None:
    """Nobody has set a clock back: then it finds nothing to correct."""
    world.do(ops.Rewind(world.any_batch()))
    world.do(ops.RewindLeases(world.pick(CLASSES)))


def arq_errs(world: World) -> None:
    """It loses a payload or an id; or somebody who froze tells it now of a chunk that was fed long ago."""
    c = world.pick(CLASSES)
    jobs = [job for version in ("1", "2") for job in world.db.queue(c, version)]
    dice = world.dice.random()
    if world.arq.late and dice < 0.6:
        c, job = world.arq.late.pop(0)
        world.enqueue(c, job)
        world.do(ops.Broom(c, 1))
    elif jobs and dice < 0.8:
        world.write(("DEL", f"arq:job:{world.pick(jobs)}"))
    elif jobs:
        job = world.pick(jobs)
        world.write(*(("ZREM", f"{PREFIX}:q:{c}:v{version}", job) for version in (1, 2)))


def hold(world: World) -> None:
    """Any batch, or rather one of which a chunk is on its way to a worker, best one that was tried before."""
    fed = [b for b in world.db.batches if any(run[:3] == "fed" for run in world.db.runs(b).values())]
    world.do(ops.Hold(_rather(world, [b for b in fed if num(world.db.batch(b), "n_deferred")] or fed)))


def cancel(world: World) -> None:
    """Any batch, or rather one that somebody adds to or that is being sent."""
    db = world.db
    mortal = [b for b, fields in db.batches.items() if fields["state"] in {"live", "held"}]
    busy = [b for b in mortal if "upload" in db.batch(b) or (db.runs(b) and db.due(b))]
    world.do(ops.Close(_rather(world, busy), "cancelled"))


def purge(world: World) -> None:
    """Any batch, or rather one that is ripe, best of all under an upload."""
    ripe = [b for b, at in world.db.scores("retire").items() if at <= world.now]
    world.do(ops.Purge(_rather(world, [b for b in ripe if "upload" in world.db.batch(b)] or ripe)))


def _rather(world: World, these: list[str]) -> str:
    return world.pick(these) if these and world.chance(0.5) else world.any_batch()


def collect(world: World) -> None:
    if uploads := list(world.db.scores("loading")):
        world.do(ops.Collect(world.pick(uploads)))


def pause(world: World) -> None:
    what = world.pick(PAUSABLE)
    world.do(ops.Pause(what) if world.chance(0.4) else ops.Unpause(what))


def erase(world: World) -> None:
    """What the cron is told to look at; now and then any batch."""
    world.do(ops.Erase(_rather(world, sorted(world.db.members("erase")))))


def forget(world: World) -> None:
    world.do(ops.Forget())


def broom(world: World) -> None:
    world.do(ops.Broom(world.pick(CLASSES), world.pick((1, 2))))


def ask(world: World) -> None:
    world.do(ops.Status(world.any_batch()))
    world.do(ops.AskDrained(world.pick(CLASSES)))
