"""A worker with a wrong and then the right password of its relay, and one for its Redis: neither is told anywhere.

Looked for as it is, percent-encoded and in base64 (alone, and as AUTH PLAIN sends it): in every log line, in Redis,
in the process list, in what `settings`, `status`, `show`, `probe` print, in exceptions and `repr`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from mailspool import MailspoolError, Settings, Spool
from mailspool.redis_server.process import ask
from tests.support.embedded import plain_server
from tests.support.ground import Ground
from tests.support.mailing import letter, rows
from tests.support.waiting import until_async

USER = "billing"
RIGHT = "r1ght/p@ss:wörd+?"
WRONG = "wr0ng/p@ss:word#%"
REDIS = "r3dis-p@ss/word"
COMMANDS = (("settings",), ("--json", "status"), ("probe",))


def forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), repr(secret)[1:-1].encode(), b64encode(raw)}
    found |= {b64encode(b"\0%b\0%b" % (USER.encode(), raw)), b64encode(b"%b:%b" % (USER.encode(), raw))}
    return found | {form.rstrip(b"=") for form in found}


FORMS = forms(RIGHT) | forms(WRONG) | forms(REDIS)


def told(where: str, text: bytes) -> list[str]:
    return [f"{where}: {form!r}" for form in FORMS if form in text]


def process_list(but: int = 0) -> Iterator[tuple[str, bytes]]:
    """`but`: the receiver of this test, which is told on its command line what to expect."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.parent.name != str(but):
                yield str(line), line.read_bytes()
        except OSError:  # it has just ended
            continue


async def redis_values(redis: Redis) -> bytes:
    execute = cast("Callable[..., Awaitable[object]]", redis.execute_command)
    readers = {b"string": ("GET",), b"hash": ("HGETALL",), b"set": ("SMEMBERS",), b"zset": ("ZRANGE", 0, -1)}
    parts: list[str] = []
    for name in cast("list[bytes]", await execute("KEYS", "*")):
        command, *more = readers.get(cast("bytes", await execute("TYPE", name)), ("EXISTS",))
        parts.append(f"{name!r} {await execute(command, name, *more)!r}")
    return "\n".join(parts).encode()


def said(ground: Ground, words: tuple[str, ...], **changes: object) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "mailspool.cli", *words],
        env=ground.environment(**changes), capture_output=True, check=False, timeout=60, cwd=ground.folder,
    )  # fmt: skip
    assert done.stdout + done.stderr
    return done.stdout + done.stderr


def in_exceptions(settings: Settings, server: Path) -> bytes:
    """What programs print of our objects, and of what goes wrong with them."""
    found = [repr(settings), str(settings), repr(settings.relay_table()), repr(list(settings.relay_table().values()))]
    for url in (
        f"smtp://{USER}:{WRONG}@host",
        f"smtp://{USER}:{quote(WRONG)}@host:465",
        f"x://{USER}:{quote(RIGHT)}@h",
    ):
        try:
            Settings(relay_url=url, redis_url=f"unix://{server}")
        except MailspoolError as error:
            found += [repr(error), str(error), repr(error.__cause__), repr(error.__context__)]
    return "\n".join(found).encode()


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[Path]:
    """Its password is set by CONFIG, so that this test itself puts it on no command line."""
    with plain_server(tmp_path / "redis", "--save", "") as socket:
        assert ask(socket, "CONFIG", "SET", "requirepass", REDIS, timeout_s=5) == b"OK"
        yield socket


async def test_no_secret_is_told(ground: Ground, redis_socket: Path) -> None:
    receiver = ground.receiver(user=USER, password=RIGHT)
    where = receiver.url.removeprefix("smtp://")
    secrets = {name: ground.folder / name for name in ("right", "redis")}
    for name, secret in (("right", RIGHT), ("redis", REDIS)):
        secrets[name].touch(0o600)
        secrets[name].write_text(secret + "\n", "utf-8")
    shared: Mapping[str, object] = {
        "redis_url": f"unix://{redis_socket}", "redis_password_file": secrets["redis"], "durability": "none",
        "log_level": "debug",
    }  # fmt: skip
    wrong = {**shared, "relay_url": f"smtp://{USER}:{quote(WRONG, safe='')}@{where}?tls=off"}
    right = {**shared, "relay_url": f"smtp://{USER}@{where}?tls=off", "relay_password_file": secrets["right"]}
    found: list[str] = []
    async with (
        Redis(unix_socket_path=str(redis_socket), password=REDIS) as redis,
        Spool(ground.settings(**right)) as spool,
    ):
        first = ground.worker("wrong", {}, **wrong)
        batch = await spool.send_batch(letter(), rows(5))

        async def refused() -> bool:
            return "535" in ((await batch.status()).waiting_for or "")

        await until_async(refused, "the login is refused")
        for command in COMMANDS:
            found += told(f"wrong {command}", said(ground, command, **wrong))
        for name, line in process_list(receiver.pid):
            found += told(name, line)
        found += told("Redis", await redis_values(redis))
        first.kill()
        second = ground.worker("right", {"breaker_s": 0.2}, **right)
        assert (await batch.wait(40)).sent == 5
        for command in COMMANDS:
            found += told(f"right {command}", said(ground, command, **right))
        for name, line in process_list(receiver.pid):
            found += told(name, line)
        found += told("Redis", await redis_values(redis))
        found += told("status", repr(await batch.status()).encode() + repr(await spool.status()).encode())
        second.kill()
        found += told("first's log", first.err.read_bytes()) + told("second's log", second.err.read_bytes())
        assert first.err.stat().st_size > 0
        assert second.err.stat().st_size > 0
        found += told("objects", in_exceptions(ground.settings(**right), redis_socket))
        found += told("objects", in_exceptions(ground.settings(**wrong), redis_socket))
    assert found == []


def test_what_is_looked_for_would_be_found() -> None:
    assert told("x", f"login as {USER} with {RIGHT}".encode())
    assert told("x", b"AUTH PLAIN " + b64encode(b"\0%b\0%b" % (USER.encode(), WRONG.encode())))
    assert os.getpid() in {int(name.split("/")[2]) for name, _ in process_list()}
