"""What workers tell each other of a relay: two of them, one hash, one clock to turn."""

from __future__ import annotations

import pytest

from mailspool.contract.routenotes import Slowed, sleeping_in, slowed_in
from mailspool_worker.classify import Verdict
from mailspool_worker.routes.route import Route
from mailspool_worker.routes.shared import Shared
from mailspool_worker.runs import Item
from tests.support.routing import Yard
from tests.support.worker_parts import compiled, make_items, make_run, spec

HOUR_S = 3_600.0
HOLD = Verdict("hold-sender", "sender", pause_s=HOUR_S)


class Worker:
    """One process: a route with a rate, and what it shares through `hash_`."""

    def __init__(self, yard: Yard, hash_: dict[str, str]) -> None:
        self.yard = yard
        self.hash = hash_
        self.route: Route = yard.route(changes={"max_sessions": 8, "rate_per_s": 64.0})
        self.shared = Shared(self.route, yard.clock)

    def second(self) -> None:
        """What orders.py does once a second."""
        self.shared.learn(self.hash)
        news = self.shared.news()
        self.hash.update(news.fields())
        for name in news.names():
            self.hash.pop(name, None)
        self.shared.written(news)

    def mail(self, sender: str = "news@bad.test") -> Item:
        run = make_run(self.yard.boot, content=compiled(spec(from_=f"News <{sender}>")))
        return make_items(run, ["a@x.test"])[0]

    def refuse(self, sender: str = "news@bad.test") -> None:
        self.route._hold_sender(self.mail(sender), HOLD, "553 no")

    def takes(self, sender: str = "news@bad.test") -> bool:
        return not self.route.is_closed_for(self.mail(sender))


@pytest.fixture
def hash_() -> dict[str, str]:
    return {"state": "ok", "url": "smtp://relay.test"}


@pytest.fixture
def pair(hash_: dict[str, str]) -> tuple[Worker, Worker]:
    yard = Yard()
    return Worker(yard, hash_), Worker(yard, hash_)


def test_another_worker_learns_who_sleeps_and_who_is_awake_again(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.refuse()
    one.second()
    other.second()
    assert (other.takes(), other.takes("good@bad.test")) == (False, True)
    one.yard.boot.now_s += HOUR_S + 1
    other.route.senders.accepted("news@bad.test")
    other.second()
    one.second()
    assert not one.route.senders.by_name
    assert not sleeping_in(one.hash)


def test_a_worker_that_starts_knows_it_at_once(pair: tuple[Worker, Worker]) -> None:
    one, _ = pair
    one.refuse()
    one.route._slower("421 slow down", one=False)
    one.second()
    fresh = Worker(one.yard, one.hash)
    fresh.second()
    assert not fresh.takes()
    assert (fresh.route._width.allowed, fresh.route.rate_per_s) == (4, 32.0)
    assert fresh.route.slowed == one.route.slowed


def test_what_waits_of_a_sender_that_sleeps_elsewhere_is_given_back(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    waiting = other.mail()
    other.route.lanes.put((waiting,))
    one.refuse()
    one.second()
    other.second()
    assert len(other.route.lanes) == 0


def test_a_refusal_that_another_worker_has_not_read_yet_is_not_undone(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    for worker in (one, other):
        worker.refuse()
        worker.second()
    one.yard.boot.now_s += HOUR_S + 1
    other.route.senders.accepted("news@bad.test")
    other.second()
    one.refuse()
    one.second()
    assert not one.takes()
    other.second()
    assert not other.takes(), "the last word"


def test_nothing_is_written_while_nothing_changes(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.refuse()
    one.route._slower("421", one=False)
    for worker in (one, other, one, other):
        worker.second()
    one.yard.boot.now_s += 30.0
    for worker in (one, other):
        worker.shared.learn(worker.hash)
        assert not any(worker.shared.news())


def test_what_could_not_be_written_is_written_the_next_time(pair: tuple[Worker, Worker]) -> None:
    one, _ = pair
    one.refuse()
    assert one.shared.news().new, "Redis was away"
    one.second()
    assert not one.takes()
    assert list(sleeping_in(one.hash)) == ["news@bad.test"]


def test_less_speed_grows_back_as_where_it_was_asked_for(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.route._slower("421 slow down", one=False)
    one.second()
    one.yard.boot.now_s += 125.0
    other.second()
    assert other.route._width.allowed == 6
    assert other.route.rate_per_s == pytest.approx(44.8)
    told = slowed_in(one.hash)
    assert told is not None
    assert told.until_ms - told.at_ms == 300_000
    one.yard.boot.now_s += 600.0
    late = Worker(one.yard, one.hash)
    late.second()
    assert (late.route._width.allowed, late.route.rate_per_s) == (8, 64.0)


def test_a_receiver_that_complains_to_both_is_believed_once(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.route._slower("421", one=False)
    one.second()
    other.second()
    assert not other.route._slower("421", one=False)
    assert other.route.rate_per_s == 32.0


def test_a_sleep_that_ended_long_ago_is_swept(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.refuse()
    one.second()
    one.yard.boot.now_s += 3 * HOUR_S
    other.second()
    assert not sleeping_in(one.hash)
    one.second()
    assert not one.route.senders.by_name


@pytest.mark.parametrize("value", ["", "x", "12", '{"at_ms": 1}', "[1, 2]", '[1,2,"x",null,"why"]', "\ufffd"])
def test_what_cannot_be_read_is_passed_over(pair: tuple[Worker, Worker], value: str) -> None:
    one, _ = pair
    one.hash |= {"slow": value, "sender:news@bad.test": value}
    one.second()
    assert one.route.rate_per_s == 64.0
    assert one.takes()


def test_the_notes_come_back_as_they_were() -> None:
    slow = Slowed(1, 2, 3, None, "421 später")
    assert slowed_in({"slow": slow.encode()}) == slow
