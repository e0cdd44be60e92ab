"""The obvious program: one arq job a mail, aiosmtplib connections kept by each of two workers.

`python -m tests.benchmarks.peers.arq_jobs SOCKET PORT` is one worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosmtplib
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool, UnixDomainSocketConnection

from tests.benchmarks.peers.loops import CONNECTIONS, here, mail, tree
from tests.benchmarks.sides import SENDER, processes, recipients
from tests.support.embedded import plain_server

WORKERS = 2


def connect(socket: str) -> ArqRedis:
    return ArqRedis(pool_or_conn=ConnectionPool(connection_class=UnixDomainSocketConnection, path=socket))


@dataclass
class ArqJobs:
    """Append-only with everysec, which is what its documentation would lead to at best."""

    name: str = "arq + aiosmtplib, two workers"
    share: float = 0.1

    def missing(self) -> str:
        return ""

    def install(self) -> None: ...

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        with plain_server(folder / "redis", "--appendonly", "yes", "--appendfsync", "everysec") as socket:
            asyncio.run(load(str(socket), mails))
            worker = here(__name__, socket, port)
            with processes(*[worker] * WORKERS, folder=folder, env=tree()):
                yield


async def load(socket: str, mails: int) -> None:
    arq = connect(socket)
    for recipient in recipients(mails):
        await arq.enqueue_job("deliver", recipient)
    await arq.aclose()


async def deliver(ctx: dict[str, Any], recipient: str) -> None:
    idle: asyncio.Queue[aiosmtplib.SMTP] = ctx["idle"]
    client = await idle.get()
    try:
        await client.sendmail(SENDER, [recipient], mail(recipient))
    finally:
        idle.put_nowait(client)


async def work(socket: str, port: int) -> None:
    idle: asyncio.Queue[aiosmtplib.SMTP] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        await client.connect()
        idle.put_nowait(client)
    worker = Worker(
        [func(deliver, name="deliver")],
        redis_pool=connect(socket),
        max_jobs=CONNECTIONS,
        poll_delay=0.05,
        queue_read_limit=1000,
        keep_result=0,
        ctx={"idle": idle},
    )
    await worker.async_run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
