"""One message of a chunk kills every worker that comes to it. After three lost runs its workers' deaths name it,
and the third of them fails it: before it may have been near by chance. The rest goes.

The worker is started again each time, as systemd would. The short edition shortens the lease.
"""

from __future__ import annotations

import pytest

from mailspool.contract.states import POISON_CLAIMS, SUSPECT_RUNS
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground
from tests.support.mailing import letter, recipient, rows
from tests.support.waiting import until_async

MAILS = 250
POISON = recipient(142)
LEASE_S = pick(short=2.0, full=None)
LIVES = 12
"""More than three lost runs need: by then the poisoned message is named, or it never will be."""
DIED = 99
SESSIONS = 20
"""Of a relay, unless told otherwise; each may repeat one mail at a death."""


class Supervisor:
    """Starts the worker again whenever it dies of the poison."""

    def __init__(self, ground: Ground, place: str) -> None:
        self._ground = ground
        self._faults: dict[str, object] = {"lease_s": LEASE_S, "die_on": POISON, "die_at": place}
        self.deaths = 0
        self.worker = self._start()

    def _start(self) -> Background:
        return self._ground.start_worker(f"life{self.deaths}", self._faults)

    def look(self) -> None:
        code = self.worker.process.poll()
        if code is not None:
            assert code == DIED, self.worker.words()
            self.deaths += 1
            assert self.deaths <= LIVES, "it kills worker after worker"
            self.worker = self._start()


@pytest.mark.storm
@pytest.mark.parametrize("place", ["body", "render"])
async def test_only_the_poisoned_message_fails(ground: Ground, place: str) -> None:
    receiver = ground.receiver()
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        supervisor = Supervisor(ground, place)

        async def over() -> bool:
            supervisor.look()
            return (await batch.status()).done

        await until_async(over, "the batch is done", limit_s=pick(short=60.0, full=240.0))
        status = await batch.status()
        failed = [message async for message in batch.failed()]
    receipts = receiver.log.receipts()
    show(
        f"dies at the {place}",
        workers_lost=supervisor.deaths,
        sent=status.sent,
        failed=[(message.row, message.reason) for message in failed],
        repeats=receipts.total() - len(receipts),
    )
    assert [(message.recipient, message.reason) for message in failed] == [(POISON, "worker_crash")]
    assert (status.sent, status.failed) == (MAILS - 1, 1)
    assert set(receipts) == {recipient(n) for n in range(1, MAILS + 1)} - {POISON}
    assert receipts.total() - len(receipts) <= supervisor.deaths * SESSIONS
    assert supervisor.deaths == SUSPECT_RUNS + POISON_CLAIMS, "some runs are lost, the next ones name it"
