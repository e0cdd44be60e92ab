"""Before, during and after the commit: what is queued when a producer is cut off, cancelled, or finds no room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailspool import Attachment, InputError, KeyConflict, Message, Settings, Spool, SpoolFull
from mailspool.contract.moves import Moves
from mailspool.redis_server import folder as folders
from tests.support.embedded import plain_server
from tests.support.hand import Hand
from tests.support.severed import Line
from tests.support.waiting import until_async

NEWS = Message(from_="News <news@x.test>", subject="News", text="Dear {{ name }}\n")
SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


def people(count: int, start: int = 0) -> Iterator[dict[str, object]]:
    return ({"email": f"u{n}@x.test", "name": f"Anna {n}"} for n in range(start, start + count))


async def committed(spool: Spool) -> int:
    return len([batch async for batch in spool.batches(1000)])


class Endless:
    """A list that stops in the middle, and says so."""

    def __init__(self, rows: int = 150) -> None:
        self.there, self.go_on = asyncio.Event(), asyncio.Event()
        self._rows = rows

    async def __aiter__(self) -> AsyncIterator[dict[str, object]]:
        for row in people(self._rows):
            yield row
        self.there.set()
        await self.go_on.wait()


# -- cancelled


@pytest.mark.parametrize("key", ["monday", None])
async def test_cancelled_while_loading_nothing_is_queued_and_the_key_is_free(spool: Spool, key: str | None) -> None:
    rows = Endless()
    task = asyncio.create_task(spool.send_batch(NEWS, rows, key=key))
    await rows.there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await committed(spool) == 0
    async with asyncio.timeout(5):  # a key that were not free would be waited for, for 15 s
        batch = await spool.send_batch(NEWS, people(3), key=key)
    assert (batch.created, batch.added) == (True, 3)


async def test_cancelled_while_begin_is_on_its_way_the_key_is_free(far: Spool, line: Line) -> None:
    connection = await far.connection()
    task = asyncio.create_task(far.send_batch(NEWS, people(3), key="monday"))
    line.freeze()

    async def beginning() -> bool:
        return any(task.get_name() == "upload begins" for task in asyncio.all_tasks())

    await until_async(beginning, "begin is on its way")
    task.cancel()
    line.thaw()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        assert (await far.send_batch(NEWS, people(3), key="monday")).added == 3
    assert await connection.command("ZCARD", connection.keys.loading) in (0, 1)


async def test_cancelled_twice_it_is_given_up_all_the_same(spool: Spool) -> None:
    rows = Endless()
    task = asyncio.create_task(spool.send_batch(NEWS, rows, key="monday"))
    await rows.there.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        assert (await spool.send_batch(NEWS, people(3), key="monday")).created


async def test_rows_that_raise_queue_nothing(spool: Spool) -> None:
    def rows() -> Iterator[dict[str, object]]:
        yield from people(150)
        raise ZeroDivisionError("of the caller's own")

    with pytest.raises(ZeroDivisionError, match=r"of the caller's own"):
        await spool.send_batch(NEWS, rows(), key="monday")
    assert await committed(spool) == 0
    assert (await spool.send_batch(NEWS, people(3), key="monday")).created


async def test_a_cancellation_that_somebody_swallows_is_not_forgotten(spool: Spool) -> None:
    """redis-py does that now and then on Python 3.11; here the rows do."""
    there = asyncio.Event()

    async def rows() -> AsyncIterator[dict[str, object]]:
        yield next(people(1))
        there.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.create_task(spool.send_batch(NEWS, rows(), key="monday"))
    await there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await committed(spool) == 0


async def test_signs_of_life_end_though_their_cancellation_was_swallowed(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py does that on Python 3.11, one time in five when a command is under way."""
    monkeypatch.setattr("mailspool.client.upload.UPLOAD_SIGN_S", 0.0)
    swallowed, waits = asyncio.Event(), asyncio.Event()
    sign = Moves.sign_of_life

    async def deaf(moves: Moves, b: str, u: str) -> object:
        if not swallowed.is_set():
            waits.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.set()
        return await sign(moves, b, u)

    async def rows() -> AsyncIterator[dict[str, object]]:
        yield next(people(1))
        await waits.wait()
        raise ZeroDivisionError("of the caller's own")

    monkeypatch.setattr(Moves, "sign_of_life", deaf)
    async with asyncio.timeout(10):  # after a commit they would end by themselves
        with pytest.raises(ZeroDivisionError):
            await spool.send_batch(NEWS, rows())
    assert swallowed.is_set()


async def test_who_is_cancelled_may_still_send_a_last_word(spool: Spool) -> None:
    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            sent.append((await spool.send_batch(NEWS, people(3), key="monday")).added)
        return 0

    sent: list[int] = []
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sent == [3]


async def test_a_batch_cancelled_while_rows_are_added_refuses_them(spool: Spool) -> None:
    batch = await spool.send_batch(NEWS, people(3), key="monday")
    rows = Endless()
    task = asyncio.create_task(spool.send_batch(NEWS, rows, key="monday"))
    await rows.there.wait()
    await batch.cancel()
    rows.go_on.set()
    with pytest.raises(KeyConflict, match=r"which is cancelled"):
        await task
    assert (await batch.status()).total == 3


# -- room


async def test_what_does_not_fit_is_refused_before_anything_is_queued(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain_server(home / "plain", *SAFE, "--maxmemory", "12mb") as server:
        async with Spool(Settings(redis_url=f"unix://{server}", max_message_bytes="50MiB")) as spool:
            mail = NEWS.replace(attachments=[Attachment(b"%PDF" * 4_000_000, name="a.pdf")])
            with pytest.raises(SpoolFull, match=r"this batch needs 15.3 MiB, Valkey has .* left") as caught:
                await spool.send_batch(mail, people(3), key="monday")
            assert "Nothing was queued. Attachments are 100 % of it." in str(caught.value)
            assert await committed(spool) == 0
            monkeypatch.setattr("mailspool.client.upload._ROOM_EVERY", 10)
            long = NEWS.replace(text="{{ text }}\n")
            rows = ({"email": f"u{n}@x.test", "text": "x" * 2_000} for n in range(20_000))
            with pytest.raises(SpoolFull, match=r"this batch needs [\d.]+ MiB, Valkey has .* left. Nothing was queued"):
                await spool.send_batch(long, rows, key="monday")
            assert await committed(spool) == 0


async def test_a_server_without_memory_is_told_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the reserve, too: what the server itself says is no raw error."""
    with plain_server(home / "plain", *SAFE, "--maxmemory", "12mb") as server:
        async with Spool(Settings(redis_url=f"unix://{server}", redis_reserve=0)) as spool:
            monkeypatch.setattr("mailspool.client.upload._ROOM_EVERY", 1_000_000)
            monkeypatch.setattr("mailspool.client.upload._ROOM_EVERY_BYTES", 1 << 40)
            rows = ({"email": f"u{n}@x.test", "text": "x" * 20_000} for n in range(20_000))
            with pytest.raises(SpoolFull, match=r"has no memory left .maxmemory.. Nothing was queued"):
                await spool.send_batch(NEWS.replace(text="{{ text }}\n"), rows)


async def test_large_rows_are_refused_before_the_reserve_is_used_up(home: Path) -> None:
    """Long before 500 chunks: these rows fill the server with 20."""
    with plain_server(home / "plain", *SAFE, "--maxmemory", "60mb") as server:
        async with Spool(Settings(redis_url=f"unix://{server}", redis_reserve=0.3)) as spool:
            rows = ({"email": f"u{n}@x.test", "text": "x" * 20_000} for n in range(20_000))
            with pytest.raises(SpoolFull, match=r"this batch needs .* MiB, Valkey has .* left. Nothing was queued"):
                await spool.send_batch(NEWS.replace(text="{{ text }}\n"), rows)
            info = await (await spool.connection()).link.redis.info("memory")
            # Where the reserve begins, and what may come between two looks: 4 MiB, and two chunks on their way.
            assert int(info["used_memory"]) < 0.7 * 60 * (1 << 20) + 4 * (1 << 20) + 2 * 100 * 20_000


async def test_too_little_disk_refuses_batches_and_single_mails(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    little = folders.DiskRoom(free_bytes=300 << 20, total_bytes=100 << 30)
    monkeypatch.setattr("mailspool.redis_server.folder.disk_room", lambda _: little)
    connection = await spool.connection()
    connection._room_seen_s = -10.0  # as if the last look were a while ago
    mail = Message(to="b@x.test", subject="S", text="T\n")
    for send in (spool.send(mail), spool.send_batch(NEWS, people(3))):
        with pytest.raises(SpoolFull, match=r"has 300.0 MiB free, of which 5.0 GiB must stay free. Nothing was queued"):
            await send
    assert await committed(spool) == 0


async def test_single_mails_ask_for_the_room_once_a_second(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await spool.connection()
    asked = 0
    require = connection.link.require_room

    async def counting(needed_bytes: int) -> None:
        nonlocal asked
        asked += 1
        await require(needed_bytes)

    monkeypatch.setattr(connection.link, "require_room", counting)
    monkeypatch.setattr("mailspool.client.connection._ROOM_GOOD_FOR_S", 3600.0)
    mail = Message(to="b@x.test", subject="S", text="T\n")
    for _ in range(20):
        await spool.send(mail)
    assert asked <= 1


# -- the rest


@pytest.mark.parametrize("how", ["batch", "again", "single", "copies", "release"])
async def test_what_was_queued_is_given_to_the_workers_at_once(spool: Spool, hand: Hand, how: str) -> None:
    """Without waiting for their tick; after another call's terms by the batch's own class."""
    await hand.beat()
    mail = Message(to="b@x.test", subject="S", text="T\n")
    if how == "single":
        batch = await spool.send(mail)
    elif how == "copies":
        batch = await spool.send(mail, to=[f"u{n}@x.test" for n in range(150)])
    else:
        batch = await spool.send_batch(NEWS, people(150), key="monday", hold=how in ("again", "release"))
    connection = await spool.connection()
    if how in ("again", "release"):
        await asyncio.gather(*connection._waking)
        await batch.release()
    if how == "again":
        await hand.work(batch.id)
        batch = await spool.send_batch(NEWS, people(151), key="monday", class_="transactional")

    async def given() -> bool:
        queued = await connection.strings("ZRANGE", connection.keys.queue(batch.class_), 0, -1)
        last = {"batch": 1, "copies": 1, "again": 3, "single": 0, "release": 1}[how]
        return any(connection.keys.parse_job_id(job)[:2] == (batch.id, last) for job in queued)

    await until_async(given, "arq has the last chunk", limit_s=10)


async def test_more_than_a_chunk_and_more_than_are_in_flight(spool: Spool) -> None:
    batch = await spool.send_batch(NEWS, people(2_345))
    assert (batch.added, (await batch.status()).total) == (2_345, 2_345)
    rows = [message.row async for message in batch.messages()]
    assert rows == list(range(1, 2_346))


async def test_a_batch_that_expires_while_it_is_loaded_is_refused(spool: Spool) -> None:
    async def slow() -> AsyncIterator[dict[str, object]]:
        yield next(people(1))

    lost: list[str] = []
    commit = Moves.commit

    with pytest.MonkeyPatch.context() as patch:

        async def late(moves: Moves, b: str, u: str, total: int, shas: tuple[str, ...] = ()) -> object:
            lost.append(b)
            return await commit(moves, b, u, total, shas, now_ms=4_000_000_000_000)

        patch.setattr(Moves, "commit", late)
        with pytest.raises(InputError, match=r"would have expired before it was queued; nothing was queued"):
            await spool.send_batch(NEWS, slow(), expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert lost
    assert await committed(spool) == 0


async def test_attachments_are_stored_once_and_shared(spool: Spool) -> None:
    mail = NEWS.replace(attachments=[Attachment(b"%PDF" * 100_000, name="a.pdf")])
    batches = [await spool.send_batch(mail, people(3)) for _ in range(2)]
    connection = await spool.connection()
    assert len(await connection.strings("KEYS", "ms:blob:*:refs")) == 1
    (refs,) = await connection.strings("KEYS", "ms:blob:*:refs")
    assert sorted(await connection.strings("SMEMBERS", refs)) == sorted(batch.id for batch in batches)


async def test_a_key_held_by_somebody_else_is_told_by_its_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(moves: Moves, b: str, u: str, sha: str, data: bytes | None = None) -> str:
        return "TAKEN"

    monkeypatch.setattr(Moves, "attach", taken)
    mail = NEWS.replace(attachments=[Attachment(b"%PDF", name="a.pdf")])
    with pytest.raises(KeyConflict, match=r'with the key "monday" took its place'):
        await spool.send_batch(mail, people(3), key="monday")
