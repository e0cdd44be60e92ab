"""`Worker` in somebody's own program: from a Spool, from Settings, from nothing; what it serves, and how it ends."""

from __future__ import annotations

import pytest

import mailspool_worker
from mailspool import Message, Spool
from mailspool.errors import ConfigError
from mailspool.sandbox import Receiver
from mailspool_worker import Worker
from mailspool_worker.inline import Worker as Home
from tests.support.leaks import tasks_left
from tests.worker.conftest import MakeSettings


def mail(to: str) -> Message:
    return Message(from_="a@sender.test", to=to, subject="Hello", text="Salaam!\n")


async def test_beside_a_spool(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        async with Spool(make_settings(relay_url=receiver.url)) as spool, Worker(spool):
            batch = await spool.send(mail("ali@dest.test"))
            assert (await batch.wait(10)).ok
        assert [one.recipient for one in receiver.mails] == ["ali@dest.test"]
    assert tasks_left() == []


async def test_with_settings_and_for_one_class_only(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with Spool(settings) as spool, Worker(settings, classes=("transactional",)):
            bulk = await spool.send_batch(mail("{{ email }}"), [{"email": "b@dest.test"}])
            single = await spool.send(mail("ali@dest.test"))
            assert (await single.wait(10)).ok
            assert (await bulk.status()).queued == 1
    assert tasks_left() == []


async def test_without_a_relay_it_does_not_open(make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError):
        await Worker(make_settings()).open()
    assert tasks_left() == []


async def test_closing_twice_and_closing_what_was_never_opened(make_settings: MakeSettings) -> None:
    worker = Worker(make_settings(relay_url="smtp://127.0.0.1:9"))
    await worker.close()
    await worker.open()
    await worker.close()
    await worker.close()
    assert (worker.engine, worker.link) == (None, None)
    assert tasks_left() == []


async def test_it_opens_again_after_closing(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver, Spool(make_settings(relay_url=receiver.url)) as spool:
        worker = Worker(spool)
        for to in ("a@dest.test", "b@dest.test"):
            async with worker:
                assert (await (await spool.send(mail(to))).wait(10)).ok
        assert receiver.received == 2


def test_the_front_page_is_lazy() -> None:
    assert mailspool_worker.Worker is Home
    with pytest.raises(AttributeError, match="no attribute 'Boss'"):
        _ = mailspool_worker.Boss
