"""The panic button before a worker at work: a class, the spool, a relay; what is told meanwhile, and that all go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from mailspool import Batch, Message, Spool
from mailspool.sandbox import Receiver
from mailspool_worker.app import Engine
from tests.support.waiting import until, until_async
from tests.support.working import working
from tests.worker.conftest import MakeSettings

LETTER = Message(from_="News <news@sender.test>", subject="Hi", text="word\n" * 20)
MAILS = 2_000
RATE = "120/s"
"""Slow enough for a person to come between, however late the worker notices."""


@asynccontextmanager
async def under_way(make: MakeSettings) -> AsyncIterator[tuple[Spool, Batch, Receiver, Engine]]:
    """A worker in the middle of a batch."""
    async with Receiver() as receiver:
        settings = make(relays={"main": {"url": receiver.url, "rate": RATE, "max_sessions": 2}})
        async with Spool(settings) as spool, working(settings) as engine:
            batch = await spool.send_batch(LETTER, [f"u{n}@x.test" for n in range(MAILS)])
            await until(lambda: receiver.received > 20, "it is under way")
            yield spool, batch, receiver, engine
            await batch.cancel()
            status = await batch.wait(20)
            assert receiver.received == status.sent == MAILS - status.cancelled
        assert set(Counter(mail.recipient for mail in receiver.mails).values()) == {1}


async def nothing_flies(spool: Spool, batch: Batch) -> None:
    connection = await spool.connection()

    async def landed() -> bool:
        return not await connection.fields(connection.keys.run(batch.id))

    await until_async(landed, "what was on the wire is recorded and given back", limit_s=10)


Change = Callable[[Spool], Awaitable[object]]
PAUSES: list[tuple[Change, Change, str]] = [
    (lambda spool: spool.pause(), lambda spool: spool.resume(), "the spool is paused by you since "),
    (lambda spool: spool.pause("bulk"), lambda spool: spool.resume("bulk"), "bulk mail is paused by you since "),
    (lambda spool: spool.pause_relay("main"), lambda spool: spool.resume_relay("main"),
     "relay main paused by you since "),
]  # fmt: skip


@pytest.mark.parametrize(("pause", "resume", "words"), PAUSES, ids=("spool", "class", "relay"))
async def test_it_stops_and_goes_on(make_settings: MakeSettings, pause: Change, resume: Change, words: str) -> None:
    async with under_way(make_settings) as (spool, batch, receiver, _):
        flying = await spool.why(batch.id)
        assert {"in_flight", "turn", "rate"} & {cause.code for cause in flying.causes}
        await pause(spool)
        await nothing_flies(spool, batch)
        status = await batch.status()
        assert receiver.received == status.sent < MAILS
        assert (status.waiting_for or "").startswith(words)
        why = await spool.why(batch.id)
        assert (why.causes[0].code, why.next_try) == ("paused", None)
        assert await resume(spool)
        await until(lambda: receiver.received > status.sent + 20, "it goes on")


async def test_sessions_are_told_by_relay(make_settings: MakeSettings) -> None:
    async with under_way(make_settings) as (_spool, _batch, _receiver, engine):
        told = engine.fields()
        assert told["sessions:main"] == told["sessions"] in (1, 2)
