"""Routes that pause, slow down and come back."""

from __future__ import annotations

import pytest

from mailspool.contract.states import SENT
from mailspool.sandbox import ReceiverOptions
from mailspool_worker.routes import plan
from mailspool_worker.runs import Place
from tests.support.scripted_server import Peer, Scripted
from tests.support.waiting import until
from tests.worker.routes.test_route import sandbox, user, works


async def test_a_pause_after_mail_doubles_until_a_mail_is_accepted() -> None:
    async def over_quota(peer: Peer) -> None:
        await peer.greet()
        while (line := await peer.line()) not in ("QUIT", ""):
            peer.say("550 5.7.54 unable to relay" if line.startswith("RCPT") else "250 ok")

    async with Scripted(over_quota) as server, works(server.port, max_sessions=5) as one:
        sleeps = []
        for _ in range(3):
            one.put(user(1))
            await one.quiet()
            sleeps.append(round(one.route.closed_for_s()))
            one.yard.boot.now_s += sleeps[-1] + 1
            one.run.renewed(one.yard.boot.now_s)
            one.route.tick(redis_away=False)
        assert sleeps == [300, 600, 1_200], "that a session opens says nothing about relaying"


async def test_a_receiver_with_a_cap_of_connections_is_no_reason_to_sleep() -> None:
    async with sandbox(ReceiverOptions(max_sessions=2), max_sessions=10) as (one, receiver):
        one.put(user(200))
        await one.quiet()
        assert one.letters() == SENT * 200
        assert one.route.health == plan.Health()
        assert receiver.received == 200


async def test_sessions_that_die_before_their_first_reply_trip_the_breaker_not_the_messages() -> None:
    async def stillborn(peer: Peer) -> None:
        await peer.greet()
        await peer.line()

    async with Scripted(stillborn) as server, works(server.port, max_sessions=1) as one:
        one.put(user(50))
        await one.quiet()
        assert one.route.health.state == "waiting"
        assert len(one.desk.written) <= 1
        assert len(one.back()) >= 49
        assert server.connections <= 4


async def test_starttls_that_fails_is_left_out_where_it_may_be() -> None:
    async def no_tls(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        while (line := await peer.line()) not in ("QUIT", ""):
            if line == "DATA":
                peer.say("354 go")
                await peer.body()
            peer.say("454 4.7.0 not today" if line == "STARTTLS" else "250 ok")

    async with Scripted(no_tls) as server, works(server.port, max_sessions=4) as one:
        one.put(user(20))
        await one.quiet()
        assert one.letters() == SENT * 20
        assert one.route.health == plan.Health(), "two openings that fail at once are one reason"


async def test_redis_away_lets_go_of_what_is_not_on_the_wire() -> None:
    async with sandbox(max_sessions=3) as (one, receiver):
        one.put(user(20))
        await until(lambda: len(one.desk.notes) == 3, "three outcomes wait for redis")
        one.route.tick(redis_away=True)
        assert not one.route.sessions
        before = receiver.received
        one.route.tick(redis_away=True)
        assert (one.route.sessions, len(one.route._openings)) == (set(), 0)
        assert one.route.pull() is None
        assert one.yard.memory.used == sum(item.rendered.size for item in one.run._out if item.rendered)
        assert not any(item.rendered for item in one.run._out if item.place is Place.QUEUED), (
            "what waits holds no memory"
        )
        one.desk.answer_all()
        one.route.tick(redis_away=False)
        await one.quiet()
        assert before == 3
        assert one.letters() == SENT * 20
        assert receiver.received == 20


@pytest.mark.parametrize("state", ["held", "LOST", "closing", "expired"])
async def test_a_batch_that_stops_acts_within_one_mail_a_session(state: str) -> None:
    async with sandbox(max_sessions=3) as (one, receiver):
        one.put(user(50))
        await until(lambda: len(one.desk.notes) == 3, "three outcomes wait")
        one.run.take_state(state)
        await one.quiet()
        assert receiver.received == 3
        assert len(one.back()) == 47


async def test_stopping_finishes_the_wire_and_gives_the_rest_back() -> None:
    async with sandbox(max_sessions=2) as (one, receiver):
        one.put(["slow-200ms-a@x.test", "slow-200ms-b@x.test", *user(20)])
        await until(lambda: any(session.holds_body for session in one.route.sessions), "a body is on the wire")
        one.run.take_state("stopping")
        one.route.stop_starting()
        await one.quiet()
        assert receiver.received == one.letters().count("s")
        assert len(one.back()) == 22 - receiver.received
        await until(lambda: not one.route.sessions, "the sessions have quit")


async def test_closing_leaves_a_whole_body_in_doubt_and_nothing_else() -> None:
    async with sandbox(max_sessions=1) as (one, _):
        one.put(["stall-a@x.test", *user(3)])
        await until(lambda: any(item.place is Place.WIRE for item in one.run._out), "the body is on the wire")
        one.run.take_state("stopping")
        one.route.stop_starting()
        await one.route.close()
        await one.quiet()
        assert one.letters() == "d"
        assert one.desk.outcome(0).reason == "lost_reply"
        assert one.back() == [1, 2, 3]


async def test_claims_are_taken_back_when_a_route_goes() -> None:
    async with sandbox(max_sessions=1) as (one, _):
        one.run.holds_doubts = one.run.claiming = True
        one.put(user(3))
        await until(lambda: bool(one.desk.notes), "a claim is asked")
        one.run.take_state("stopping")
        one.route.stop_starting()
        await one.quiet()
        assert one.back() == [0, 1, 2]
        assert one.desk.written[0][-1] is None, "the claim is void"
