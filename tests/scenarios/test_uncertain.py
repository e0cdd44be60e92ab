"""The receiver takes a mail and closes the connection before its reply: sent or not, nobody here can know.

`resend`: such a mail is tried at most twice, then it rests as uncertain. `hold`: it is never repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from mailspool import OnUncertain
from tests.support.edition import show
from tests.support.ground import Ground
from tests.support.mailing import letter, recipient, rows
from tests.support.oracle import contents

DOUBTFUL = 30
ONCE = 30
PLAIN = 400


def table() -> Iterator[Mapping[str, object]]:
    """Closed after every dot, after the first one, and never."""
    yield from rows(PLAIN // 2)
    yield from rows(DOUBTFUL, "close-after-dot", start=1_001)
    yield from rows(ONCE, "close-after-dot-1", start=2_001)
    yield from rows(PLAIN // 2, start=3_001)


def names(count: int, order: str, start: int) -> list[str]:
    return [recipient(n, order) for n in range(start, start + count)]


@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_a_lost_last_reply(ground: Ground, policy: OnUncertain) -> None:
    receiver = ground.receiver()
    ground.shared["retry_schedule"] = "1s*"
    ground.shared["retry_jitter"] = 0
    ground.worker()
    always, once = names(DOUBTFUL, "close-after-dot", 1_001), names(ONCE, "close-after-dot-1", 2_001)
    plain = names(PLAIN // 2, "user", 1) + names(PLAIN // 2, "user", 3_001)
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), table(), on_uncertain=policy)
        status = await batch.wait(60)
        uncertain = {message.recipient: message async for message in batch.messages("uncertain")}
    receipts = receiver.log.receipts()
    show(
        policy,
        always_closed=f"{DOUBTFUL}, received {sum(receipts[name] for name in always)} times",
        closed_once=f"{ONCE}, received {sum(receipts[name] for name in once)} times",
        others=f"{PLAIN}, received {sum(receipts[name] for name in plain)} times",
        uncertain=status.uncertain,
        sent=status.sent,
    )
    repeated = 2 if policy == "resend" else 1
    doubtful = {*always} if policy == "resend" else {*always, *once}
    assert receipts == Counter(plain) + Counter(always * repeated) + Counter(once * repeated)
    assert set(uncertain) == doubtful
    assert {message.reason for message in uncertain.values()} == {"lost_reply"}
    assert (status.done, status.ok, status.uncertain) == (True, False, len(doubtful))
    assert status.sent == status.total - len(doubtful)
    assert all(len(hashes) == 1 for hashes in contents([receiver.log]).values())
