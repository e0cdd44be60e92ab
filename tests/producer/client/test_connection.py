"""The way to Redis: what an outage, a full server and a user without rights become. No server: the link is a stub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, OutOfMemoryError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool import ConfigError, MailspoolError, Settings, Spool, SpoolFull, SpoolUnavailable
from mailspool.client.connection import patiently
from mailspool.redis_server.link import Link

NEVER_SENT = RedisConnectionError("Error 111 connecting to queue:6379. Connection refused.")
CUT = RedisConnectionError("Connection closed by server.")


class Stub:
    """A link whose recoveries are scripted: None succeeds."""

    name = "redis://queue:6379"

    def __init__(self, *recoveries: MailspoolError | None) -> None:
        self.recoveries = list(recoveries)
        self.recovered = 0

    async def recover(self, limit_s: float | None) -> None:
        assert limit_s == 5
        self.recovered += 1
        outcome = self.recoveries.pop(0) if self.recoveries else None
        if outcome is not None:
            raise outcome


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def link(*recoveries: MailspoolError | None) -> Link:
    return cast("Link", Stub(*recoveries))


@pytest.mark.parametrize(
    "error",
    [
        NEVER_SENT,
        CUT,
        RedisTimeoutError("Timeout reading from queue:6379"),
        BusyLoadingError("loading the dataset in memory"),
        ConnectionResetError(104, "reset"),
        ResponseError("BUSY Redis is busy running a script."),
        ResponseError("Error running script: -READONLY You can't write against a read only replica."),
    ],
)
async def test_a_short_outage_is_not_seen(error: Exception) -> None:
    assert await patiently(link(), failing(error, error)) == "done"


AWAY = SpoolUnavailable("redis://queue:6379 does not answer (tried 5 s).")


@pytest.mark.parametrize(
    ("error", "queues", "acknowledged"),
    [(NEVER_SENT, True, False), (NEVER_SENT, False, False), (CUT, True, None), (CUT, False, False)],
)
async def test_a_long_one_says_what_is_known(error: Exception, queues: bool, acknowledged: bool | None) -> None:
    with pytest.raises(SpoolUnavailable) as caught:
        await patiently(link(AWAY), failing(error), queues=queues)
    assert caught.value.acknowledged is acknowledged


async def test_doubt_does_not_go_away_by_trying_again() -> None:
    with pytest.raises(SpoolUnavailable, match=r"may be queued or not") as caught:
        await patiently(link(None, AWAY), failing(CUT, NEVER_SENT), queues=True)
    assert caught.value.acknowledged is None


async def test_a_server_that_died_of_a_full_disk_in_the_commit_leaves_doubt() -> None:
    full = SpoolFull("the disk is full")
    with pytest.raises(SpoolUnavailable) as caught:
        await patiently(link(full), failing(CUT), queues=True)
    assert caught.value.acknowledged is None
    with pytest.raises(SpoolFull):
        await patiently(link(full), failing(CUT))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'."), SpoolFull, "no memory left"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), SpoolFull, "no memory left"),
        (ResponseError("Error running script: -OOM command not allowed when used memory"), SpoolFull, "no memory left"),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), SpoolFull, "to its disk"),
        (NoPermissionError("this user has no permissions to run the 'eval' command"), ConfigError, "does not allow"),
    ],
)
async def test_what_the_server_refuses_is_a_sentence(error: Exception, kind: type[MailspoolError], words: str) -> None:
    stub = link()
    with pytest.raises(kind, match=f"redis://queue:6379 .*{words}"):
        await patiently(stub, failing(error))
    assert cast("Stub", stub).recovered == 0


async def test_a_bug_of_ours_stays_what_it_is() -> None:
    with pytest.raises(ResponseError, match=r"wrong kind"):
        await patiently(link(), failing(ResponseError("WRONGTYPE wrong kind of value")))


async def test_our_own_errors_are_no_outage() -> None:
    """SpoolUnavailable is a ConnectionError, too."""
    stub = link()
    with pytest.raises(SpoolUnavailable, match=r"given up"):
        await patiently(stub, failing(SpoolUnavailable("given up")))
    assert cast("Stub", stub).recovered == 0


async def test_a_command_that_is_dropped_again_and_again_ends() -> None:
    with pytest.raises(SpoolUnavailable, match=r"answers, but drops this command each time"):
        await patiently(link(), failing(*[CUT] * 50))
    with pytest.raises(SpoolUnavailable) as caught:
        await patiently(link(), failing(*[CUT] * 50), queues=True)
    assert caught.value.acknowledged is None


async def test_a_refused_login_is_waited_for_by_the_link() -> None:
    refused = ConfigError("redis://queue:6379 refuses this user or password")
    with pytest.raises(ConfigError):
        await patiently(link(refused), failing(AuthenticationError("WRONGPASS")))


async def test_silence_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.client.connection.PATIENCE_S", 0.02)
    stub = Stub(AWAY)

    async def recover(limit_s: float | None) -> None:
        raise AWAY

    monkeypatch.setattr(stub, "recover", recover)
    with pytest.raises(SpoolUnavailable) as caught:
        await patiently(cast("Link", stub), asyncio.Event().wait, queues=True)
    assert caught.value.acknowledged is None


async def test_a_swallowed_cancellation_does_not_make_an_outage_endless(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py sends through wait_for, which on Python 3.11 can answer a cancellation with the error it waited for."""
    link = Link(Settings(redis_url=f"unix://{home}/nobody.sock"))
    swallowed = 0

    async def attempt() -> None:
        nonlocal swallowed
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            swallowed += 1
        raise CUT

    monkeypatch.setattr(link, "_attempt", attempt)
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable, match="does not answer"):
            await link.recover(0.05)
    assert swallowed == 1


async def test_closing_waits_for_wake_ups_and_gives_up_late_ones(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await spool.connection()
    monkeypatch.setattr("mailspool.client.connection.PATIENCE_S", 0.05)
    done = []

    async def quick() -> None:
        await asyncio.sleep(0.01)
        done.append("quick")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("endless")

    connection._later(quick())
    connection._later(endless())
    await spool.close()
    assert done == ["quick", "endless"]
    await spool.open()
