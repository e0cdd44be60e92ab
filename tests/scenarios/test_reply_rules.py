"""Every row of the reply rules that is about one message, through a whole worker and the sandbox.

One worker, one receiver that says to each recipient what its row says; all rows are one batch. A second batch meets the
suspects again, and a third one all addresses that are suppressed by then: nothing of it may reach the receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis

from mailspool import Batch, MessageStatus, Spool
from mailspool.contract.bounced import decode_bounced
from mailspool.contract.states import STATES
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool.sandbox.orders import Order
from mailspool_worker.classify import Context, Stage, classify, explain
from tests.support.embedded import plain_server
from tests.support.rules import LETTER, settings_of
from tests.support.waiting import until_async
from tests.support.working import working
from tests.worker.reply_samples import LOSSES, REPLIES, LossSample, Sample, reply_of

OF_A_MESSAGE = frozenset(("ok", "later", "fail", "fail+suppress", "fail+suspect"))
STATE = {"ok": "sent", "later": "deferred", "fail": "failed", "fail+suppress": "failed", "fail+suspect": "failed"}
FIRST_STEP_S = 300
"""Of the schedule; what a rule asks for beyond it comes on top."""


def is_of_a_message(sample: Sample) -> bool:
    at = sample.stage in (Stage.RCPT, Stage.DOT)
    return at and sample.action in OF_A_MESSAGE and sample.reason != "protocol" and sample.context == Context()


ROWS = {f"r{n}@x.test": sample for n, sample in enumerate(REPLIES) if is_of_a_message(sample)}
BY = {action: [address for address, sample in ROWS.items() if sample.action == action] for action in OF_A_MESSAGE}
DEAD, SUSPECT = BY["fail+suppress"], BY["fail+suspect"]


def temper(recipient: str) -> Order | None:
    sample = ROWS.get(recipient)
    if sample is None:
        return None
    said = sample.said.replace("\n", "\r\n")
    return Order("rcpt" if sample.stage is Stage.RCPT else "dot", said, close=said.startswith("421"))


@dataclass
class Told:
    """What was there afterwards."""

    first: dict[str, MessageStatus] = field(default_factory=dict)
    third: dict[str, MessageStatus] = field(default_factory=dict)
    suppressed: dict[str, str] = field(default_factory=dict)
    after_one: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    offered: int = 0
    """How often a dead address was offered to the receiver after it was suppressed."""
    relay: str = ""


async def rests(batch: Batch) -> dict[str, MessageStatus]:
    """Its messages, when all were tried."""

    async def tried() -> bool:
        return (await batch.status()).queued == 0

    await until_async(tried, "every message was tried", limit_s=20)
    return {message.recipient: message async for message in batch.messages(STATES)}


async def play(redis_url: str, folder: Path) -> Told:
    told = Told()
    redis = Redis.from_url(redis_url)
    async with Receiver(options=ReceiverOptions(temper=temper)) as receiver:
        settings = settings_of(redis_url, folder, relay_url=receiver.url)
        async with working(settings), Spool(settings) as spool:

            async def names(key: str) -> set[str]:
                return {name.decode() for name in await redis.hkeys(f"ms:{key}")}

            async def noted(count: int) -> set[str]:
                async def there() -> bool:
                    return len(await names("suppressed")) >= count

                await until_async(there, f"{count} addresses are suppressed", limit_s=20)
                return await names("suppressed")

            told.first = await rests(await spool.send_batch(LETTER, [{"email": one, "name": "A"} for one in ROWS]))
            told.after_one = await noted(len(DEAD))
            told.suspects = await names("suspects")
            await rests(await spool.send_batch(LETTER, [{"email": one, "name": "A"} for one in SUSPECT]))
            await noted(len(DEAD) + len(SUSPECT))
            stored = await redis.hgetall("ms:suppressed")
            told.suppressed = {name.decode(): str(decode_bounced(value)) for name, value in stored.items()}
            before = len(receiver.log)
            gone = [*DEAD, *SUSPECT, "alive@x.test"]
            told.third = await rests(await spool.send_batch(LETTER, [{"email": one, "name": "A"} for one in gone]))
            told.offered = sum(one.recipient in stored for one in receiver.log[before:] if one.stage == "rcpt")
            told.relay = (await spool.status()).routes[0].state
    await redis.aclose()
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("rules")
    with plain_server(folder, "--save", "", "--appendonly", "no") as socket:
        yield asyncio.run(play(f"unix://{socket}", folder))


@pytest.mark.parametrize("address", ROWS, ids=lambda address: ROWS[address].row)
def test_a_row(told: Told, address: str) -> None:
    sample, message = ROWS[address], told.first[address]
    assert message.state == STATE[sample.action]
    assert (message.reason or "") == sample.reason
    assert message.attempts == 1, "a verdict on a message is an attempt"
    assert (address in told.after_one) == (sample.action == "fail+suppress")
    assert (address in told.suspects) == (sample.action == "fail+suspect")
    if sample.action != "ok":
        assert (message.reply or "").startswith(sample.said[:3])
    if sample.action == "later":
        assert message.next_try is not None
        assert message.last_try is not None
        wait_s = (message.next_try - message.last_try).total_seconds()
        least_s = classify(sample.stage, reply_of(sample.said)).min_delay_s or 0
        assert wait_s >= max(FIRST_STEP_S, least_s) - 1, "shown in whole seconds"


def test_verdicts_on_messages_close_no_relay(told: Told) -> None:
    assert told.relay == "ok"


def test_a_suspect_is_suppressed_by_its_second_batch(told: Told) -> None:
    assert set(told.suppressed) == {*DEAD, *SUSPECT}


def test_nothing_is_sent_to_a_suppressed_address_and_people_are_told_why(told: Told) -> None:
    assert told.offered == 0
    assert told.third["alive@x.test"].state == "sent"
    for address in (*DEAD, *SUSPECT):
        message = told.third[address]
        assert (message.state, message.reason, message.attempts) == ("suppressed", "suppressed", 0)
        assert message.reply == told.suppressed[address]
        assert message.reply.startswith(f"{ROWS[address].reason} on ")


@pytest.mark.parametrize("sample", REPLIES, ids=lambda sample: sample.row)
def test_every_reply_is_explained_in_words(sample: Sample) -> None:
    reply = reply_of(sample.said)
    words = explain(classify(sample.stage, reply, sample.context), reply)
    head, _, said = words.partition(": ")
    assert len(head) > 5
    assert said.startswith(sample.said[:3])


@pytest.mark.parametrize("sample", LOSSES, ids=lambda sample: sample.row)
def test_every_loss_is_explained_in_words(sample: LossSample) -> None:
    words = explain(classify(sample.stage, sample.loss, sample.context), sample.loss)
    assert ": " in words
