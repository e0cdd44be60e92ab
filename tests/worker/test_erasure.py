"""What sent transactional mail said is gone from Redis, and all that people still ask of it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from mailspool import Attachment, Batch, KeyConflict, Message, Settings, Spool
from mailspool.contract.codec import DecodeError
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.contract.states import SUSPECT_AGE_MS
from mailspool.redis_server.link import Link
from mailspool.sandbox import Receiver
from mailspool_worker.chores import HOUR_MS, chores, erase, forget, rewrite
from mailspool_worker.clock import RedisClock
from mailspool_worker.contents import Contents
from mailspool_worker.events import Events
from tests.support.waiting import until_async
from tests.support.working import working
from tests.worker.conftest import MakeSettings

SECRET = "s3cr3t-token"
RESET = Message(
    from_="Acme <no-reply@acme.test>",
    to="ali@x.test",
    subject=f"Your link {SECRET}",
    text=f"https://acme.test/r/{SECRET}\n",
    html=f"<a href='https://acme.test/r/{SECRET}'>here</a>",
    headers={"X-Token": SECRET},
    attachments=[Attachment(SECRET.encode(), name=f"{SECRET}.txt")],
)
INVOICE = Message(from_="Acme <billing@acme.test>", subject="Invoice", text="Dear {{ name }}, use {{ token }}\n")
PEOPLE = [{"email": f"u{i}@x.test", "name": f"u{i}", "token": f"{SECRET}-{i}"} for i in range(3)]


async def told(settings: Settings) -> list[str]:
    """Keys that still hold the secret."""
    link = Link(settings)
    await link.open()
    try:
        found = []
        async for name in link.redis.scan_iter(match=f"{settings.key_prefix}:*"):
            dump = cast("Callable[[bytes], Awaitable[object]]", _reader(link.redis, await link.redis.type(name)))
            if SECRET in repr(await dump(name)):
                found.append(name.decode())
        return found
    finally:
        await link.close()


def _reader(redis: Redis, kind: bytes) -> object:
    async def zset(name: bytes) -> object:
        return await redis.zrange(name, 0, -1)

    return {b"string": redis.get, b"hash": redis.hgetall, b"set": redis.smembers, b"zset": zset}[kind]


async def asked(redis: Redis, *words: str) -> object:
    return await cast("Callable[..., Awaitable[object]]", redis.execute_command)(*words)


async def sent(batch: Batch, count: int = 1) -> None:
    assert (await batch.wait(20)).sent == count


async def test_a_single_mail_is_erased_and_still_known(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with working(settings), Spool(settings) as spool:
            batch = await spool.send(RESET, key="reset")
            await sent(batch)
            assert SECRET in receiver.mails[0].data.decode()
            assert await told(settings) == []
            (message,) = [one async for one in batch.messages()]
            assert (message.recipient, message.state, message.erased) == ("ali@x.test", "sent", True)
            assert f"Message-ID: {message.message_id}\r\n" in receiver.mails[0].data.decode()

            again = await spool.send(RESET, key="reset")
            assert (again.id, again.created, again.added) == (batch.id, False, 0)
            with pytest.raises(KeyConflict, match=r"with another content\. Nothing was queued"):
                await spool.send(RESET.replace(subject="Other"), key="reset")
            assert await told(settings) == []


async def test_values_go_and_failed_ones_can_be_tried_again(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with working(settings), Spool(settings) as spool:
            people = [*PEOPLE, {"email": "550-1-x@x.test", "name": "x", "token": f"{SECRET}-x"}]
            batch = await spool.send_batch(INVOICE, people, class_="transactional")
            status = await batch.wait(20)
            assert (status.sent, status.failed) == (3, 1)
            assert await told(settings) == [f"{settings.key_prefix}:chunk:{batch.id}:0"]
            assert [one.erased async for one in batch.messages()] == [True, True, True, False]
            assert await batch.retry("failed") == 1
            await sent(batch, 4)
            assert f"{SECRET}-x" in receiver.mails[-1].data.decode()
            assert await told(settings) == []


async def test_bulk_mail_keeps_what_it_says(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with working(settings), Spool(settings) as spool:
            batch = await spool.send_batch(INVOICE, PEOPLE)
            await sent(batch, 3)
            assert await told(settings) == [f"{settings.key_prefix}:chunk:{batch.id}:0"]
            assert not any([one.erased async for one in batch.messages()])


async def test_finished_mime_keeps_its_own_message_id_and_takes_more_receivers(make_settings: MakeSettings) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"], mail["Subject"] = "a@acme.test", "b@x.test", "<own@acme.test>", SECRET
    mail.set_content(SECRET)
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with working(settings), Spool(settings) as spool:
            batch = await spool.send(mail, key="k")
            await sent(batch)
            assert await told(settings) == []
            assert [one.message_id async for one in batch.messages()] == ["<own@acme.test>"]

            more = await spool.send(mail, to=["b@x.test", "c@x.test"], key="k")
            assert (more.id, more.added, more.skipped_known) == (batch.id, 1, 1)
            await sent(more, 2)
            assert [mail.recipient for mail in receiver.mails] == ["b@x.test", "c@x.test"]
            assert receiver.mails[0].data == receiver.mails[1].data
            assert await told(settings) == []


async def test_rows_that_an_older_client_adds_never_go_out_empty(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        async with working(settings) as engine, Spool(settings) as spool:
            batch = await spool.send(RESET)
            await sent(batch)
            fields = await asked(engine.link.redis, "HGETALL", engine.moves.keys.batch(batch.id))
            told_of = {name.decode(): value.decode() for name, value in cast("dict[bytes, bytes]", fields).items()}
            with pytest.raises(DecodeError, match="erased after it was sent"):
                await Contents(engine.link, engine.moves.keys, Events(None)).of(batch.id, told_of)


async def test_what_was_sent_of_a_cancelled_batch_goes_with_the_next_chores(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url)
        people = [*PEOPLE, {"email": "450-9-x@x.test", "name": "x", "token": "of nobody"}]
        async with working(settings) as engine, Spool(settings) as spool:
            batch = await spool.send_batch(INVOICE, people, class_="transactional")

            async def waits() -> bool:
                status = await batch.status()
                return (status.sent, status.deferred) == (3, 1)

            await until_async(waits, "one waits")
            await batch.cancel()
            await batch.wait(20)
            assert await told(settings) == [f"{settings.key_prefix}:chunk:{batch.id}:0"]
            await chores(engine.link, engine.moves, engine.clock, lambda: False, Events(None))
            assert await told(settings) == []
            assert await engine.link.redis.exists(engine.moves.keys.erase) == 0


async def test_the_embedded_file_is_written_anew_within_the_hour(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with Receiver() as receiver:
        settings = Settings(data_dir=folder, relay_url=receiver.url, ehlo_name="sender.test")
        async with working(settings) as engine, Spool(settings) as spool:
            await sent(await spool.send(RESET))
            moves, redis = engine.moves, engine.link.redis
            assert in_files(folder)
            now_ms = engine.clock.now_ms()
            await rewrite(engine.link, moves, now_ms, Events(None))
            await until_async(lambda: _is_rewritten(redis), "the file is written anew")
            assert not in_files(folder)
            assert await asked(redis, "HGETALL", moves.keys.chores) == {b"rewritten": str(now_ms).encode()}

            await sent(await spool.send(RESET))
            assert in_files(folder)
            await rewrite(engine.link, moves, now_ms + HOUR_MS - 1, Events(None))
            assert await asked(redis, "HGET", moves.keys.chores, "rewritten") == str(now_ms).encode()
            await rewrite(engine.link, moves, now_ms + HOUR_MS, Events(None))
            await until_async(lambda: _is_rewritten(redis), "the file is written anew")
            assert not in_files(folder)


async def _is_rewritten(redis: Redis) -> bool:
    info = await redis.info("persistence")
    busy = int(info["aof_rewrite_in_progress"]) + int(info["aof_rewrite_scheduled"])
    return not busy and info["aof_last_bgrewrite_status"] == "ok"


def in_files(folder: Path) -> bool:
    return any(SECRET.encode() in file.read_bytes() for file in folder.rglob("*.aof"))


async def test_broken_records_are_put_off_and_named(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:1")
    link = Link(settings)
    await link.open()
    moves, clock = Moves(RedisCaller(link.redis), Keys(settings.key_prefix)), RedisClock()
    said: list[tuple[str, object]] = []

    class Heard(Events):
        def warning(self, what: str, **facts: object) -> None:
            said.append((what, facts.get("name") or facts.get("counter")))

    await asked(link.redis, "SADD", moves.keys.erase, "broken", "gone")
    await link.redis.set(moves.keys.batch("broken"), "no hash")
    await erase(link, moves, lambda: False, Heard(None))
    assert said == [("erase_put_off", "broken")]
    assert await asked(link.redis, "SMEMBERS", moves.keys.erase) == {b"broken"}
    said.clear()
    await asked(link.redis, "HSET", moves.keys.totals("bulk"), "n_sent", "3")
    await chores(link, moves, clock, lambda: False, Heard(None))
    assert ("accounts_do_not_add_up", "n_sent") in said
    said.clear()
    await chores(link, moves, clock, lambda: False, Heard(None))
    assert ("accounts_do_not_add_up", "n_sent") not in said, "once an hour"
    await link.close()


async def test_suspects_past_their_age_are_forgotten_once_an_hour(make_settings: MakeSettings) -> None:
    settings = make_settings()
    link = Link(settings)
    await link.open()
    moves, clock = Moves(RedisCaller(link.redis), Keys(settings.key_prefix)), RedisClock()
    clock.observe(await moves.beat("w", {"host": "h"}))
    for n in range(2_000):
        at_ms = clock.now_ms() - (SUSPECT_AGE_MS + HOUR_MS if n % 2 else HOUR_MS)
        await asked(link.redis, "HSET", moves.keys.suspects, f"u{n}@x.test", f"b1 {at_ms}")
    await asked(link.redis, "HSET", moves.keys.suspects, "old@x.test", "b1")
    await forget(moves, lambda: True)
    assert cast("int", await asked(link.redis, "HLEN", moves.keys.suspects)) > 1_001, "one step, then it shall end"
    await chores(link, moves, clock, lambda: False, Events(None))
    assert await asked(link.redis, "HLEN", moves.keys.suspects) == 1_001
    stored = cast("bytes", await asked(link.redis, "HGET", moves.keys.suspects, "old@x.test"))
    assert stored.startswith(b"b1 1")
    await link.close()
