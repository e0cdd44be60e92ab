"""What a Link does while its Redis is away: embedded, and the user's own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.errors import ConfigError, SpoolFull, SpoolUnavailable, SpoolUnsafe
from mailspool.redis_server import embedded
from mailspool.redis_server.embedded import EmbeddedServer
from mailspool.redis_server.link import Link
from tests.producer.redis_server.links import KEEPS, Settings, opened
from tests.support.embedded import kill_server, plain_server, server_pid, servers_below
from tests.support.ports import free_port

# --- an outage of the embedded server ---


async def test_recover_starts_a_dead_server_again(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        await one.redis.set("mail", b"kept")
        run = one.facts.run_id
        was = kill_server(folder)
        with pytest.raises(RedisConnectionError):
            await one.redis.get("mail")
        await one.recover(None)
        assert server_pid(folder) != was
        assert await one.redis.get("mail") == b"kept"
        assert one.facts.run_id != run
        await one.recover(5)


async def test_many_tasks_recover_at_once(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        for _ in range(3):
            kill_server(folder)
            await asyncio.gather(*(one.recover(20) for _ in range(50)))
            server_pid(folder)
            assert await one.redis.ping()


async def test_no_room_to_start_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: a producer hears it, a worker waits for room."""
    async with opened(Settings(folder)) as one:
        await one.redis.set("mail", b"kept")
        monkeypatch.setattr(embedded, "ROOM_TO_START_BYTES", 1 << 62)
        kill_server(folder)
        with pytest.raises(SpoolFull, match="make room"):
            await one.recover(0.5)
        waiting = asyncio.create_task(one.recover(None))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        monkeypatch.setattr(embedded, "ROOM_TO_START_BYTES", 1)
        await waiting
        assert await one.redis.get("mail") == b"kept"


async def test_a_folder_that_moved_away_ends_the_wait(folder: Path) -> None:
    async with opened(Settings(folder)) as one:
        kill_server(folder)
        (folder / "moved").write_text("redis_url = ...")
        with pytest.raises(ConfigError, match="has moved"):
            await one.recover(None)


async def test_closing_while_it_recovers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a server to load cannot be cancelled; it is told to give up."""
    begun = threading.Event()
    told: list[bool] = []

    def ensure(self: EmbeddedServer) -> Path:
        begun.set()
        told.append(self._given_up.wait(5))
        raise SpoolUnavailable("given up")

    one = Link(Settings(folder))
    await one.open()
    monkeypatch.setattr(EmbeddedServer, "ensure", ensure)
    recovering = asyncio.create_task(one.recover(None))
    await asyncio.to_thread(begun.wait, 20)
    recovering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovering
    await one.close()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert told == [True]
    assert servers_below(folder) == []


# --- an outage of the user's server ---


async def test_recover_waits_for_the_users_server(folder: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    with plain_server(folder, *KEEPS, port=port):
        one = Link(Settings(folder, redis_url=url))
        await one.open()
        await one.redis.set("mail", b"kept")
    with pytest.raises(SpoolUnavailable, match=rf"{url} does not answer \(tried 0\.2 s\)\.$"):
        await one.recover(0.2)
    waiting = [asyncio.create_task(one.recover(None)) for _ in range(10)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    with plain_server(folder, *KEEPS, port=port):
        await asyncio.gather(*waiting)
        assert await one.redis.get("mail") == b"kept"
        await one.close()


async def test_a_limit_holds_while_another_task_recovers_without_one(folder: Path) -> None:
    with plain_server(folder, *KEEPS) as socket:
        one = Link(Settings(folder, redis_url=f"unix://{socket}"))
        await one.open()
    patient = asyncio.create_task(one.recover(None))
    with pytest.raises(SpoolUnavailable, match="does not answer"):
        await one.recover(0.2)
    assert not patient.done()
    patient.cancel()
    await asyncio.wait([patient])
    await one.close()


async def test_recover_waits_until_it_may_write(folder: Path) -> None:
    with plain_server(folder, *KEEPS) as socket:
        async with opened(Settings(folder, redis_url=f"unix://{socket}")) as one:
            before = await one.redis.client_id()
            await one.redis.slaveof("127.0.0.1", 1)
            waiting = asyncio.create_task(one.recover(None))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            async with Redis(unix_socket_path=str(socket)) as admin:
                await admin.slaveof()
            await waiting
            assert not one.facts.replica
            assert await one.redis.client_id() != before, "the old connection may lead to the old primary"


async def test_a_server_that_comes_back_forgetful_is_seen(folder: Path) -> None:
    with plain_server(folder, *KEEPS) as socket:
        one = Link(Settings(folder, redis_url=f"unix://{socket}"))
        await one.open()
        one.check_safety()
    with plain_server(folder, "--appendonly", "no"):
        await one.recover(None)
        with pytest.raises(SpoolUnsafe, match="appendonly is off"):
            one.check_safety()
        await one.close()
