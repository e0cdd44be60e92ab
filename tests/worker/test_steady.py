"""What is waited out and what is not: by the kind of error, with a pause, and the same move again."""

from __future__ import annotations

from typing import cast

import pytest
from redis.exceptions import (
    BusyLoadingError,
    DataError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool.contract.scripts import Script, scripts
from mailspool.redis_server.link import Link
from mailspool_worker import steady
from mailspool_worker.events import Events
from mailspool_worker.steady import SteadyCaller, is_away

AWAY = [
    RedisConnectionError("gone"),
    RedisTimeoutError("slow"),
    BusyLoadingError("loading"),
    ReadOnlyError("replica"),
    OutOfMemoryError("full"),
    ConnectionResetError("reset"),
    ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
    ResponseError("NOREPLICAS Not enough good replicas to write."),
    ResponseError("BUSY Redis is busy running a script."),
]
OURS = [ResponseError("ERR wrong number of arguments"), ResponseError("WRONGTYPE of value"), DataError("bad")]


class FakeLink:
    """Recovers at once; `redis` fails as often as it is told."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.recovered = 0
        self.redis = self

    async def recover(self, limit_s: float | None) -> None:
        assert limit_s is None
        self.recovered += 1

    async def execute_command(self, *_command: object) -> object:
        if self.errors:
            raise self.errors.pop(0)
        return b"done"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "_PAUSE_S", 0.001)
    monkeypatch.setattr(steady, "_PAUSE_FULL_S", 0.001)


def script() -> Script:
    return scripts("t")["beat"]


@pytest.mark.parametrize("error", AWAY, ids=repr)
async def test_a_server_that_is_away_is_waited_for(error: Exception) -> None:
    assert is_away(error)
    link = FakeLink([error, error])
    caller = SteadyCaller(cast("Link", link), Events(None))
    assert await caller(script(), ["w"]) == b"done"
    assert link.recovered == 2


@pytest.mark.parametrize("error", OURS, ids=repr)
async def test_what_no_waiting_cures_is_raised(error: Exception) -> None:
    assert not is_away(error)
    link = FakeLink([error])
    with pytest.raises(RedisError):
        await SteadyCaller(cast("Link", link), Events(None))(script(), ["w"])
    assert link.recovered == 0


async def test_a_script_that_the_server_forgot_is_sent_whole() -> None:
    link = FakeLink([NoScriptError("No matching script.")])
    assert await SteadyCaller(cast("Link", link), Events(None))(script(), ["w"]) == b"done"
    assert link.recovered == 0
