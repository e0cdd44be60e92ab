"""The connection lost before, during and after the commit: what is seen, what is queued, what is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mailspool import Attachment, Message, Settings, Spool, SpoolUnavailable
from tests.support.embedded import kill_server
from tests.support.severed import Line
from tests.support.waiting import until_async

NEWS = Message(from_="News <news@x.test>", subject="News", text="Dear {{ name }}\n")


def people(count: int, start: int = 0) -> Iterator[dict[str, object]]:
    return ({"email": f"u{n}@x.test", "name": f"Anna {n}"} for n in range(start, start + count))


async def committed(spool: Spool) -> int:
    return len([batch async for batch in spool.batches(1000)])


async def test_lost_before_the_commit_is_not_seen_at_all(far: Spool, line: Line) -> None:
    line.cut("commit", after=False)
    batch = await far.send_batch(NEWS, people(150), key="monday")
    assert (line.cuts, batch.added, (await batch.status()).total) == (1, 150, 150)


async def test_lost_after_the_commit_is_not_seen_either(far: Spool, line: Line) -> None:
    line.cut("commit", after=True)
    batch = await far.send_batch(NEWS, people(150), key="monday")
    assert (line.cuts, batch.added, (await batch.status()).total) == (1, 150, 150)
    assert await committed(far) == 1


@pytest.mark.parametrize("script", ["begin", "load", "attach"])
@pytest.mark.parametrize("after", [False, True])
async def test_every_move_on_the_way_may_be_sent_twice(far: Spool, line: Line, script: str, after: bool) -> None:
    line.cut(script, after=after)
    mail = NEWS.replace(attachments=[Attachment(b"%PDF" * 100, name="a.pdf")])
    batch = await far.send_batch(mail, people(150), key="monday")
    assert (line.cuts, batch.added, (await batch.status()).total) == (1, 150, 150)


@pytest.mark.parametrize("after", [False, True])
async def test_lost_for_good_in_the_commit_nobody_knows(far: Spool, line: Line, after: bool) -> None:
    line.cut("commit", after=after, for_good=True)
    with pytest.raises(
        SpoolUnavailable, match=r"may be queued or not. Run it again: with its key that is safe"
    ) as caught:
        await far.send_batch(NEWS, people(150), key="monday")
    assert caught.value.acknowledged is None
    line.away = False
    assert await committed(far) == int(after)
    connection = await far.connection()
    await connection.command("ZADD", connection.keys.loading, "XX", 1, *await loading(far))
    again = await far.send_batch(NEWS, people(150), key="monday")
    assert (again.created, again.added, again.skipped_known) == ((False, 0, 150) if after else (True, 150, 0))


async def loading(spool: Spool) -> list[str]:
    connection = await spool.connection()
    return await connection.strings("ZRANGE", connection.keys.loading, 0, -1) or ["nobody"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_single_mail_lost_for_good(far: Spool, line: Line, after: bool) -> None:
    line.cut("send1", after=after, for_good=True)
    mail = Message(from_="a@x.test", to="b@x.test", subject="S", text="T\n")
    with pytest.raises(SpoolUnavailable, match=r"may be queued or not. Look at `mailspool status`") as caught:
        await far.send(mail)
    assert caught.value.acknowledged is None
    line.away = False
    assert await committed(far) == int(after)


@pytest.mark.parametrize("script", ["begin", "load"])
async def test_lost_for_good_before_the_commit_nothing_is_queued(far: Spool, line: Line, script: str) -> None:
    line.cut(script, after=True, for_good=True)
    with pytest.raises(SpoolUnavailable, match=r"does not answer \(tried 0.5 s\). Nothing was queued.") as caught:
        await far.send_batch(NEWS, people(150), key="monday")
    assert caught.value.acknowledged is False
    line.away = False
    assert await committed(far) == 0


async def test_a_line_that_is_down_already_queues_nothing(far: Spool, line: Line) -> None:
    line.away = True
    connection = await far.connection()
    await connection.link.redis.connection_pool.disconnect()
    mail = Message(from_="a@x.test", to="b@x.test", subject="S", text="T\n")
    for send in (far.send(mail), far.send_batch(NEWS, people(3))):
        with pytest.raises(SpoolUnavailable, match=r"does not answer.*Nothing was queued.$") as caught:
            await send
        assert caught.value.acknowledged is False


async def test_a_frozen_server_is_told_in_words(far: Spool, line: Line) -> None:
    line.freeze()
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable, match=r"does not answer.*Nothing was queued"):
            await far.send_batch(NEWS, people(3))


async def test_the_embedded_server_killed_under_an_upload_is_not_seen(spool: Spool, settings: Settings) -> None:
    async def rows() -> AsyncIterator[dict[str, object]]:
        for row in people(150):
            yield row
        await asyncio.to_thread(kill_server, settings.data_dir)
        for row in people(150, 150):
            yield row

    batch = await spool.send_batch(NEWS, rows(), key="monday")
    assert batch.added == 300
    assert (await batch.status()).total == 300


async def test_signs_of_life_survive_an_outage(far: Spool, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.client.upload.UPLOAD_SIGN_S", 0.01)
    go_on, began = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[dict[str, object]]:
        yield next(people(1))
        began.set()
        await go_on.wait()
        yield next(people(1, 1))

    task = asyncio.create_task(far.send_batch(NEWS, slow(), key="monday"))
    await began.wait()
    line.cut("load", after=False, for_good=True)

    async def cut() -> bool:
        return line.away

    await until_async(cut, "the line is cut")
    connection = await far.connection()
    with pytest.raises(SpoolUnavailable):
        await connection.command("PING")
    line.away = False
    before = line.seen.count("load")

    async def again() -> bool:
        return line.seen.count("load") > before

    await until_async(again, "a sign of life after the outage")
    go_on.set()
    assert (await task).added == 2
