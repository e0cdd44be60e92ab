"""All of the worker that touches arq: two Workers in this process, supervised, and the slow upkeep as cron.

arq hands a fed chunk to one worker, limits the slots and times a job out. It never knows a retry: a job always returns.
Its Worker dies of some Redis errors and is not reused then: a new Worker on a new pool, after Redis answers again.
Two Workers: transactional jobs never wait for a slot behind bulk. Never `Worker.close()`: it cancels jobs.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from arq import cron
from arq.constants import in_progress_key_prefix
from arq.cron import CronJob
from arq.worker import Worker as ArqWorker
from arq.worker import func
from redis.exceptions import ResponseError

from mailspool.contract.keys import Keys
from mailspool.contract.states import Class
from mailspool.redis_server.broken import is_broken
from mailspool.redis_server.link import Link
from mailspool.redis_server.tasks import end
from mailspool.wake import JOB_NAME, arq_redis, deserialize, serialize
from mailspool_worker.events import Events
from mailspool_worker.job import BUDGET_S

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

POLL_S = 0.05
"""Wakes a worker in 31 ms at the median for 20 commands a second and 0.3 % of Redis."""
_RESTART_S, _RESTART_LIMIT_S = 0.1, 5.0
"""Between two lives of a Worker, doubling; one that lived longer than the limit starts anew."""
_FINISH_S = 2.0
"""What stays of a job that was not finished is a key in arq that the next sweep takes away."""
_READ_LIMIT = 10_000
"""arq never runs more jobs than this over the whole fleet (running ones stay in its zset)."""

Deliver = Callable[[str, int, int], Awaitable[None]]
Upkeep = Callable[[], Awaitable[None]]


class _Slots(ArqWorker):
    """Takes jobs in one round trip for all its free slots, where arq asks four times for each, and at every poll again
    for those that run here already.

    While it stops it takes nothing more: what it has not begun stays for another worker. An id that is no text
    (somebody else's write) would end every Worker of the fleet at each poll: it is thrown away.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.finishing: set[asyncio.Task[Any]] = set()

    async def finish_job(self, *args: Any, **named: Any) -> None:
        """arq shields it from its job's cancellation: whoever closes must find it, or its pool goes from under it."""
        if (task := asyncio.current_task()) is not None:
            self.finishing.add(task)
            task.add_done_callback(self.finishing.discard)
        await super().finish_job(*args, **named)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        fresh = []
        for job_id in job_ids:
            try:
                name = job_id.decode()
            except UnicodeDecodeError:
                await self.pool.zrem(self.queue_name, job_id)
                continue
            if name not in self.tasks:
                fresh.append(name)
        while fresh and self.allow_pick_jobs and (room := self.max_jobs - self.job_counter) > 0:
            await self._take(fresh[:room])
            fresh = fresh[room:]

    async def _take(self, job_ids: Sequence[str]) -> None:
        """Whoever sets arq's `in-progress` key has the job, if it still waits (else it was done a moment ago)."""
        asked = self.pool.pipeline(transaction=False)
        for job_id in job_ids:
            asked.set(in_progress_key_prefix + job_id, b"1", nx=True, px=int(self.in_progress_timeout_s * 1000))
            asked.zscore(self.queue_name, job_id)
        answers = await asked.execute(raise_on_error=False)  # a write refused for want of memory takes no job
        given_back = []
        for job_id, ours, score in zip(job_ids, answers[::2], answers[1::2], strict=True):
            if ours is True and isinstance(score, float) and math.isfinite(score) and self.allow_pick_jobs:
                self._start(job_id, int(score))
            elif ours is True:
                given_back.append(in_progress_key_prefix + job_id)
        if given_back:
            await self.pool.delete(*given_back)

    def _start(self, job_id: str, score: int) -> None:
        """As arq's own `start_jobs` ends."""
        self.job_counter += 1
        self.tasks[job_id] = task = asyncio.get_running_loop().create_task(self.run_job(job_id, score))
        task.add_done_callback(self._ended)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self.job_counter -= 1


class ArqSide:
    """The Workers of one process. `slots`: jobs at once, by class."""

    def __init__(
        self, link: Link, keys: Keys, events: Events, *, slots: dict[Class, int], deliver: Deliver, upkeep: Upkeep
    ) -> None:
        self._link = link
        self._keys = keys
        self._events = events
        self._slots = slots
        self._deliver = deliver
        self._upkeep = upkeep
        self._workers: dict[Class, _Slots] = {}
        self._supervisors: list[asyncio.Task[None]] = []
        self._picking = True
        logging.getLogger("arq").setLevel(logging.ERROR)  # it logs job arguments, a line a job

    def start(self) -> None:
        self._supervisors = [
            asyncio.create_task(self._supervise(class_), name=f"arq {class_}") for class_ in self._slots
        ]

    def stop_picking(self) -> None:
        self._picking = False
        for worker in self._workers.values():
            worker.allow_pick_jobs = False

    async def jobs_done(self) -> None:
        """Until the jobs that run have returned; call `stop_picking` first."""
        running: Sequence[asyncio.Task[Any]] = [
            task for worker in self._workers.values() for task in worker.tasks.values() if not task.done()
        ]
        if running:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Cancels the Workers, and what jobs still run; then nobody is left to supervise."""
        for worker in self._workers.values():
            await _end(worker)
        await end(self._supervisors)

    async def _supervise(self, class_: Class) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _RESTART_S
        while True:
            pool = self._link.make_pool()
            worker = self._worker(class_, arq_redis(pool))
            worker.allow_pick_jobs = self._picking
            self._workers[class_] = worker
            started_s = loop.time()
            try:
                await worker.async_run()
            except Exception as error:  # noqa: BLE001 - whatever kills arq's worker, a new one takes its place
                self._events.arq_restarted(class_, type(error).__name__)
            finally:
                await _end(worker)
                await pool.disconnect()
            pause_s = _RESTART_S if loop.time() - started_s > _RESTART_LIMIT_S else min(pause_s * 2, _RESTART_LIMIT_S)
            await asyncio.sleep(pause_s)
            await self._link.recover(None)

    def _worker(self, class_: Class, redis: Any) -> _Slots:
        async def deliver(_ctx: dict[str, Any], batch: str, k: int, gen: int) -> None:
            try:
                await self._deliver(batch, k, gen)
            except ResponseError as error:
                self._events.set_aside(batch, str(error))  # by the sweep, when the lease is over
            except Exception as error:  # noqa: BLE001 - an exception would make arq log the job; the sweep frees the chunk
                self._events.bug("deliver", error)

        async def upkeep(_ctx: dict[str, Any]) -> None:
            try:
                await self._upkeep()
            except Exception as error:  # noqa: BLE001 - upkeep is idempotent, and tried again in a minute
                (self._events.records_broken if is_broken(error) else self._events.bug)("upkeep", error)

        # Every Worker knows upkeep: arq deletes a job that its finder does not know.
        slow: list[CronJob] = []
        if class_ == next(iter(self._slots)):
            slow = [cron(cast("WorkerCoroutine", upkeep), name="upkeep", second=30, unique=False)]
        return _Slots(
            [
                func(cast("WorkerCoroutine", deliver), name=JOB_NAME),
                func(cast("WorkerCoroutine", upkeep), name="upkeep"),
            ],
            queue_name=self._keys.queue(class_),
            redis_pool=redis,
            cron_jobs=slow,
            max_jobs=self._slots[class_],
            poll_delay=POLL_S,
            queue_read_limit=_READ_LIMIT,
            job_timeout=timedelta(seconds=BUDGET_S + 60),
            keep_result=0,
            max_tries=3,
            log_results=False,
            health_check_interval=3600,
            job_serializer=serialize,
            job_deserializer=deserialize,
            handle_signals=False,
            ctx={"class": class_},
        )


async def _end(worker: _Slots) -> None:
    """The jobs of a Worker that is gone must not run on unseen."""
    await end(task for task in (*worker.tasks.values(), worker.main_task) if task is not None)
    await asyncio.sleep(0)  # what was shielded a moment ago has not begun
    if finishing := tuple(worker.finishing):
        await asyncio.wait(finishing, timeout=_FINISH_S)
        await end(finishing)
