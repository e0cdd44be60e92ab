"""What refusals say about addresses: noted, written once, and looked up before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from mailspool.contract.bounced import Bounced, decode_bounced, encode_bounced
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves
from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED, FAILED, SUPPRESSED
from mailspool.redis_server.link import Link
from mailspool_worker import bounces as module
from mailspool_worker.bounces import Bounces
from mailspool_worker.classify import Stage, Verdict, classify
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.refusals import Refusals
from mailspool_worker.runs import Item
from tests.support.worker_parts import Desk, TestClock, make_items, make_run, means
from tests.worker.reply_samples import reply_of

NOW_MS = 1_700_000_000_000


class Spool:
    """Stands for Redis: a hash of suppressed addresses, and the calls of `bounce`."""

    def __init__(self, *, suppress: bool = True) -> None:
        self.keys = Keys("t")
        self.hash: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self.calls: list[tuple[str, str, bool, str, list[tuple[str, str, bytes]]]] = []
        self.answers: list[str | RedisError] = []
        self.boot = TestClock()
        self.clock = RedisClock(self.boot)
        self.clock.observe(NOW_MS)
        self.desk = Desk()
        self.events = Events(None)
        refusals = Refusals(self.desk.as_recorder, self.clock, self.events)
        self.bounces = Bounces(cast("Link", self), cast("Moves", self), refusals, self.events, suppress=suppress)
        self.bounces.any_suppressed = True
        self.run = make_run(self.boot, given=means(self.boot, self.desk))

    @property
    def redis(self) -> Spool:
        return self

    async def hmget(self, key: str, identities: Sequence[str]) -> list[bytes | None]:
        assert key == "t:suppressed"
        self.asked.append(list(identities))
        return [self.hash.get(one) for one in identities]

    async def bounce(self, b: str, token: str, suppress: bool, words: str, notes: list[tuple[str, str, bytes]]) -> str:
        self.calls.append((b, token, suppress, words, list(notes)))
        answer = self.answers.pop(0) if self.answers else "OK"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def items(self, *addresses: str) -> list[Item]:
        return make_items(self.run, addresses, out=False)

    def note(self, item: Item, said: str) -> Verdict:
        verdict = classify(Stage.RCPT, reply_of(said))
        assert verdict.alarming
        self.bounces.note(item, verdict, Outcome(FAILED, NOW_MS, 1, reply=said, last_ms=NOW_MS))
        return verdict


# -- what refusals say


async def test_a_second_of_refusals_is_one_call_a_batch() -> None:
    spool = Spool()
    dead, suspect, refused = spool.items("Dead@X.test", "who@x.test", "spam@x.test")
    spool.note(dead, "550 5.1.1 <dead@x.test>: no such user")
    spool.note(suspect, "550 5.4.1 Recipient address rejected: Access denied")
    spool.note(refused, "550 5.7.1 refused by policy")
    await spool.bounces.write()
    ((b, token, suppress, words, notes),) = spool.calls
    assert (b, len(token), suppress) == ("btest", 8, True)
    assert "dead@x.test" not in words
    assert [(kind, who) for kind, who, _ in notes] == [("x", "dead@x.test"), ("s", "who@x.test"), ("p", "")]
    assert decode_bounced(notes[0][2]) == Bounced(
        "mailbox_unknown", "550 5.1.1 <dead@x.test>: no such user", NOW_MS, "btest"
    )
    await spool.bounces.write()
    assert len(spool.calls) == 1


async def test_while_redis_is_away_a_call_waits_and_is_sent_again_with_its_token() -> None:
    spool = Spool()
    (item,) = spool.items("a@x.test")
    spool.note(item, "550 5.1.1 no")
    spool.answers = [RedisConnectionError("away")]
    await spool.bounces.write()
    spool.note(item, "550 5.1.1 no")
    await spool.bounces.write()
    first, second, third = spool.calls
    assert first == second, "the same call, not a merged one"
    assert third[1] != first[1]


async def test_a_batch_that_cannot_be_told_does_not_stop_the_others() -> None:
    spool = Spool()
    (item,) = spool.items("a@x.test")
    spool.note(item, "550 5.1.1 no")
    spool.run.batch = "b2"
    spool.note(item, "550 5.1.1 no")
    spool.answers = [ResponseError("WRONGTYPE")]
    await spool.bounces.write()
    assert [call[0] for call in spool.calls] == ["btest", "b2"]


async def test_memory_is_bounded_and_a_long_second_is_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 5)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    spool = Spool()
    for item in spool.items(*(f"u{i}@x.test" for i in range(7))):
        spool.note(item, "550 5.1.1 no")
    await spool.bounces.write()
    assert [len(call[4]) for call in spool.calls] == [2, 2, 1]
    assert spool.bounces.left_out == 2
    spool.note(item, "550 5.1.1 no")
    assert spool.bounces.left_out == 2, "there is room again"


async def test_the_setting_goes_along() -> None:
    spool = Spool(suppress=False)
    (item,) = spool.items("a@x.test")
    spool.note(item, "550 5.1.1 no")
    await spool.bounces.write()
    assert spool.calls[0][2] is False


# -- before anything is sent


async def test_what_is_suppressed_is_recorded_with_its_reason_and_not_handed_out() -> None:
    spool = Spool()
    spool.hash = {"dead@x.test": encode_bounced(Bounced("mailbox_unknown", "550 5.1.1 no", 1_764_000_000_000, "b0"))}
    items = spool.items("a@x.test", "DEAD@x.test", "b@x.test")
    stay = await spool.bounces.sift(spool.run, items)
    assert [item.index for item in stay] == [0, 2]
    assert spool.asked == [["a@x.test", "dead@x.test", "b@x.test"]]
    told = spool.desk.outcome(1)
    assert (told.state, told.reason, told.attempts) == (SUPPRESSED, "suppressed", 0)
    assert told.reply == "mailbox_unknown on 2025-11-24 in b0: 550 5.1.1 no"
    assert spool.run.pending == 1, "its run waits until it is recorded"
    spool.desk.answer_all()
    assert spool.run.pending == 0
    assert spool.events.counters.suppressed == 1


async def test_what_was_tried_before_keeps_its_attempts() -> None:
    spool = Spool()
    spool.hash = {"u@x.test": b"\xc1"}
    items = make_items(spool.run, ["u@x.test"], {0: Outcome(DEFERRED, NOW_MS, 3, 1, first_ms=5)}, out=False)
    assert await spool.bounces.sift(spool.run, items) == []
    told = spool.desk.outcome(0)
    assert (told.attempts, told.doubts, told.first_ms) == (3, 1, 5)
    assert told.reply == "suppressed: its entry cannot be read"


@pytest.mark.parametrize("why", ["none is suppressed", "the setting", "held", "nothing to do"])
async def test_nothing_is_asked_where_nothing_can_be_known_or_done(why: str) -> None:
    spool = Spool(suppress=why != "the setting")
    spool.bounces.any_suppressed = why != "none is suppressed"
    if why == "held":
        spool.run.take_state("held")
    items = spool.items(*([] if why == "nothing to do" else ["a@x.test"]))
    assert await spool.bounces.sift(spool.run, items) is items
    assert spool.asked == []
