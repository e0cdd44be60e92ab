"""Reading a spool: batches by id, prefix, key and `last`; the latest ones; the whole at a glance."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from mailspool import InputError, Message, NotFound, Spool
from mailspool.contract.codec import decode_spec, encode_spec
from tests.support.hand import Hand

HELLO = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello", text="Salaam!\n")
NEWS = Message(from_="Shop <shop@x.test>", subject="News for {{ name }}", text="Dear {{ name }}\n")
ROWS = [{"email": "ali@x.test", "name": "Ali"}, {"email": "sara@x.test", "name": "Sara"}]


async def test_a_batch_is_found_by_id_prefix_key_and_last(spool: Spool) -> None:
    with pytest.raises(NotFound, match=r"no batches in .*spool yet"):
        await spool.batch("last")
    first = await spool.send(HELLO, key="reset:1", name="reset")
    second = await spool.send_batch(NEWS, ROWS, name="news")
    assert (await spool.batch("last")).id == second.id
    found = await spool.batch("key:reset:1")
    assert (found.id, found.name, found.key, found.class_) == (first.id, "reset", "reset:1", "transactional")
    assert (found.created, found.added) == (False, 0)
    assert (await spool.batch(first.id)).id == first.id
    assert (await spool.batch(first.id[:7])).id == first.id
    with pytest.raises(
        NotFound, match=rf'no batch "{first.id[:3]}" in .*spool\. Latest: {second.id} \(news, \d\d:\d\d\)\.'
    ):
        await spool.batch(first.id[:3])
    with pytest.raises(NotFound, match=r'no batch with the key "reset:2"'):
        await spool.batch("key:reset:2")
    for ref in ("", "bbbb\xff", "*", first.id + "0", "b" * 1000):
        with pytest.raises(NotFound):
            await spool.batch(ref)


async def test_the_last_of_a_class(spool: Spool) -> None:
    news = await spool.send_batch(NEWS, ROWS)
    with pytest.raises(NotFound, match=r"no transactional batch in .*spool"):
        await spool.batch("last:transactional")
    reset = await spool.send(HELLO)
    found = [(await spool.batch(ref)).id for ref in ("last", "last:transactional", "last:bulk")]
    assert found == [reset.id, reset.id, news.id]
    with pytest.raises(NotFound, match=r'no batch "last:fast" .* Did you mean last:transactional or last:bulk\?'):
        await spool.batch("last:fast")


async def test_a_prefix_of_several_is_told(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter([f"b00000000{n}" for n in range(5)])
    monkeypatch.setattr("mailspool.client.single.new_batch_id", lambda: next(names))
    for _ in range(5):
        await spool.send(HELLO)
    with pytest.raises(
        NotFound, match=r'"b0000" is the beginning of several batches: b000000000, b000000001, b000000002 ...'
    ):
        await spool.batch("b0000")


async def test_a_name_that_is_taken_is_not_given_twice(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are drawn by chance: a second mail of the same name would take the place of the first."""
    names = iter(["bsame", "bsame", "bother", "bsame", "bthird"])
    for user in ("single", "upload"):
        monkeypatch.setattr(f"mailspool.client.{user}.new_batch_id", lambda: next(names))
    other = HELLO.replace(to="other@x.test")
    made = [await spool.send(HELLO), await spool.send(other), await spool.send_batch(NEWS, ROWS)]
    assert [batch.id for batch in made] == ["bsame", "bother", "bthird"]
    assert [m.recipient async for m in made[1].messages()] == ["other@x.test"]
    assert [m.recipient async for m in made[0].messages()] != ["other@x.test"]


async def test_batches_come_latest_first(spool: Spool) -> None:
    made = [(await spool.send(HELLO)).id for _ in range(5)]
    connection = await spool.connection()
    for at_ms, batch in enumerate(made, 1):
        await connection.command("ZADD", connection.keys.batches, at_ms, batch)
    assert [status.id async for status in spool.batches()] == made[::-1]
    assert [status.id async for status in spool.batches(2)] == made[:2:-1]
    for nothing in (0, -1):
        assert [status async for status in spool.batches(nothing)] == []


async def test_the_whole_spool(spool: Spool, hand: Hand) -> None:
    empty = await spool.status()
    assert (empty.workers, empty.queued, empty.oldest_s, empty.routes, empty.batches) == (0, 0, None, (), ())
    assert empty.durability == "append-only, fsync always"
    batch = await spool.send_batch(NEWS, [{"email": f"u{n}@x.test", "name": "A"} for n in range(10)], class_="bulk")
    await hand.work(batch.id, {1: "deferred", 2: "failed", 3: "uncertain", 4: "suppressed"})
    await spool.send(HELLO)
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.route("main"), "state", "paused", "why", "535 no", "until", "1")
    status = await spool.status()
    assert (status.workers, status.queued, status.deferred, status.uncertain) == (1, 1, 1, 1)
    assert [(route.name, route.state, route.why) for route in status.routes] == [("main", "paused", "535 no")]
    assert [found.total for found in status.batches] == [1, 10]
    assert status.oldest_s is not None
    assert str(status).endswith("1 worker; 1 queued, 1 deferred, 1 uncertain; relay main paused: 535 no")


async def test_the_oldest_is_found_beyond_the_latest_batches(spool: Spool) -> None:
    first = await spool.send(HELLO)
    for _ in range(25):
        await (await spool.send(HELLO)).cancel()
    connection = await spool.connection()
    created = int((await connection.fields(connection.keys.batch(first.id)))["created"])
    await connection.command("HSET", connection.keys.batch(first.id), "created", created - 3_600_000)
    oldest_s = (await spool.status()).oldest_s
    assert oldest_s is not None
    assert oldest_s >= 3_600


async def test_a_relay_that_nobody_has_is_a_typing_error(spool: Spool, hand: Hand) -> None:
    assert (await spool.send(HELLO, relay="later")).added == 1  # no worker, no relays of our own: nobody knows
    await hand.beat()
    with pytest.raises(InputError, match=r'no relay "mian": the running workers have main. Nothing was queued.'):
        await spool.send(HELLO, relay="mian")
    batch = await spool.send(HELLO, relay="main")
    assert (await batch.status()).waiting_for is None


@pytest.mark.parametrize(
    "relays", [{"relays": {"main": {"url": "smtp://u@mail.x.test"}}}, {"relay_url": "smtp://u@mail.x.test"}]
)
async def test_without_workers_our_own_settings_know_the_relays(spool: Spool, relays: dict[str, object]) -> None:
    known = Spool(data_dir=spool.settings.data_dir, **relays)
    async with known:  # its password is missing: whoever only queues needs none
        with pytest.raises(InputError, match=r'no relay "mian": the settings have main'):
            await known.send(HELLO, relay="mian")
        assert (await known.send(HELLO, relay="main")).added == 1


@pytest.mark.parametrize(
    "spoil",
    [
        ("HSET", "{B}", "n_sent", "x"),
        ("HSET", "{B}", "total", b"\xff"),
        ("HSET", "{B}", "created", "9" * 30),
        ("HSET", "{B}", "expires", "9" * 20),
        ("HDEL", "{B}", "state"),
        ("HDEL", "{B}", "class"),
        ("RENAME", "ms:ids", "{B}"),
    ],
)
async def test_one_broken_record_hides_no_other(spool: Spool, spoil: tuple[str | bytes, ...]) -> None:
    good, broken = await spool.send(HELLO), await spool.send(HELLO)
    connection = await spool.connection()
    key = connection.keys.batch(broken.id)
    await connection.command(*(word.format(B=key) if isinstance(word, str) else word for word in spoil))
    status = await spool.status()
    assert ([found.id for found in status.batches], status.unreadable) == ([good.id], 1)
    assert str(status).endswith("; 1 batch unreadable")
    assert [found.id async for found in spool.batches()] == [good.id]
    with pytest.raises(NotFound, match=f"batch {broken.id} in .* cannot be read") as caught:
        await broken.status()
    assert caught.value.code == "unreadable_batch"
    await connection.command("FLUSHALL")


async def test_a_key_that_is_no_text_is_told_in_words(spool: Spool) -> None:
    batch = await spool.send(HELLO, key="k")
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.batch(batch.id), "key", b"\xff")
    found = await spool.batch(batch.id)
    with pytest.raises(NotFound, match="cannot be read"):
        await found.status()
    await connection.command("FLUSHALL")


async def test_a_batch_of_a_later_release_is_told_in_words(spool: Spool) -> None:
    batch = await spool.send(HELLO)
    connection = await spool.connection()
    key = connection.keys.spec(batch.id)
    spec = decode_spec(cast("bytes", await connection.command("GET", key)))
    await connection.command("SET", key, encode_spec(msgspec.structs.replace(spec, v=99)))
    with pytest.raises(NotFound, match="a later release's") as caught:
        await batch.message(1)
    assert caught.value.hint == "a batch's spec is of version 99, which this release does not read"


async def test_a_total_that_is_no_number_counts_nothing(spool: Spool) -> None:
    await spool.send(HELLO)
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.totals("transactional"), "n_sent", "x", "total", b"5\xb2")
    assert (await spool.status()).queued == 0
    await connection.command("FLUSHALL")
