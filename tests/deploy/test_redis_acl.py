"""deploy/users.acl on a real server: both users can do all that they need, and nothing else."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from mailspool import Attachment, ConfigError, Message, Settings, Spool
from mailspool.client.verify import verify
from mailspool.contract.keys import Keys
from mailspool.redis_server.link import Link
from mailspool.sandbox import Receiver
from mailspool_worker.app import Engine
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from tests.support.embedded import plain_server
from tests.support.waiting import until_async
from tests.support.working import working

DEPLOY = Path(__file__).parents[2] / "deploy"
ACL = DEPLOY / "users.acl"
LUA = Path(__file__).parents[2] / "producer" / "mailspool" / "contract" / "lua"
USERS = ("mailspool-producer", "mailspool-worker")
LETTER = Message(
    from_="News <news@acme.test>",
    subject="For {{ name }}",
    text="Dear {{ name }},\n",
    attachments=[Attachment(b"leaflet", name="leaflet.txt")],
)
SINGLE = Message(from_="me@acme.test", to="one@x.test", subject="Hello", text="Salaam!\n")


def password_of(user: str) -> str:
    return f"secret of {user}"


@pytest.fixture
def server() -> Iterator[Path]:
    """With the file as it is deployed, and passwords where the zeros stand."""
    folder = Path(tempfile.mkdtemp(prefix="mailspool-acl-"))
    lines = []
    for line in ACL.read_text("utf-8").splitlines():
        digest = hashlib.sha256(password_of(line.split()[1]).encode()).hexdigest()
        lines.append(line.replace("0" * 64, digest))
    (folder / "users.acl").write_text("\n".join(lines) + "\n")
    with plain_server(
        folder / "server", "--appendonly", "yes", "--save", "", "--aclfile", str(folder / "users.acl")
    ) as s:
        yield s
    shutil.rmtree(folder)


def settings(server: Path, user: str, **changes: object) -> Settings:
    base: dict[str, object] = {"redis_url": f"unix://{user}@{server}", "redis_password": password_of(user)}
    return Settings(**(base | {"ehlo_name": "sender.test", "stop_timeout": "5s", "data_dir": server.parent} | changes))


def client(server: Path, user: str) -> Redis:
    return Redis(unix_socket_path=str(server), username=user, password=password_of(user))


async def refused(server: Path) -> set[str]:
    """What the server says that it refused, by user and command or key."""
    async with client(server, "admin") as admin:
        log = cast("list[dict[str, object]]", await admin.acl_log())
    return {f"{_words(entry['username'])} {_words(entry['object'])}" for entry in log}


def _words(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_every_command_of_the_scripts_is_allowed() -> None:
    used = {f"+{name.lower()}" for file in LUA.glob("*.lua") for name in re.findall(r"call\('(\w+)'", file.read_text())}
    for line in ACL.read_text("utf-8").splitlines():
        if line.split()[1] in USERS:
            assert not used - set(line.split()), line.split()[1]
            assert "+@all" not in line
            assert "nopass" not in line


async def test_a_user_with_zeros_cannot_log_in(tmp_path: Path) -> None:
    with plain_server(tmp_path / "s", "--aclfile", str(ACL)) as server:
        for user in ("admin", *USERS, "default"):
            async with client(server, user) as redis:
                with pytest.raises(RedisConnectionError, match="invalid username-password pair or user is disabled"):
                    await redis.ping()


async def test_all_that_is_needed_is_allowed(server: Path) -> None:
    async with Receiver() as receiver:
        worker = settings(server, "mailspool-worker", relay_url=receiver.url, keep_done="1s", keep_failed="1s")
        async with working(worker, checked=False) as engine, Spool(settings(server, "mailspool-producer")) as spool:
            people = [{"email": f"u{i}@x.test", "name": f"u{i}"} for i in range(120)]
            people += [{"email": "550-x@x.test", "name": "x"}, {"email": "450-2-y@x.test", "name": "y"}]
            batch = await spool.send_batch(LETTER, people, key="k", hold=True)
            await batch.release()
            single = await spool.send(SINGLE, key="one")
            assert (await spool.send(SINGLE, key="one")).created is False

            async def rests() -> bool:
                status = await batch.status()
                return (status.sent, status.failed, status.deferred) == (120, 1, 1)

            await until_async(rests, "one waits")
            assert await batch.retry("deferred") == 1
            assert await batch.retry("failed") == 1
            await _looked_at(spool, batch.id)
            assert (await single.wait(20)).sent == 1
            await batch.hold()
            await batch.release()
            await batch.cancel()
            await batch.wait(20)
            await _upkept(engine, batch.id)
        async with Spool(worker) as spool:
            assert (await verify(await spool.connection())).wrong == ()
    assert {entry.partition(" ")[2] for entry in await refused(server)} <= {"config|get", "config"}


async def _looked_at(spool: Spool, ref: str) -> None:
    batch = await spool.batch(ref[:6])
    assert (await spool.batch("key:k")).id == (await spool.batch(ref)).id == batch.id
    assert len([one async for one in batch.messages()]) == 122
    assert len([one async for one in batch.failed()]) <= 1
    assert len([one async for one in spool.batches()]) == 2
    assert (await spool.status()).workers == 1
    await batch.conversation(121)
    await spool.batch("last")


async def _upkept(engine: object, batch: str) -> None:
    from mailspool_worker.app import Engine

    assert isinstance(engine, Engine)
    redis, keys = engine.link.redis, engine.moves.keys
    await redis.zadd(keys.retire, {batch: 1}, xx=True)
    seconds = int(datetime.now(UTC).timestamp())
    clock = RedisClock()
    clock.observe(seconds * 1000 + 2000)
    await engine._upkeep()
    assert await redis.exists(keys.batch(batch)) == 0


@pytest.mark.parametrize("user", USERS)
async def test_nothing_else_is_allowed(server: Path, user: str) -> None:
    async with client(server, "admin") as admin:
        await admin.set("other:secret", "x")
    words = [
        "CONFIG SET maxmemory 1", "CONFIG GET *", "FLUSHALL", "FLUSHDB", "KEYS *", "SHUTDOWN NOSAVE",
        "ACL SETUSER evil on nopass +@all", "ACL LIST", "SCRIPT FLUSH", "MONITOR", "SAVE", "REPLICAOF a 1",
        "PUBLISH c m", "CLIENT LIST", "CLIENT KILL ID 1", "RANDOMKEY", "SWAPDB 0 1", "FUNCTION LIST", "MODULE LIST",
        "GET other:secret", "SET other:key x", "DEL other:secret", "RENAME ms:x other:x", "HGETALL msx:1",
    ]  # fmt: skip
    async with client(server, user) as redis:
        execute = cast("Callable[..., Awaitable[object]]", redis.execute_command)
        for line in [
            *words,
            *(["SCAN 0", "SET arq:in-progress:ms:x 1", "GET arq:job:xx:1"] if user == USERS[0] else []),
        ]:
            with pytest.raises(NoPermissionError):
                await execute(*line.split())
        for script in ("return redis.call('GET', 'other:secret')", "return redis.call('CONFIG', 'GET', '*')"):
            with pytest.raises(ResponseError, match=r"(?i)permission|not allowed"):
                await execute("EVAL", script, 0)
        assert await redis.set(f"{Keys().prefix}:x", "1")
    async with client(server, "admin") as admin:
        assert await admin.get("other:secret") == b"x"


async def test_who_has_the_wrong_prefix_is_told(server: Path) -> None:
    async with Spool(settings(server, USERS[0], key_prefix="mine")) as spool:
        with pytest.raises(ConfigError, match="does not allow this user what Mailspool needs"):
            await spool.send(SINGLE)


async def test_a_worker_that_may_not_record_ends_with_words(server: Path) -> None:
    async with client(server, "admin") as admin:
        execute = cast("Callable[..., Awaitable[object]]", admin.execute_command)
        await execute("ACL", "SETUSER", "mailspool-worker", "-script|load")
    worker = settings(server, "mailspool-worker", relay_url="smtp://127.0.0.1:9")
    link = Link(worker)
    await link.open()
    try:
        with pytest.raises(ConfigError, match=r"refuses what a worker must do: NOPERM .*script\|load") as refusal:
            await Engine(worker, link, Events(None)).open()
        assert "deploy/users.acl" in refusal.value.hint
    finally:
        await link.close()
