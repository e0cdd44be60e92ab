"""What feed must do: keep to the window, give every batch its turn, leave nothing lying, mind who can serve.

Unlike the other oracles this one has a memory: since when each batch could go, and when it was last fed. One `Feeding`
lives as long as a storm; audit.py asks it after every step. Raises Violation by `must`.
"""

from __future__ import annotations

from mailspool.contract.states import CLASSES
from tests.storm import ops
from tests.storm.case import Step, fail, may_go, must, num, served, window
from tests.storm.snapshot import PREFIX

ASK_AGAIN_MS = 1000
"""A batch that nobody could serve is asked again after this long."""
SLACK_MS = ASK_AGAIN_MS + 1
Moment = tuple[int, int]
"""(number of the step, time)."""


class Feeding:
    """The memory, and the oracles that need it."""

    def __init__(self) -> None:
        self.able_since: dict[str, Moment] = {}
        self.last_fed: dict[str, tuple[int, int, int]] = {}
        self.ask_until: dict[str, int] = {}
        self.steps = 0

    def check(self, step: Step) -> None:
        self.steps += 1
        match step.op:
            case ops.Feed():
                answer = step.answer_to(step.op)
                must(answer.now_ms == step.now, "the clock of a feed", answer.now_ms)
                must(not answer.aside, "set aside, and nothing is broken", answer.aside)
                self._check_feed(step, step.op.c, answer.ids, step.op.grace_ms)
            case ops.SendOne():
                sent = step.answer_to(step.op)
                if sent.kind == "OK":
                    self._check_feed(step, str(step.op.fields["class"]), sent.ids, step.op.grace_ms)
            case _:
                self._nothing_was_fed(step)
        self._turns_come_in_time(step)
        self._remember(step)

    def _check_feed(self, step: Step, c: str, ids: tuple[str, ...], grace_ms: int) -> None:
        before, after = step.pre.scores(f"flight:{c}"), step.post.scores(f"flight:{c}")
        room = window(step.post, c, step.now)
        must(len(after) <= max(len(before), room), "the window", len(before), len(after), room)
        must(len(after) - len(before) == len(ids), "fed, and not in flight", ids)
        self.ask_until.update(
            {
                b: step.now + ASK_AGAIN_MS
                for b in step.post.batches
                if step.post.batch(b)["class"] == c and not served(step.post, step.post.batch(b), step.now)
            }
        )
        known = step.pre if isinstance(step.op, ops.Feed) else step.post
        left = {b: may_go(known, b, step.now) for b in known.batches if known.batch(b)["class"] == c}
        for n, job in enumerate(ids):
            self._was_it_its_turn(step, c, job, n, left, grace_ms)
        if len(after) < room and isinstance(step.op, ops.Feed):
            for b in left:
                since = self.able_since.get(b)
                lying = since and since[1] <= step.now - SLACK_MS and may_go(step.post, b, step.now)
                must(not lying, "left lying although there is room", b, since)

    def _was_it_its_turn(self, step: Step, c: str, job: str, n: int, left: dict[str, int], grace_ms: int) -> None:
        prefix, b, k, gen = job.split(":")
        fields, now, db = step.post.batch(b), step.now, step.post
        must(prefix == PREFIX and fields["class"] == c and fields["state"] == "live", "fed what may not go", job)
        must(not db.paused(c), "fed while paused", job)
        must(max(num(fields, "send_at"), num(fields, "wait_until")) <= now, "fed before its time", job)
        must(served(db, fields, now), "fed what nobody serves", job)
        if step.pre.batch(b):
            must(step.pre.due(b).get(k, now + 1) <= now, "fed what is not due", job)
            must(num(step.pre.batch(b), "gen") < int(gen) <= num(fields, "gen"), "a gen was used again", job)
            must(all(at >= step.pre.due(b)[k] for at in db.due(b).values()), "fed what was due later", job)
        must(db.runs(b).get(k) == f"fed:{gen}" and k not in db.due(b), "fed, and not so in its place", job)
        must(db.scores(f"flight:{c}").get(f"{b}:{k}") == now + grace_ms, "the grace", job)
        last = self.last_fed.get(b)
        for other, chunks in left.items():
            if other != b and chunks > 0 and last is not None and self._passed_over(other, last):
                fail("unfair", b, "before", other, last, self.able_since[other])
        left[b] = left.get(b, 1) - 1
        self.last_fed[b] = (self.steps, n, now)

    def _passed_over(self, other: str, last: tuple[int, int, int]) -> bool:
        """Could `other` go all the time since `last`, and was not fed since?"""
        since, fed = self.able_since.get(other), self.last_fed.get(other, (-1, 0, 0))
        return since is not None and since[0] < last[0] and since[1] <= last[2] - SLACK_MS and fed < last

    def _nothing_was_fed(self, step: Step) -> None:
        for b in step.post.batches:
            for k, run in step.post.runs(b).items():
                if run.startswith("fed:"):
                    must(step.pre.runs(b).get(k) == run, "fed by another move", b, k)

    def _turns_come_in_time(self, step: Step) -> None:
        """A batch in `later` is looked at when it is due, or when it was to be asked again."""
        db, before = step.post, step.pre
        for c in CLASSES:
            for b, score in db.scores(f"later:{c}").items():
                fields, due = db.batch(b), db.due(b)
                same = before.scores(f"later:{c}").get(b) == score and before.due(b) == due
                if score <= step.now or (same and before.batch(b) == fields):
                    continue
                at = max(min(due.values()), num(fields, "send_at"), num(fields, "wait_until"))
                must(at <= score <= max(at, self.ask_until.get(b, 0)), "a turn too late", b, score - step.now)

    def _remember(self, step: Step) -> None:
        for b in step.post.batches:
            if may_go(step.post, b, step.now):
                self.able_since.setdefault(b, (self.steps, step.now))
            else:
                self.able_since.pop(b, None)
        for b in self.able_since.keys() - set(step.post.batches):
            del self.able_since[b]
