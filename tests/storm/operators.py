"""Operators, crons and the tick: expire, retry, resolve, pause, purge, collect, sweep, feed, questions.

Called by storm.py; each function makes one call, chosen by the world's dice.
"""

from __future__ import annotations

from mailspool.contract.states import CLASSES, Class
from tests.storm import ops
from tests.storm.producers import CHUNK
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


def reopen(world: World) -> None:
    b = world.any_batch()
    if not (chunks := list(world.db.rows(b))):
        return
    indexes = tuple(world.dice.sample(range(CHUNK), 2)) if world.chance(0.3) else ()
    k = int(world.pick(chunks))
    before = world.db.outcomes(b, k)
    op = ops.Reopen(b, k, world.pick(("d", "f", "u", "fu")), indexes)
    if world.do(op) > 0:
        for i, value in world.db.outcomes(b, k).items():
            if before[i] != value and before[i][0] in "uf":
                world.redone[b, k, int(i)] += 1


def resolve(world: World) -> None:
    b = world.any_batch()
    if chunks := list(world.db.rows(b)):
        world.do(ops.Resolve(b, int(world.pick(chunks)), world.pick("sf"), tuple(range(CHUNK))))


def collect(world: World) -> None:
    if uploads := list(world.db.scores("loading")):
        world.do(ops.Collect(world.pick(uploads)))


def pause(world: World) -> None:
    what = world.pick(PAUSABLE)
    world.do(ops.Pause(what) if world.chance(0.4) else ops.Unpause(what))


def broom(world: World) -> None:
    world.do(ops.Broom(world.pick(CLASSES), world.pick((1, 2))))


def ask(world: World) -> None:
    world.do(ops.Status(world.any_batch()))
    world.do(ops.AskDrained(world.pick(CLASSES)))
