"""How a fed chunk becomes an arq job: names, ids, dates, serializer. The only producer file that knows arq.

One arq job is one try of one chunk, under an id that is never used again. Nothing of the mail is in it. arq's answer is
ignored: a lost or doubled job is what the sweep and the guards of `lease` are for.
Logs nothing; raises nothing of Redis (a wake-up that got lost is healed by the sweep within its grace).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import ConnectionPool
from redis.asyncio.client import Pipeline
from redis.exceptions import OutOfMemoryError, RedisError

from mailspool.contract.keys import Keys
from mailspool.contract.states import Class

JOB_NAME = "deliver"
_DATED_BACK_MS = 86_400_000
"""One day before Redis' now: arq compares a job's score with its own host's clock, which may be hours off."""
_EXPIRES_MS = 7 * 86_400_000
"""arq deletes a job's key after this; a chunk that nobody took in a week is fed anew by the sweep."""

_TAKES_MEMORY: Final = frozenset(("SET", "PSETEX", "SETEX", "INCRBY", "ZADD", "ZINCRBY"))
"""Those of arq's commands that a server refuses at its `maxmemory`."""

_encoder = msgspec.msgpack.Encoder(enc_hook=repr)
_decoder = msgspec.msgpack.Decoder()


def serialize(job: dict[str, object]) -> bytes:
    """msgpack, never pickle: whoever can write to Redis must not run code here. Unknown objects become their repr."""
    return _encoder.encode(job)


def deserialize(data: bytes) -> dict[str, object]:
    job = _decoder.decode(data)
    if not isinstance(job, dict):
        raise ValueError("an arq job that is not a map")
    return job


_ALSO_WHEN_FULL = "redis.call('UNLINK', KEYS[1]) return redis.call(unpack(ARGV))"
"""A script that has written is not stopped for want of memory; its first write needs none (contract/scripts.py)."""


def _also_when_full(words: Sequence[object]) -> tuple[object, ...]:
    """The same command for a server at its `maxmemory`: what arq notes of a job is a few bytes, and soon gone."""
    return ("EVAL", _ALSO_WHEN_FULL, 1, "arq:none", *words)


def _answer(raw: object) -> object:
    """As redis-py shapes the answer of the command itself."""
    return True if raw == b"OK" else raw


class _Pipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """What was refused for want of memory once more: of a transaction all, else what it was."""
        stack = list(self.command_stack)
        if self.is_transaction:
            try:
                return await super().execute(raise_on_error)
            except OutOfMemoryError:
                return await self._again(stack)
        answers = await super().execute(raise_on_error=False)
        refused = [n for n, answer in enumerate(answers) if isinstance(answer, OutOfMemoryError)]
        if refused:
            for n, answer in zip(refused, await self._again([stack[n] for n in refused]), strict=True):
                answers[n] = answer
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    async def _again(self, stack: Sequence[tuple[Sequence[object], Mapping[str, Any]]]) -> list[Any]:
        queue = cast("Callable[..., object]", self.pipeline_execute_command)
        for words, options in stack:
            queue(*(_also_when_full(words) if words[0] in _TAKES_MEMORY else words), **options)
        answers = await super().execute()
        kinds = (words[0] in _TAKES_MEMORY for words, _ in stack)
        return [_answer(raw) if ours else raw for ours, raw in zip(kinds, answers, strict=True)]


class _ArqRedis(ArqRedis):
    """Goes on at `maxmemory`: what waits there was acknowledged, and only workers can make room."""

    async def execute_command(self, *words: object, **options: object) -> object:
        execute = cast("Callable[..., Awaitable[object]]", super().execute_command)
        try:
            return await execute(*words, **options)
        except OutOfMemoryError:
            return _answer(await execute(*_also_when_full(words), **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def arq_redis(pool: ConnectionPool) -> ArqRedis:
    """arq's client on a pool of ours (arq's own settings know no socket timeout and no keepalive)."""
    arq = _ArqRedis(pool_or_conn=pool, job_serializer=serialize, job_deserializer=deserialize)
    arq.auto_close_connection_pool = True  # redis-py leaves a pool that it was given open for good
    return arq


class Waker:
    """Hands the ids that `feed` answered to arq."""

    def __init__(self, arq: ArqRedis, keys: Keys) -> None:
        self._arq = arq
        self._keys = keys

    async def wake(self, class_: Class, ids: Sequence[str], now_ms: int) -> None:
        """`now_ms` is Redis' clock as the feed answered it.

        In arq's own format, but all at once: `enqueue_job` asks first whether an id is taken, three round trips a job.
        """
        if not ids:
            return
        score = now_ms - _DATED_BACK_MS
        jobs = self._arq.pipeline(transaction=True)
        for job_id in ids:
            job = serialize_job(JOB_NAME, self._keys.parse_job_id(job_id), {}, None, now_ms, serializer=serialize)
            jobs.psetex(job_key_prefix + job_id, _EXPIRES_MS, job)
        jobs.zadd(self._keys.queue(class_), dict.fromkeys(ids, score), nx=True)
        try:
            await jobs.execute()
        except (RedisError, OSError):
            return  # the sweep finds these chunks still fed without a job, and frees them

    async def close(self) -> None:
        await self._arq.aclose()
