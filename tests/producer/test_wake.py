"""How a fed chunk becomes an arq job, over fakeredis: its id, its date, its life; and that it can run no code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import fakeredis
import msgspec
import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.redis_server.address import RedisAddress
from mailspool.redis_server.pool import make_pool
from mailspool.wake import JOB_NAME, Waker, arq_redis, deserialize, serialize
from tests.support.embedded import plain_server
from tests.support.waiting import until_async

NOW = 1_795_464_000_000
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
KEYS = Keys("ms")


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with fakeredis.FakeAsyncRedis() as redis:
        yield redis


def arq_over(redis: Redis) -> ArqRedis:
    return ArqRedis(pool_or_conn=redis.connection_pool, job_serializer=serialize, job_deserializer=deserialize)


@pytest.fixture
async def waker(redis: Redis) -> Waker:
    return Waker(arq_over(redis), KEYS)


async def test_one_job_a_chunk_under_its_own_id(redis: Redis, waker: Waker) -> None:
    ids = [KEYS.job_id("b1", 0, 1), KEYS.job_id("b1", 7, 2)]
    await waker.wake("bulk", ids, NOW)
    assert await redis.zrange("ms:q:bulk:v1", 0, -1) == [b"ms:b1:0:1", b"ms:b1:7:2"]
    stored = await redis.get("arq:job:ms:b1:7:2")
    assert stored is not None
    job = deserialize(stored)
    assert (job["f"], list(job["a"]), job["k"]) == (JOB_NAME, ["b1", 7, 2], {})  # type: ignore[call-overload]  # a list
    assert await redis.zrange("ms:q:transactional:v1", 0, -1) == []


async def test_arq_reads_it_as_its_own(redis: Redis, waker: Waker) -> None:
    await waker.wake("bulk", ["ms:b1:7:2"], NOW)
    (job,) = await arq_over(redis).queued_jobs(queue_name="ms:q:bulk:v1")
    assert (job.function, tuple(job.args), job.kwargs, job.job_id) == (JOB_NAME, ("b1", 7, 2), {}, "ms:b1:7:2")


async def test_it_is_dated_a_day_back_by_redis_clock_and_lives_a_week(redis: Redis, waker: Waker) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    await waker.wake("transactional", ["ms:b1:0:1"], now_ms)
    assert await redis.zscore("ms:q:transactional:v1", "ms:b1:0:1") == now_ms - DAY_MS
    left_ms = await redis.pttl("arq:job:ms:b1:0:1")
    assert WEEK_MS - 60_000 < left_ms <= WEEK_MS


async def test_the_same_id_again_changes_nothing(redis: Redis, waker: Waker) -> None:
    await waker.wake("bulk", ["ms:b1:0:1"], NOW)
    await waker.wake("bulk", ["ms:b1:0:1"], NOW + DAY_MS)
    assert await redis.zscore("ms:q:bulk:v1", "ms:b1:0:1") == NOW - DAY_MS


async def test_a_prefix_with_a_colon_is_cut_off_as_a_whole(redis: Redis) -> None:
    keys = Keys("shop:mail")
    await Waker(arq_over(redis), keys).wake("bulk", [keys.job_id("b1", 12, 3)], NOW)
    stored = await redis.get("arq:job:shop:mail:b1:12:3")
    assert stored is not None
    assert deserialize(stored)["a"] == ["b1", 12, 3]


async def test_an_outage_is_left_to_the_sweep(redis: Redis, waker: Waker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_args: object, **_options: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(Pipeline, "execute", away)
    await waker.wake("bulk", ["ms:b1:0:1"], NOW)


def test_a_job_is_msgpack_and_an_unknown_object_its_repr() -> None:
    job: dict[str, object] = {"a": (1, "two"), "x": Decimal("1.5")}
    assert deserialize(serialize(job)) == {"a": [1, "two"], "x": "1.5"}
    assert deserialize(serialize({"x": ValueError("no")})) == {"x": "ValueError('no')"}


@pytest.mark.parametrize("data", [b"\x80\x04K\x01.", b"", b"\x93\x01\x02\x03", msgspec.msgpack.encode("text")])
def test_foreign_bytes_are_no_job(data: bytes) -> None:
    with pytest.raises(ValueError):
        deserialize(data)


async def test_closing_lets_go_of_the_connections(tmp_path: Path) -> None:
    with plain_server(tmp_path / "plain") as server:
        watcher: Redis = Redis(unix_socket_path=str(server))
        waker = Waker(arq_redis(make_pool(RedisAddress(path=server))), KEYS)
        await watcher.ping()

        async def alone() -> bool:
            return len(await watcher.client_list()) == 1

        await waker.wake("bulk", ["ms:b1:0:1"], NOW)
        assert not await alone()
        await waker.close()
        await until_async(alone, "the server has seen the connections go", limit_s=10)
        await watcher.aclose()


FIELDS: dict[str, str | bytes | int] = {
    "v": 1, "class": "bulk", "name": "news", "digest": "d", "send_at": 0, "lifetime": DAY_MS, "expires": 0, "asked": "",
    "claim": "0", "relay": "", "hold": "0", "keep": DAY_MS, "keep_bad": DAY_MS,
}  # fmt: skip


async def test_the_producers_moves_over_a_simulated_redis(redis: Redis, waker: Waker) -> None:
    """begin, load, commit and feed as scripts, then the job: the whole way of a producer without a server."""
    moves = Moves(RedisCaller(redis), KEYS)
    begun = await moves.begin("b1", "u1", "monday", b"spec", FIELDS, now_ms=NOW)
    assert (begun.kind, begun.batch, begun.base) == ("LOAD", "b1", 0)
    assert (await moves.begin("b2", "u2", "monday", b"spec", FIELDS, now_ms=NOW)).kind == "WAIT"
    loaded = await moves.load("b1", "u1", 0, [b"\x91\x01", b"\x91\x02"], [b"1" * 16, b"2" * 16], now_ms=NOW)
    assert (loaded.kind, loaded.added, loaded.known) == ("OK", 2, 0)
    assert (await moves.commit("b1", "u1", 3, now_ms=NOW)).kind == "INCOMPLETE"
    for _ in range(2):
        assert await moves.commit("b1", "u1", 2, now_ms=NOW) == ("OK", 2, 0, "")
    waiting = await moves.status("b1", now_ms=NOW)
    assert waiting is not None
    assert (waiting.earliest_due_ms, waiting.next_due_ms) == (NOW, None)
    assert (await moves.begin("b3", "u3", "monday", b"other", {**FIELDS, "digest": "e"}, now_ms=NOW)).kind == "CONFLICT"
    assert (await moves.feed("bulk", 1000, now_ms=NOW)).ids == ()
    await moves.beat("w", {"versions": "1", "relays": "main", "slots:bulk": 1, "slots:transactional": 1}, now_ms=NOW)
    fed = await moves.feed("bulk", 1000, now_ms=NOW + 1000)
    assert (fed.now_ms, fed.ids) == (NOW + 1000, ("ms:b1:0:1",))
    await waker.wake("bulk", fed.ids, fed.now_ms)
    assert await redis.zscore("ms:q:bulk:v1", "ms:b1:0:1") == NOW + 1000 - DAY_MS
    seen = await moves.status("b1", now_ms=NOW + 1000)
    assert seen is not None
    assert (seen.batch["state"], seen.batch["total"], seen.live_workers, seen.next_due_ms) == ("live", "2", 1, None)
