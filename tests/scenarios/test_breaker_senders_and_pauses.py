"""What keeps mail back, and what lets it go again: the batch's breaker, a sender that a relay refuses, a relay that a
person pauses, a login that is mended and resumed. One worker in this loop, with a real server and real receivers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailspool import Batch, Message, Settings, Spool
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool.sandbox.orders import Order
from mailspool_worker.app import Engine
from mailspool_worker.classify import Context, Stage
from tests.support.embedded import plain_server
from tests.support.rules import LETTER, Speaker, mails, settings_of, speaking
from tests.support.waiting import until, until_async
from tests.support.working import working

POLICY = "550 5.7.1 Refused by our policy"
BAD, GOOD = 60, 240


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with plain_server(tmp_path / "redis", "--save", "", "--appendonly", "no") as socket:
        yield f"unix://{socket}"


@asynccontextmanager
async def at_work(settings: Settings) -> AsyncIterator[tuple[Engine, Spool, Moves]]:
    async with working(settings) as engine, Spool(settings) as spool:
        yield engine, spool, Moves(RedisCaller(engine.link.redis), Keys(settings.key_prefix))


@asynccontextmanager
async def at_speaker(speaker: Speaker, redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Engine, Spool, Moves]]:
    async with (
        speaking({"main": speaker}) as relays,
        at_work(settings_of(redis_url, tmp_path, relays=relays)) as parts,
    ):
        yield parts


def rows(count: int, head: str = "u") -> list[dict[str, object]]:
    return [{"email": f"{head}{i}@x.test", "name": head} for i in range(count)]


async def says(batch: Batch, words: str) -> str:
    """Until its status says so."""

    async def does() -> bool:
        return words in ((await batch.status()).waiting_for or "")

    await until_async(does, f"waiting_for says {words!r}", limit_s=15)
    return (await batch.status()).waiting_for or ""


async def test_a_batch_that_is_refused_too_often_is_held_until_somebody_releases_it(
    redis_url: str, tmp_path: Path
) -> None:
    def temper(recipient: str) -> Order | None:
        return Order("dot", POLICY) if recipient.startswith("bad") else None

    async with Receiver(options=ReceiverOptions(temper=temper)) as receiver:
        relay = {"url": receiver.url, "rate": "100/s"}
        async with at_work(settings_of(redis_url, tmp_path, relays={"main": relay})) as (_, spool, _):
            batch = await spool.send_batch(LETTER, [*rows(BAD, "bad"), *rows(GOOD)])
            words = await says(batch, "held by the breaker: ")
            held = await batch.status()
            assert (held.state, held.done) == ("held", False)
            assert "bounced or were refused by policy: " + POLICY in words
            assert held.sent < GOOD
            await batch.release()
            status = await batch.wait(20)
            assert (status.sent, status.failed) == (GOOD, BAD), "it goes on, and does not trip again"


class Choosy(Speaker):
    """Takes no mail from `@bad.test`."""

    def __init__(self) -> None:
        super().__init__(Stage.MAIL, "553 5.1.8 Sender address rejected", Context())

    def wants(self, stage: Stage, *, in_session: int, line: str = "") -> bool:
        return super().wants(stage, in_session=in_session, line=line) and "@bad.test" in line


async def test_of_a_batch_with_many_senders_only_the_refused_one_waits(redis_url: str, tmp_path: Path) -> None:
    choosy = Choosy()
    letter = Message(from_="News <news@{{ name }}.test>", subject="News", text="Hello\n")
    async with at_speaker(choosy, redis_url, tmp_path) as (_, spool, moves):
        batch = await spool.send_batch(letter, [*rows(20, "bad"), *rows(20, "good"), *rows(130, "fine")])
        other = await spool.send_batch(LETTER, rows(5, "other"))
        assert (await other.wait(15)).sent == 5

        async def others_are_sent() -> bool:
            return (await batch.status()).sent == 150

        await until_async(others_are_sent, "the others are sent", limit_s=15)
        await says(batch, "relay main does not take the sender news@bad.test: 553 5.1.8")
        status = await batch.status()
        assert status.failed == 0
        assert status.deferred <= 4, "one a session was tried, and none of them counts"
        assert all(mail.attempts == 0 for mail in await mails(batch) if mail.state == "deferred")
        assert (await spool.status()).routes[0].state == "ok"
        choosy.stage = Stage.QUIT
        await moves.unpause("relay:main")

        async def gone() -> bool:
            return (await batch.status()).queued == 0

        await until_async(gone, "the sender's mail goes", limit_s=15)
        assert (await batch.status()).sent == 170 - status.deferred


async def test_a_relay_that_somebody_paused_takes_nothing_until_resumed(redis_url: str, tmp_path: Path) -> None:
    async with Receiver() as receiver:
        relay = {"url": receiver.url, "rate": "100/s"}
        async with at_work(settings_of(redis_url, tmp_path, relays={"main": relay})) as (engine, spool, moves):
            batch = await spool.send_batch(LETTER, rows(120))
            await receiver.wait_for(5)
            await moves.pause("relay:main")
            route = engine.routes.by_name["main"]
            await until(route.is_closed, "the worker closes the route")
            await until(lambda: not engine.delivery.runs, "what was on the wire has ended")
            assert "paused by you" in await says(batch, "relay main paused")
            before = receiver.received
            assert before < 120
            await moves.unpause("relay:main")
            assert (await batch.wait(20)).sent == 120
            assert receiver.received == 120


async def test_a_worker_that_starts_knows_what_is_paused(redis_url: str, tmp_path: Path) -> None:
    async with Receiver() as receiver:
        settings = settings_of(redis_url, tmp_path, relay_url=receiver.url)
        async with Spool(settings) as spool:
            batch = await spool.send_batch(LETTER, rows(20))
            async with at_work(settings) as (_, _, moves):
                await moves.pause("relay:main")
            async with at_work(settings) as (engine, _, moves):
                assert engine.routes.by_name["main"].is_closed()
                await moves.unpause("relay:main")
                assert (await batch.wait(20)).sent == 20


async def test_a_refused_login_is_tried_again_when_somebody_says_so(redis_url: str, tmp_path: Path) -> None:
    guard = Speaker(Stage.AUTH, "535 5.7.8 authentication failed", Context())
    async with at_speaker(guard, redis_url, tmp_path) as (engine, spool, moves):
        batch = await spool.send_batch(LETTER, rows(20))
        await says(batch, "relay main paused: 535")
        assert engine.routes.by_name["main"].closed_for_s() > 200
        guard.stage = Stage.QUIT
        await moves.unpause("relay:main")
        assert (await batch.wait(20)).sent == 20
        assert guard.said <= 2, "it was not asked again before"
