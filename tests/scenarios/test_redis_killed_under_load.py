"""The embedded server killed with -9 at random points, while a producer loads and a worker sends.

Every other kill falls between an upload's last load and its commit. What was acknowledged arrives, once; an upload that
was given up sends nothing; producer and worker go on with the server that one of them starts again.
"""

from __future__ import annotations

import random

import pytest

from tests.support.blows import kill_server
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground, ReceiverProcess
from tests.support.loading_main import order_of
from tests.support.mailing import recipient
from tests.support.oracle import contents
from tests.support.waiting import until

KILLS = pick(short=4, full=20)
LEASE_S = pick(short=4.5, full=None)
"""Also the grace for a wake-up that was lost with the server: the short edition waits for less at its end."""
EARLIEST, LATEST = 200, pick(short=1_200, full=1_600)
"""Mails received between a server's first sign of life and its end."""


async def at_random(ground: Ground, receiver: ReceiverProcess, chance: random.Random) -> float:
    enough = receiver.log.count() + chance.randint(EARLIEST, LATEST)
    await until(lambda: receiver.log.count() >= enough, f"{enough} mails received")
    return await kill_server(ground.data_dir)


async def before_a_commit(ground: Ground, producer: Background) -> float:
    paused = producer.said().count("paused")
    pause = ground.folder / "pause"
    pause.touch()
    await until(lambda: producer.said().count("paused") > paused or not producer.alive, "an upload has loaded all")
    assert producer.alive, producer.words()
    took_s = await kill_server(ground.data_dir)
    pause.unlink()
    return took_s


def uploads(producer: Background, word: str) -> set[int]:
    return {int(line.split()[1]) for line in producer.said() if line.startswith(word)}


@pytest.mark.storm
async def test_nothing_acknowledged_is_lost_and_nothing_else_is_sent(ground: Ground) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    receiver = ground.receiver()
    worker = ground.worker(faults={"lease_s": LEASE_S})
    producer = ground.module("producer", "tests.support.loading_main", str(ground.folder))
    away_s = []
    for number in range(KILLS):
        if number % 2:
            away_s.append(await before_a_commit(ground, producer))
        else:
            away_s.append(await at_random(ground, receiver, chance))
    received = receiver.log.count()
    await until(lambda: receiver.log.count() > received, "the worker goes on after the last kill")
    (ground.folder / "stop").touch()
    assert producer.wait() == 0, producer.words()
    acknowledged, given_up = uploads(producer, "acknowledged"), uploads(producer, "given-up")
    rows = int(producer.said()[0].split()[2]) if acknowledged else 0
    async with ground.spool() as spool:
        for number in sorted(acknowledged):
            status = await (await spool.batch(f"key:upload-{number}")).wait(120)
            assert status.sent == status.total == rows, status
        whole = await spool.status()
    assert worker.alive, worker.words()
    receipts = receiver.log.receipts()
    expected = {recipient(n, order_of(number)) for number in acknowledged for n in range(1, rows + 1)}
    show(
        f"{KILLS} kills of the server (seed {seed})",
        acknowledged=f"{len(acknowledged)} uploads of {rows}",
        given_up=len(given_up),
        calls_made_again=len(uploads(producer, "unavailable")),
        away_s=f"{max(away_s):.2f} at most",
        lost=len(expected - set(receipts)),
        unasked=len(set(receipts) - expected),
        repeats=receipts.total() - len(receipts),
    )
    assert len(acknowledged) > 1
    assert given_up
    assert set(receipts) == expected
    assert receipts.total() == len(receipts), "Redis alone died: no session was in doubt"
    assert all(len(hashes) == 1 for hashes in contents([receiver.log]).values())
    assert (whole.queued, whole.deferred, whole.uncertain) == (0, 0, 0)
