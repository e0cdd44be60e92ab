"""Addresses that are dead: what refusals say about them goes to Redis, and nothing is sent to those known there.

Routes note final refusals (`note`), app.py writes them once a second (`write`, the move `bounce`, which is also the
batch's breaker), job.py asks before it hands a chunk out (`sift`): one HMGET a chunk, and none while no address is
suppressed (`any_suppressed`, read once a second). Not a part of the accounts: what waits when the process dies is lost,
beyond `_WAITING` nothing is noted, and an address may be written to for a second after it was suppressed elsewhere.
`note` and `write` raise nothing; `sift` waits while Redis is away.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, cast

from redis.exceptions import RedisError, ResponseError

from mailspool.content.address import identity
from mailspool.contract.bounced import Bounced, decode_bounced, encode_bounced
from mailspool.contract.moves import Moves
from mailspool.contract.records import Outcome
from mailspool.redis_server.broken import is_broken
from mailspool.redis_server.link import Link
from mailspool_worker.classify import Verdict
from mailspool_worker.events import Events
from mailspool_worker.refusals import Refusals
from mailspool_worker.runs import Item, Run
from mailspool_worker.smtp.replies import mask_addresses
from mailspool_worker.steady import AWAY, is_away, wait_out

_WAITING: Final = 5_000
"""Between two writes, and while Redis is away; at most 3 MiB."""
_AT_ONCE: Final = 500
"""Notes in one call: about a millisecond of the server."""
_WORDS: Final = 200

Note = tuple[str, str, bytes]


class _Call(NamedTuple):
    batch: str
    token: str
    words: str
    notes: list[Note]


class Bounces:
    """`moves` do not wait an outage out; `suppress` is the setting `suppress_bounces`."""

    def __init__(self, link: Link, moves: Moves, refusals: Refusals, events: Events, *, suppress: bool) -> None:
        self.any_suppressed = False
        self.left_out = 0
        """Refusals that were not noted, for lack of room."""
        self._link = link
        self._moves = moves
        self._refusals = refusals
        self._events = events
        self._suppress = suppress
        self._calls: deque[_Call] = deque()
        self._open: dict[str, _Call] = {}
        self._count = 0

    # -- what refusals say

    def note(self, item: Item, verdict: Verdict, outcome: Outcome) -> None:
        """A final refusal that is about the address, or a policy's."""
        if self._count >= _WAITING:
            self.left_out += 1
            return
        self._count += 1
        batch = item.run.batch
        call = self._open.get(batch)
        if call is None or len(call.notes) >= _AT_ONCE:
            words = mask_addresses(outcome.reply)[:_WORDS]
            call = self._open[batch] = _Call(batch, secrets.token_hex(4), words, [])
            self._calls.append(call)
        if verdict.action == "fail":
            call.notes.append(("p", "", b""))
        else:
            why = Bounced(verdict.reason, outcome.reply, outcome.last_ms, batch)
            kind = "x" if verdict.action == "fail+suppress" else "s"
            call.notes.append((kind, identity(item.row.recipient), encode_bounced(why)))

    async def write(self) -> None:
        """What waits, in order. While Redis is away it waits on; a call that is sent again counts once."""
        self._open = {}
        while self._calls:
            call = self._calls[0]
            try:
                answer = await self._moves.bounce(call.batch, call.token, self._suppress, call.words, call.notes)
            except (RedisError, OSError) as error:
                if is_away(error):
                    return
                # Broken records of one batch must not stop the others.
                (self._events.records_broken if is_broken(error) else self._events.bug)("bounces", error)
            else:
                if answer == "HELD":
                    self._events.breaker(call.batch, call.words)
            self._calls.popleft()
            self._count -= len(call.notes)

    # -- before anything is sent

    async def sift(self, run: Run, items: list[Item]) -> list[Item]:
        """Records those of a suppressed address, and answers the others."""
        if not self.any_suppressed or not self._suppress or not items or not run.may_start_body():
            return items
        found = await self._look_up([identity(item.row.recipient) for item in items])
        stay, out = [], []
        for item, data in zip(items, found, strict=True):
            if data is None:
                stay.append(item)
            else:
                out.append((item, str(decode_bounced(data))))
        run.hand_out([item for item, _ in out])
        for item, words in out:
            self._refusals.suppress(item, words)
        return stay

    async def _look_up(self, identities: Sequence[str]) -> list[bytes | None]:
        hmget = cast("Callable[[str, Sequence[str]], Awaitable[list[bytes | None]]]", self._link.redis.hmget)
        while True:
            try:
                return await hmget(self._moves.keys.suppressed, identities)
            except (*AWAY, ResponseError) as error:
                await wait_out(self._link, self._events, error)
