"""A server at its `maxmemory`: producers are refused in words, and the worker sends and records all that waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from mailspool import Message, Settings, Spool, SpoolFull
from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.contract.scripts import READING, REFUSED_WHEN_FULL, scripts
from mailspool.redis_server.link import Link
from mailspool.sandbox import Receiver
from mailspool.wake import arq_redis
from mailspool_worker.chores import chores
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.upkeep import upkeep
from tests.support.embedded import plain_server
from tests.support.working import expecting_a_worker, working
from tests.worker.conftest import MakeSettings

LETTER = Message(from_="News <news@sender.test>", subject="For {{ name }}", text="Dear {{ name }},\nhello.\n")
SINGLE = Message(from_="me@sender.test", to="one@x.test", subject="Hello", text="Salaam!\n")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of its own: its limit is moved."""
    with plain_server(tmp_path_factory.mktemp("redis"), "--save", "", "--appendonly", "no") as socket:
        yield socket


async def limit(redis: Redis, size: str) -> None:
    await redis.config_set("maxmemory", size)


def table(count: int) -> list[dict[str, object]]:
    return [{"email": f"u{i}@x.test", "name": f"u{i}"} for i in range(count)]


async def test_a_full_server_is_drained(server: Path, make_settings: MakeSettings) -> None:
    async with Receiver() as receiver, Redis(unix_socket_path=str(server)) as redis:
        settings = make_settings(redis_url=f"unix://{server}", relay_url=receiver.url)
        async with expecting_a_worker(settings), Spool(settings) as spool:
            bulk = (await spool.send_batch(LETTER, table(250))).id
            failing = (await spool.send(SINGLE, to="550-x@x.test")).id
        await limit(redis, "1kb")
        with pytest.raises(OutOfMemoryError):
            await redis.set("x", "y")
        async with working(settings) as engine, Spool(settings) as spool:
            with pytest.raises(SpoolFull, match=r"has 0 bytes left. Nothing was queued"):
                await spool.send(SINGLE)
            done = await (await spool.batch(bulk)).wait(20)
            assert (done.sent, done.done) == (250, True)
            assert (await (await spool.batch(failing)).wait(20)).failed == 1
            assert await (await spool.batch(failing)).retry("failed") == 1
            assert (await (await spool.batch(failing)).wait(20)).failed == 1
            await engine._upkeep()
            assert engine.failed is None
            await limit(redis, "0")
            sent = await spool.send(SINGLE)
            assert (await sent.wait(20)).sent == 1
        assert receiver.received == 251


async def test_what_brings_more_in_is_refused_and_nothing_else(server: Path) -> None:
    """Each script is told at its first write that there is no memory: only those of producers stop there."""
    async with Redis(unix_socket_path=str(server)) as redis:
        await redis.set("ballast", b"x" * 100_000)
        await limit(redis, "1kb")
        moves = Moves(RedisCaller(redis), Keys("t"))
        execute = cast("Callable[..., Awaitable[object]]", redis.execute_command)
        for name, script in scripts("t").items():
            probe = script.text.partition(f"\n-- {name} ")[0] + "\n"
            own = script.text.removeprefix(probe.rstrip("\n")).partition("\n-- ")[2].partition("\n")[2]
            first = own.partition("\n")[0] if "UNLINK', P..'none'" in own.partition("\n")[0] else ""
            write = f"{probe}{first}\nreturn call('SET', P..'probe', 1)"
            if name in REFUSED_WHEN_FULL | READING:
                with pytest.raises(OutOfMemoryError):
                    await execute("EVAL", write, 0, 0, "b1")
            else:
                assert await execute("EVAL", write, 0, 0, "b1") in (b"OK", "OK"), name
        with pytest.raises(OutOfMemoryError):
            await moves.begin("b1", "u1", "", b"spec", {"class": "bulk"})


async def test_arq_goes_on_at_the_limit(server: Path) -> None:
    async with Redis(unix_socket_path=str(server)) as redis:
        arq = arq_redis(redis.connection_pool)
        arq.auto_close_connection_pool = False
        await limit(redis, "1kb")
        assert await arq.set("a", b"1", nx=True, px=60_000) is True
        assert await arq.set("a", b"1", nx=True, px=60_000) is None
        for transaction in (True, False):
            pipeline = arq.pipeline(transaction=transaction)
            pipeline.get("n")
            pipeline.incr("n")
            pipeline.expire("n", 60)
            pipeline.psetex("job", 60_000, b"job")
            pipeline.zadd("q", {"job": 5})
            pipeline.zscore("q", "job")
            answers = await pipeline.execute(raise_on_error=transaction)
            assert answers[1] in (1, 2)
            assert (answers[2], answers[3], answers[5]) == (True, True, 5.0)
        assert (await redis.get("n"), await redis.ttl("n"), await redis.pttl("job") > 0) == (b"2", 60, True)
        assert await redis.exists("arq:none") == 0


async def test_upkeep_goes_on_at_the_limit(server: Path, make_settings: MakeSettings) -> None:
    settings = make_settings(redis_url=f"unix://{server}", relay_url="smtp://127.0.0.1:1", keep_done="1s")
    await _upkeep_at_the_limit(server, settings)


async def _upkeep_at_the_limit(server: Path, settings: Settings) -> None:
    async with expecting_a_worker(settings), Spool(settings) as spool:
        batch = await spool.send(SINGLE)
        await batch.cancel()
        link = Link(settings)
        await link.open()
        moves, clock = Moves(RedisCaller(link.redis), Keys(settings.key_prefix)), RedisClock()
        seconds, micros = await link.redis.time()
        clock.observe(seconds * 1000 + micros // 1000 + 40 * 86_400_000)
        await link.redis.zadd(moves.keys.retire, {batch.id: 1}, xx=True)
        await limit(link.redis, "1kb")
        await upkeep(link, moves, clock, lambda: False, Events(None))
        await chores(link, moves, clock, lambda: False, Events(None))
        assert await link.redis.exists(moves.keys.batch(batch.id)) == 0
        await limit(link.redis, "0")
        await link.close()
