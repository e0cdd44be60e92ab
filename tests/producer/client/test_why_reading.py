"""`Spool.why` on a real spool: what a reference means, and that what Redis holds becomes the right sentences."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from mailspool import Batch, Message, NotFound, Spool
from mailspool.client.why import reading
from mailspool.contract.moves import Leased
from mailspool.contract.routenotes import Slowed
from tests.support.hand import Hand

NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Dear {{ name }}\n")


async def queue(spool: Spool, count: int, **common: object) -> Batch:
    rows = [{"email": f"u{n}@y{n % 3}.test", "name": f"Anna {n}"} for n in range(1, count + 1)]
    return await spool.send_batch(NEWS, rows, **common)  # type: ignore[arg-type]  # the common arguments


async def codes(spool: Spool, ref: str | None) -> list[str]:
    return [cause.code for cause in (await spool.why(ref)).causes]


async def test_what_a_reference_means(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3, key="monday-1")
    await hand.beat()
    for ref, kind, about in (
        (None, "spool", "spool"),
        (batch.id, "batch", batch.id),
        (batch.id[:6], "batch", batch.id),
        ("key:monday-1", "batch", batch.id),
        (" last ", "batch", batch.id),
        (f"{batch.id}-2", "message", f"{batch.id}-2"),
        ("main", "relay", "main"),
        ("Y2.test", "domain", "y2.test"),
        ("U2@y2.test", "domain", "u2@y2.test"),
    ):
        why = await spool.why(ref)
        assert (why.kind, why.about) == (kind, about), ref


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nosuch", r'no batch "nosuch"'),
        ("nosuch-7", r'no batch "nosuch"'),
        ("no..test", r'"no..test" is no batch, message or relay, and no domain: two dots in a row'),
        ("key:nosuch", r'no batch with the key "nosuch"'),
    ],
)
async def test_a_reference_that_means_nothing(spool: Spool, ref: str, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        await spool.why(ref)


async def test_a_message_that_there_is_not(spool: Spool) -> None:
    batch = await queue(spool, 3)
    with pytest.raises(NotFound, match=f'no message "{batch.id}-4": its rows are 1 to 3\\.'):
        await spool.why(f"{batch.id}-4")


async def test_replies_are_grouped_with_the_chunks_own_time(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, {3: "deferred", 5: "deferred", 205: "deferred", 7: "failed"}, delay_ms=3_600_000)
    await hand.beat()
    why = await spool.why(batch.id)
    assert why.next_try is not None
    (told,) = why.waiting_for
    assert told.startswith("3 messages wait after 450 4.2.0 greylisted by main, next try ")
    assert told.endswith(f"{why.next_try.astimezone():%H:%M}.")
    assert why.next_try == (await batch.status()).next_try
    later_ms = round(why.next_try.timestamp() * 1000) + 3_600_000  # a chunk goes as a whole, not before its due
    connection = await spool.connection()
    for k in (0, 2):
        await connection.command("ZADD", connection.keys.due(batch.id), later_ms, k)
    (cause,) = [cause for cause in (await spool.why(batch.id)).causes if cause.code == "reply"]
    assert cause.until == why.next_try + timedelta(hours=1)
    for k in (0, 2):
        await connection.command("ZADD", connection.keys.due(batch.id), later_ms - 3_600_000, k)
    one = await spool.why(f"{batch.id}-5")
    assert one.causes[0].words.startswith("Try 1 at ")
    assert one.next_try == why.next_try
    assert (await spool.why(f"{batch.id}-7")).causes[0].words.startswith("It failed ")
    assert await codes(spool, f"{batch.id}-8") == ["done"]


async def test_replies_are_counted_in_a_bounded_number_of_chunks(
    spool: Spool, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await queue(spool, 450)
    await hand.work(batch.id, dict.fromkeys(range(1, 451, 100), "deferred"))
    await hand.beat()
    monkeypatch.setattr(reading, "_CHUNKS", 2)
    assert "Replies were counted in 2 of its 5 chunks that hold any." in str(await spool.why(batch.id))
    bound = (await spool.why("y1.test")).causes[-1].words
    assert bound.startswith("Looked at 2 of 5 chunks with replies in 1 of 1 live batch.")
    other = await queue(spool, 150)
    await hand.work(other.id, {1: "deferred", 101: "deferred"})
    bound = (await spool.why("y1.test")).causes[-1].words
    assert bound.startswith("Looked at 2 of 7 chunks with replies in 1 of 2 live batches.")


async def test_people_dates_and_workers(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    assert await codes(spool, batch.id) == ["no_worker", "expiry"]
    await batch.hold()
    await spool.pause()
    await spool.pause("bulk")
    assert await codes(spool, batch.id) == ["held", "paused", "paused", "no_worker", "expiry"]
    assert (await codes(spool, None))[:2] == ["paused", "paused"]
    await spool.resume()
    await spool.resume("bulk")
    await batch.release()
    later = await queue(spool, 3, send_at=datetime.now().astimezone() + timedelta(hours=1))
    pinned = await queue(spool, 3, relay="main")
    await Hand(hand.connection, "other", ("eu",)).beat()
    assert await codes(spool, later.id) == ["send_at", "expiry"]
    assert await codes(spool, pinned.id) == ["no_worker", "expiry"]
    await spool.pause_relay("eu")
    assert await codes(spool, batch.id) == ["paused", "expiry"]
    assert await codes(spool, "eu") == ["paused"]
    await batch.cancel()
    assert (await codes(spool, batch.id), (await spool.why(batch.id)).waiting_for) == (["done"], ())


async def test_held_by_the_breaker(spool: Spool) -> None:
    batch = await queue(spool, 3)
    await batch.hold()
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.batch(batch.id), "held_why", "breaker: 31 of 100 bounced")
    assert (await spool.why(batch.id)).waiting_for[0] == "3 mails are held by the breaker: 31 of 100 bounced."
    assert (await batch.status()).waiting_for == "held by the breaker: 31 of 100 bounced"


async def test_in_flight_with_a_worker_that_lives_and_one_that_is_silent(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    connection = await spool.connection()
    now_ms = await hand.beat()
    await connection.moves.feed("bulk", 10_000, now_ms=now_ms + 2_000)
    runs = await connection.fields(connection.keys.run(batch.id))
    for k, worker in (("0", "hand"), ("1", "ghost")):
        gen = int(runs[k].split(":")[1])
        assert isinstance(await connection.moves.lease(batch.id, int(k), gen, f"{worker}.ab12", ["main"]), Leased)
    flying, silent, given = (await spool.why(batch.id)).causes[:3]
    assert (flying.code, flying.mails) == ("in_flight", 100)
    assert flying.words.startswith("1 chunk in flight now with 1 worker, leased until ")
    assert (silent.code, silent.mails) == ("lost_worker", 100)
    assert "is silent for 15 s or more; taken back at " in silent.words
    assert given.words == "1 chunk is given out and not begun yet."
    assert (await spool.why(f"{batch.id}-17")).causes[0].words.startswith("Its chunk is with worker hand, leased until")
    assert await codes(spool, f"{batch.id}-117") == ["lost_worker", "expiry"]


async def test_a_turn_behind_others(spool: Spool, hand: Hand) -> None:
    await hand.beat(slots=0)  # nothing is fed of its own accord: four chunks fill the window
    first, second = await queue(spool, 650), await queue(spool, 650)
    connection = await spool.connection()
    await Hand(connection, "one").beat(slots=1)
    now_ms = await hand.beat(slots=0)
    await connection.moves.feed("bulk", 60_000, now_ms=now_ms + 2_000)
    seen = [str(await spool.why(batch.id)) for batch in (first, second)]
    assert sum("behind 1 batch of its class" in words for words in seen) == 1
    assert all("the workers have all they take at once (4 chunks)" in words for words in seen)
    words = str(await spool.why(f"{second.id}-640"))
    assert "It waits for its turn behind " in words
    assert " of its batch" in words


async def test_a_domain_and_an_address(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    other = await queue(spool, 3)
    await hand.work(batch.id, {3: "deferred", 6: "deferred", 9: "uncertain", 12: "failed", 4: "deferred"})
    await other.hold()
    await hand.beat()
    why = await spool.why("y0.test")
    assert [(cause.code, cause.mails) for cause in why.causes[:3]] == [
        ("reply", 2), ("uncertain", 1), ("failed", 1),
    ]  # fmt: skip
    assert all(batch.id in cause.words for cause in why.causes[:3])
    assert f"1 message is uncertain (in {batch.id}): a person must decide." in str(await spool.why())
    assert [(cause.code, cause.mails) for cause in (await spool.why("U3@y0.test")).causes] == [
        ("reply", 1),
    ]  # fmt: skip
    assert (await spool.why("elsewhere.test")).causes[0].words.startswith("No mail to elsewhere.test waits for")
    await batch.hold()
    held = await spool.why("y1.test")
    assert [cause.code for cause in held.causes] == ["reply", "batch"]
    assert held.next_try is None
    await queue(spool, 3)
    assert (await spool.why("y1.test")).causes[-1].words == "3 mails were never tried yet; some may go there."


async def test_senders_that_a_relay_does_not_take(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    now_ms = await hand.beat()
    connection = await spool.connection()
    key = connection.keys.route("main")
    told = {"@x.test": f"{now_ms + 3_600_000} 550 SPF", "@other.test": f"{now_ms + 9_000} 550", "@y.test": "1 over"}
    for who, asleep in told.items():
        await connection.command("HSET", key, f"sender:{who}", asleep)
    assert [cause.words for cause in (await spool.why(batch.id)).causes if cause.code == "sender"] == [
        cause.words.replace("It takes", "The relay main takes")
        for cause in (await spool.why("main")).causes
        if "x.test" in cause.words
    ]
    assert await codes(spool, "main") == ["sender", "sender"]
    (listed,) = [found for found in await spool.relays() if found.name == "main"]
    assert listed.held_senders == ("other.test: 550", "x.test: 550 SPF")
    await connection.command("HSET", key, "slow", Slowed(now_ms, now_ms + 60_000, 2, None, "421 less").encode())
    assert await codes(spool, "main") == ["sender", "sender", "slow"]
    await connection.command("HSET", key, "slow", "{broken")
    for who in told:
        await connection.command("HSET", key, f"sender:{who}", "broken")
    assert await codes(spool, "main") == ["ok"]


async def test_a_rate_that_is_used_up(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    now_ms = await hand.beat()
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.batch(batch.id), "rate_until", now_ms + 60_000)
    assert "rate" in await codes(spool, batch.id)
    assert str(await spool.why()) == f"{batch.id}: 3 mails wait for the rate of its relay."
    await connection.command("HSET", connection.keys.batch(batch.id), "rate_until", 1)
    assert await codes(spool, None) == ["ok"]


async def test_broken_records_are_told(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 3)
    await hand.work(batch.id, {1: "deferred"})
    await hand.beat()
    connection = await spool.connection()
    stored = await connection.command("HGET", connection.keys.out(batch.id, 0), 0)
    assert isinstance(stored, bytes)
    await connection.command("HSET", connection.keys.out(batch.id, 0), 0, b"d" + b"\x00" * 30)
    with pytest.raises(NotFound, match=r"cannot be read"):
        await spool.why(batch.id)
    assert (await spool.why("y1.test")).causes[0].code == "ok"
    await connection.command("HSET", connection.keys.out(batch.id, 0), 0, stored)


async def test_why_changes_nothing(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 250)
    await hand.work(batch.id, {3: "deferred"})
    connection = await spool.connection()

    async def content() -> dict[bytes, object]:
        names = await connection.command("KEYS", "*")
        assert isinstance(names, list)
        return {name: await connection.command("DUMP", name) for name in names}

    before = await content()
    for ref in (None, batch.id, f"{batch.id}-3", f"{batch.id}-1", "y1.test", "main"):
        await spool.why(ref)
    assert await content() == before
