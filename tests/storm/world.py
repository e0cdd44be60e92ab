"""One storm's world: the server, the clock, the dice, what callers know, and the auditor behind every step.

Actors call `world.do(op)`; it sends the move, sends it again now and then (nothing may change), lets the records learn
and the auditor look. Plain writes that no move makes (workers' beats, arq's own keys) go through `world.write`.
Raises Violation.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Moves
from mailspool.contract.scripts import Script, scripts
from mailspool.contract.states import CLASSES, Class
from tests.storm import ops
from tests.storm.audit import Auditor
from tests.storm.case import Step, Violation, must
from tests.storm.records import Records
from tests.storm.server import Link, LinkCaller, ScriptError, drive
from tests.storm.snapshot import PREFIX, VERSIONS, Snapshot, after_writes, look

A = TypeVar("A")
START_MS = 1_700_000_000_000
AGAIN = 0.2
"""How often a move is sent twice, as redis-py does after a lost answer."""
REMEMBERED = 20


@dataclass(frozen=True)
class WorkerKind:
    """What a worker says it can do."""

    relays: tuple[str, ...]
    versions: tuple[str, ...]


CREW: Mapping[str, WorkerKind] = {
    "w0": WorkerKind(("main",), ("1",)),
    "w1": WorkerKind(("main", "alt"), ("1", "2")),
    "w2": WorkerKind(("alt",), ("1",)),
}
"""Nobody has the relay `al`, though two have one that is called nearly so; one reads records of version 2."""
GOOD_WORKER = WorkerKind(("main", "alt", "al"), ("1", "2"))


@dataclass
class Arq:
    """The ids that arq holds, and ids that it once held: jobs come late, and twice."""

    waiting: list[tuple[Class, str]] = field(default_factory=list)
    late: list[tuple[Class, str]] = field(default_factory=list)
    """Fed by somebody who then froze before telling arq."""
    ever: list[tuple[Class, str]] = field(default_factory=list)


class World:
    """`World(seed, link)` empties the server."""

    def __init__(self, seed: int, link: Link, others: Mapping[str, Script] | None = None) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self._numbers = 0
        self.link = link
        self.keys = Keys(PREFIX)
        self.caller = LinkCaller(link, {**scripts(PREFIX, VERSIONS), **(others or {})})
        self.moves = Moves(self.caller, self.keys)
        self.now = START_MS
        self.again = AGAIN
        self.claiming = self.chance(0.4)
        self.crashy = self.chance(0.25)
        self.sulky = self.chance(0.25)
        """Receivers defer nearly everything, and all for about as long."""
        self.calm = False
        """Towards the end nothing more goes wrong on purpose."""
        self.records = Records()
        self.auditor = Auditor()
        self.arq = Arq()
        self.crew: dict[str, WorkerKind] = {}
        self.log: deque[tuple[int, object, object]] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()
        self.wired: Counter[tuple[str, int, int]] = Counter()
        self.redone: Counter[tuple[str, int, int]] = Counter()
        link.command("FLUSHALL")
        self.db = Snapshot({})

    # -- the server

    def write(self, *commands: Sequence[Arg]) -> None:
        """Plain commands of a worker or of arq; they go out in front of the next move."""
        self.caller.waiting += commands
        self.db = after_writes(self.db, commands)

    def do(self, op: ops.Op[A], again: float | None = None) -> A:
        pre = self.db
        answer = self._send(op)
        post = self.db = self._look(pre)
        self.log.append((self.now, op, answer))
        self.counts[type(op).__name__] += 1
        if op.refused(answer):
            must(pre == post, "a refusal changed something", op, answer, self._difference(pre, post))
        if op.REPEATABLE and self.dice.random() < (self.again if again is None else again):
            self._send_again(op, answer, post)
        self.records.learn(op, answer, self.now)
        self.auditor.check(Step(op, answer, pre, post, self.now, self.records))
        return answer

    def _send(self, op: ops.Op[A]) -> A:
        try:
            return drive(op.send(self.moves, self.now))
        except ScriptError as error:
            raise Violation("a script broke", op, str(error)) from error

    def _look(self, before: Snapshot) -> Snapshot:
        """What lies there after a call; not read anew when the server wrote nothing in it."""
        return look(self.link) if self.caller.wrote else before

    def _send_again(self, op: ops.Op[A], answer: A, post: Snapshot) -> None:
        second = self._send(op)
        now = self._look(post)
        must(now == post, "sent twice, and something changed", op, self._difference(post, now))
        if op.answers_alike():
            must(answer == second, "sent twice, and another answer", op, answer, second)

    def _difference(self, pre: Snapshot, post: Snapshot) -> dict[str, tuple[object, object]]:
        return {name: (pre.raw.get(name), post.raw.get(name)) for name in pre.differing(post)}

    # -- the dice

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def chance(self, of: float) -> bool:
        return self.dice.random() < of

    def pick(self, of: Sequence[A]) -> A:
        return self.dice.choice(of)

    def any_batch(self) -> str:
        return self.pick(list(self.db.batches) or ["b0"])

    # -- workers and arq, which write keys of their own

    def beat(self, worker: str, kind: WorkerKind | None = None) -> None:
        """So frequent that it goes by the move, with the auditor behind it, only now and then."""
        self.crew[worker] = kind or CREW[worker]
        relays, versions = ",".join(self.crew[worker].relays), ",".join(self.crew[worker].versions)
        slots = {f"slots:{c}": 1 for c in CLASSES}
        fields: dict[str, Arg] = {"relays": relays, "versions": versions, **slots}
        name = self.keys.worker(worker)
        if self.chance(0.02):
            self.do(ops.Beat(worker, fields))
            self.caller.waiting.append(("PERSIST", name))  # its life is counted in this storm's time
            return
        flat: list[Arg] = [item for pair in fields.items() for item in pair]
        self.write(("HSET", name, *flat), ("ZADD", self.keys.workers, self.now, worker))

    def enqueue(self, c: Class, job: str) -> None:
        version = self.db.batch(self.keys.parse_job_id(job)[0]).get("v", "1")
        self.write(("SET", f"arq:job:{job}", 1), ("ZADD", f"{PREFIX}:q:{c}:v{version}", 1, job))
        self.arq.waiting.append((c, job))
        self.arq.ever.append((c, job))

    def job_starts(self, job: str) -> None:
        self.write(("SET", f"arq:in-progress:{job}", 1))

    def job_ends(self, c: Class, job: str) -> None:
        queues = (("ZREM", f"{PREFIX}:q:{c}:v{version}", job) for version in (1, 2))
        self.write(*queues, ("DEL", f"arq:job:{job}"), ("DEL", f"arq:in-progress:{job}"))

    def feed(self, c: Class) -> None:
        """Feed, and tell arq; now and then the feeder dies in between."""
        for job in self.do(ops.Feed(c)).ids:
            if self.calm or self.chance(0.85):
                self.enqueue(c, job)
            elif self.chance(0.5):
                self.arq.late.append((c, job))
