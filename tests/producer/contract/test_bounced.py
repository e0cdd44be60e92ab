"""The move `bounce` and the records of addresses that are not written to any more."""

from __future__ import annotations

import pytest

from mailspool.contract.bounced import REPLY_KEPT, Bounced, decode_bounced, encode_bounced
from mailspool.contract.states import BREAKER_LEAST, SUSPECT_AGE_MS
from tests.producer.contract.batches import commit, names, one_chunk, record, running, settle, state
from tests.storm import ops
from tests.storm.world import World

WHY = Bounced("mailbox_unknown", "550 5.1.1 No such user", 1_764_000_000_000, "b1")
VALUE = encode_bounced(WHY)
REPLY = "550 5.7.1 Refused by our policy"


def bounce(world: World, *kinds: str, b: str = "b1", call: str = "aaaaaaaa", suppress: bool = True) -> str:
    """One note a kind: `x` or `x:who@x.test`."""
    pairs = [(kind[0], kind[2:] or f"r{n}@x.test") for n, kind in enumerate(kinds)]
    return world.do(ops.Bounce(b, call, suppress, REPLY, tuple((kind, who, VALUE) for kind, who in pairs)))


def held_why(world: World) -> str:
    return world.db.batch("b1").get("held_why", "")


def at_work(world: World, sent: int = 0) -> None:
    """b1 with a running chunk, of which so many are sent."""
    run = running(world, rows=100)
    record(world, run, *((i, "s") for i in range(sent)))


def test_a_dead_address_is_suppressed_with_its_reason(world: World) -> None:
    at_work(world)
    assert bounce(world, "x:dead@x.test") == "OK"
    assert decode_bounced(world.db.hash("suppressed")["dead@x.test"].encode("latin-1")) == WHY
    assert str(WHY) == "mailbox_unknown on 2025-11-24 in b1: 550 5.1.1 No such user"
    assert world.db.batch("b1")["bounced"] == "1"


def test_a_suspect_is_suppressed_by_its_second_batch(world: World) -> None:
    at_work(world)
    commit(world, "u2", [names(2)])
    bounce(world, "s:who@x.test")
    bounce(world, "s:who@x.test", call="bbbbbbbb")
    assert (world.db.hash("suppressed"), world.db.hash("suspects")) == ({}, {"who@x.test": f"b1 {world.now}"})
    bounce(world, "s:who@x.test", b="b2", call="cccccccc")
    assert (list(world.db.hash("suppressed")), world.db.hash("suspects")) == (["who@x.test"], {})


def test_a_suspect_of_a_season_ago_is_none(world: World) -> None:
    at_work(world)
    commit(world, "u2", [names(2)])
    old = world.now - SUSPECT_AGE_MS - 1
    for who in ("who", "other"):
        world.write(("HSET", "storm:suspects", f"{who}@x.test", f"b1 {old}"))
    world.write(("HSET", "storm:suspects", "older@x.test", "b1"))
    bounce(world, "s:who@x.test", b="b2")
    assert world.db.hash("suppressed") == {}
    assert world.do(ops.Forget()) == 0
    assert world.db.hash("suspects") == {"who@x.test": f"b2 {world.now}", "older@x.test": f"b1 {world.now}"}


def test_a_suspect_as_an_older_release_noted_it_still_counts(world: World) -> None:
    at_work(world)
    world.write(("HSET", "storm:suspects", "who@x.test", "b0"))
    bounce(world, "s:who@x.test")
    assert (list(world.db.hash("suppressed")), world.db.hash("suspects")) == (["who@x.test"], {})


def test_many_suspects_are_looked_through_in_steps(world: World) -> None:
    old = world.now - SUSPECT_AGE_MS - 1
    for n in range(1_500):
        world.write(("HSET", "storm:suspects", f"u{n}@x.test", f"b1 {old if n % 2 else world.now}"))
    steps = 0
    for _ in range(6):  # a scan of the simulated Redis passes over what moves up
        cursor, steps = world.do(ops.Forget(), again=0), steps + 1
        while cursor:
            cursor, steps = world.do(ops.Forget(cursor), again=0), steps + 1
    assert steps > 12
    assert len(world.db.hash("suspects")) == 750


def test_a_policy_refusal_is_only_counted(world: World) -> None:
    at_work(world)
    bounce(world, "p", "p")
    assert (world.db.hash("suppressed"), world.db.batch("b1")["bounced"]) == ({}, "2")


def test_the_setting_switches_suppression_off_and_not_the_breaker(world: World) -> None:
    at_work(world)
    assert bounce(world, "x", "s", suppress=False) == "OK"
    assert (world.db.hash("suppressed"), world.db.hash("suspects")) == ({}, {})
    assert bounce(world, *["x"] * BREAKER_LEAST, call="bbbbbbbb", suppress=False) == "HELD"


def test_the_breaker_holds_and_suppresses_no_more(world: World) -> None:
    at_work(world, sent=9)
    assert bounce(world, *["p"] * BREAKER_LEAST) == "OK"
    assert state(world) == "live"
    assert bounce(world, "x", call="bbbbbbbb") == "HELD"
    assert state(world) == "held"
    assert held_why(world) == f"breaker: 51 of 51 bounced or were refused by policy: {REPLY}"
    assert bounce(world, "x", call="cccccccc") == "HELD"
    assert world.db.hash("suppressed") == {}


def test_a_tenth_is_not_more_than_a_tenth(world: World) -> None:
    run = running(world, rows=600)
    record(world, run, *((i, "s") for i in range(510)))
    assert bounce(world, *["p"] * 51) == "OK"
    assert bounce(world, "p", call="bbbbbbbb") == "HELD"
    assert held_why(world).startswith("breaker: 52 of 510 ")


def test_release_counts_anew(world: World) -> None:
    run = running(world, rows=200)
    record(world, run, *((i, "f") for i in range(60)))
    assert bounce(world, *["p"] * 60) == "HELD"
    assert world.do(ops.Release("b1"), again=0) == 140
    assert (state(world), held_why(world)) == ("live", "")
    assert bounce(world, *["p"] * BREAKER_LEAST, call="bbbbbbbb") == "OK"
    assert bounce(world, "p", call="cccccccc") == "HELD"
    assert held_why(world).startswith("breaker: 51 of 51 ")


def test_a_hold_of_a_person_learns_of_the_breaker(world: World) -> None:
    at_work(world)
    world.do(ops.Hold("b1"))
    assert bounce(world, *["p"] * 51) == "HELD"
    assert state(world) == "held"
    world.do(ops.Release("b1"))
    assert state(world) == "live"


def test_a_batch_that_is_over_is_not_held(world: World) -> None:
    run = running(world, rows=60)
    record(world, run, *((i, "f") for i in range(60)))
    settle(world, run)
    assert bounce(world, *["x"] * 60) == "OK"
    assert (state(world), world.db.hash("suppressed")) == ("done", {})


def test_nothing_of_a_hold_is_left_when_the_batch_comes_to_rest(world: World) -> None:
    run = running(world, rows=60)
    record(world, run, *((i, "f") for i in range(60)))
    assert bounce(world, *["p"] * 60) == "HELD"
    settle(world, run)
    assert (state(world), held_why(world)) == ("done", "")


def test_calls_are_remembered_by_their_tokens(world: World) -> None:
    at_work(world)
    for n in range(9):
        bounce(world, "p", call=f"token{n:03d}")
    assert bounce(world, "p", call="token004") == "OK"
    assert world.db.batch("b1")["bounced"] == "9"
    assert len(world.db.batch("b1")["bounce_calls"]) <= 64


def test_of_a_batch_that_is_not_there(world: World) -> None:
    assert bounce(world, "x", b="nobody") == "GONE"
    one_chunk(world)
    assert bounce(world, "x") == "OK"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\xa1a\xa1b\x01", b"text", b"\x94\x01\x02\x03\x04"])
def test_an_entry_that_cannot_be_read_still_says_something(data: bytes) -> None:
    assert str(decode_bounced(data)) == "suppressed: its entry cannot be read"


def test_an_entry_is_bounded_and_its_time_need_not_be_one() -> None:
    data = encode_bounced(Bounced("policy", "x" * 5_000, 10**17, "b1"))
    assert decode_bounced(data).reply == "x" * REPLY_KEPT
    assert str(decode_bounced(data)).startswith("policy in b1: xxx")
