"""Refused logins as servers word them, for good (535, 534) or for now (454); a restart after it; `--drain` meanwhile.

The relay that refuses is a server of a few lines, because each of its refusals reads differently. The worker with the
right password is another process with the same relay name, as after a corrected setting and a restart.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mailspool import Batch, BatchStatus, Spool
from tests.support.edition import show
from tests.support.ground import Ground
from tests.support.mailing import letter, recipient, rows
from tests.support.waiting import until_async

MAILS = 300
LOGINS_AT_ONCE = 2
"""How many sessions a route opens at a time: each may have its login refused before the first refusal is read."""
SOON = {"later_limit_s": 1.0}
"""A batch whose relay is closed is looked at again this soon, instead of after a minute."""


class Refusing:
    """Offers AUTH PLAIN and answers each login with `reply`."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.logins = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Refusing]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 relay.test ESMTP\r\n")
            while line := await reader.readline():
                writer.write(self._answer(line.split()[0].upper()).encode() + b"\r\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _answer(self, word: bytes) -> str:
        if word == b"EHLO":
            return "250-relay.test\r\n250-PIPELINING\r\n250 AUTH PLAIN"
        if word == b"AUTH":
            self.logins += 1
            return self.reply
        return "221 bye" if word == b"QUIT" else "250 ok"


def url(port: int, password: str) -> str:
    return f"smtp://billing:{password}@127.0.0.1:{port}?tls=off"


async def told(batch: Batch, words: str) -> BatchStatus:
    """The first status that says these words."""
    seen: list[BatchStatus] = []

    async def says() -> bool:
        seen[:] = [await batch.status()]
        return words in (seen[0].waiting_for or "")

    await until_async(says, f"the status says {words!r}")
    return seen[0]


async def route_state(spool: Spool) -> list[tuple[str, str]]:
    return [(route.name, route.state) for route in (await spool.status()).routes]


async def works(spool: Spool) -> bool:
    """Nothing of the last worker's pause is shown any more."""
    return await route_state(spool) == [("main", "ok")]


@pytest.mark.parametrize(
    "reply",
    [
        "535 5.7.8 authentication failed",
        "534 5.7.9 application-specific password required",
        "454 4.7.0 too many login attempts, try again later",
    ],
    ids=lambda reply: reply[:3],
)
async def test_no_mail_fails_and_all_of_it_goes_with_the_right_password(ground: Ground, reply: str) -> None:
    receiver = ground.receiver(user="billing", password="right")
    async with ground.spool() as spool, Refusing(reply).run() as relay:
        bulk = await spool.send_batch(letter(), rows(MAILS))
        worker = ground.worker("wrong", SOON, relay_url=url(relay.port, "wrong"))
        first = await told(bulk, reply)
        single = await spool.send(letter().replace(text="hello"), to="ali@y.test")
        other = await told(single, reply)
        paused = await route_state(spool)
        worker.send(signal.SIGTERM)
        code = await asyncio.to_thread(worker.wait)
        stopped = [await batch.status() for batch in (bulk, single)]
        ground.worker("right", SOON, relay_url=url(receiver.port, "right"))
        statuses = [await batch.wait(60) for batch in (bulk, single)]
        await until_async(lambda: works(spool), "the status shows a relay that works")
    show(
        reply[:3],
        waiting_for=first.waiting_for,
        logins_refused=relay.logins,
        failed=sum(status.failed for status in stopped),
        sent_with_the_right_one=sum(status.sent for status in statuses),
    )
    assert first.waiting_for == f"relay main paused: {reply}" == other.waiting_for
    assert paused == [("main", "paused")]
    assert 1 <= relay.logins <= LOGINS_AT_ONCE, "a refused login is not tried again and again"
    assert code == 0, worker.words()
    for status in (first, *stopped):
        assert (status.queued, status.sent, status.failed, status.deferred) == (status.total, 0, 0, 0)
    assert [status.sent for status in statuses] == [MAILS, 1]
    expected = Counter([*(recipient(n) for n in range(1, MAILS + 1)), "ali@y.test"])
    assert receiver.log.receipts() == expected


async def test_a_started_worker_does_not_wait_for_what_the_last_one_met(ground: Ground) -> None:
    """Whoever corrects the password and restarts sees mail go at once, not when an old pause is over."""
    receiver = ground.receiver(user="billing", password="right")
    async with ground.spool() as spool, Refusing("535 5.7.8 no").run() as relay:
        batch = await spool.send_batch(letter(), rows(MAILS))
        worker = ground.worker("wrong", relay_url=url(relay.port, "wrong"))
        await told(batch, "535 5.7.8 no")
        worker.send(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0, worker.words()
        ground.worker("right", relay_url=url(receiver.port, "right"))
        status = await batch.wait(20)
    show("restarted with the right password", sent=status.sent)
    assert status.sent == MAILS == receiver.log.count()


async def test_drain_leaves_what_waits_for_a_paused_relay(ground: Ground) -> None:
    async with ground.spool() as spool, Refusing("535 5.7.8 no").run() as relay:
        batch = await spool.send_batch(letter(), rows(MAILS))
        worker = ground.start_worker("drains", {"drain": True}, relay_url=url(relay.port, "wrong"))
        code = await asyncio.to_thread(worker.wait)
        status = await batch.status()
    words = [line for line in worker.words().splitlines() if '"event":"drained"' in line]
    show("--drain", exit_code=code, queued=status.queued, words=words)
    assert code == 0, worker.words()
    assert status.queued == MAILS
    assert len(words) == 1
    assert '"waiting":300,"why":"relay main paused: 535 5.7.8' in words[0]
