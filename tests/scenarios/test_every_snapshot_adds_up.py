"""Four bad receivers; another process looks at the batch every 20 ms. Every snapshot adds up, the last one is right.

Right: equal to a fold of the outcomes, and to what the receiver counted. By the receiver's log no try comes earlier
than was written down for it. The receivers: 450 twice then 250, down for a while, dropping in DATA, 550 to every tenth.
"""

from __future__ import annotations

import signal
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from mailspool import Batch, BatchStatus, Spool
from tests.support.edition import pick, show
from tests.support.ground import Background, Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import Log, union
from tests.support.waiting import until
from tests.support.watcher_main import Look, Written, read

MAILS = pick(short=400, full=4_000)
DOWN_S = pick(short=3.0, full=60.0)
BREAKER_S = pick(short=1.5, full=None)
"""How long a relay that does not answer is left alone; the full edition waits out the real minute."""
SCHEDULE = "1s 2s*"
STEPS_MS = (1_000, 2_000)
CLOCKS_MS = 50
"""What the worker's idea of Redis' clock may lag behind the receiver's."""


class Observed:
    """One batch, which another process looks at from before its first mail until it is done."""

    def __init__(self, ground: Ground, batch: Batch) -> None:
        self.batch = batch
        self.out: Path = ground.folder / "looks.jsonl"
        self.watcher: Background = ground.module("watcher", "tests.support.watcher_main", str(self.out), batch.id)
        self.looks: list[Look] = []
        self.written: list[Written] = []
        self.outcomes: Counter[str] = Counter()

    async def end(self) -> BatchStatus:
        status = await self.batch.wait(300)
        assert self.watcher.wait() == 0, self.watcher.words()
        self.outcomes = Counter([message.state async for message in self.batch.messages()])
        self.looks, self.written = read(self.out)
        return status


async def begin(ground: Ground, spool: Spool, table: Iterable[Mapping[str, object]]) -> Observed:
    ground.shared.update(retry_schedule=SCHEDULE, retry_jitter=0.1)
    batch = await spool.send_batch(letter(), table, hold=True)
    observed = Observed(ground, batch)
    await until(lambda: observed.out.exists() and observed.out.stat().st_size > 0, "the other process looks")
    ground.worker(faults={"breaker_s": BREAKER_S})
    await batch.release()
    return observed


def check(title: str, observed: Observed, status: BatchStatus, logs: list[Log], **figures: object) -> None:
    """What holds for every receiver."""
    early = early_tries(observed.written, logs)
    receipts = union(logs)
    counted = Counter({name: number for name, number in observed.looks[-1].counts.items() if number})
    show(
        title,
        mails=MAILS,
        snapshots=len(observed.looks),
        different=len({tuple(look.counts.values()) for look in observed.looks}),
        wrong=sum(sum(look.counts.values()) != look.total for look in observed.looks),
        next_tries_read=len({(one.recipient, one.attempts) for one in observed.written}),
        early=len(early),
        end=dict(counted),
        received=len(receipts),
        **figures,
    )
    assert all(sum(look.counts.values()) == look.total == MAILS for look in observed.looks)
    sent = [look.counts["sent"] for look in observed.looks]
    assert sent == sorted(sent)
    assert observed.looks[-1].done
    assert counted == observed.outcomes
    assert counted["sent"] == status.sent == len(receipts)
    assert not early


def tries(logs: Iterable[Log]) -> dict[str, list[int]]:
    """When each recipient's RCPT came, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for log in logs:
        for record in log.records:
            if record.stage == "rcpt" and record.recipient is not None:
                found[record.recipient].append(record.at_ms)
    return {name: sorted(times) for name, times in found.items()}


def early_tries(written: list[Written], logs: list[Log]) -> list[Written]:
    """Those behind which a try came before its time."""
    at = tries(logs)
    early = []
    for one in written:
        times = at.get(one.recipient, [])
        following = bisect_right(times, one.at_ms)
        if following < len(times) and times[following] < one.next_ms:
            early.append(one)
    return early


@pytest.mark.storm
async def test_450_twice_then_250(ground: Ground) -> None:
    receiver = ground.receiver()
    async with ground.spool() as spool:
        observed = await begin(ground, spool, rows(MAILS, "450-2"))
        status = await observed.end()
    receiver.log.read()
    at = tries([receiver.log])
    gaps = [[b - a for a, b in pairwise(times)] for times in at.values()]
    check("450 twice", observed, status, [receiver.log], shortest_gaps_ms=[min(g[i] for g in gaps) for i in (0, 1)])
    assert status.sent == MAILS
    assert {len(times) for times in at.values()} == {3}
    assert all(gap + CLOCKS_MS >= step for row in gaps for gap, step in zip(row, STEPS_MS, strict=True))
    read_of = {(one.recipient, one.attempts) for one in observed.written}
    assert read_of == {(recipient(n, "450-2"), tried) for n in range(1, MAILS + 1) for tried in (1, 2)}


@pytest.mark.storm
async def test_down_for_a_while(ground: Ground) -> None:
    first = ground.receiver("first")
    async with ground.spool() as spool:
        observed = await begin(ground, spool, rows(MAILS, "slow-2ms"))
        await until(lambda: first.log.count() >= MAILS // 4, "a quarter has arrived")
        sessions = len(first.log.open_sessions())
        first.send(signal.SIGTERM)
        assert first.wait() == 0
        down_s = time.monotonic()
        await until(lambda: time.monotonic() - down_s > DOWN_S, "it is down", limit_s=2 * DOWN_S)
        second = ground.receiver("second", port=first.port)
        status = await observed.end()
    receipts = union([first.log, second.log])
    repeats = receipts.total() - len(receipts)
    check(f"down for {DOWN_S:g} s", observed, status, [first.log, second.log], repeats=repeats)
    assert status.sent == MAILS
    assert second.log.received > 0
    assert repeats <= sessions, "only a mail whose reply was lost with its session may come twice"


@pytest.mark.storm
async def test_dropping_in_data(ground: Ground) -> None:
    """A mail of one write is gone, dot and all, when the connection breaks: nobody here knows that it did not arrive.

    So it is tried once more, and if that ends alike it rests as uncertain: here the receiver knows that it has none.
    """
    receiver = ground.receiver()
    async with ground.spool() as spool:
        once, twice = MAILS // 2, MAILS // 10
        table = [*rows(once, "drop-in-data-1"), *rows(twice, "drop-in-data-2", start=once + 1)]
        table += rows(MAILS - once - twice, start=once + twice + 1)
        observed = await begin(ground, spool, table)
        status = await observed.end()
        uncertain = {message.recipient async for message in observed.batch.messages("uncertain")}
    receipts = receiver.log.receipts()
    cut = sum(record.stage == "body" for record in receiver.log.records)
    check("drops in DATA", observed, status, [receiver.log], bodies_cut=cut)
    assert uncertain == {str(row["email"]) for row in table[once : once + twice]}
    assert receipts == Counter({str(row["email"]) for row in table} - uncertain)
    assert cut == once + 2 * twice


@pytest.mark.storm
async def test_550_to_every_tenth(ground: Ground) -> None:
    receiver = ground.receiver(refuse_every=10)
    async with ground.spool() as spool:
        observed = await begin(ground, spool, rows(MAILS))
        status = await observed.end()
        failed = {message.recipient async for message in observed.batch.failed()}
    receipts = receiver.log.receipts()
    refused = {r.recipient for r in receiver.log.records if r.stage == "rcpt" and r.reply.startswith("550")}
    check("550 to every tenth", observed, status, [receiver.log], refused=len(refused))
    assert (status.failed, status.sent) == (MAILS // 10, MAILS - MAILS // 10)
    assert failed == refused
    assert receipts.total() == len(receipts)


def test_the_oracle_notices_an_early_try(tmp_path: Path) -> None:
    """The check itself: a try 1 ms before its written time is found, one at that time is not."""
    path = tmp_path / "log.jsonl"
    line = '{"order":1,"at_ms":%d,"session":1,"stage":"rcpt","reply":"250 ok","reply_flushed":true,"recipient":"a@x"}\n'
    path.write_text(line % 1_999)
    log = Log(path)
    log.read()
    assert early_tries([Written(1_000, "a@x", 1, 2_000)], [log])
    assert not early_tries([Written(1_000, "a@x", 1, 1_999)], [log])
    assert not early_tries([Written(1_000, "b@x", 1, 2_000)], [log])


def test_receivers_are_told_apart_by_their_processes(ground: Ground) -> None:
    """A second life on the same port writes a log of its own."""
    first = ground.receiver("first")
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    second: ReceiverProcess = ground.receiver("second", port=first.port)
    assert second.url == first.url
    assert second.log.path != first.log.path
