"""One random storm: some hundred steps of everybody at once, then calm, until everything is sent, collected and purged.

`storm(seed, link)` raises Violation; `report` adds the seed and the last calls. `named` tells the seed first: for those
that nobody has written down. Called by the tests and by `python -m tests.storm`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping

from mailspool.contract.scripts import Script
from mailspool.contract.states import CLASSES, UPLOAD_ABANDONED_MS, UPLOAD_SILENT_MS, WORKER_ALIVE_MS
from tests.storm import operators, ops, producers
from tests.storm.case import AT_REST, Violation, must, num
from tests.storm.server import Link
from tests.storm.snapshot import PREFIX
from tests.storm.workers import Run, Workers, outcome
from tests.storm.world import CREW, GOOD_WORKER, World

WORKERS = tuple(CREW)
PRODUCERS = 5
SHORT_MS = (0, 1, 1, 50, 400, 400, 3000)
LONG_MS = (16_000, 16_000, 45_000)
"""Longer than a lease: whoever is not heard in time is dead, or a zombie."""
SOON_MS = 20_000
SHORT_MS = (0, 1, 1, 50, 400, 400, 3000)
LONG_MS = (16_000, 16_000, 45_000)
"""Longer than a lease: whoever is not heard in time is dead, or a zombie."""
ROUNDS = 400
QUICK_ROUNDS = 12
ZOMBIE_ROUNDS = 30
CRON = "upkeep:1700000000000"
"""A job of arq's own, in the same queue."""
STAYS = frozenset({"workers", "worker", "totals", "turn", "q", "chores"})
"""Kinds of keys that outlive all batches."""


class Storm:
    """The actors of one storm."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.workers = Workers(world)
        self.producers: list[producers.Producer] = []
        self.absent: set[str] = set()
        """Workers that do not beat."""

    def run(self) -> None:
        for worker in WORKERS:
            self.world.beat(worker)
        self.world.write(("ZADD", f"{PREFIX}:q:bulk:v1", 1, CRON), ("SET", f"arq:job:{CRON}", 1))
        for _ in range(self.world.dice.randint(200, 450)):
            self._step()
        self._calm()
        self._drain()
        self._leave_nothing()

    # -- the storm

    def _step(self) -> None:
        world = self.world
        if world.chance(0.06):
            self._come_to_a_limit()
            return
        world.now += world.pick(SHORT_MS if world.chance(0.955) else LONG_MS)
        for worker in WORKERS:
            if worker not in self.absent and world.chance(0.6):
                world.beat(worker)
        silent = [one for one in self.producers if one.key and one.loads]
        if silent and world.chance(0.06):
            self._take_over(world.pick(silent))
        elif self.workers.ever and world.chance(0.12):
            self.workers.zombie_speaks()
        else:
            self._by_dice(world.dice.random())

    def _come_to_a_limit(self) -> None:
        """A millisecond before, at, or after the end of a lease, a deadline, a due time, somebody's silence."""
        world, db = self.world, self.world.db
        rests = [b for b, fields in db.batches.items() if fields["state"] == "done" and db.members(f"odd:{b}")]
        if rests and world.chance(0.1):
            b = world.pick(rests)
            world.now = max(world.now, num(db.batch(b), "expires") + world.pick((-1, 0, 1)))
            operators.reopen(world, b)
            return
        ends = [
            at for c in CLASSES for zset in ("flight", "apart", "later") for at in db.scores(f"{zset}:{c}").values()
        ]
        ends += [beat + WORKER_ALIVE_MS for beat in db.scores("workers").values()]
        ends += [sign + UPLOAD_SILENT_MS for sign in db.scores("loading").values()]
        deadlines = {at: b for b, at in db.scores("deadline").items()}
        soon = [at for at in (*ends, *deadlines) if world.now < at <= world.now + SOON_MS]
        if not soon:
            return
        near = [at for at in deadlines if at in soon]
        sending = [at for at in near if db.runs(deadlines[at])]
        limit = world.pick((sending or near) if near and world.chance(0.4) else soon)
        world.now = max(world.now, int(limit) + world.pick((-1, 0, 0, 1)))
        if limit in deadlines and world.chance(0.7):
            self._at_the_deadline(deadlines[limit])
        else:
            world.pick((self._tick, self._tick, self._produce, self._start_a_job, self._work))()

    def _at_the_deadline(self, b: str) -> None:
        world = self.world
        adders = [one for one in self.producers if one.b == b]
        key = world.db.batch(b)["key"]
        idle = [run for run in self.workers.runs if run.b == b and run.wire is None and not run.buffer]
        if idle and world.chance(0.4):
            self.workers.ends(world.pick(idle), 100_000, "closed", world.pick(("chunk", "batch")))
        elif adders and world.chance(0.6):
            producers.advance(world, world.pick(adders))
        elif key and world.chance(0.5):
            producers.advance(world, producers.new_producer(world, key))
        else:
            self._expires(b)

    def _expires(self, b: str) -> None:
        dice = self.world.dice.random()
        if dice < 0.4:
            self.world.do(ops.Close(b, "expired"))
        elif dice < 0.7:
            operators.reopen(self.world, b)
        else:
            self._tick()

    def _tick(self) -> None:
        operators.tick(self.world)

    def _by_dice(self, dice: float) -> None:
        for limit, action in self._actions():
            if dice < limit:
                action()
                return

    def _actions(self) -> tuple[tuple[float, Callable[[], object]], ...]:
        world = self.world
        return (
            (0.15, self._tick),
            (0.31, self._produce),
            (0.33, lambda: producers.sends_one(world)),
            (0.51, self._start_a_job),
            (0.83, self._work),
            (0.845, lambda: operators.hold(world)),
            (0.877, lambda: world.do(ops.Release(world.any_batch()))),
            (0.885, lambda: operators.cancel(world)),
            (0.89, lambda: world.do(ops.Close(world.any_batch(), "expired"))),
            (0.935, lambda: operators.reopen(world)),
            (0.941, lambda: operators.resolve(world)),
            (0.945, lambda: operators.pause(world)),
            (0.957, lambda: operators.resume(world)),
            (0.963, lambda: operators.collect(world)),
            (0.97, lambda: operators.purge(world)),
            (0.972, lambda: operators.broom(world)),
            (0.972, lambda: operators.erase(world)),
            (0.974, lambda: operators.forget(world)),
            (0.977, lambda: operators.ask(world)),
            (0.978, lambda: operators.rewind(world)),
            (0.986, lambda: operators.arq_errs(world)),
            (0.992, lambda: self.absent.add(world.pick(WORKERS))),
            (0.995, self.absent.clear),
            (1.0, self._worker_dies),
        )

    def _take_over(self, silent: producers.Producer) -> None:
        world = self.world
        second = producers.takes_over(world, silent)
        if second is None:
            return
        self.producers.append(second)
        for _ in range(world.pick((0, 0, 1, 6))):
            if silent in self.producers and silent.step is not None:
                producers.advance(world, silent)

    def _produce(self) -> None:
        world = self.world
        if world.chance(0.35) and len(self.producers) < PRODUCERS:
            self.producers.append(producers.new_producer(world))
            return
        if not self.producers:
            return
        one = world.pick(self.producers[:2] if world.chance(0.6) else self.producers)
        for _ in range(world.pick((1, 2, 5))):
            if world.chance(0.03) or not producers.advance(world, one):
                self.producers.remove(one)
                return

    def _start_a_job(self) -> None:
        world, arq = self.world, self.world.arq
        if arq.ever and world.chance(0.12):
            self.workers.start(*world.pick(arq.ever[-8:]), world.pick(WORKERS))
        elif not arq.waiting:
            operators.tick(world)
        for _ in range(world.pick((1, 1, 3))):
            if arq.waiting:
                c, job = arq.waiting.pop(world.dice.randrange(len(arq.waiting)))
                self.workers.start(c, job, world.pick(WORKERS))

    def _work(self) -> None:
        world, runs = self.world, self.workers.runs
        if not runs:
            operators.tick(world)
        for _ in range(world.pick((1, 3, 8))):
            if runs:
                run = world.pick(runs)
                if world.crashy and world.chance(0.25):
                    runs.remove(run)
                else:
                    self.workers.work(run)

    def _worker_dies(self) -> None:
        """All its runs at once; now and then it says that it leaves."""
        dead = self.world.pick(WORKERS)
        self.workers.runs[:] = [run for run in self.workers.runs if run.worker != dead]
        if self.world.chance(0.4):
            self.world.do(ops.Leave(dead))
        elif self.world.chance(0.6):
            self.world.do(ops.Bury(dead))

    # -- the end

    def _calm(self) -> None:
        world = self.world
        world.calm = True
        for what in operators.PAUSABLE:
            world.do(ops.Unpause(what))
        for b in list(world.db.batches):
            world.do(ops.Release(b))
            world.do(ops.Resume(b))

    def _drain(self) -> None:
        """One good worker sends all the rest; zombies go on for a while."""
        world = self.world
        for rounds in range(ROUNDS):
            world.now += 4000 if rounds < QUICK_ROUNDS else 60_000
            world.beat("w1", GOOD_WORKER)
            if self.workers.runs and rounds < ZOMBIE_ROUNDS:
                self.workers.work(world.pick(self.workers.runs))
            operators.tick(world)
            for c, job in world.arq.waiting:
                if any(job in world.db.queue(c, version) for version in ("1", "2")):
                    run = self.workers.start(c, job, "w1")
                    if run:
                        self._send_all(run)
            world.arq.waiting.clear()
            states = {world.db.batch(b)["state"] for b in world.db.batches}
            if states <= AT_REST | {"loading"} and (rounds > QUICK_ROUNDS or not self.workers.runs):
                return
        left = [b for b in world.db.batches if world.db.batch(b)["state"] not in AT_REST | {"loading"}]
        raise Violation("stranded", [(b, world.db.batch(b), world.db.due(b), world.db.runs(b)) for b in left])

    def _send_all(self, run: Run) -> None:
        world, claims = self.world, self.world.claiming or run.suspect
        for i in run.todo:
            if claims:
                claim = ops.Record(((run.b, run.k, run.token, ((i, outcome("c", world.now)),)),))
                told = world.do(claim)[0]
                if told.kind != "OK" or told.refused:
                    continue
            self.workers.leaves(run, i)
            world.do(ops.Record(((run.b, run.k, run.token, ((i, outcome("s", world.now)),)),)))
        self.workers.ends(run)

    def _leave_nothing(self) -> None:
        world = self.world
        for c in CLASSES:
            must(world.do(ops.AskDrained(c)) == (0, 0), "drained, and not so", c)
        for b in sorted(world.db.members("erase")):
            world.do(ops.Erase(b))
        world.now += UPLOAD_ABANDONED_MS + 100_000
        for u in list(world.db.scores("loading")):
            must(world.do(ops.Collect(u)) == "OK", "an abandoned upload", u)
        for b in list(world.db.batches):
            must(world.do(ops.Purge(b)) == "OK", "a batch past its retention", b)
        for c in CLASSES:
            for version in (1, 2):
                world.do(ops.Broom(c, version))
        kinds = {name.split(":")[1] for name in world.db.raw if name.startswith(PREFIX)}
        must(kinds <= STAYS, "left behind", kinds - STAYS)
        for c in CLASSES:
            must(not any(int(n) for n in world.db.hash(f"totals:{c}").values()), "totals of nothing", c)


def storm(seed: int, link: Link, others: Mapping[str, Script] | None = None) -> Counter[str]:
    """What happened, by name, in a storm without a violation."""
    world = World(seed, link, others)
    try:
        Storm(world).run()
    except Exception as error:
        error.add_note(report(world))
        raise
    world.counts["mails"] += sum(world.wired.values())
    world.counts["repeats"] += sum(n - 1 for n in world.wired.values() if n > 1)
    return world.counts


def named(seed: int, link: Link) -> Counter[str]:
    """The same, and whatever ends it begins with the seed: a server's error, an oracle's own, a Violation."""
    print(f"storm {seed}", file=sys.stderr, flush=True)  # also where it hangs, and somebody ends it
    try:
        return storm(seed, link)
    except Exception as error:
        raise Violation(f"seed {seed}", type(error).__name__, *error.args) from error


def report(world: World) -> str:
    calls = "\n".join(f"  {now} {op} -> {answer}" for now, op, answer in world.log)
    return f"seed {world.seed}; the last calls:\n{calls}"
