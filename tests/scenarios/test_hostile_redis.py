"""Somebody else writes into Redis: one broken batch, index or job must not stop the others, and runs nothing.

Each case spoils one thing before a worker starts; then another batch is queued, and it is sent.
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec
import pytest
from redis.asyncio import Redis

from mailspool import Message, Settings, Spool
from mailspool.sandbox import Receiver
from mailspool_worker import Worker
from tests.support.mailing import letter, rows
from tests.support.waiting import until

LIMIT_S = 20.0
MESSAGES = 3

Command = Callable[..., Awaitable[object]]
Spoil = tuple[tuple[object, ...], ...]

STRAY_INDEXES: dict[str, Spoil] = {
    "a name in open that is no batch": (("ZADD", "ms:open:bulk", -5, "nobody"),),
    "a name in later that is no batch": (("ZADD", "ms:later:bulk", 0, "nobody"),),
    "a name in later that is no text": (("ZADD", "ms:later:bulk", 0, b"\xff\xfe"),),
    "a name in loading that is no text": (("ZADD", "ms:loading", 0, b"\xff\xfe"),),
    "a batch of the other class": (("ZADD", "ms:open:bulk", -5, "{b}"), ("HSET", "ms:batch:{b}", "class", "other")),
    "a chunk in due that is none": (("ZADD", "ms:due:{b}", 0, "zz"),),
    "a lease that is none": (("ZADD", "ms:flight:bulk", 0, "no-colon"),),
    "a deadline that is no text": (("ZADD", "ms:deadline", 0, b"\xff\xfe"),),
    "an id in arq's queue that is no text": (("ZADD", "ms:q:bulk:v1", 1, b"\xff\xfe"),),
}
SPOILED_HELPERS: dict[str, Spoil] = {
    "a worker's record is no hash": (("ZADD", "ms:workers", 9e15, "w"), ("SET", "ms:worker:w", "x")),
    "a worker's slots are no number": (
        ("ZADD", "ms:workers", 9e15, "w"),
        ("HSET", "ms:worker:w", "relays", "main", "versions", "1", "slots:bulk", "x"),
    ),
    "the last clock is no number": (("HSET", "ms:chores", "clock", "x"),),
    "a relay's record is no hash": (("SET", "ms:route:main", "x"),),
}
BROKEN_RECORDS: dict[str, Spoil] = {
    "the batch is gone": (("DEL", "ms:batch:{b}"),),
    "the batch is no hash": (("DEL", "ms:batch:{b}"), ("SET", "ms:batch:{b}", "x")),
    "the batch is no hash, past its deadline": (
        ("DEL", "ms:batch:{b}"),
        ("SET", "ms:batch:{b}", "x"),
        ("ZADD", "ms:deadline", 1, "{b}"),
    ),
    "no record version": (("HDEL", "ms:batch:{b}", "v"),),
    "no class": (("HDEL", "ms:batch:{b}", "class"),),
    "no creation time": (("HDEL", "ms:batch:{b}", "created"),),
    "a gen that is no number": (("HSET", "ms:batch:{b}", "gen", "x"),),
    "the rows' count is gone": (("DEL", "ms:rows:{b}"),),
    "the rows are gone": (("DEL", "ms:chunk:{b}:0"),),
    "the spec is garbage": (("SET", "ms:spec:{b}", b"\x80"),),
    "an outcome is garbage": (("HSET", "ms:out:{b}:0", "0", b"\xff"),),
    "an outcome's index is no number": (("HSET", "ms:out:{b}:0", "zz", b"s17000002312230010"),),
    "an outcome's time is no number": (("HSET", "ms:out:{b}:0", "0", b"dsoon"),),
    "the deadline is no number": (("HSET", "ms:batch:{b}", "expires", "x"),),
    "a run is garbage": (("HSET", "ms:run:{b}", "0", "junk"), ("ZADD", "ms:flight:bulk", 0, "{b}:0")),
}


async def others_are_sent(
    folder: Path, spoil: Spoil = (), then: Callable[[Command], Awaitable[None]] | None = None
) -> None:
    async with Receiver() as receiver:
        settings = Settings(data_dir=folder / "spool", relay_url=receiver.url)
        async with Spool(settings) as spool:
            broken = await spool.send_batch(letter(), rows(MESSAGES, "broken"))
            redis = Redis(unix_socket_path=str(settings.data_dir / "redis.sock"))
            command = cast("Command", redis.execute_command)
            for words in spoil:
                await command(*(word.format(b=broken.id) if isinstance(word, str) else word for word in words))
            if then is not None:
                await then(command)
            await redis.aclose()
            async with Worker(spool) as worker:
                good = await spool.send_batch(letter(), rows(MESSAGES, "good"))
                status = await good.wait(LIMIT_S)
                assert worker.engine is not None
                assert worker.engine.failed is None
                # A tick feeds, too, and whatever a sweep or a deadline meets does not keep it from that.
                worker.engine.ticked.clear()
                async with asyncio.timeout(LIMIT_S):
                    await worker.engine.ticked.wait()
            assert status.sent == MESSAGES
            assert [mail.recipients[0] for mail in receiver.mails].count("good-0000001@y1.test") == 1


@pytest.mark.parametrize("case", STRAY_INDEXES)
async def test_a_stray_name_in_an_index_stops_nobody(tmp_path: Path, case: str) -> None:
    await others_are_sent(tmp_path, STRAY_INDEXES[case])


@pytest.mark.parametrize("case", SPOILED_HELPERS)
async def test_what_workers_tell_each_other_stops_nobody(tmp_path: Path, case: str) -> None:
    await others_are_sent(tmp_path, SPOILED_HELPERS[case])


@pytest.mark.parametrize("case", BROKEN_RECORDS)
async def test_a_batch_with_broken_records_stops_no_other(tmp_path: Path, case: str) -> None:
    await others_are_sent(tmp_path, BROKEN_RECORDS[case])


async def test_deadlines_of_nobody_keep_no_batch_from_expiring(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        settings = Settings(data_dir=tmp_path / "spool", relay_url=receiver.url)
        async with Spool(settings) as spool:
            held = await spool.send_batch(letter(), rows(2, "late"), expires_after=timedelta(seconds=1), hold=True)
            redis = Redis(unix_socket_path=str(settings.data_dir / "redis.sock"))
            await redis.zadd("ms:deadline", {f"bgone{n}": 1 for n in range(150)})
            await redis.aclose()
            async with Worker(spool):
                assert (await held.wait(LIMIT_S)).expired == 2


UNDER_A_RUN: dict[str, Spoil] = {
    "the outcomes": (("DEL", "ms:out:{b}:0"), ("SET", "ms:out:{b}:0", "x")),
    "the runs": (("DEL", "ms:run:{b}"), ("SET", "ms:run:{b}", "x")),
    "the batch": (("DEL", "ms:batch:{b}"), ("SET", "ms:batch:{b}", "x")),
    "a counter": (("HSET", "ms:batch:{b}", "n_sent", "x"),),
}


@pytest.mark.parametrize("case", UNDER_A_RUN)
async def test_records_that_break_under_a_run_stop_no_other_batch(tmp_path: Path, case: str) -> None:
    """What a worker has sent cannot be recorded any more; what it sends otherwise can."""
    async with Receiver() as receiver:
        settings = Settings(data_dir=tmp_path / "spool", relay_url=receiver.url)
        async with Spool(settings) as spool, Worker(spool) as worker:
            redis = Redis(unix_socket_path=str(settings.data_dir / "redis.sock"))
            command = cast("Command", redis.execute_command)
            slow = Message(from_="shop@x.test", subject="slow", text="slow\n")
            broken = await spool.send_batch(slow, ["slow-1s-x@y1.test"])
            engine = worker.engine
            assert engine is not None
            await until(lambda: any(run.batch == broken.id for run in engine.delivery.runs), "its run")
            for words in UNDER_A_RUN[case]:
                await command(*(word.format(b=broken.id) if isinstance(word, str) else word for word in words))
            await redis.aclose()
            await until(lambda: engine.events.counters.sent > 0, "its final reply")
            good = await spool.send_batch(letter(), rows(MESSAGES, "good"))
            assert (await good.wait(LIMIT_S)).sent == MESSAGES
            assert engine.failed is None


async def test_a_run_that_cannot_be_renewed_costs_the_others_no_lease(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        settings = Settings(data_dir=tmp_path / "spool", relay_url=receiver.url)
        async with Spool(settings) as spool, Worker(spool) as worker:
            engine = worker.engine
            assert engine is not None
            slow = Message(from_="shop@x.test", subject="slow", text="slow\n")
            broken, good = [await spool.send_batch(slow, [f"slow-1s-{name}@y1.test"]) for name in "ab"]
            await until(lambda: len(engine.delivery.runs) == 2, "both runs")
            runs = {run.batch: run for run in engine.delivery.runs}
            await engine.link.redis.set(f"ms:run:{broken.id}", "x")
            await engine.delivery.renew()
            assert (runs[broken.id].stop, runs[good.id].stop) == ("LOST", "")
            assert (await good.wait(LIMIT_S)).sent == 1


async def test_content_of_another_type_sets_its_batch_aside(tmp_path: Path) -> None:
    """Not tried again at once, and for ever: it waits as what cannot be decoded does."""
    settings = Settings(data_dir=tmp_path / "spool", relay_url="smtp://127.0.0.1:9")
    async with Spool(settings) as spool, Worker(spool) as worker:
        engine = worker.engine
        assert engine is not None
        broken = await spool.send_batch(letter(), rows(1, "broken"), hold=True)
        redis = engine.link.redis
        await redis.delete(f"ms:spec:{broken.id}")
        await redis.sadd(f"ms:spec:{broken.id}", "x")  # type: ignore[misc]  # redis-py's stub: or an int
        await broken.release()
        before = engine.clock.now_ms()
        while (due := await redis.zscore(f"ms:due:{broken.id}", "0")) is None or due < before + 50_000:
            assert engine.clock.now_ms() < before + LIMIT_S * 1000
            await asyncio.sleep(0.01)


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


async def test_a_planted_job_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    packed = msgspec.msgpack.encode({"t": 1, "f": "os.mkdir", "a": [str(mark)], "k": {}, "et": 1})
    jobs = {
        "pickle": pickle.dumps({"t": 1, "f": "deliver", "a": (_Bomb(mark),), "k": {}, "et": 1}),
        "bare": pickle.dumps(_Bomb(mark)),
        "function": packed,
        "arguments": msgspec.msgpack.encode({"t": 1, "f": "deliver", "a": [["x"], {}, None], "k": {}, "et": 1}),
        "half": b"\x81\xa1t\x01",
    }

    async def plant(command: Command) -> None:
        for name, job in jobs.items():
            await command("SET", f"arq:job:{name}", job)
            await command("ZADD", "ms:q:bulk:v1", 1, name)

    await others_are_sent(tmp_path, then=plant)
    assert not mark.exists()
