"""A process' way to its Redis: opened, judged, closed; outages waited out."""

from __future__ import annotations

import asyncio
import socket as sockets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.errors import ConfigError, SpoolFull, SpoolUnavailable, SpoolUnsafe
from mailspool.redis_server import link
from mailspool.redis_server.address import parse_redis_url
from mailspool.redis_server.embedded import EmbeddedServer
from mailspool.redis_server.folder import DOOR, prepare
from mailspool.redis_server.link import Link
from mailspool.redis_server.locks import try_lock
from mailspool.redis_server.pool import make_pool
from mailspool.redis_server.safety import Asked
from mailspool.redis_server.tasks import end
from tests.producer.redis_server.links import KEEPS, Settings, opened
from tests.support.embedded import plain_server, server_pid, servers_below
from tests.support.ports import free_port

# --- embedded ---


async def test_nothing_configured_is_the_embedded_server(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        assert await one.redis.set("mail", b"\x00\xff")
        assert await one.redis.get("mail") == b"\x00\xff"
        assert one.embedded
        assert one.name == str(folder)
        assert one.where.path == folder / "redis.sock"
        assert one.where.ssl_context() is None
        assert one.facts.durability == "fsync"
        assert one.facts.durability_proven
        assert one.promise == "append-only, fsync always"
        await one.open()
    assert servers_below(folder) == []
    await one.close()
    with pytest.raises(RuntimeError, match="not open"):
        _ = one.redis
    await one.open()
    assert await one.redis.get("mail") == b"\x00\xff"
    await one.close()


@pytest.mark.parametrize(
    ("durability", "phrase"),
    [
        ("fsync", "append-only, fsync always"),
        ("everysec", "append-only, fsync each second"),
        ("none", "append-only, fsync left to the operating system"),
    ],
)
async def test_the_embedded_server_keeps_what_was_asked(folder: Path, durability: Asked, phrase: str) -> None:
    async with opened(Settings(folder, durability=durability)) as one:
        assert one.promise == phrase


async def test_the_folders_name_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Link(Settings(tmp_path / ".local" / "share" / "mailspool")).name == "~/.local/share/mailspool"


async def test_no_redis_at_all() -> None:
    with pytest.raises(ConfigError, match=r'embedded_server is "off" and no redis_url is set.*MAILSPOOL_REDIS_URL'):
        Link(Settings(Path("/nowhere"), embedded_server="off"))


async def test_a_refused_folder_leaves_nothing_open(folder: Path) -> None:
    prepare(folder)
    (folder / "moved").write_text("redis_url = ...")
    one = Link(Settings(folder))
    with pytest.raises(ConfigError, match="has moved"):
        await one.open()
    await one.close()


async def test_a_cancelled_open_ends_soon_and_leaves_no_presence(folder: Path) -> None:
    prepare(folder)
    door = try_lock(folder / DOOR)
    assert door is not None
    with door:
        one = Link(Settings(folder))
        opening = asyncio.create_task(one.open())
        done, _ = await asyncio.wait([opening], timeout=0.05)
        assert not done
        opening.cancel()
        async with asyncio.timeout(20):  # the door would be waited for three times as long
            with pytest.raises(asyncio.CancelledError):
                await opening
    users = try_lock(folder / "users.lock")
    assert users is not None
    users.close()


async def test_a_cancelled_open_takes_back_what_its_thread_still_did(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()
    cancelled = threading.Event()
    real = EmbeddedServer.enter

    def enter(self: EmbeddedServer) -> Path:
        socket = real(self)
        entered.set()
        cancelled.wait(20)
        return socket

    monkeypatch.setattr(EmbeddedServer, "enter", enter)
    opening = asyncio.create_task(Link(Settings(folder)).open())
    await asyncio.to_thread(entered.wait, 20)
    opening.cancel()
    asyncio.get_running_loop().call_soon(cancelled.set)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert servers_below(folder) == []


async def test_two_links_share_a_server(folder: Path) -> None:
    async with opened(Settings(folder)), opened(Settings(folder)) as second:
        await second.redis.ping()
        server_pid(folder)


# --- a server of the user's ---


async def test_a_redis_url(folder: Path) -> None:
    port = free_port()
    with plain_server(folder, *KEEPS, port=port):
        async with opened(Settings(folder, redis_url=f"redis://127.0.0.1:{port}/2")) as one:
            assert one.name == f"redis://127.0.0.1:{port}/2"
            assert (one.where.host, one.where.port, one.where.db) == ("127.0.0.1", port, 2)
            assert one.promise == "append-only, fsync each second"
            await one.redis.set("mail", b"x")
            assert (await one.redis.info("keyspace"))["db2"]["keys"] == 1
            assert not one.embedded


async def test_a_unix_url(folder: Path) -> None:
    with plain_server(folder, *KEEPS) as socket:
        async with opened(Settings(folder, redis_url=f"unix://{socket}")) as one:
            assert await one.redis.ping()


async def test_login(folder: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    with plain_server(folder, *KEEPS, "--requirepass", "hunter2", port=port) as socket:
        async with opened(Settings(folder, redis_url=url, redis_password=SecretStr("hunter2"))) as one:
            assert await one.redis.ping()
            assert "hunter2" not in repr(one.where) + one.name
        async with opened(Settings(folder, redis_url=f"unix://:hunter2@{socket}")) as one:
            assert await one.redis.ping()
            assert one.name == f"unix://{socket}"
        for wrong in (url, f"redis://:secret1@127.0.0.1:{port}", f"unix://:secret1@{socket}"):
            began = time.monotonic()
            with pytest.raises(ConfigError, match=r"refuses this user or password.*redis_password") as caught:
                await Link(Settings(folder, redis_url=wrong)).open()
            assert "secret1" not in str(caught.value) + caught.value.hint
            assert caught.value.code == "redis_login"
            assert time.monotonic() - began < link.OPEN_LIMIT_S, "a refused login is not tried again"


async def test_nobody_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OPEN_LIMIT_S", 0.3)
    port = free_port()
    one = Link(Settings(folder, redis_url=f"redis://me:hunter2@127.0.0.1:{port}"))
    with pytest.raises(SpoolUnavailable) as caught:
        await one.open()
    assert str(caught.value) == f"redis://127.0.0.1:{port} does not answer (tried 0.3 s)."
    assert caught.value.hint == f"cannot connect to 127.0.0.1:{port}: connection refused"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "Error Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), "
            "[Errno 111] Connect call failed ('127.0.0.1', 1) connecting to localhost:1.",
            "cannot connect to localhost:1: connection refused",
        ),
        (
            "Error -2 connecting to nowhere.invalid:6379. Name or service not known.",
            "cannot connect to nowhere.invalid:6379: Name or service not known",
        ),
        ("Timeout reading from 127.0.0.1:1", "Timeout reading from 127.0.0.1:1"),
    ],
)
def test_why_nobody_is_there(theirs: str, ours: str) -> None:
    assert link._in_plain_words(RedisConnectionError(theirs)) == ours


async def test_a_password_is_in_no_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OPEN_LIMIT_S", 0.3)
    one = Link(Settings(folder, redis_url=f"redis://me:hunter2@127.0.0.1:{free_port()}"))
    with pytest.raises(SpoolUnavailable) as caught:
        await one.open()
    assert "hunter2" not in caught.value.hint
    assert (caught.value.acknowledged, caught.value.exit_code) == (False, 69)


async def test_somebody_there_who_never_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OPEN_LIMIT_S", 0.3)
    with sockets.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(SpoolUnavailable, match=r"does not answer \(tried 0\.3 s\)\.$"):
            await Link(Settings(folder, redis_url=f"redis://127.0.0.1:{port}")).open()


async def test_opening_waits_for_a_server_that_comes(folder: Path) -> None:
    port = free_port()
    one = Link(Settings(folder, redis_url=f"redis://127.0.0.1:{port}"))
    opening = asyncio.create_task(one.open())
    done, _ = await asyncio.wait([opening], timeout=0.1)
    assert not done
    with plain_server(folder, *KEEPS, port=port):
        await opening
        await one.close()


@pytest.mark.parametrize(
    ("options", "durability", "words"),
    [
        (
            (),
            "auto",
            r"would lose mail at a restart: appendonly is off\. Set it, or durability = \"none\" if you mean it\.",
        ),
        (("--appendonly", "yes"), "fsync", "appendfsync is everysec"),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lfu"), "none", "maxmemory-policy is allkeys-lfu"),
        (("--appendonly", "yes", "--cluster-enabled", "yes"), "auto", "is a Redis Cluster"),
    ],
)
async def test_unsafe_servers_are_refused(
    folder: Path, options: tuple[str, ...], durability: Asked, words: str
) -> None:
    with plain_server(folder, *options) as socket:
        one = Link(Settings(folder, redis_url=f"unix://{socket}", durability=durability))
        with pytest.raises(SpoolUnsafe, match=words):
            await one.open()
        with pytest.raises(RuntimeError):
            _ = one.redis


async def test_a_forgetful_server_may_be_meant(folder: Path) -> None:
    with plain_server(folder, "--save", "") as socket:
        async with opened(Settings(folder, redis_url=f"unix://{socket}", durability="none")) as one:
            assert one.promise == "forgets mail at a restart: appendonly is off"


async def test_a_replica_is_not_the_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OPEN_LIMIT_S", 0.3)
    with plain_server(folder, *KEEPS, "--replicaof", "127.0.0.1", "1") as socket:
        one = Link(Settings(folder, redis_url=f"unix://{socket}"))
        words = r"is a read-only replica \(tried 0\.3 s\): give the primary's address"
        with pytest.raises(SpoolUnavailable, match=words):
            await one.open()


# --- room ---


async def test_room_in_redis(folder: Path) -> None:
    with plain_server(folder, *KEEPS, "--maxmemory", "100mb") as socket:
        async with opened(Settings(folder, redis_url=f"unix://{socket}")) as one:
            await one.require_room(50 << 20)
            with pytest.raises(SpoolFull, match=r"this batch needs 100\.0 MiB, Valkey has 8\d\.\d MiB left\. Nothing"):
                await one.require_room(100 << 20)


async def test_room_on_the_embedded_servers_disk(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        with pytest.raises(SpoolFull, match=rf"this batch needs 4\.0 TiB; the disk of {folder} has"):
            await one.require_room(4 << 40)


# --- pools ---


async def test_a_pool_for_another_client(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        pool = one.make_pool(max_connections=2, socket_timeout_s=3)
        client = Redis(connection_pool=pool)
        assert await client.ping()
        answers = await asyncio.gather(*(client.ping() for _ in range(50)))
        assert answers == [True] * 50
        assert len(await one.redis.client_list()) <= 2 + 1
        assert pool.connection_kwargs["socket_timeout"] == 3
        await pool.disconnect()


async def test_a_full_pool_makes_callers_wait_and_survives_cancelling(folder: Path) -> None:
    async with opened(Settings(folder, durability="none")) as one:
        pool = one.make_pool(max_connections=2)
        client = Redis(connection_pool=pool)
        most = 0
        for _ in range(20):
            blocked = [asyncio.ensure_future(cast("Awaitable[object]", client.blpop(["empty"], 30))) for _ in range(5)]
            await asyncio.wait(blocked, timeout=0.005)
            most = max(most, (await one.redis.info("clients"))["blocked_clients"])
            await end(blocked)
        assert most == 2
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(client.ping() for _ in range(3))) == [True] * 3
        await pool.disconnect()


async def test_a_pool_survives_failures_to_connect_and_stays_as_small(folder: Path) -> None:
    with plain_server(folder, *KEEPS) as socket:
        one = Link(Settings(folder, redis_url=f"unix://{socket}"))
        await one.open()
        pool = one.make_pool(max_connections=1)
        client = Redis(connection_pool=pool)
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await client.ping()
    with plain_server(folder, *KEEPS):
        held = await pool.get_connection()
        second = asyncio.create_task(pool.get_connection())
        done, _ = await asyncio.wait([second], timeout=0.05)
        assert not done
        await pool.release(held)
        async with asyncio.timeout(10):
            await pool.release(await second)
        await pool.disconnect()
        await one.close()


@pytest.mark.parametrize(
    ("url", "mode", "checks_host"),
    [("rediss://queue", ssl.CERT_REQUIRED, True), ("rediss://queue?ssl_cert_reqs=none", ssl.CERT_NONE, False)],
)
async def test_tls_checks_the_host_name(url: str, mode: ssl.VerifyMode, checks_host: bool) -> None:
    make = cast("Callable[[], SSLConnection]", make_pool(parse_redis_url(url)).make_connection)
    context = make().ssl_context.get()
    assert (context.verify_mode, context.check_hostname) == (mode, checks_host)


async def test_connections_have_limits_and_no_retries(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        pool = one.redis.connection_pool
        connection = await pool.get_connection()
        assert connection.socket_timeout == 10
        assert connection.health_check_interval == 15
        assert connection.retry._retries == 0
        await pool.release(connection)
