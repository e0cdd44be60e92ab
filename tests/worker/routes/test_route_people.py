"""A route and single senders, and a route and people: who sleeps, who goes on, who is woken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mailspool_worker.routes import plan
from mailspool_worker.routes.choice import Assigned
from mailspool_worker.runs import Item
from tests.support.scripted_server import Peer, Scripted
from tests.support.waiting import until
from tests.support.worker_parts import compiled, make_items, spec
from tests.worker.routes.test_route import Works, sandbox, user, works

HOUR_S = 3_600.0


class Doorman:
    """A receiver that takes no mail of these senders (parts of MAIL)."""

    def __init__(self, *refused: str, reply: str = "553 5.1.8 Sender address rejected") -> None:
        self.refused: set[str] = set(refused)
        self.reply = reply
        self.mails: list[str] = []
        self.turned_away = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.greet()
        while (line := await peer.line()) not in ("QUIT", ""):
            if line == "DATA":
                peer.say("354 go")
                await peer.body()
            bad = line.startswith("MAIL") and any(sender in line for sender in self.refused)
            self.turned_away += bad
            self.mails += [line] if line.startswith("MAIL") and not bad else []
            peer.say(self.reply if bad else "250 2.0.0 ok")


@asynccontextmanager
async def at(doorman: Doorman, from_: str = "News <news@{{ name }}.test>") -> AsyncIterator[Works]:
    """One session, and a run whose mails are from `news@<local part>.test`."""
    async with Scripted(doorman) as server, works(server.port, max_sessions=1) as one:
        one.run.content = compiled(spec(from_=from_))
        yield one


def assign(one: Works, addresses: Sequence[str]) -> tuple[list[Item], Assigned]:
    items = make_items(one.run, addresses, out=False)
    return items, one.routes.assign(one.run, items, 30.0)


async def test_only_the_refused_sender_sleeps() -> None:
    doorman = Doorman("news@bad.test")
    async with at(doorman) as one:
        one.put(["good@x.test", "bad@x.test", "good@y.test", "bad@y.test", "good@z.test", "bad@z.test"])
        await one.quiet()
        assert one.route.health == plan.Health()
        assert one.desk.states() == {0: "s", 1: "d", 2: "s", 4: "s"}
        assert one.back() == [3, 5], "they wait, and were not even tried"
        told = one.desk.outcome(1)
        assert (told.reason, told.attempts, told.at_ms - told.last_ms) == ("sender", 0, HOUR_S * 1000)
        assert doorman.turned_away == 1


async def test_its_messages_are_not_handed_out_and_the_batch_is_told_why() -> None:
    async with at(Doorman("news@bad.test")) as one:
        one.put(["bad@x.test"])
        await one.quiet()
        items, (placed, stay, blocked) = assign(one, ["good@x.test", "bad@x.test", "bad@y.test"])
        assert [taken for _, taken in placed] == [[items[0]]]
        assert stay == items[1:]
        assert blocked is not None
        assert blocked[1:] == (
            "closed", "chunk",
            "relay main does not take the sender news@bad.test: 553 5.1.8 Sender address rejected",
        )  # fmt: skip
        assert blocked.later_ms == HOUR_S * 1000


async def test_a_batch_of_one_sender_waits_as_a_whole() -> None:
    async with at(Doorman("news@sender.test"), "News <news@sender.test>") as one:
        one.put(["a@x.test"])
        await one.quiet()
        _, (placed, _, blocked) = assign(one, ["b@x.test", "c@x.test"])
        assert placed == []
        assert blocked is not None
        assert blocked.scope == "batch"


async def test_one_message_probes_after_the_sleep_and_wakes_its_sender() -> None:
    doorman = Doorman("news@bad.test")
    async with at(doorman) as one:
        one.put(["bad@x.test"])
        await one.quiet()
        one.yard.boot.now_s += HOUR_S + 1
        one.run.renewed(one.yard.boot.now_s)
        doorman.refused.clear()
        items, (placed, stay, blocked) = assign(one, ["bad@a.test", "bad@b.test", "good@c.test"])
        ((route, taken),) = placed
        assert taken == [items[0], items[2]]
        assert stay == [items[1]]
        assert blocked is not None
        assert blocked[:2] == (5_000, "closed")
        one.run.hand_out(taken)
        route.put(taken)
        await one.quiet()
        assert not one.route.senders.by_name
        assert one.desk.states() == {0: "s", 2: "s"}


async def test_a_failed_check_lets_the_whole_domain_sleep() -> None:
    doorman = Doorman("@bad.test", reply="550 5.7.26 This mail is unauthenticated (SPF, DKIM)")
    async with at(doorman, "News <{{ name }}@bad.test>") as one:
        one.put(["a@x.test", "b@x.test", "c@x.test"])
        await one.quiet()
        assert one.desk.outcome(0).reason == "sender_check"
        assert one.back() == [1, 2]
        assert list(one.route.senders.by_name) == ["@bad.test"]


async def test_a_paused_relay_gives_everything_back_and_takes_nothing() -> None:
    async with sandbox(max_sessions=1) as (one, receiver):
        one.put(user(20))
        await until(lambda: len(one.desk.notes) == 1, "the first outcome waits")
        told: list[str] = []
        one.yard.events.route_paused = lambda relay, why: told.append(why)  # type: ignore[method-assign]  # kept
        assert not one.route.pause_by_hand(on=True)
        assert told == ["by a person; to go on: mailspool relay resume main"]
        await one.quiet()
        assert receiver.received <= 3, "what is on the wire finishes, and the one whose envelope is out"
        assert len(one.back()) == 20 - receiver.received
        assert one.route.is_closed()
        assert one.route.closed_for_s() == 60.0
        assert one.route.health == plan.Health(), "of the receiver nothing bad is known"
        one.put(user(2))
        assert len(one.back()) == 2
        assert not one.route.pause_by_hand(on=True)
        assert one.route.pause_by_hand(on=False)
        assert not one.route.pause_by_hand(on=False)
        assert not one.route.is_closed()


async def test_a_resumed_route_probes_at_once() -> None:
    async def no_login(peer: Peer) -> None:
        await peer.greet()
        while (line := await peer.line()) not in ("QUIT", ""):
            peer.say("530 5.7.0 Authentication required" if line.startswith("MAIL") else "250 ok")

    async with Scripted(no_login) as server, works(server.port, max_sessions=5) as one:
        one.put(user(1))
        await one.quiet()
        assert (one.route.health.state, round(one.route.closed_for_s())) == ("paused", 300)
        one.route.probe_now()
        assert not one.route.is_closed()
        one.put(user(9))
        await one.quiet()
        assert round(one.route.closed_for_s()) == 600
        assert server.connections <= 3, "one session probes"


async def test_a_receiver_that_asks_for_less_gets_half_the_rate() -> None:
    async with sandbox(max_sessions=4, rate_per_s=1_000.0) as (one, _):
        one.put(["dot-421-a@x.test"])  # the clock of this test stands still, and one mail leaves at once
        await one.quiet()
        assert one.route.rate_per_s == 500.0
        assert one.route._width.allowed == 2
        one.yard.boot.now_s += 301
        one.route.tick(redis_away=False)
        assert one.route.rate_per_s == 1_000.0


async def test_a_blocked_site_sleeps_an_hour_doubling_to_six() -> None:
    async def blocks(peer: Peer) -> None:
        await peer.greet()
        while (line := await peer.line()) not in ("QUIT", ""):
            peer.say("550 5.7.606 Access denied, banned sending IP" if line.startswith("RCPT") else "250 ok")

    async with Scripted(blocks) as server, works(server.port, max_sessions=1) as one:
        sleeps = []
        for _ in range(5):
            one.put(user(1))
            await one.quiet()
            sleeps.append(round(one.route.closed_for_s() / HOUR_S))
            one.yard.boot.now_s += one.route.closed_for_s() + 1
            one.run.renewed(one.yard.boot.now_s)
        assert sleeps == [1, 2, 4, 6, 6]
        assert one.desk.outcome(0).attempts == 0
