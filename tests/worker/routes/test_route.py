"""A route against real receivers: it opens, sends, learns, sleeps and stops, and gives back what it cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from mailspool.contract.states import FAILED, SENT
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool_worker.routes import plan
from mailspool_worker.routes.choice import Routes
from mailspool_worker.routes.route import Route
from mailspool_worker.runs import Item, Run
from tests.support.leaks import tasks_left
from tests.support.routing import Yard
from tests.support.scripted_server import Peer, Scripted
from tests.support.waiting import until
from tests.support.worker_parts import Desk, compiled, make_items, make_run, means, spec


class Works:
    """A yard with one route (or more), and a run whose items it gets."""

    def __init__(self, yard: Yard, *routes: Route) -> None:
        self.yard = yard
        self.route = routes[0]
        self.routes = Routes({route.relay.name: route for route in routes})
        self.desk: Desk = yard.desk
        self.run: Run = make_run(yard.boot, given=means(yard.boot, yard.desk, yard.memory))

    def put(self, addresses: Sequence[str]) -> list[Item]:
        items = make_items(self.run, addresses)
        self.route.put(items)
        return items

    async def quiet(self) -> None:
        """Until every item has ended; the recorder answers at once."""

        def done() -> bool:
            self.desk.answer_all()
            return self.run.pending == 0

        await until(done, "the run is quiet", limit_s=10)

    def letters(self) -> str:
        return "".join(self.desk.states()[i] for i in sorted(self.desk.states()))

    def back(self) -> list[int]:
        return sorted(item.index for item in self.run.take_given_back())


def user(count: int, head: str = "u") -> list[str]:
    return [f"{head}{i}@x.test" for i in range(count)]


@asynccontextmanager
async def works(port: int, yard: Yard | None = None, **relay: object) -> AsyncIterator[Works]:
    yard = yard or Yard()
    one = Works(yard, yard.route(port=port, changes=relay))
    try:
        yield one
    finally:
        one.desk.answers_at_once = True
        one.desk.answer_all()
        for route in one.routes:
            await route.close()
            assert not route.sessions
        assert not [name for name in tasks_left() if name.startswith("open a session")]


@asynccontextmanager
async def sandbox(
    options: ReceiverOptions | None = None, yard: Yard | None = None, **relay: object
) -> AsyncIterator[tuple[Works, Receiver]]:
    async with Receiver(options=options or ReceiverOptions()) as receiver, works(receiver.port, yard, **relay) as one:
        yield one, receiver
        one.desk.answer_all()


# Sending


@pytest.mark.parametrize("pipelining", [True, False])
async def test_everything_arrives_once_over_no_more_sessions_than_allowed(pipelining: bool) -> None:
    async with sandbox(ReceiverOptions(pipelining=pipelining), max_sessions=3) as (one, receiver):
        one.put(user(60))
        await one.quiet()
        assert one.letters() == SENT * 60
        assert sorted(mail.recipient for mail in receiver.mails) == sorted(user(60))
        assert len(one.route.sessions) <= 3
        assert one.yard.events.counters.sent == 60
        assert one.yard.memory.used == 0


async def test_refusals_become_outcomes_and_the_others_go_on() -> None:
    async with sandbox(max_sessions=2) as (one, _):
        one.put(["550-5.1.1-a@x.test", "ok@x.test", "450-x@x.test", "dot-554-x@x.test", "ok2@x.test"])
        await one.quiet()
        assert one.letters() == "fsdfs"
        assert one.desk.outcome(0).reason == "mailbox_unknown"
        assert one.desk.outcome(0).relay == "main"


@pytest.mark.parametrize(
    ("order", "letter", "doubts"),
    [("close-after-dot", "d", 1), ("drop-in-data", "d", 1), ("close-after-rcpt", "d", 0), ("dot-421", "d", 0)],
)
async def test_a_receiver_that_closes_costs_only_the_message_it_is_about(order: str, letter: str, doubts: int) -> None:
    async with sandbox(max_sessions=1) as (one, receiver):
        one.put(["u0@x.test", f"{order}-x@x.test", *user(5, "v")])
        await one.quiet()
        assert one.letters() == f"s{letter}sssss"
        assert one.desk.outcome(1).doubts == doubts
        assert receiver.received == (7 if order == "close-after-dot" else 6)


async def test_a_session_is_used_for_so_many_messages() -> None:
    async with sandbox(max_sessions=1, session_messages=10) as (one, receiver):
        one.put(user(35))
        await one.quiet()
        assert {record.session for record in receiver.log} == {1, 2, 3, 4}
        assert sum(record.stage == "quit" for record in receiver.log) == 3


async def test_idle_sessions_quit_after_a_while() -> None:
    async with sandbox(max_sessions=2) as (one, receiver):
        one.put(user(3))
        await one.quiet()
        one.route.tick(redis_away=False)
        assert one.route.sessions
        one.yard.boot.now_s += 16
        one.route.tick(redis_away=False)
        await until(lambda: not one.route.sessions, "all have quit")
        assert all(record.stage != "close" or record.reply == "" for record in receiver.log)


async def test_a_rate_is_kept() -> None:
    async with sandbox(rate_per_s=1.0, max_sessions=5) as (one, receiver):
        one.put(user(3))
        await until(lambda: bool(one.desk.notes), "the first mail")
        one.desk.answer_all()
        for sent in (2, 3):
            await until(lambda: one.route._timer is not None, "it waits for the next second")
            assert receiver.received == sent - 1
            one.yard.boot.now_s += 1.01
            one.route.stir()
            await receiver.wait_for(sent, 10)
            one.desk.answer_all()
        await one.quiet()


# What it learns


async def test_parameters_that_are_refused_are_left_out_once() -> None:
    mails: list[str] = []

    async def strict(peer: Peer) -> None:
        await peer.greet("SIZE 100000")
        while (line := await peer.line()) not in ("QUIT", ""):
            if line.startswith("MAIL"):
                mails.append(line)
                peer.say("501 5.5.4 what is SIZE" if "SIZE" in line else "250 ok")
            elif line == "DATA":
                peer.say("354 go")
                await peer.body()
                peer.say("250 ok")
            else:
                peer.say("250 ok")

    async with Scripted(strict) as server, works(server.port, max_sessions=1) as one:
        one.put(["a@x.test"])
        await one.quiet()
        assert one.letters() == SENT
        assert [" SIZE=" in line for line in mails] == [True, False]


async def test_a_dialect_that_it_cannot_do_switches_pipelining_off() -> None:
    async def liar(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        while (line := await peer.line()) not in ("QUIT", ""):
            together = peer.reader._buffer  # type: ignore[attr-defined]  # what was sent ahead
            if together and line.startswith("MAIL"):
                peer.say("503 5.5.1 improper use of command pipelining")
                return
            if line == "DATA":
                peer.say("354 go")
                await peer.body()
            peer.say("250 ok")

    async with Scripted(liar) as server, works(server.port, max_sessions=1) as one:
        one.put(user(3))
        await one.quiet()
        assert one.letters().count("d") >= 1
        assert {outcome.attempts for outcome in (one.desk.outcome(i) for i in range(3)) if outcome.state == "d"} == {0}
        assert one.letters().count("s") == 3 - one.letters().count("d")


async def test_slow_down_means_fewer_sessions() -> None:
    async with sandbox(max_sessions=8) as (one, _):
        one.put(user(30))
        await until(lambda: len(one.route.sessions) >= 6, "many sessions")
        one.put(["452-4.3.1-x@x.test"])
        await one.quiet()
        assert one.route._width.allowed == 4
        await until(lambda: len(one.route.sessions) <= 4, "the others have quit")


async def test_what_is_too_big_here_goes_to_another_relay() -> None:
    async with (
        Receiver(options=ReceiverOptions(size_limit_bytes=200)) as small,
        Receiver() as large,
    ):
        yard = Yard()
        first = yard.route("small", small.port)
        second = yard.route("large", large.port)
        one = Works(yard, first, second)
        one.put(["a@x.test"])
        await one.quiet()
        (again,) = one.run.take_given_back()
        assert again.unfit == {"small"}
        assert one.routes.choose(again) is second
        one.run.hand_out([again])
        second.put([again])
        await one.quiet()
        assert one.letters() == SENT
        for route in (first, second):
            await route.close()


async def test_what_is_too_big_everywhere_fails_without_an_attempt() -> None:
    async with sandbox(ReceiverOptions(size_limit_bytes=200)) as (one, receiver):
        one.put(["a@x.test"])
        await one.quiet()
        outcome = one.desk.outcome(0)
        assert (outcome.state, outcome.reason, outcome.attempts) == (FAILED, "too_big", 0)
        assert outcome.reply == "larger than the receiver takes"
        assert receiver.received == 0


# Memory


async def test_sessions_wait_for_memory_and_all_is_sent() -> None:
    """Room for one mail at a time: the sessions take turns."""
    yard = Yard(largest_bytes=64 << 20)
    async with sandbox(yard=yard, max_sessions=5) as (one, receiver):
        yard.memory.on_room = lambda: one.route.stir()
        one.run.content = compiled(spec("{{ name }}\n" * 500))
        most = 0
        took = yard.memory.took

        def watch(size: int) -> None:
            nonlocal most
            took(size)
            most = max(most, yard.memory.used)

        yard.memory.took = watch  # type: ignore[method-assign]  # to see the most
        items = one.put(user(20))
        await one.quiet()
        assert receiver.received == 20
        assert most == max(len(mail.data) for mail in receiver.mails)
        assert all(item.rendered is None for item in items)


# Sleep


async def test_nobody_listens_the_breaker_gives_everything_back() -> None:
    async with Receiver() as receiver:
        port = receiver.port
    async with works(port) as one:
        one.put(user(5))
        await one.quiet()
        assert one.back() == [0, 1, 2, 3, 4]
        assert one.route.health.state == "waiting"
        assert one.route.is_closed()
        assert one.route.closed_for_s() == pytest.approx(plan.BREAKER_S)
        assert one.desk.written == {}, "no attempt is counted"
        more = make_items(one.run, user(1))
        one.route.put(more)
        assert one.back() == [0], "a closed route takes nothing"
        assert one.route.grant(more[0], 10, 30.0) == 0


async def test_one_probe_wakes_it_again() -> None:
    async with sandbox() as (one, receiver):
        await receiver.stop_listening()
        one.put(user(5))
        await one.quiet()
        one.run.take_given_back()
        await receiver.listen()
        one.yard.boot.now_s += plan.BREAKER_S + 1
        one.run.renewed(one.yard.boot.now_s)
        assert not one.route.is_closed()
        one.put(user(5))
        assert len(one.route._openings) == 1
        await one.quiet()
        assert one.route.health == plan.Health()
        assert receiver.received == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (ReceiverOptions(banner="554 5.7.1 go away"), "554"),
        (ReceiverOptions(user="ali", password="right"), "530"),
    ],
)
async def test_refusals_about_us_pause_the_route_and_touch_no_message(options: ReceiverOptions, why: str) -> None:
    async with sandbox(options) as (one, _):
        one.put(user(5))
        await one.quiet()
        assert one.route.health.state == "paused"
        assert why in one.route.health.why
        assert set(one.letters()) <= {"d"}
        assert all(one.desk.outcome(i).attempts == 0 for i in one.desk.written)


# Redis away, holds, stops
