"""`key`: what "run it again" means. Each row of the contract, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from mailspool import Attachment, Batch, InputError, KeyConflict, Message, Settings, Spool
from tests.support.hand import Hand
from tests.support.waiting import until_async

INVOICE = Message(from_="Acme <billing@acme.test>", subject="Invoice {{ number }}", text="Dear {{ name }}\n")
KEY = "invoices-2026-11"


def people(*numbers: int) -> list[dict[str, object]]:
    return [{"email": f"u{n}@x.test", "name": f"Anna {n}", "number": n} for n in numbers]


async def receivers(batch: Batch) -> list[str]:
    return [message.recipient async for message in batch.messages()]


async def test_a_new_key_makes_a_batch(spool: Spool) -> None:
    batch = await spool.send_batch(INVOICE, people(*range(250)), key=KEY, name="invoices")
    assert (batch.created, batch.added, batch.skipped_known) == (True, 250, 0)
    assert (batch.key, batch.name, batch.class_) == (KEY, "invoices", "bulk")
    assert (await batch.status()).total == batch.added


async def test_without_a_key_every_call_is_a_new_batch(spool: Spool) -> None:
    first, second = [await spool.send_batch(INVOICE, people(1)) for _ in range(2)]
    assert first.id != second.id
    assert second.created


async def test_the_same_again_gives_the_same_batch_and_adds_nothing(spool: Spool) -> None:
    first = await spool.send_batch(INVOICE, people(*range(250)), key=KEY, name="invoices")
    again = await spool.send_batch(INVOICE, people(*range(250)), key=KEY)
    assert (again.id, again.created, again.added, again.skipped_known) == (first.id, False, 0, 250)
    assert (again.name, again.notices) == ("invoices", ())
    assert (await again.status()).total == 250


async def test_the_same_again_after_it_is_done(spool: Spool, hand: Hand) -> None:
    first = await spool.send_batch(INVOICE, people(1, 2), key=KEY)
    await hand.work(first.id)
    before = await first.status()
    again = await spool.send_batch(INVOICE, people(1, 2), key=KEY)
    after = await again.status()
    assert before.done
    assert after == before


async def test_added_rows_are_queued_and_wake_a_done_batch(spool: Spool, hand: Hand) -> None:
    first = await spool.send_batch(INVOICE, people(1, 2), key=KEY)
    await hand.work(first.id)
    done = await first.status()
    again = await spool.send_batch(INVOICE, people(2, 3, 1, 4), key=KEY)
    assert (again.id, again.created, again.added, again.skipped_known) == (first.id, False, 2, 2)
    status = await again.status()
    assert (status.state, status.total, status.sent, status.queued) == ("active", 4, 2, 2)
    assert status.expires_at is not None
    assert done.expires_at is not None
    assert status.expires_at > done.expires_at
    assert sorted(await receivers(again)) == ["u1@x.test", "u2@x.test", "u3@x.test", "u4@x.test"]


async def test_a_list_without_a_row_is_known_too(spool: Spool) -> None:
    first = await spool.send_batch(INVOICE, people(1), key=KEY)
    again = await spool.send_batch(INVOICE, [], key=KEY)
    assert (again.id, again.created, again.added) == (first.id, False, 0)


async def test_two_callers_at_once_send_the_union_once(spool: Spool, settings: Settings) -> None:
    gate = asyncio.Barrier(2)

    async def rows(*numbers: int) -> AsyncIterator[dict[str, object]]:
        for row in people(*numbers):
            yield row

    async def caller(numbers: range) -> Batch:
        async with Spool(settings) as mine:
            await gate.wait()
            return await mine.send_batch(INVOICE, rows(*numbers), key=KEY)

    one, two = await asyncio.gather(caller(range(300)), caller(range(200, 500)))
    assert one.id == two.id
    assert {one.created, two.created} == {True, False}
    assert one.added + two.added == 500
    assert one.skipped_known + two.skipped_known == 100
    found = await receivers(await spool.batch(one.id))
    assert len(found) == len(set(found)) == 500


async def test_the_second_caller_waits_for_the_first(spool: Spool) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[dict[str, object]]:
        began.set()
        await go_on.wait()
        yield people(1)[0]

    first = asyncio.create_task(spool.send_batch(INVOICE, slow(), key=KEY))
    await began.wait()
    second = asyncio.create_task(spool.send_batch(INVOICE, people(1, 2), key=KEY))
    done, _ = await asyncio.wait({second}, timeout=0.5)
    assert not done
    go_on.set()
    assert (await first).added == 1
    assert ((await second).added, (await second).skipped_known) == (1, 1)


async def test_who_was_silent_for_15_s_loses_the_key(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.client.upload.UPLOAD_SIGN_S", 3600)
    connection = await spool.connection()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def silent() -> AsyncIterator[dict[str, object]]:
        began.set()
        await go_on.wait()
        yield people(1)[0]

    first = asyncio.create_task(spool.send_batch(INVOICE, silent(), key=KEY))
    await began.wait()
    (upload,) = await connection.strings("ZRANGE", connection.keys.loading, 0, -1)
    seen = await connection.command("ZSCORE", connection.keys.loading, upload)
    await connection.command("ZADD", connection.keys.loading, str(float(str(seen)) - 15_000), upload)
    assert (await spool.send_batch(INVOICE, people(2), key=KEY)).added == 1
    go_on.set()
    with pytest.raises(KeyConflict, match=f'silent for 15 s, and another one with the key "{KEY}" took its place'):
        await first


async def test_a_slow_list_does_not_lose_its_key(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.client.upload.UPLOAD_SIGN_S", 0.01)
    connection = await spool.connection()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def silent() -> AsyncIterator[dict[str, object]]:
        began.set()
        await go_on.wait()
        yield people(1)[0]

    task = asyncio.create_task(spool.send_batch(INVOICE, silent(), key=KEY))
    await began.wait()
    (upload,) = await connection.strings("ZRANGE", connection.keys.loading, 0, -1)
    await connection.command("ZADD", connection.keys.loading, 1, upload)

    async def seen() -> bool:
        return float(str(await connection.command("ZSCORE", connection.keys.loading, upload))) > 1

    await until_async(seen, "a sign of life")
    go_on.set()
    assert (await task).added == 1


async def test_other_terms_are_named_and_the_first_stand(spool: Spool) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    first = await spool.send_batch(INVOICE, people(1), key=KEY, name="first", send_at=at)
    again = await spool.send_batch(
        INVOICE, people(1, 2), key=KEY, name="second", class_="transactional", expires_after=timedelta(hours=2)
    )
    assert again.notices == ("class", "send_at", "expires_after", "name")
    assert (again.class_, again.name) == ("bulk", "first")
    status = await again.status()
    assert (status.class_, status.name, status.total, status.state) == ("bulk", "first", 2, "scheduled")
    assert status.expires_at == (await first.status()).expires_at


async def test_the_same_expiry_is_not_named_after_a_second_life(spool: Spool, hand: Hand) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    for number in (1, 2, 3):
        batch = await spool.send_batch(INVOICE, people(*range(number)), key=KEY, expires_at=until)
        assert batch.notices == ()
        await hand.work(batch.id)


class _Later(datetime):
    """A clock that is two minutes ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(minutes=2)


async def test_dates_that_are_over_are_not_looked_at_again(
    spool: Spool, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    batch = await spool.send_batch(INVOICE, people(1), key=KEY, expires_at=soon)
    await hand.work(batch.id)
    monkeypatch.setattr("mailspool.spool.datetime", _Later)
    again = await spool.send_batch(INVOICE, people(1), key=KEY, expires_at=soon)
    assert (again.id, again.added) == (batch.id, 0)
    with pytest.raises(InputError, match=r"is over"):
        await spool.send_batch(INVOICE, people(1), key="another", expires_at=soon)


async def test_a_key_that_never_got_its_batch_does_not_excuse_a_past_date(spool: Spool) -> None:
    connection = await spool.connection()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    began = asyncio.Event()

    async def endless() -> AsyncIterator[dict[str, object]]:
        began.set()
        await asyncio.Event().wait()
        yield {}

    task = asyncio.create_task(spool.send_batch(INVOICE, endless(), key=KEY))
    await began.wait()
    assert await connection.command("EXISTS", connection.keys.key(KEY)) == 1
    with pytest.raises(InputError, match=r"in the past"):
        await spool.send_batch(INVOICE, people(1), key=KEY, send_at=yesterday)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_batch_refuses(spool: Spool) -> None:
    batch = await spool.send_batch(INVOICE, people(1), key=KEY)
    await batch.cancel()
    with pytest.raises(KeyConflict, match=rf'key "{KEY}" belongs to batch {batch.id} of .*, which is cancelled'):
        await spool.send_batch(INVOICE, people(1, 2), key=KEY)
    assert (await batch.status()).total == 1


async def test_an_expired_batch_refuses(spool: Spool) -> None:
    batch = await spool.send_batch(INVOICE, people(1), key=KEY, expires_after=timedelta(milliseconds=1))
    with pytest.raises(KeyConflict, match=r"which is expired"):
        await spool.send_batch(INVOICE, people(1, 2), key=KEY)
    assert (await batch.status()).total == 1


async def test_a_known_row_with_other_values_is_skipped(spool: Spool) -> None:
    await spool.send_batch(INVOICE, people(1), key=KEY)
    again = await spool.send_batch(INVOICE, [{"email": "U1@X.test", "name": "Berta", "number": 7}], key=KEY)
    assert (again.added, again.skipped_known) == (0, 1)


async def test_row_key_tells_rows_of_one_receiver_apart(spool: Spool) -> None:
    rows = [{"email": "u1@x.test", "name": "Anna", "number": n} for n in (1, 2)]
    first = await spool.send_batch(INVOICE, rows, key=KEY, row_key="number")
    again = await spool.send_batch(INVOICE, [*rows, {**rows[0], "number": 3}], key=KEY, row_key="number")
    assert (first.added, again.added, again.skipped_known) == (2, 1, 2)


async def test_all_without_a_row_key_compares_all_values(spool: Spool) -> None:
    rows = [{"email": "u1@x.test", "name": "Anna", "number": n} for n in (1, 2)]
    first = await spool.send_batch(INVOICE, rows, key=KEY, duplicates="all")
    again = await spool.send_batch(INVOICE, [*rows, {**rows[0], "number": 3}], key=KEY, duplicates="all")
    assert (first.added, again.added, again.skipped_known) == (2, 1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subject": "Reminder {{ number }}"}, "another subject"),
        ({"text": "Other", "html": "<p>Other</p>"}, "another text and html"),
        ({"from_": "Acme <other@acme.test>"}, "another from"),
        ({"attachments": [Attachment(b"%PDF", name="terms.pdf")]}, "another attachments"),
    ],
)
async def test_other_content_is_a_conflict(spool: Spool, change: dict[str, object], words: str) -> None:
    batch = await spool.send_batch(INVOICE, people(1), key=KEY)
    with pytest.raises(KeyConflict, match=words) as caught:
        await spool.send_batch(INVOICE.replace(**change), people(1, 2), key=KEY)
    assert f'key "{KEY}" belongs to batch {batch.id} of ' in str(caught.value)
    assert "Nothing was queued. Use a new key" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert (await batch.status()).total == 1


async def test_a_single_mail_keeps_the_same_contract(spool: Spool, hand: Hand) -> None:
    mail = Message(to="ali@x.test", subject="Reset", text="1234\n")
    first = await spool.send(mail, key="reset:1")
    again = await spool.send(mail, key="reset:1")
    assert (first.created, first.added, again.id) == (True, 1, first.id)
    assert (again.created, again.added, again.skipped_known, again.class_) == (False, 0, 1, "transactional")
    with pytest.raises(KeyConflict, match=r"another text"):
        await spool.send(mail.replace(text="5678\n"), key="reset:1")
    with pytest.raises(KeyConflict, match=r"another to"):
        await spool.send(mail, key="reset:1", to="sara@x.test")
    await hand.work(first.id, class_="transactional")
    assert (await first.status()).sent == 1


async def test_a_purged_batch_frees_its_key(spool: Spool, hand: Hand) -> None:
    batch = await spool.send_batch(INVOICE, people(1), key=KEY)
    await hand.work(batch.id)
    connection = await spool.connection()
    await connection.command("ZADD", connection.keys.retire, 1, batch.id)
    while await connection.moves.purge(batch.id) == "MORE":
        pass
    again = await spool.send_batch(INVOICE, people(1), key=KEY)
    assert again.created
    assert again.id != batch.id
