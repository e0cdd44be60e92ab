"""What a worker reads once a second: suppressed addresses, relays that are paused, relays that shall look again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from redis.exceptions import RedisError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.redis_server.link import Link
from mailspool_worker.orders import Orders
from mailspool_worker.routes import plan
from mailspool_worker.routes.choice import Routes
from tests.support.routing import Yard
from tests.worker.conftest import MakeSettings

DOWN = plan.Health("paused", 10_000.0, "535 no", 1)


class Room:
    """Two routes, and what lies in Redis."""

    def __init__(self, link: Link, prefix: str) -> None:
        self.link = link
        self.keys = Keys(prefix)
        self.moves = Moves(RedisCaller(link.redis), self.keys)
        self.yard = Yard()
        self.main, self.spare = self.yard.route("main"), self.yard.route("spare")
        routes = Routes({"main": self.main, "spare": self.spare})
        self.orders = Orders(link, self.keys, routes, self.yard.bounces, self.yard.clock)


@pytest.fixture
async def room(make_settings: MakeSettings) -> AsyncIterator[Room]:
    settings = make_settings(relay_url="smtp://127.0.0.1:1")
    link = Link(settings)
    await link.open()
    yield Room(link, settings.key_prefix)
    await link.close()


async def test_it_knows_whether_any_address_is_suppressed(room: Room) -> None:
    assert not await room.orders.read()
    assert not room.yard.bounces.any_suppressed
    hset = cast("Callable[..., Awaitable[int]]", room.link.redis.hset)
    await hset(room.keys.suppressed, "a@x.test", b"why")
    await room.orders.read()
    assert room.yard.bounces.any_suppressed


async def test_one_relay_is_paused_and_resumed(room: Room) -> None:
    await room.orders.read()
    await room.moves.pause("relay:main")
    await room.moves.pause("bulk")
    assert not await room.orders.read()
    assert (room.main.is_closed(), room.spare.is_closed()) == (True, False)
    await room.moves.unpause("relay:main")
    assert await room.orders.read(), "batches that waited for it get their chance"
    assert not room.main.is_closed()
    assert not await room.orders.read()


async def test_a_route_that_sleeps_probes_when_resumed_and_only_then(room: Room) -> None:
    await room.moves.unpause("relay:main")
    room.main.health = room.spare.health = DOWN
    assert not await room.orders.read(), "what was resumed before this worker lived is none of its business"
    assert room.main.is_closed()
    await room.moves.unpause("relay:main")
    assert await room.orders.read()
    assert (room.main.is_closed(), room.spare.is_closed()) == (False, True)


async def test_what_cannot_be_read_changes_nothing(room: Room) -> None:
    await room.moves.pause("relay:main")
    await room.orders.read()
    await room.link.redis.delete(room.keys.paused)
    await room.link.redis.set(room.keys.paused, "somebody else's")
    with pytest.raises(RedisError):
        await room.orders.read()
    assert room.main.is_closed()


async def test_workers_tell_each_other_which_senders_sleep_and_what_is_slow(room: Room) -> None:
    yard = Yard()
    other = yard.route("main", changes={"max_sessions": 8})
    orders = Orders(room.link, room.keys, Routes({"main": other}), yard.bounces, yard.clock)
    room.main.senders.refused("news@bad.test", 0.0, "553 no", sleep_s=60.0, whole_domain=True)
    room.main._slower("421 slow down", one=False)
    await room.orders.read()
    await room.orders.write()
    await orders.read()
    assert list(other.senders.by_name) == ["@bad.test"]
    assert other.slowed == room.main.slowed
    assert other.slowed is not None
    other.senders.accepted("x@bad.test")
    await orders.write()
    await room.orders.read()
    assert not room.main.senders.by_name


async def test_what_cannot_be_written_is_kept_for_the_next_second(room: Room) -> None:
    await room.orders.read()
    room.main.senders.refused("news@bad.test", 0.0, "553 no", sleep_s=60.0, whole_domain=False)
    key = room.keys.route("main")
    await room.link.redis.set(key, "somebody else's")
    with pytest.raises(RedisError):
        await room.orders.write()
    await room.link.redis.delete(key)
    await room.orders.read()
    await room.orders.write()
    assert list(room.main.senders.by_name) == ["news@bad.test"]
    assert await room.link.redis.exists(key)
