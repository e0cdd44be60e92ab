"""deploy/redis.conf: a real server takes every line of it, and the result is a server that Mailspool trusts fully."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from mailspool.redis_server.process import Health, find_binary, health
from mailspool.redis_server.safety import inspect_server, judge

CONF = Path(__file__).parents[2] / "deploy" / "redis.conf"


@pytest.fixture
def socket() -> Iterator[Path]:
    # A folder of our own: pytest's is too long a path for a unix socket on some machines.
    folder = Path(tempfile.mkdtemp(prefix="mailspool-conf-"))
    words = [find_binary("auto"), CONF, "--dir", folder, "--port", "0", "--unixsocket", folder / "s"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_it_answers(process, folder)
        yield folder / "s"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def wait_until_it_answers(process: subprocess.Popen[bytes], folder: Path) -> None:
    def still_starting() -> bool:
        return process.poll() is None and health(folder / "s", timeout_s=1) is not Health.UP

    try:
        Retrying(stop=stop_after_delay(10), wait=wait_fixed(0.02), retry=retry_if_result(bool))(still_starting)
    except RetryError:
        pytest.fail("no answer within 10 s")
    if process.poll() is not None:
        pytest.fail((folder / "log").read_text("utf-8"))


def directives() -> dict[str, str]:
    lines = (line for line in CONF.read_text("utf-8").splitlines() if line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in (line.split(None, 1) for line in lines)}


async def test_a_server_takes_every_line(socket: Path) -> None:
    async with Redis(unix_socket_path=str(socket), decode_responses=True) as redis:
        config = await redis.config_get("*")
    expected = directives() | {"maxmemory": str(1 << 30)}
    assert {name: config[name] for name in expected} == expected


async def test_the_server_is_trusted_with_mail(socket: Path) -> None:
    async with Redis(unix_socket_path=str(socket), decode_responses=True) as redis:
        facts = await inspect_server(redis)
    judge(facts, "fsync", name="deploy/redis.conf", embedded=False)
    assert facts.durability_proven
    assert facts.maxmemory_bytes == 1 << 30
