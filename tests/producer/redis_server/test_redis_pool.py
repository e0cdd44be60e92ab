"""The pool of connections: what a burst needed is closed when nobody has needed it for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import uvloop
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.redis_server.address import parse_redis_url
from mailspool.redis_server.pool import IDLE_S, BoundedPool, make_pool
from tests.support.embedded import plain_server
from tests.support.waiting import until_async


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with plain_server(tmp_path_factory.mktemp("pool") / "plain") as socket:
        yield socket


async def sees(server: Path, count: int) -> None:
    """Waits until the server sees so many, without the one that asks."""
    asks = Redis(unix_socket_path=str(server))

    async def seen() -> bool:
        return len(cast("list[object]", await asks.client_list())) - 1 == count

    try:
        await until_async(seen, f"{count} connections", limit_s=5)
    finally:
        await asks.aclose()


async def burst(pool: BoundedPool, count: int) -> list[AbstractConnection]:
    held = [await pool.get_connection() for _ in range(count)]
    for connection in held:
        await pool.release(connection)
    return held


async def test_what_a_burst_needed_is_closed_when_nobody_needs_it(server: Path) -> None:
    pool, clock = BoundedPool(UnixDomainSocketConnection, 8, path=str(server)), Clock()
    pool.now_s = clock
    held = await burst(pool, 5)
    clock.now_s += IDLE_S
    (used,) = await burst(pool, 1)
    assert used is held[-1], "the one that was given back last"
    await sees(server, 5)
    clock.now_s += 0.1
    assert await burst(pool, 1) == [used]
    await sees(server, 1)
    assert not any(connection.is_connected for connection in held[:-1])
    await pool.disconnect()


async def test_those_in_use_and_those_that_are_needed_again_stay(server: Path) -> None:
    pool, clock = BoundedPool(UnixDomainSocketConnection, 4, path=str(server)), Clock()
    pool.now_s = clock
    long = await pool.get_connection()
    await burst(pool, 3)
    clock.now_s += 10 * IDLE_S
    await burst(pool, 3)
    clock.now_s += 0.1
    await burst(pool, 1)
    await sees(server, 4)
    assert long.is_connected
    await pool.release(long)
    clock.now_s += 10 * IDLE_S
    await burst(pool, 1)
    await sees(server, 1)
    assert len(await burst(pool, 4)) == 4, "each place is free again"
    await pool.disconnect()


async def test_nobody_gets_a_connection_that_is_being_closed(server: Path) -> None:
    pool = BoundedPool(UnixDomainSocketConnection, 4, path=str(server))
    held = await burst(pool, 2)
    closing = asyncio.create_task(pool.disconnect(inuse_connections=False))
    await asyncio.sleep(0)
    connection = await pool.get_connection()
    assert connection not in held
    await pool.release(connection)
    await closing
    await sees(server, 1)
    await pool.disconnect()


def test_a_write_to_a_transport_that_was_just_closed_is_a_lost_connection(server: Path) -> None:
    """uvloop, which the worker runs on, says RuntimeError there; asyncio's own loops say nothing."""

    async def written() -> None:
        pool = make_pool(parse_redis_url(f"unix://{server}"))
        connection = await pool.get_connection()
        await connection.send_command("PING")
        assert await connection.read_response() == b"PONG"
        getattr(connection, "_writer").transport.abort()  # noqa: B009 - redis-py's own, and no public way
        with pytest.raises(RedisConnectionError, match="closed meanwhile"):
            await connection.send_command("PING", check_health=False)
        await pool.release(connection)
        await pool.disconnect()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(written())
