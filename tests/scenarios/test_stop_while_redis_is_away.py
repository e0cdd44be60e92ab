"""Redis is frozen, or killed, under load; the worker gets SIGTERM and must leave; then Redis is back, and a new worker.

Every session has had its final 250 for a mail that Redis does not know as sent. The journal does: none is sent again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.edition import pick, show
from tests.support.embedded import plain_server, servers_below
from tests.support.ground import Background, Ground
from tests.support.mailing import letter, rows
from tests.support.waiting import until, until_quiet

MAILS = pick(short=2_000, full=20_000)
HOW = pick(short=["frozen"], full=["frozen", "killed"])
LEASE_S = pick(short=4.5, full=None)
"""The worker that left could not give its chunks back: their leases run out."""
SESSIONS = 20
"""The default; each holds one mail that Redis does not know of."""
_KEEPS_ALL = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


class Said(msgspec.Struct):
    """What is read of a log line."""

    event: str
    outcomes: int = 0


class Server:
    """A server of the user's that a test takes away and brings back."""

    def __init__(self, folder: Path, how: str) -> None:
        self._folder = folder
        self._how = how
        self._life = ExitStack()
        self.socket = self._start()

    def _start(self) -> Path:
        return self._life.enter_context(plain_server(self._folder, *_KEEPS_ALL))

    def away(self) -> None:
        if self._how == "killed":
            self._life.close()
        else:
            self._send(signal.SIGSTOP)

    def back(self) -> None:
        if self._how == "killed":
            self._start()
        else:
            self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        (pid,) = servers_below(self._folder)
        os.kill(pid, number)

    def close(self) -> None:
        self._life.close()


@contextmanager
def server_of(ground: Ground, how: str) -> Iterator[Server]:
    server = Server(ground.folder / "redis", how)
    ground.shared = {"redis_url": f"unix://{server.socket}", "stop_timeout": "0.5s"}
    try:
        yield server
    finally:
        server.close()


def said(worker: Background) -> list[Said]:
    """Its log."""
    lines = worker.err.read_text().splitlines()
    return [msgspec.json.decode(line, type=Said) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("how", HOW)
async def test_what_was_accepted_is_not_sent_again(ground: Ground, how: str) -> None:
    with server_of(ground, how) as server:
        receiver = ground.receiver()
        worker = ground.worker(faults={"lease_s": LEASE_S})
        async with ground.spool() as spool:
            batch = await spool.send_batch(letter(), rows(MAILS))
            await until(lambda: receiver.log.count() > MAILS // 4, "it is in full flow")
            server.away()
            await until_quiet(receiver.log.count, "every session waits for its record")
            worker.send(signal.SIGTERM)
            code = worker.wait()
            journals = list(ground.data_dir.glob("journal-*"))
            server.back()
            known = (await batch.status()).sent
            accepted = receiver.log.count()
            again = ground.worker("again", faults={"lease_s": LEASE_S})
            status = await batch.wait(90)
            again.send(signal.SIGTERM)
            assert again.wait() == 0, again.words()
        receipts = receiver.log.receipts()
        repeats = receipts.total() - len(receipts)
        show(f"stop while Redis is {how}", accepted=accepted, recorded=known, repeats=repeats)
        assert code == 0, worker.words()
        assert len(journals) == 1, worker.words()
        (kept,) = [words.outcomes for words in said(worker) if words.event == "journal_kept"][-1:]
        assert 0 < kept <= SESSIONS, "outcomes that wait are bounded by what is on the wire"
        assert status.sent == status.total == MAILS
        assert len(receipts) == MAILS
        assert repeats == 0
        assert "journal_replayed" in [words.event for words in said(again)]
        assert not list(ground.data_dir.glob("journal-*"))
