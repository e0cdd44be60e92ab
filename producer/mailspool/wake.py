"""How a fed chunk becomes an arq job: names, ids, dates, serializer. The only producer file that knows arq.

One arq job is one try of one chunk, under an id that is never used again. Nothing of the mail is in it. arq's answer is
ignored: a lost or doubled job is what the sweep and the guards of `lease` are for.
Logs nothing; raises nothing of Redis (a wake-up that got lost is healed by the sweep within its grace).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from mailspool.contract.keys import Keys
from mailspool.contract.states import Class

JOB_NAME = "deliver"
_DATED_BACK_MS = 86_400_000
"""One day before Redis' now: arq compares a job's score with its own host's clock, which may be hours off."""
_EXPIRES_MS = 7 * 86_400_000
"""arq deletes a job's key after this; a chunk that nobody took in a week is fed anew by the sweep."""

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


def arq_redis(pool: ConnectionPool) -> ArqRedis:
    """arq's client on a pool of ours (arq's own settings know no socket timeout and no keepalive)."""
    arq = ArqRedis(pool_or_conn=pool, job_serializer=serialize, job_deserializer=deserialize)
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
