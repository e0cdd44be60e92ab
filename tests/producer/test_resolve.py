"""`Batch.resolve`: a person decides about uncertain messages, and about no others."""

from __future__ import annotations

import pytest

from mailspool import Batch, InputError, Message, Spool
from mailspool.contract.states import State
from tests.support.hand import Hand

NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Hi\n")
MIXED: dict[int, State] = {2: "uncertain", 3: "uncertain", 4: "failed", 105: "uncertain"}


async def doubtful(spool: Spool, hand: Hand) -> Batch:
    batch = await spool.send_batch(NEWS, [f"u{n}@y{n % 2}.test" for n in range(1, 121)])
    await hand.work(batch.id, MIXED)
    return batch


async def test_as_sent_and_as_failed(spool: Spool, hand: Hand) -> None:
    batch = await doubtful(spool, hand)
    assert str(await batch.status()) == "120: 116 sent, 1 failed, 3 uncertain"
    assert await batch.resolve("sent", domain="Y1.test") == 2
    assert str(await batch.status()) == "120: 118 sent, 1 failed, 1 uncertain"
    assert await batch.resolve("failed") == 1
    status = await batch.status()
    assert (str(status), status.ok) == ("120: 118 sent, 2 failed", False)
    assert [message.row async for message in batch.failed()] == [2, 4]
    assert (await batch.resolve("sent"), await batch.resolve("failed")) == (0, 0)


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"recipient": "U3@y1.test"}, [2, 105]),
        ({"reply": "no such reply"}, [2, 3, 105]),
        ({"recipient": "u4@y0.test"}, [2, 3, 105]),  # it failed: that is known
        ({"domain": "y0.test", "reply": "no such user"}, [3, 105]),
    ],
)
async def test_filters(spool: Spool, hand: Hand, chosen: dict[str, str], left: list[int]) -> None:
    batch = await doubtful(spool, hand)
    assert await batch.resolve("sent", **chosen) == 3 - len(left)
    assert [message.row async for message in batch.messages("uncertain")] == left


async def test_of_a_cancelled_batch_too(spool: Spool, hand: Hand) -> None:
    batch = await doubtful(spool, hand)
    more = await spool.send_batch(NEWS, ["a@x.test", "b@x.test"])
    await hand.work(more.id, {1: "uncertain", 2: "deferred"})
    await more.cancel()
    assert await more.resolve("sent") == 1
    assert str(await more.status()) == "2: 1 sent, 1 cancelled"
    assert str(await batch.status()) == "120: 116 sent, 1 failed, 3 uncertain"


@pytest.mark.parametrize("word", ["deferred", "uncertain", "queued", ""])
async def test_what_nobody_can_decide(spool: Spool, hand: Hand, word: str) -> None:
    batch = await doubtful(spool, hand)
    with pytest.raises(InputError, match=r'uncertain messages become "sent" or "failed", not '):
        await batch.resolve(word)  # type: ignore[arg-type]  # the mistake
    assert (await batch.status()).uncertain == 3
