"""Workers: they lease, claim, put on the wire, record in groups, renew, detach, settle, die, freeze, return as zombies.

One Run is one worker working on one fed chunk. Called by storm.py. Beside the auditor these actors check what only the
wire knows: nothing leaves that may not, a claiming batch never repeats, a `sent` that somebody knows is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailspool.contract.codec import decode_outcome, decode_rows, encode_outcome
from mailspool.contract.moves import Leased, Recorded
from mailspool.contract.records import Outcome
from mailspool.contract.states import LEASE_MS, SUSPECT_RUNS, Class
from tests.storm import ops
from tests.storm.case import must, num
from tests.storm.world import World

MARGIN_MS = 5_000
NEVER = -1


@dataclass
class Run:
    """What a worker knows of its chunk. `wire`: the message whose last check is done, or None."""

    b: str
    k: int
    token: str
    job: str
    c: Class
    worker: str
    rows: int
    todo: list[int]
    before: dict[int, bytes]
    """What was written of each message when the lease began."""
    until: int
    lost: int
    stopped: bool
    buffer: list[tuple[int, bytes]] = field(default_factory=list)
    wire: int | None = None
    claimed: bool = False
    detached: bool = False

    @property
    def suspect(self) -> bool:
        return self.lost >= SUSPECT_RUNS

    def attempts(self, i: int) -> int:
        return decode_outcome(self.before[i]).attempts if i in self.before else 0

    def doubts(self, i: int) -> int:
        """What a claim says: one more than is known."""
        return 1 + (decode_outcome(self.before[i]).doubts if i in self.before else 0)


def outcome(letter: str, at_ms: int, attempts: int = 0, now: int = 0, doubts: int = 0) -> bytes:
    return encode_outcome(Outcome(letter, at_ms, attempts, doubts, "main", "250 ok", "", now, now, 1234))


class Workers:
    """All runs of a storm, and the tokens of those that were."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: list[Run] = []
        self.ever: list[Run] = []

    # -- a job begins

    def start(self, c: Class, job: str, worker: str) -> Run | None:
        world = self.world
        b, k, gen = world.keys.parse_job_id(job)
        world.job_starts(job)
        if world.chance(0.06) and not world.calm:
            return None
        token = f"{worker}.{world.number()}"
        answer = world.do(ops.Lease(b, k, gen, token, world.crew[worker].relays))
        if not isinstance(answer, Leased):
            world.job_ends(c, job)
            return None
        run = self._run(answer, b, k, f"{gen}:{token}", job, c, worker)
        self.ever.append(run)
        self.runs.append(run)
        return run

    def _run(self, lease: Leased, b: str, k: int, token: str, job: str, c: Class, worker: str) -> Run:
        rows = len(decode_rows(lease.rows))
        outs = {i: decode_outcome(data) for i, data in lease.outcomes.items()}
        todo = [i for i in range(rows) if i not in outs or (outs[i].state == "d" and outs[i].at_ms <= lease.now_ms)]
        until = lease.now_ms + LEASE_MS
        return Run(
            b, k, token, job, c, worker, rows, todo, dict(lease.outcomes), until, lease.lost_runs, lease.state != "live"
        )

    # -- one step of a run

    def work(self, run: Run) -> None:
        """Whatever this run does next; now and then its process dies instead."""
        world = self.world
        dice = world.dice.random()
        dies = dice < (0.7 if world.crashy and run.lost else 0.07)
        if dies and (run.wire is not None or not run.suspect):
            self.runs.remove(run)
        elif run.wire is not None:
            self._on_the_wire(run, run.wire)
        elif dice < 0.17:
            self._renews(run)
        elif dice < 0.24 and not run.detached:
            run.detached = world.do(ops.Detach(run.b, run.k, run.token)) == "OK"
        elif run.todo and not run.stopped and world.now <= run.until - MARGIN_MS:
            self._takes_next(run)
        elif run.buffer:
            self.record(run)
        else:
            self._settles(run)

    def _renews(self, run: Run) -> None:
        mates = [mate for mate in self.runs if mate.worker == run.worker and self.world.chance(0.5)]
        runs = [run, *(mate for mate in mates if mate is not run)]
        answers = self.world.do(ops.Renew(tuple((one.b, one.k, one.token) for one in runs)))
        for one, answer in zip(runs, answers, strict=True):
            one.stopped |= answer != "live"
            one.until = NEVER if answer == "LOST" else self.world.now + LEASE_MS

    def _takes_next(self, run: Run) -> None:
        """Record the previous, claim the next where that is asked, and pass the last check before the body."""
        world = self.world
        i = run.todo.pop()
        run.claimed = world.claiming or run.suspect
        if run.claimed or run.buffer:
            told = self.record(run, claim=i if run.claimed else None)
            state, mine = told.state, told.kind == "OK"
            claim_stands = run.claimed and i not in told.refused
        else:
            state = world.do(ops.Renew(((run.b, run.k, run.token),)))[0]
            mine, claim_stands = state != "LOST", False
            run.until = world.now + LEASE_MS
        if not mine or state != "live" or (run.claimed and not claim_stands):
            run.stopped = True
            if claim_stands:
                run.buffer.append((i, run.before.get(i, b"")))
            return
        self._may_go_on_the_wire(run, i)
        run.wire = i
        if world.chance(0.8):
            self.work(run)

    def _may_go_on_the_wire(self, run: Run, i: int) -> None:
        world, db = self.world, self.world.db
        fields = db.batch(run.b)
        may = fields["state"] == "live" and not db.paused(run.c)
        may = may and num(fields, "send_at") <= world.now < num(fields, "expires")
        must(may and db.runs(run.b).get(str(run.k)) == f"run:{run.token}", "sends although it may not", run, fields)
        written = db.outcomes(run.b, run.k).get(str(i), " ")
        # Without a claim a run cannot learn that a zombie's `sent` came in behind its lease: that is the one repeat.
        must(written[0] == "c" if run.claimed else written[0] in " ds", "sends what is not open", run, i, written)
        must(i < len(world.records.batches[run.b].chunks[run.k]), "sends what nobody committed", run, i)

    def _on_the_wire(self, run: Run, i: int) -> None:
        world = self.world
        run.wire = None
        end = world.dice.random()
        if end < (0.02 if world.sulky else 0.12):
            if run.claimed:
                run.buffer.append((i, run.before.get(i, b"")))
            return
        letter, at_ms = "s", world.now
        if end < (0.15 if world.sulky else 0.7):
            self.leaves(run, i)
        else:
            letter = world.pick("dddddfux" if world.sulky else "ddfux")
            at_ms += self._next_try_in() if letter == "d" else 0
        run.buffer.append((i, outcome(letter, at_ms, run.attempts(i) + 1, world.now)))

    def _next_try_in(self) -> int:
        world = self.world
        if world.sulky:  # so that tries lie about a minute apart, which is how far they are gathered
            return world.pick((20_000, 700_000, 700_000, 762_000)) + world.dice.randrange(5000)
        wait = world.pick((1, 5000, 20_000, 400_000, 700_000, 1_000_000))
        return wait + world.dice.randrange(1 + wait // 8)

    def leaves(self, run: Run, i: int) -> None:
        """A mail is handed over. From here on it is a fact, whatever becomes of its run."""
        world, place = self.world, (run.b, run.k, i)
        world.wired[place] += 1
        once = world.wired[place] <= 1 + world.redone[place]
        must(once or not world.claiming, "a claiming batch repeated", place, world.wired[place])

    # -- what is known is written

    def record(self, run: Run, claim: int | None = None) -> Recorded:
        """One call for all that waits in this process: this run's, its mates', and now and then some of it twice."""
        world = self.world
        mates = [mate for mate in self.runs if mate.worker == run.worker and mate.buffer and mate is not run]
        runs = [run, *(mate for mate in mates if world.chance(0.5))]
        groups = [(one.b, one.k, one.token, self._waiting(one, claim if one is run else None)) for one in runs]
        if claim is not None:
            b, k, token, waiting = groups[0]
            groups[0] = (
                b,
                k,
                token,
                (*waiting, (claim, outcome("c", world.now, run.attempts(claim), world.now, run.doubts(claim)))),
            )
        groups = [*self._zombie_groups(0.1, {(one.b, one.k) for one in runs}), *groups]
        answers = world.do(ops.Record(tuple(groups)))[len(groups) - len(runs) :]
        for one, answer in zip(runs, answers, strict=True):
            one.stopped |= answer.kind != "OK" or answer.state != "live"
            if answer.kind != "GONE":
                outs = world.db.outcomes(one.b, one.k)
                sent = [i for i, data in one.buffer if data[:1] == b"s"]
                must(all(outs[str(i)][0] == "s" for i in sent), "a known sent was dropped", one)
            one.buffer = []
        return answers[0]

    def _waiting(self, run: Run, claim: int | None) -> tuple[tuple[int, bytes], ...]:
        """A recorder that lost its connection writes some of it twice, or takes back what was never claimed."""
        world, i = self.world, self.world.dice.randrange(run.rows)
        twice = run.buffer[:1] if world.chance(0.1) else []
        busy = {run.wire, claim, *(index for index, _ in run.buffer)}
        back = [(i, b"")] if world.chance(0.04) and i not in busy else []
        if run.wire is not None and run.claimed and world.chance(0.1):
            back.append((run.wire, outcome("c", world.now)))  # a claim that stands is not claimed anew
        return (*back, *run.buffer, *twice)

    def _settles(self, run: Run) -> None:
        world = self.world
        if world.calm or not world.chance(0.1 if world.sulky else 0.28):
            self.ends(run)
        else:
            alone = not any(one.b == run.b for one in self.runs if one is not run)
            why = world.pick(("rate", "closed"))
            scope = world.pick(("chunk", "batch") if alone else ("chunk", "batch", "batch"))
            self.ends(run, world.pick((1000, 5000, 100_000, 100_000)), why, scope)
            if scope == "batch":
                self._blocks_others(run)
            if world.chance(0.3):
                world.do(ops.Resume(run.b))
        if world.chance(0.5):
            world.feed(run.c)

    def ends(self, run: Run, later_ms: int = 0, why: str = "", scope: str = "chunk") -> None:
        self.world.do(ops.Settle(run.b, run.k, run.token, later_ms, why, scope))
        self.world.job_ends(run.c, run.job)
        self.runs.remove(run)

    def _blocks_others(self, run: Run) -> None:
        """Others of its batch get no grant either, each for a time and a reason of its own."""
        world = self.world
        for mate in [one for one in self.runs if one.b == run.b and one.wire is None and not one.buffer]:
            self.ends(mate, world.pick((1000, 5000)), world.pick(("rate", "closed")), world.pick(("batch", "chunk")))

    # -- those that should be silent

    def zombie_speaks(self) -> None:
        """A run that is over, dead or frozen says something all the same."""
        world = self.world
        run = self._some_zombie(1.0)
        if run is None:
            return
        dice = world.dice.random()
        if dice < 0.8:
            world.do(ops.Record((self._zombie_group(run), *self._zombie_groups(0.3, {(run.b, run.k)}))))
        elif dice < 0.9:
            why, scope = world.pick(("", "rate", "closed")), world.pick(("chunk", "batch"))
            world.do(ops.Settle(run.b, run.k, run.token, 5000, why, scope))
        elif dice < 0.95:
            world.do(ops.Renew(((run.b, run.k, run.token),)))
        else:
            world.do(ops.Detach(run.b, run.k, run.token))

    def _some_zombie(self, chance: float) -> Run | None:
        """Rather one of a chunk of which another run has claimed something."""
        if not self.world.chance(chance):
            return None
        dead = [run for run in self.ever[-12:] if all(run is not one for one in self.runs)]
        envious = [run for run in dead if self._claimed(run)]
        return self.world.pick(envious or dead) if dead else None

    def _claimed(self, run: Run) -> list[int]:
        return sorted(int(i) for i, value in self.world.db.outcomes(run.b, run.k).items() if value[0] == "c")

    def _zombie_groups(self, chance: float, but: set[tuple[str, int]]) -> list[ops.Group]:
        """Of other chunks than these: the answer to one message twice in one call depends on what came first."""
        found = {(run.b, run.k): run for run in (self._some_zombie(chance), self._some_zombie(chance)) if run}
        return [self._zombie_group(run) for place, run in found.items() if place not in but]

    def _zombie_group(self, run: Run) -> ops.Group:
        world = self.world
        claimed = self._claimed(run)
        i = world.pick(claimed) if claimed and world.chance(0.5) else world.dice.randrange(run.rows)
        letter = world.pick(("s", "u", "x", "c", "") if world.claiming else ("s", "s", "d", "f", "u", "x", "c", ""))
        if i in claimed and world.chance(0.5):
            letter = ""
        if not letter and world.wired[run.b, run.k, i]:
            letter = "s"  # even a zombie takes back only what it knows was not sent
        at_ms = world.now + 700_000 * (letter == "d")
        return run.b, run.k, run.token, ((i, outcome(letter, at_ms, 1, world.now) if letter else b""),)
