"""Failed attempts' conversations on their way to Redis: what is kept, what is let go, and that nobody waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from mailspool import Batch, Conversation, Message, Settings, Spool
from mailspool.contract.moves import Moves
from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED
from mailspool.contract.talks import ATTEMPTS_KEPT, Line, Talk, encode_talk
from mailspool.conversation import failed_opening
from mailspool.sandbox import Receiver
from mailspool_worker import conversations as module
from mailspool_worker.conversations import Conversations
from mailspool_worker.events import Events
from tests.support.leaks import orphans
from tests.support.routing import TalkMoves
from tests.support.scripted_server import Peer, Scripted
from tests.support.waiting import until, until_async
from tests.support.worker_parts import TestClock, make_items, make_run
from tests.support.working import expecting_a_worker, working
from tests.worker.conftest import MakeSettings

LETTER = Message(from_="News <news@sender.test>", subject="Hi", text="Hello\n")
LINES = (Line(0, ">", "MAIL"), Line(1, "<", "450 later"))


def outcome(previous: int = 0) -> Outcome:
    return Outcome(DEFERRED, 2_000, previous + 1, relay="main", reply="450 later", last_ms=1_000)


class Asked:
    """Lines that are counted when they are made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Sequence[Line]:
        self.times += 1
        return LINES


class Desk:
    """A keeper whose Redis is the test."""

    def __init__(self, keep: int = 1_000) -> None:
        self.moves = TalkMoves()
        self.asked = Asked()
        self.keeper = Conversations(cast("Moves", self.moves), keep, Events(None))
        self.run = make_run(TestClock(), k=2)
        self.items = make_items(self.run, [f"u{i}@x.test" for i in range(20)])

    def keep(self, *indexes: int) -> None:
        for index in indexes:
            self.keeper.keep(self.items[index], outcome(), self.asked)


async def test_what_came_in_a_second_goes_in_one_call() -> None:
    desk = Desk()
    desk.keep(0, 3)
    assert desk.moves.calls == []
    await desk.keeper.write()
    packed = encode_talk(Talk(1_000, "main", DEFERRED, LINES, "450 later"))
    assert desk.moves.calls == [("btest", 1_000, ATTEMPTS_KEPT, [(201, packed), (204, packed)])]
    await desk.keeper.write()
    assert len(desk.moves.calls) == 1


async def test_many_go_in_calls_of_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    desk = Desk()
    desk.keep(0, 1, 2)
    await desk.keeper.write()
    assert [len(talks) for *_, talks in desk.moves.calls] == [2, 1]


async def test_a_flood_is_told_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 2)
    desk = Desk()
    desk.keep(0, 1, 2, 3)
    assert (desk.asked.times, desk.keeper.left_out) == (2, 2)
    await desk.keeper.write()
    desk.keep(4)
    assert desk.asked.times == 3


async def test_a_batch_that_keeps_enough_costs_nothing_more() -> None:
    desk = Desk()
    desk.moves.answer = 1
    desk.keep(0)
    await desk.keeper.write()
    desk.keep(1)
    assert desk.asked.times == 1
    desk.items[2].previous = outcome()
    desk.keep(2)
    assert desk.asked.times == 2, "a message that failed before may have its place"


async def test_zero_keeps_none() -> None:
    desk = Desk(keep=0)
    desk.keep(0)
    await desk.keeper.write()
    assert (desk.asked.times, desk.moves.calls) == (0, [])


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), ResponseError("WRONGTYPE"), TimeoutError()])
async def test_what_redis_does_not_take_is_forgotten(error: Exception) -> None:
    desk = Desk()
    desk.moves.answer = error
    desk.keep(0, 1)
    await desk.keeper.write()
    assert desk.keeper.left_out == 2
    desk.moves.answer = 0
    await desk.keeper.write()
    assert len(desk.moves.calls) == 1


# With a real server


@asynccontextmanager
async def batch_of(settings: Settings, *addresses: str, **how: object) -> AsyncIterator[Batch]:
    async with expecting_a_worker(settings), Spool(settings) as spool:
        table = [{"email": address} for address in addresses]
        made = await spool.send_batch(LETTER, table, **how)  # type: ignore[arg-type]  # a table's options
    async with Spool(settings) as spool:
        yield await spool.batch(made.id)


def numbered(number: int, size: int = 5) -> bytes:
    return encode_talk(Talk(number, "main", DEFERRED, (Line(0, "<", "x" * size),)))


async def test_a_message_keeps_its_last_ten_and_a_batch_its_first_few(make_settings: MakeSettings) -> None:
    async with batch_of(make_settings(relay_url="smtp://127.0.0.1:9"), "a@x.test", hold=True) as batch:
        moves = (await batch._connection()).moves
        for number in range(1, 14):
            size = (5, 400, 3_000)[number % 3]
            assert await moves.talk(batch.id, 2, 10, [(7, numbered(number, size)), (8, numbered(number))]) == 0
        assert await moves.talk(batch.id, 2, 10, [(9, numbered(1)), (8, numbered(14)), (10, numbered(1))]) == 2
        assert await moves.talk(batch.id, 2, 10, [(8, numbered(14))]) == 0, "the same call again"
        connection = await batch._connection()
        assert await connection.command("HLEN", connection.keys.talk(batch.id)) == 2
        assert times(await batch.conversation(7)) == list(range(4, 14))
        assert times(await batch.conversation(8)) == list(range(5, 15))
        assert await batch.conversation(9) == ()
        assert await moves.talk("bnobody", 2, 10, [(1, numbered(1))]) == -1


def times(talks: Sequence[Conversation]) -> list[int]:
    return [round(talk.at.timestamp() * 1000) for talk in talks if talk.at is not None]


async def test_purge_takes_them_along(make_settings: MakeSettings) -> None:
    async with batch_of(make_settings(relay_url="smtp://127.0.0.1:9"), "a@x.test", hold=True) as batch:
        connection = await batch._connection()
        await connection.moves.talk(batch.id, 2, 10, [(1, numbered(1))])
        await batch.cancel()
        now_ms = await connection.moves.beat("other", {"versions": "1"}) + 365 * 86_400_000
        while await connection.moves.purge(batch.id, now_ms=now_ms) == "MORE":
            pass
        assert await connection.command("EXISTS", connection.keys.talk(batch.id)) == 0
        assert await orphans(connection.link.redis, connection.keys.prefix) == []


async def test_through_the_whole_worker(make_settings: MakeSettings) -> None:
    async with (
        Receiver() as receiver,
        batch_of(make_settings(relay_url=receiver.url), "550-5.1.1-a@x.test", "b@x.test", "450-9-c@x.test") as batch,
    ):
        settings = (await batch._connection()).settings
        async with working(settings) as engine:
            await until(lambda: engine.events.counters.deferred == 1 and engine.events.counters.sent == 1, "two ends")
        failed, sent, deferred = [await batch.conversation(row) for row in (1, 2, 3)]
        assert sent == ()
        assert [talk.state for talk in (*failed, *deferred)] == ["failed", "deferred"]
        assert [line.line for line in failed[0].lines if line.dir == "<"][-2].startswith("550 5.1.1")
        message = await batch.message(1)
        assert failed[0].at == message.last_try
        assert failed[0].reply == message.reply


async def test_an_opening_that_failed_stands_beside_its_relay(make_settings: MakeSettings) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.greet("AUTH PLAIN")
        await peer.expect("AUTH")
        peer.say("535 5.7.8 hunter2 is wrong")
        await peer.gone()

    async with Scripted(refuses) as server:
        settings = make_settings(relay_url=f"smtp://me:hunter2@127.0.0.1:{server.port}?tls=off")
        async with batch_of(settings, "a@x.test") as batch, working(settings):
            connection = await batch._connection()

            async def told() -> bool:
                return "talk" in await connection.fields(connection.keys.route("main"))

            await until_async(told, "the refused login is told")
            fields = await connection.fields(connection.keys.route("main"))
            opening = failed_opening(fields["talk"])
            assert opening is not None
            assert [line.line for line in opening.lines[-2:]] == ["AUTH PLAIN ****", "535 5.7.8 **** is wrong"]
            assert not [value for value in fields.values() if "hunter2" in value]
