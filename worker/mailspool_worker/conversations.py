"""What was said in failed attempts goes to Redis once a second, for `show MESSAGE`: a batch's first few, bounded.

Routes hand lines in beside an outcome (`keep`); app.py calls `write`. Not a part of the accounts: what does not fit in
memory, what Redis does not take at once, and what waits when the process dies is lost, and no outcome waits for it.
Raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from mailspool.contract.moves import Moves
from mailspool.contract.records import Outcome
from mailspool.contract.talks import ATTEMPTS_KEPT, Line, Talk, encode_talk
from mailspool.redis_server.broken import is_broken
from mailspool_worker.events import Events
from mailspool_worker.runs import Item
from mailspool_worker.steady import is_away

_WAITING: Final = 500
"""Between two writes; at most 2 MiB. A flood of refusals is told by its first few hundred."""
_AT_ONCE: Final = 100
"""Messages in one call: below a millisecond of the server."""
_FULL_KNOWN: Final = 10_000
"""Batches known to keep enough: so many ids are half a megabyte."""


class Conversations:
    """`moves` do not wait an outage out; `keep`: messages of a batch that are remembered, 0 for none."""

    def __init__(self, moves: Moves, keep: int, events: Events) -> None:
        self._moves = moves
        self._most = keep
        self._events = events
        self._waiting: dict[str, list[tuple[int, bytes]]] = {}
        self._count = 0
        self._full: set[str] = set()
        self.left_out = 0
        """Attempts that were not kept, for lack of room or of Redis."""

    def keep(self, item: Item, outcome: Outcome, lines: Callable[[], Sequence[Line]]) -> None:
        """`lines` is asked only if they are kept."""
        batch = item.run.batch
        if not self._most or (batch in self._full and item.previous is None):
            return
        if self._count >= _WAITING:
            self.left_out += 1
            return
        talk = Talk(outcome.last_ms, outcome.relay, outcome.state, tuple(lines()), outcome.reply)
        self._waiting.setdefault(batch, []).append((item.run.first_number + item.index, encode_talk(talk)))
        self._count += 1

    async def write(self) -> None:
        """Everything that waits, once; what fails is forgotten."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for batch, talks in waiting.items():
            try:
                for start in range(0, len(talks), _AT_ONCE):
                    away = await self._moves.talk(batch, self._most, ATTEMPTS_KEPT, talks[start : start + _AT_ONCE])
                    if away > 0:
                        self._enough(batch)
            except (RedisError, OSError) as error:
                self.left_out += len(talks)
                if not is_away(error):
                    (self._events.records_broken if is_broken(error) else self._events.bug)("conversations", error)

    def _enough(self, batch: str) -> None:
        if len(self._full) >= _FULL_KNOWN:
            self._full.clear()
        self._full.add(batch)
