"""Five days of 4xx in a second: every script is called with a `now` of its own, every verdict is the real one.

A receiver says 450 to every RCPT. Attempts fall on the written schedule, never before it; when the batch's time is
over it expires; and nobody who asks then is given anything to send. The worker here is the real decisions (classify,
next_outcome) and the real scripts on a real server; only the wire and the waiting are left out.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from mailspool import Spool
from mailspool.client.connection import Connection
from mailspool.contract.codec import decode_outcome, encode_outcome
from mailspool.contract.moves import Leased, Refused, run_token
from mailspool.contract.states import CHUNK_SIZE, DEFERRED, FEED_GRACE_MS
from mailspool_worker.attempts import Attempt, Policy, next_outcome
from mailspool_worker.classify import Stage, classify
from mailspool_worker.schedule import DEFAULT_SCHEDULE
from tests.support.edition import pick
from tests.support.ground import Ground
from tests.support.mailing import letter, rows
from tests.worker.reply_samples import reply_of

MAILS = pick(short=25, full=130)
"""The full edition has two chunks. Each try of a message is a turn of its own, nearly."""
JITTER = 0.2
DAY_MS = 86_400_000
GATHERED_MS = 60_000
"""A chunk at rest gathers what is due within a minute, so a try may be so much later than written."""
FEED_LATE_MS = 1_000
"""Two turns of the feeder: a batch that nothing is due in is looked at when its time has come."""


@dataclass
class VirtualWorker:
    """One worker whose clock is ours. `tries`: when each message was tried, by its row."""

    connection: Connection
    now_ms: int
    chance: random.Random
    tries: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    written: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    late: list[str] = field(default_factory=list)

    async def turn(self, batch: str, expires_ms: int) -> None:
        """Everything that may go now."""
        moves = self.connection.moves
        await moves.beat("virtual", {"versions": "1", "relays": "main", "slots:bulk": 10}, now_ms=self.now_ms)
        await moves.close(batch, "expired", now_ms=self.now_ms)
        while fed := (await moves.feed("bulk", FEED_GRACE_MS, now_ms=self.now_ms)).ids:
            for job in fed:
                b, k, gen = moves.keys.parse_job_id(job)
                await self._deliver(b, k, gen, expires_ms)

    async def _deliver(self, b: str, k: int, gen: int, expires_ms: int) -> None:
        moves, token = self.connection.moves, run_token(gen, "virtual")
        leased = await moves.lease(b, k, gen, "virtual", ("main",), now_ms=self.now_ms)
        if isinstance(leased, Refused):
            self.late.append(leased.why)
            return
        await moves.record([(b, k, token, self._tried(k, leased, expires_ms))], now_ms=self.now_ms)
        assert await moves.settle(b, k, token, now_ms=self.now_ms) != "LOST"

    def _tried(self, k: int, leased: Leased, expires_ms: int) -> list[tuple[int, bytes]]:
        verdict = classify(Stage.RCPT, reply_of("450 4.2.0 greylisted"))
        attempt = Attempt(self.now_ms, "main", 812, "450 4.2.0 greylisted")
        policy = Policy(DEFAULT_SCHEDULE, JITTER, expires_ms, False, self.chance.random)
        found = []
        for index in range(int.from_bytes(leased.rows[1:3], "big")):
            stored = leased.outcomes.get(index)
            previous = decode_outcome(stored) if stored is not None else None
            if previous is not None and not (previous.state == DEFERRED and previous.at_ms <= self.now_ms):
                continue
            outcome = next_outcome(previous, verdict, attempt, policy)
            assert outcome is not None
            row = k * CHUNK_SIZE + index + 1
            self.tries[row].append(self.now_ms)
            self.written[row].append(outcome.at_ms)
            found.append((index, encode_outcome(outcome)))
        return found

    async def next_turn_ms(self, batch: str) -> int | None:
        """When there is something to do again, by the queue's own indexes."""
        keys, redis = self.connection.moves.keys, self.connection.link.redis
        later = await redis.zrange(f"{keys.prefix}:later:bulk", 0, 0, withscores=True)
        deadline = await redis.zscore(keys.deadline, batch)
        times = [int(score) for _, score in later] + ([int(deadline)] if deadline is not None else [])
        return min(times, default=None)


@pytest.mark.parametrize("seed", pick(short=(1,), full=(1, 2, 3)))
async def test_attempts_follow_the_schedule_and_nothing_is_sent_late(ground: Ground, seed: int) -> None:
    ground.relay_url = "smtp://127.0.0.1:9"
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))
        fields = (await batch.status()).to_dict()
        expires_ms, worker = await _five_days(spool, batch.id, seed)
        status = await batch.status()
    first_ms = min(tries[0] for tries in worker.tries.values())
    assert (fields["total"], status.expired, status.sent, status.deferred) == (MAILS, MAILS, 0, 0)
    assert status.state == "done"
    assert 4.9 * DAY_MS < expires_ms - first_ms <= 5 * DAY_MS
    assert len(worker.tries) == MAILS
    for row, tries in worker.tries.items():
        _follows_the_schedule(tries, worker.written[row], expires_ms)


async def _five_days(spool: Spool, batch: str, seed: int) -> tuple[int, VirtualWorker]:
    connection = await spool.connection()
    fields = await connection.fields(f"{connection.moves.keys.prefix}:batch:{batch}")
    expires_ms = int(fields["expires"])
    worker = VirtualWorker(connection, int(fields["created"]) + 5_000, random.Random(seed))
    for _ in range(20_000):
        await worker.turn(batch, expires_ms)
        at_ms = await worker.next_turn_ms(batch)
        if at_ms is None:
            break
        worker.now_ms = max(worker.now_ms + 1, at_ms)
    # Whoever comes after the end, at whatever time, gets nothing.
    tried = sum(map(len, worker.tries.values()))
    for days in (0, 1, 30):
        worker.now_ms += days * DAY_MS
        await worker.turn(batch, expires_ms)
    assert sum(map(len, worker.tries.values())) == tried
    return expires_ms, worker


def _follows_the_schedule(tries: list[int], written: list[int], expires_ms: int) -> None:
    assert max(tries) < expires_ms, "tried after its time"
    steps_ms = [int(DEFAULT_SCHEDULE.step_s(attempt) or 0) * 1000 for attempt in range(1, len(tries) + 1)]
    for number, (at_ms, due_ms) in enumerate(zip(tries[1:], written, strict=False)):
        waited_ms = due_ms - tries[number]
        assert steps_ms[number] <= waited_ms <= steps_ms[number] * (1 + JITTER) + 1, "not as written"
        assert 0 <= at_ms - due_ms <= GATHERED_MS + FEED_LATE_MS, "early, or later than a minute"
    # 5m 15m 30m 1h 2h 4h, then every 6 h (and up to a fifth more) until five days are over.
    assert 6 + 15 <= len(tries) <= 6 + 20
    assert written[-1] == expires_ms or written[-1] > expires_ms - GATHERED_MS
