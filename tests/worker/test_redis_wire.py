"""The recorder's own connection: order of answers, login, errors, silence, noise; and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hiredis
import pytest

from mailspool.contract.moves import Answer
from mailspool.redis_server.address import RedisAddress
from mailspool_worker import redis_wire
from mailspool_worker.redis_wire import RedisRefusesError, RedisWire, open_wire, refuse
from tests.support.scripted_server import Peer, Scripted
from tests.support.waiting import until


@asynccontextmanager
async def connected(address: RedisAddress) -> AsyncIterator[tuple[RedisWire, list[str]]]:
    lost: list[str] = []
    wire = await open_wire(address, lambda: lost.append("lost"))
    try:
        yield wire, lost
    finally:
        wire.abort()
        await until(lambda: bool(lost), "the loss is told")
        assert lost == ["lost"], "once"


async def test_answers_come_in_the_order_of_the_commands(redis_socket: Path) -> None:
    async with connected(RedisAddress(path=redis_socket)) as (wire, _):
        heard: list[Answer] = []
        wire.send(("SET", "wire:a", b"\x00\xff"), heard.append)
        wire.send(("GET", "wire:a"), heard.append)
        wire.send(("NOSUCH", 1), heard.append)
        wire.send(("GET", "wire:none"), heard.append)
        await until(lambda: len(heard) == 4, "four answers")
        assert (heard[0], heard[1], heard[3]) == (b"OK", b"\x00\xff", None)
        assert isinstance(heard[2], hiredis.ReplyError)


async def test_asking_raises_what_redis_refuses(redis_socket: Path) -> None:
    async with connected(RedisAddress(path=redis_socket)) as (wire, _):
        assert await wire.ask("PING") == b"PONG"
        with pytest.raises(hiredis.ReplyError):
            await wire.ask("NOSUCH")


async def test_another_database_is_selected(redis_socket: Path) -> None:
    async with connected(RedisAddress(path=redis_socket, db=3)) as (wire, _):
        await wire.ask("SET", "wire:b", "3")
    async with connected(RedisAddress(path=redis_socket)) as (wire, _):
        assert await wire.ask("GET", "wire:b") is None


async def test_a_refused_login_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def refuses(peer: Peer) -> None:
        assert await peer.line() == "*3"
        peer.writer.write(b"-WRONGPASS invalid username-password pair\r\n")
        await peer.gone()
        closed.set()

    async with Scripted(refuses) as server:
        address = RedisAddress(host="127.0.0.1", port=server.port, username="ali", password="secret")
        with pytest.raises(RedisRefusesError, match=r"^WRONGPASS") as refused:
            await open_wire(address, lambda: None)
        assert "secret" not in str(refused.value)
        async with asyncio.timeout(5):
            await closed.wait()


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_wire, "_CONNECT_TIMEOUT_S", 0.05)

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with Scripted(silent) as server:
        with pytest.raises(TimeoutError):
            await open_wire(RedisAddress(host="127.0.0.1", port=server.port, password="x"), lambda: None)


@pytest.mark.parametrize("noise", [b"+OK\r\n+OK\r\n", b"@what is this\r\n"])
async def test_noise_ends_the_connection(noise: bytes) -> None:
    """From an answer that nobody asked for on, none can be told from another."""

    async def noisy(peer: Peer) -> None:
        await peer.reader.readuntil(b"PING\r\n")
        peer.writer.write(noise)
        await peer.gone()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # asyncio tells of a protocol that raises
    async with (
        Scripted(noisy) as server,
        connected(RedisAddress(host="127.0.0.1", port=server.port)) as (wire, lost),
    ):
        wire.send(("PING",), lambda _answer: None)
        await until(lambda: bool(lost), "the connection is given up")
        assert wire.is_closed
        with pytest.raises(ConnectionError):
            wire.send(("PING",), lambda _answer: None)


async def test_nobody_there() -> None:
    with pytest.raises(OSError, match=r"[Nn]o such file"):
        await open_wire(RedisAddress(path=Path("/nowhere/redis.sock")), lambda: None)


@pytest.mark.parametrize(
    ("reply", "is_one"),
    [
        ("NOPERM User w has no permissions to run the 'script|load' command", True),
        ("WRONGPASS invalid username-password pair", True),
        ("NOAUTH Authentication required.", True),
        ("ERR ACL failure in script: User w has no permissions to run the 'hset' command", True),
        ("LOADING Redis is loading the dataset in memory", False),
        ("OOM command not allowed", False),
    ],
)
def test_what_only_a_person_can_do_something_about(reply: str, is_one: bool) -> None:
    if is_one:
        with pytest.raises(RedisRefusesError):
            refuse(hiredis.ReplyError(reply))
    else:
        refuse(hiredis.ReplyError(reply))
