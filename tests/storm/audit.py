"""The auditor: after every step it recomputes everything from what lies on the server, and compares.

One Auditor lives as long as a storm; world.py hands it every step. What a step did not touch was judged when it was
touched last, so only batches whose keys changed are recomputed; all of them at every `FULL_EVERY`th step.
Raises Violation, with the oracle's sentence and its facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from mailspool.contract.states import CLASSES
from tests.storm import ops
from tests.storm.case import Case, Step, Violation
from tests.storm.oracles import batch, changes, feeding, operating, producing, rewinding, running, spool
from tests.storm.snapshot import PREFIX

Kind = TypeVar("Kind")
Judge = Callable[[object, Step], None]
FULL_EVERY = 50
OF_CHUNKS = frozenset({"chunk", "out"})
INDEXES = ("batches", "ids", "deadline", "retire", *(f"{turn}:{c}" for turn in ("open", "later") for c in CLASSES))
LEASES = tuple(f"{lease}:{c}" for lease in ("flight", "apart") for c in CLASSES)


def _judge(kind: type[Kind], oracle: Callable[[Kind, Step], None]) -> tuple[type, Judge]:
    return kind, cast("Judge", oracle)


BY_MOVE: dict[type, Judge] = dict(
    (
        _judge(ops.Begin, producing.begin),
        _judge(ops.Attach, producing.attach),
        _judge(ops.Abandon, producing.abandon),
        _judge(ops.Load, producing.load),
        _judge(ops.SignOfLife, producing.sign_of_life),
        _judge(ops.Commit, producing.commit),
        _judge(ops.SendOne, producing.send1),
        _judge(ops.Collect, producing.collect),
        _judge(ops.Beat, operating.beat),
        _judge(ops.Leave, operating.leave),
        _judge(ops.Lease, running.lease),
        _judge(ops.Renew, running.renew),
        _judge(ops.Record, running.record),
        _judge(ops.Detach, running.detach),
        _judge(ops.Bounce, running.bounce),
        _judge(ops.Settle, running.settle),
        _judge(ops.Sweep, running.sweep),
        _judge(ops.Bury, running.bury),
        _judge(ops.Erase, running.erase),
        _judge(ops.Forget, running.forget),
        _judge(ops.Hold, operating.hold),
        _judge(ops.Release, operating.release),
        _judge(ops.Close, operating.close),
        _judge(ops.Reopen, operating.reopen),
        _judge(ops.Resolve, operating.resolve),
        _judge(ops.Resume, operating.resume),
        _judge(ops.Rewind, rewinding.rewind),
        _judge(ops.RewindLeases, rewinding.rewind_leases),
        _judge(ops.Pause, operating.pause),
        _judge(ops.Unpause, operating.unpause),
        _judge(ops.Purge, operating.purge),
        _judge(ops.Broom, operating.broom),
        _judge(ops.Status, operating.status),
        _judge(ops.AskDrained, operating.drained),
    )
)


def touched(step: Step) -> set[str]:
    """Batches of which some key, index entry or lease is not what it was."""
    found: set[str] = set()
    for name in step.pre.differing(step.post):
        kind, _, rest = name.removeprefix(f"{PREFIX}:").partition(":")
        if kind == "batch" or kind in spool.OF_BATCH:
            found.add(rest)
        elif kind in OF_CHUNKS:
            found.add(rest.partition(":")[0])
    for index in INDEXES:
        pre, post = step.pre.scores(index), step.post.scores(index)
        if pre != post:
            found.update(b for b, _ in pre.items() ^ post.items())
    for index in LEASES:
        pre, post = step.pre.scores(index), step.post.scores(index)
        if pre != post:
            found.update(member.partition(":")[0] for member, _ in pre.items() ^ post.items())
    return found


class Auditor:
    """`check(step)` raises Violation, or is silent."""

    def __init__(self) -> None:
        self.feeding = feeding.Feeding()
        self.steps = 0

    def check(self, step: Step) -> None:
        self.steps += 1
        try:
            self._check(step)
        except (KeyError, ValueError, IndexError, TypeError, StopIteration) as error:
            raise Violation("the audit could not read what it found", repr(error)) from error

    def _check(self, step: Step) -> None:
        if step.pre != step.post or self.steps % FULL_EVERY == 0:
            self._check_batches(step)
            spool.check(step)
            running.no_other_move_sweeps(step)
            operating.no_other_move_touches(step)
        if isinstance(step.op, tuple(BY_MOVE)):
            BY_MOVE[type(step.op)](step.op, step)
        self.feeding.check(step)

    def _check_batches(self, step: Step) -> None:
        full = self.steps % FULL_EVERY == 0
        there = set(step.post.batches)
        for b in there if full else touched(step) & there:
            case = Case(step, b)
            batch.check(case)
            changes.check(case)
        for b in set(step.pre.batches) - there:
            changes.check_gone(step.op, b, step.pre.batch(b)["state"])
