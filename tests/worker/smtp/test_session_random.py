"""Random dialogues: a receiver that may answer anything, a recorder that takes its time, holds, losses, stops.

After every step: no body before its 354, no nested MAIL, no empty mail (the model asserts these); at most one body
unrecorded; every message sent at most once more than it was in doubt; and at the end each has come to its end.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailspool_worker.runs import Item, Place
from mailspool_worker.smtp.transaction import Features
from tests.support.smtp_model import SmtpModel
from tests.support.smtp_talk import PIPELINED, STEPS, Talk
from tests.support.worker_parts import Desk

CODES = {
    "MAIL": (250, 250, 250, 250, 451, 550, 421),
    "RCPT": (250, 250, 250, 250, 450, 550, 421),
    "DATA": (354, 354, 354, 354, 451, 554, 421),
    "DOT": (250, 250, 250, 250, 451, 554, 421),
}
STEP = st.one_of(
    st.just("read"),
    st.just("read"),
    st.just("say"),
    st.just("say all"),
    st.just("record"),
    st.just("record"),
    st.sampled_from(("hold", "release", "lose", "timeout", "away", "retire", "claim refused")),
)


class World:
    """A session, its receiver, and what is known at the end."""

    def __init__(self, features: Features, holds_doubts: bool, luck: list[int]) -> None:
        self._luck = luck
        self.talk = Talk([f"u{i}@x.test" for i in range(6)], features=features, holds_doubts=holds_doubts)
        self.talk.on_over = self._over
        self.model = SmtpModel(self._choose)
        self.delivered: Counter[str] = Counter()
        self.on_wire: set[Item] = set()
        self.bodies: set[Item] = set()
        """Those of this session that were ever on the wire."""
        self.known = list(self.talk.items)
        self.calm = False

    def _choose(self, verb: str) -> int:
        codes = CODES[verb]
        return codes[self._luck.pop() % len(codes)] if self._luck and not self.calm else codes[0]

    def _over(self, item: Item) -> None:
        assert item.place is Place.DECIDED

    def step(self, what: str) -> None:
        talk = self.talk
        if what == "read":
            self.read()
        elif what in ("say", "say all"):
            self.say(everything=what == "say all")
        elif what == "record":
            if talk.desk.notes:
                talk.record()
        elif what == "claim refused":
            if talk.desk.notes and talk.desk.notes[0][1] == b"c":
                talk.run.take_state("held")
                talk.record(accepted=False)
        elif what == "hold":
            talk.run.take_state("held")
        elif what == "release":
            self.release()
        elif what == "lose":
            self.read()
            talk.close()
        elif what == "timeout":
            talk.session.check_deadline(talk.clock.now_s + 1_000)
        elif what == "away":
            talk.session.abort_waiting("redis is away")
        else:
            talk.session.retire()
        self.check()

    def read(self) -> None:
        self.model.read("".join(self.talk.wrote()))
        fresh, self.model.accepted = self.model.accepted, []
        self.delivered.update(fresh)

    def say(self, *, everything: bool = False) -> None:
        while self.model.replies and not self.talk.session._dead:
            self.talk.say(self.model.replies.popleft())
            if not everything:
                return

    def release(self) -> None:
        run = self.talk.run
        run.take_state("live")
        fresh = run.take_given_back()
        run.hand_out(fresh)
        self.known += fresh
        self.talk.queue.extend(fresh)
        self.talk.session.nudge()

    def reconnect(self) -> None:
        self.read()
        self.model = SmtpModel(self._choose)
        self.bodies.clear()
        self.talk.reconnect()

    def check(self) -> None:
        talk = self.talk
        wire = {item for item in self.known if item.place is Place.WIRE}
        self.bodies |= wire
        unrecorded = [item for item in self.bodies if item.place is not Place.DONE]
        assert len(unrecorded) <= 1, "a body before the record of the one before"
        assert wire <= self.on_wire or talk.run.may_start_body()
        self.on_wire = wire
        assert talk.session._unrecorded >= 0
        assert talk.run.pending >= 0

    def settle(self) -> None:
        """From here on the receiver is kind and the recorder quick: all must come to its end."""
        self.calm = True
        for _ in range(400):
            self.release()
            self.read()
            self.say(everything=True)
            self.talk.record_all()
            self.check()
            if self.talk.session._dead:
                self.reconnect()
            if self.talk.run.pending == 0 and not self.talk.queue:
                return
        raise AssertionError(f"never quiet: {self.talk.session!r} pending {self.talk.run.pending}")


@pytest.mark.parametrize("features", [PIPELINED, STEPS], ids=["pipelined", "steps"])
@pytest.mark.parametrize("holds_doubts", [False, True], ids=["plain", "claiming"])
@settings(max_examples=120, deadline=None)
@given(steps=st.lists(STEP, max_size=60), luck=st.lists(st.integers(0, 6), max_size=40))
def test_any_dialogue_keeps_the_accounts(
    features: Features, holds_doubts: bool, steps: list[str], luck: list[int]
) -> None:
    world = World(features, holds_doubts, luck)
    for step in steps:
        world.step(step)
        if world.talk.session._dead:
            world.reconnect()
    world.settle()
    doubts = Counter(i for i, stage, told in world.talk.over if stage == "DOT" and not told[0].isdigit())
    told = Counter(i for i, stage, told in world.talk.over if stage == "DOT" and told[0] == "2")
    for index in range(6):
        sent = world.delivered[f"u{index}@x.test"]
        assert told[index] <= sent <= told[index] + doubts[index]
        reports = [one for one in world.talk.over if one[0] == index]
        assert len(reports) <= 1, "once reported it is not handed out again here"
    assert isinstance(world.talk.desk, Desk)
