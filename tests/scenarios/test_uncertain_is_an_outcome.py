"""The final reply got lost: nobody knows whether the mail was taken. What happens then is the sender's choice.

resend: tried at most twice, then it rests as uncertain. hold: never repeated, uncertain at once. Both are told, counted
and can be tried again by a person. The receiver takes each of these mails and never says so.
"""

from __future__ import annotations

import signal
from collections import Counter
from typing import cast

import pytest

from mailspool import Batch, OnUncertain, Spool
from tests.support.edition import show
from tests.support.ground import Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import contents
from tests.support.waiting import until, until_async

PLAIN = 300
LOST = 10
"""Fewer than the sessions of a relay: each that waits for a lost reply is out of use meanwhile."""
LEASE_S = 4.5


def table(order: str) -> list[dict[str, object]]:
    """Ordinary rows, and among them some whose last reply is lost."""
    every = PLAIN // LOST
    strange = rows(LOST, order, start=PLAIN + 1)
    mixed = list(rows(PLAIN))
    for number, row in enumerate(strange):
        mixed.insert(number * (every + 1), row)
    return [dict(row) for row in mixed]


async def claims(spool: Spool, batch: Batch) -> tuple[int, int]:
    """What claims left behind: the counter, and outcomes that still are one."""
    connection = await spool.connection()
    counted = (await connection.fields(connection.keys.batch(batch.id))).get("n_claimed", "0")
    stored = 0
    for k in range(-(-(PLAIN + LOST) // 100)):
        found = cast("list[bytes]", await connection.command("HVALS", connection.keys.out(batch.id, k)))
        stored += sum(outcome[:1] == b"c" for outcome in found)
    return int(counted), stored


def repeats(receiver: ReceiverProcess, order: str) -> Counter[int]:
    """How many of the strange ones arrived how often; the plain ones arrived once each."""
    receipts = receiver.log.receipts()
    assert all(receipts[recipient(n)] == 1 for n in range(1, PLAIN + 1))
    assert all(len(hashes) == 1 for hashes in contents([receiver.log]).values()), "repeats are byte-identical"
    return Counter(receipts[recipient(n, order)] for n in range(PLAIN + 1, PLAIN + LOST + 1))


async def test_resend_tries_twice_and_then_lets_it_rest(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker(retry_schedule="1s*")
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table("close-after-dot"))
        status = await batch.wait(60)
        uncertain = [message async for message in batch.messages("uncertain")]
        times = repeats(receiver, "close-after-dot")
        moved = await batch.retry("uncertain")
        again = await batch.wait(60)
        times_then = repeats(receiver, "close-after-dot")
    show(
        "resend, the last reply is always lost",
        sent=status.sent,
        uncertain=status.uncertain,
        arrived=dict(times),
        asked_for_again=moved,
        arrived_then=dict(times_then),
    )
    assert (status.sent, status.uncertain, status.queued, status.deferred) == (PLAIN, LOST, 0, 0)
    assert status.done
    assert not status.ok
    assert times == {2: LOST}
    assert {(message.reason, message.attempts) for message in uncertain} == {("lost_reply", 2)}
    assert moved == LOST
    assert (again.sent, again.uncertain) == (PLAIN, LOST)
    assert times_then == {4: LOST}


async def test_resend_once_is_enough_where_the_second_reply_comes(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker(retry_schedule="1s*")
    async with ground.spool() as spool:
        status = await (await spool.send_batch(letter(), table("close-after-dot-1"))).wait(60)
    times = repeats(receiver, "close-after-dot-1")
    show("resend, the first reply is lost", sent=status.sent, uncertain=status.uncertain, arrived=dict(times))
    assert (status.sent, status.uncertain) == (PLAIN + LOST, 0)
    assert status.ok
    assert times == {2: LOST}


async def test_hold_never_repeats(ground: Ground) -> None:
    """Also not when the batch is tried again as a whole, and its claims are gone in the end."""
    receiver = ground.receiver()
    ground.worker(retry_schedule="1s*")
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table("close-after-dot"), on_uncertain="hold")
        status = await batch.wait(60)
        uncertain = [message async for message in batch.messages("uncertain")]
        left = await claims(spool, batch)
        nothing = await batch.retry("deferred") + await batch.retry("failed")
    times = repeats(receiver, "close-after-dot")
    show("hold", sent=status.sent, uncertain=status.uncertain, arrived=dict(times), claims_left=left)
    assert (status.sent, status.uncertain, status.queued, status.deferred) == (PLAIN, LOST, 0, 0)
    assert times == {1: LOST}
    assert {(message.reason, message.attempts) for message in uncertain} == {("lost_reply", 1)}
    assert left == (0, 0)
    assert nothing == 0


async def test_hold_tries_again_what_was_certainly_not_taken(ground: Ground) -> None:
    """A claim is void where the receiver refused, or the connection ended before the last byte."""
    receiver = ground.receiver()
    ground.worker(retry_schedule="1s*")
    strange = [*rows(5, "dot-451-1", start=1), *rows(5, "450-1", start=6), *rows(5, "421-1", start=11)]
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), [*strange, *rows(50, start=21)], on_uncertain="hold")
        await until_async(lambda: settled(batch), "what can go has gone")
        moved = await batch.retry("deferred")
        status = await batch.wait(60)
        left = await claims(spool, batch)
    receipts = receiver.log.receipts()
    show("hold, refused first", sent=status.sent, asked_for_again=moved, repeats=receipts.total() - len(receipts))
    assert status.sent == status.total == 65
    assert set(receipts.values()) == {1}
    assert left == (0, 0)


async def settled(batch: Batch) -> bool:
    return (await batch.status()).queued == 0


@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_a_stop_ends_the_wait_for_a_reply_that_never_comes(ground: Ground, policy: OnUncertain) -> None:
    """SIGTERM: the worker waits for `stop_timeout`, lets go, and writes down that it does not know."""
    receiver = ground.receiver(pipelining=False)  # or another mail's envelope would wait behind each lost reply
    worker = ground.worker(stop_timeout="1s", retry_schedule="1s*")
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table("stall-1"), on_uncertain=policy)
        await until(lambda: receiver.log.count() == PLAIN + LOST, "the receiver has all of it")
        worker.send(signal.SIGTERM)
        code = worker.wait()
        stopped = await batch.status()
        ground.worker("next", retry_schedule="1s*")
        status = await batch.wait(60)
        left = await claims(spool, batch)
    times = repeats(receiver, "stall-1")
    show(f"{policy}, stopped", exit_code=code, then=str(stopped), sent=status.sent, arrived=dict(times))
    assert code == 0, worker.words()
    assert stopped.queued == 0
    assert left == (0, 0)
    if policy == "hold":
        assert (stopped.sent, stopped.uncertain) == (status.sent, status.uncertain) == (PLAIN, LOST)
        assert times == {1: LOST}
    else:
        assert (stopped.sent, stopped.deferred) == (PLAIN, LOST)
        assert (status.sent, status.uncertain) == (PLAIN + LOST, 0)
        assert times == {2: LOST}


@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_a_kill_while_the_reply_is_waited_for(ground: Ground, policy: OnUncertain) -> None:
    """kill -9 leaves no record of the attempt; in a claiming batch the claim comes to rest as uncertain."""
    receiver = ground.receiver(pipelining=False)  # as above
    faults = {"lease_s": LEASE_S}
    worker = ground.worker("killed", faults, retry_schedule="1s*")
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table("stall-1"), on_uncertain=policy)
        await until(lambda: receiver.log.count() == PLAIN + LOST, "the receiver has all of it")
        await until_async(lambda: sent_all(batch), "the replies that came are recorded")
        worker.kill()
        claimed = await claims(spool, batch)
        ground.worker("next", faults, retry_schedule="1s*")
        status = await batch.wait(60)
        left = await claims(spool, batch)
    times = repeats(receiver, "stall-1")
    show(f"{policy}, killed", claims_at_the_kill=claimed, status=str(status), arrived=dict(times), claims_left=left)
    assert left == (0, 0)
    if policy == "hold":
        assert claimed == (LOST, LOST)
        assert (status.sent, status.uncertain) == (PLAIN, LOST)
        assert times == {1: LOST}
    else:
        assert claimed == (0, 0)
        assert (status.sent, status.uncertain) == (PLAIN + LOST, 0)
        assert times == {2: LOST}


async def sent_all(batch: Batch) -> bool:
    return (await batch.status()).sent == PLAIN
