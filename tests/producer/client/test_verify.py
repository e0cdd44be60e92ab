"""`verify` finds what somebody broke by hand, repairs what can be, and calls nothing wrong that only moves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailspool import Batch, Message, Settings, Spool
from mailspool.client.connection import Connection
from mailspool.client.terms import Terms
from mailspool.client.verify import VerifyReport, batches, verify
from mailspool.client.verify import report as reports
from mailspool.client.verify.judge import judge_chunk
from mailspool.contract.codec import encode_row, encode_spec
from mailspool.contract.inspection import Inspection
from mailspool.contract.moves import Leased, RedisCaller
from mailspool.contract.records import Row, Spec
from mailspool.contract.scripts import Script
from tests.support.embedded import plain_server
from tests.support.hand import Hand

NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Dear\n")
HELLO = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello", text="Salaam!\n")


def people(count: int) -> list[str]:
    return [f"u{n}@x.test" for n in range(count)]


@dataclass
class Mixed:
    """A spool with batches in every state; `done` and `live` have outcomes of every kind."""

    spool: Spool
    connection: Connection
    done: str
    live: str
    held: str
    cancelled: str

    async def redis(self, *words: str | int) -> object:
        names = {
            "ms:": f"{self.connection.keys.prefix}:",
            "DONE": self.done,
            "LIVE": self.live,
            "HELD": self.held,
            "CANCELLED": self.cancelled,
        }
        return await self.connection.link.redis.execute_command(  # type: ignore[no-untyped-call] # untyped in redis-py
            *(_named(word, names) for word in words)
        )

    async def verify(self, *, repair: bool = False) -> VerifyReport:
        return await verify(self.connection, repair=repair)


def _named(word: str | int, names: dict[str, str]) -> str | int:
    for name, batch in names.items() if isinstance(word, str) else ():
        word = str(word).replace(name, batch)
    return word


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all; each test has a prefix of its own, which is written `ms:` below."""
    with plain_server(tmp_path_factory.mktemp("verify"), "--save", "") as socket:
        yield socket


_prefixes = itertools.count()


@pytest.fixture
async def mixed(home: Path, server: Path) -> AsyncIterator[Mixed]:
    mine = Settings(redis_url=f"unix://{server}", durability="none", key_prefix=f"v{next(_prefixes)}")
    async with Spool(mine) as spool:
        yield await mixed_spool(spool)


async def mixed_spool(spool: Spool) -> Mixed:
    connection = await spool.connection()
    hand = Hand(connection)
    live = await spool.send_batch(NEWS, people(250), key="live", class_="transactional")
    await hand.work(live.id, {1: "failed", 150: "deferred", 151: "deferred"}, class_="transactional")
    done = await spool.send_batch(NEWS, people(120), key="done")
    await hand.work(done.id, {1: "failed", 2: "uncertain", 3: "suppressed"})
    held = await spool.send_batch(NEWS, people(210), hold=True)
    cancelled = await spool.send_batch(NEWS, people(10))
    await cancelled.cancel()
    await spool.send(HELLO)
    return Mixed(spool, connection, done.id, live.id, held.id, cancelled.id)


def codes(report: VerifyReport) -> set[str]:
    return {one.what for one in report.wrong}


async def test_a_sound_spool(mixed: Mixed) -> None:
    report = await mixed.verify()
    assert report == VerifyReport(5, 250 + 120 + 210 + 10 + 1, ())
    assert report.ok
    assert report.to_dict() == {
        "batches": 5, "messages": 591, "wrong": [], "more": 0, "left": 0, "unproved": [],
    }  # fmt: skip


async def test_an_empty_spool(spool: Spool) -> None:
    assert await verify(await spool.connection(), repair=True) == VerifyReport(0, 0, ())


REPAIRED: list[tuple[str, tuple[str, ...], set[str]]] = [
    ("a counter", ("HSET ms:batch:DONE n_sent 7",), {"counter", "class_total"}),
    ("a counter that is no number", ("HSET ms:batch:LIVE n_deferred many",), {"counter", "class_total"}),
    ("a counter that Lua takes for a number", ("HSET ms:batch:LIVE n_deferred nan",), {"counter", "class_total"}),
    ("the counter of a verdict", ("HSET ms:batch:CANCELLED n_cancelled 9",), {"counter", "class_total"}),
    ("a total", ("HINCRBY ms:batch:HELD total 5",), {"counter", "class_total"}),
    ("a class total", ("HINCRBY ms:totals:bulk n_failed 3",), {"class_total"}),
    ("class totals that are no numbers", ("HSET ms:totals:bulk n_failed nan n_sent x n_expired y",), {"class_total"}),
    ("class totals that are gone", ("DEL ms:totals:bulk",), {"class_total"}),
    ("an outcome that is gone", ("HDEL ms:out:DONE:0 5",), {"counter", "unfinished"}),
    ("a chunk in no place", ("ZREM ms:due:HELD 1",), {"stranded_chunk"}),
    ("the last chunk in no place", ("ZREM ms:due:LIVE 1",), {"stranded_chunk", "state", "turn"}),
    ("all chunks in no place", ("DEL ms:due:HELD",), {"stranded_chunk", "state"}),
    ("two places", ("HSET ms:run:HELD 0 fed:99",), {"two_places", "lease"}),
    ("a run without a lease", ("ZREM ms:due:HELD 0", "HSET ms:run:HELD 0 run:9:w.x"), {"lease"}),
    ("a fed chunk apart", ("ZREM ms:due:HELD 0", "HSET ms:run:HELD 0 fed:9", "ZADD ms:apart:bulk 1 HELD:0"), {"lease"}),
    ("a lease without a run", ("ZADD ms:flight:bulk 1 HELD:0",), {"lease", "stray"}),
    ("a lease of nothing", ("ZADD ms:apart:bulk 1 bnone:0",), {"stray"}),
    ("due at no time", ("ZADD ms:due:HELD inf 0",), {"never_due"}),
    ("due since ever, and no chunk", ("ZADD ms:due:HELD -inf 99999",), {"stray_chunk"}),
    ("a place of no chunk", ("ZADD ms:due:HELD 5 77",), {"stray_chunk"}),
    ("a run of no chunk", ("HSET ms:run:HELD 77 run:1:w",), {"stray_chunk"}),
    ("something due in a done batch", ("ZADD ms:due:DONE 5 0",), {"state"}),
    ("a claim of nobody", ("HSET ms:out:HELD:0 4 c00017000000000010", "SADD ms:odd:HELD 0"),
     {"claim", "counter"}),
    ("an outcome of no message", ("HSET ms:out:DONE:1 20 s00017000000000010",),
     {"stray_outcome", "counter"}),
    ("a chunk missing in odd", ("SREM ms:odd:DONE 0",), {"odd_index"}),
    ("a try in the year 2200", ("HSET ms:out:LIVE:1 49 d72582624000000010",), {"late_try"}),
    ("no deadline", ("ZREM ms:deadline LIVE",), {"index"}),
    ("no retirement", ("ZREM ms:retire DONE",), {"index"}),
    ("missing in batches", ("ZREM ms:batches DONE",), {"index"}),
    ("missing in ids", ("ZREM ms:ids LIVE",), {"index"}),
    ("a lost key", ("DEL ms:key:live",), {"key"}),
    ("no turn", ("ZREM ms:later:transactional LIVE",), {"turn"}),
    ("two turns", ("ZADD ms:open:transactional 5 LIVE",), {"turn"}),
    ("a turn in a hundred years", ("ZADD ms:later:transactional 5000000000000 LIVE",), {"turn"}),
    ("a turn of a held one", ("ZADD ms:open:bulk 5 HELD",), {"turn"}),
    ("a turn in the other class", ("ZADD ms:open:bulk 5 LIVE",), {"stray"}),
    ("closing, and nobody runs", ("HSET ms:batch:HELD state closing verdict cancelled", "ZREM ms:deadline HELD"),
     {"state"}),
    ("an upload that is none", ("HSET ms:batch:HELD upload u1",), {"upload"}),
    ("members of nothing", ("ZADD ms:batches 1 bnone", "ZADD ms:ids 0 bnone", "ZADD ms:retire 1 bnone",
     "ZADD ms:loading 1 unone"), {"stray"}),
    ("chunks of nobody", ("SET ms:chunk:bnone:0 x", "HSET ms:out:bnone:0 0 x", "SET ms:chunk:HELD:77 x"), {"orphan"}),
    ("parts of nobody", ("SET ms:spec:bnone x", "ZADD ms:due:bnone 1 0", "HSET ms:rows:bnone 0 1",
     "SADD ms:odd:bnone 0", "HSET ms:lost:bnone 0 1", "HSET ms:uploads:bnone u 1,0", "SADD ms:blobs:bnone x"),
     {"orphan"}),
    ("parts of no upload", ("HSET ms:upload:u9 batch bnone", "ZADD ms:up:due:u9 1 0", "SADD ms:ids:u8 x"), {"orphan"}),
    ("a batch that nobody loads", ("HSET ms:batch:bx state loading class bulk",), {"orphan"}),
    ("a key of nobody", ("SET ms:key:gone bnone",), {"orphan"}),
    ("an attachment of nobody", ("SET ms:blob:ab x", "SADD ms:blob:cd:refs bnone"), {"orphan"}),
    ("a job of nobody", ("SET arq:job:ms:bnone:0:1 x", "SET arq:retry:ms:DONE:0:77 1"), {"orphan"}),
]  # fmt: skip


@pytest.mark.parametrize(("commands", "expected"), [(c, e) for _, c, e in REPAIRED], ids=[n for n, _, _ in REPAIRED])
async def test_it_is_found_and_repaired(mixed: Mixed, commands: tuple[str, ...], expected: set[str]) -> None:
    before = await accounts(mixed)
    for command in commands:
        await mixed.redis(*command.split())
    found = await mixed.verify()
    assert codes(found) == expected
    assert not found.ok
    assert not any(one.repaired for one in found.wrong)
    repaired = await mixed.verify(repair=True)
    assert repaired.ok, [one for one in repaired.wrong if not one.repaired]
    assert codes(repaired), "looking alone has changed nothing"
    after = await accounts(mixed)
    if not {"unfinished", "state", "claim"} & expected:
        assert after == before


async def accounts(mixed: Mixed) -> dict[str, str]:
    return {status.id: str(status) async for status in mixed.spool.batches()}


LOST: list[tuple[str, str, set[str]]] = [
    ("rows", "DEL ms:chunk:HELD:0", {"lost_rows"}),
    ("other rows", "SET ms:chunk:HELD:0 hello", {"lost_rows"}),
    ("content", "DEL ms:spec:HELD", {"lost_content"}),
    ("a letter", "HSET ms:out:HELD:0 3 q00017000000000010", {"bad_outcome"}),
    ("a stranger", "SET ms:mine:x 1", {"stranger"}),
    ("a state", "HSET ms:batch:HELD state resting", {"broken_record"}),
]


@pytest.mark.parametrize(("command", "expected"), [(c, e) for _, c, e in LOST], ids=[n for n, _, _ in LOST])
async def test_what_is_lost_is_told_and_stays(mixed: Mixed, command: str, expected: set[str]) -> None:
    await mixed.redis(*command.split())
    report = await mixed.verify(repair=True)
    assert expected <= codes(report)
    assert not report.ok
    if command.startswith("SET ms:mine"):
        assert await mixed.redis("EXISTS", "ms:mine:x") == 1, "nobody knows whose it is"


@pytest.mark.parametrize("key", ["ms:batch:HELD", "ms:due:HELD", "ms:rows:HELD", "ms:out:HELD:1", "ms:run:HELD"])
async def test_a_key_of_another_type_stops_nothing(mixed: Mixed, key: str) -> None:
    await mixed.redis("DEL", key)
    await mixed.redis("SET", key, "hello")
    await mixed.redis("HSET", "ms:batch:DONE", "n_sent", 7)
    report = await mixed.verify(repair=True)
    assert "broken_record" in codes(report)
    assert [one.repaired for one in report.wrong if one.batch == mixed.done] == [True]


async def test_what_is_repaired_is_sent(mixed: Mixed) -> None:
    await mixed.redis("DEL", "ms:due:HELD")
    batch = await mixed.spool.batch(mixed.held)
    await batch.release()
    await mixed.verify(repair=True)
    await Hand(mixed.connection).work(batch.id)
    status = await batch.status()
    assert (status.sent, status.done) == (210, True)
    assert (await mixed.verify()).wrong == ()


async def test_other_prefixes_and_other_jobs_are_not_ours(mixed: Mixed) -> None:
    for name in ("ms2:chunk:bnone:0", "other", "arq:job:ms2:bnone:0:1", "arq:job:cron:x", "arq:job:ms:report"):
        await mixed.redis("SET", name, "x")
    assert (await mixed.verify(repair=True)).wrong == ()


@pytest.mark.parametrize("key", ["", "slow"])
async def test_an_upload_in_progress_is_nobodys_litter(spool: Spool, key: str) -> None:
    """Also one into a batch that is there already."""
    connection = await spool.connection()
    moves = connection.moves
    fields = Terms.make(
        spool.settings, class_="bulk", key=key or None, name=None, send_at=None, expires_after=None, expires_at=None,
        on_uncertain=None, relay=None, hold=True,
    ).fields("d")  # fmt: skip
    for n in range(2 if key else 1):
        begun = await moves.begin(
            f"b{n}", f"u{n}", key, encode_spec(Spec(v=1, kind="literal", from_="a@x.test")), fields
        )
        await moves.attach(begun.batch, f"u{n}", "ab", b"attached")
        for k in range(2):
            rows = [encode_row(Row(f"{n}-{k}-{i}@x.test", {})) for i in range(3)]
            ids = [bytes((n, k, i)) for i in range(3)] if key else None
            assert (await moves.load(begun.batch, f"u{n}", begun.base + k, rows, ids)).added == 3
        report = await verify(connection, repair=True)
        assert (report.wrong, report.batches) == ((), n)
        assert (await moves.commit(begun.batch, f"u{n}", 6, ["ab"])).kind == "OK"
    assert (await verify(connection)).messages == 6 * (n + 1)


async def test_nothing_is_wrong_while_everything_moves(
    spool: Spool, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two looks somebody works: one chunk is worked off, a mail is queued, a batch is cancelled."""
    monkeypatch.setattr(batches, "_CHUNKS_A_LOOK", 2)
    connection = await spool.connection()
    big = await spool.send_batch(NEWS, people(1500), key="big")
    for _ in range(5):
        await spool.send(HELLO)
    moves = [cancelling(spool), working(hand, big), sending(spool)] * 40

    async def busy(caller: RedisCaller, script: Script, args: object) -> object:
        if moves and script.name in ("look", "owners", "strays", "tally"):
            await moves.pop()()
        return await plain(caller, script, args)  # type: ignore[arg-type] # passed through

    plain = RedisCaller.__call__
    monkeypatch.setattr(RedisCaller, "__call__", busy)
    reports = [await verify(connection) for _ in range(4)]
    monkeypatch.setattr(RedisCaller, "__call__", plain)
    assert [report.wrong for report in reports] == [()] * 4
    assert len(moves) < 100
    final = await verify(connection)
    assert (final.wrong, final.unproved) == ((), ())


def sending(spool: Spool) -> Callable[[], Awaitable[object]]:
    return lambda: spool.send(HELLO)


def cancelling(spool: Spool) -> Callable[[], Awaitable[object]]:
    async def act() -> None:
        await (await spool.send_batch(NEWS, people(3))).cancel()

    return act


def working(hand: Hand, batch: Batch) -> Callable[[], Awaitable[object]]:
    """At each call the chunk in hand is finished and the next one taken, so that some chunk is always in hand."""
    in_hand: list[tuple[int, int, Leased, int]] = []
    jobs: list[str] = []

    async def act() -> None:
        now_ms = await hand.beat(slots=1)
        while in_hand:
            k, gen, leased, at_ms = in_hand.pop()
            await hand._run(batch.id, k, gen, leased, {1: "failed"}, "sent", at_ms, 60_000)
        jobs.extend(() if jobs else (await hand.moves.feed("bulk", 10_000, now_ms=now_ms)).ids)
        if jobs:
            b, k, gen = hand.moves.keys.parse_job_id(jobs.pop())
            taken = await hand.moves.lease(b, k, gen, hand.name, hand.relays)
            if b == batch.id and isinstance(taken, Leased):
                in_hand.append((k, gen, taken, now_ms))

    return act


async def test_a_real_difference_is_found_while_everything_moves(
    spool: Spool, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two walks are enough: what was in somebody's hands meanwhile is looked at again with the counters."""
    monkeypatch.setattr(batches, "_CHUNKS_A_LOOK", 4)
    monkeypatch.setattr(batches, "_WALKS", 2)
    connection = await spool.connection()
    big = await spool.send_batch(NEWS, people(8000), class_="bulk")
    work = working(hand, big)

    async def busy(caller: RedisCaller, script: Script, args: object) -> object:
        if script.name in ("look", "tally"):
            await work()
        return await plain(caller, script, args)  # type: ignore[arg-type] # passed through

    plain = RedisCaller.__call__
    monkeypatch.setattr(RedisCaller, "__call__", busy)
    sound = await verify(connection)
    assert (sound.wrong, sound.unproved) == ((), ())
    await connection.command("HINCRBY", connection.keys.batch(big.id), "n_sent", 5)
    report = await verify(connection, repair=True)
    assert (await big.status()).queued > 0, "it moved to the end"
    assert {one.where for one in report.wrong if one.what == "counter"} == {"sent"}
    assert (report.ok, report.unproved) == (True, ())
    monkeypatch.setattr(RedisCaller, "__call__", plain)
    assert (await verify(connection)).wrong == ()


async def test_the_list_of_faults_is_bounded(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SHOWN", 3)
    for n in range(10):
        await mixed.redis("SET", f"ms:spec:bnone{n}", "x")
    report = await mixed.verify()
    assert (len(report.wrong), report.more, report.left) == (3, 7, 10)
    repaired = await mixed.verify(repair=True)
    assert (len(repaired.wrong), repaired.more, repaired.left, repaired.ok) == (3, 7, 0, True)


async def test_what_left_an_index_since_it_was_seen_is_no_stray(mixed: Mixed) -> None:
    inspection = Inspection(mixed.connection.moves.caller, mixed.connection.keys)
    await mixed.redis("ZADD", "ms:loading", 1, "u2")
    assert await inspection.strays("tell", "loading", [b"u1", b"u2"]) == [b"u2"]
    facts = (await inspection.look({mixed.held: ["77"]}))[mixed.held]
    assert facts is not None
    assert list(judge_chunk(mixed.held, facts, facts.chunks[0])) == []
