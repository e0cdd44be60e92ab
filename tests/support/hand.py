"""A worker by hand: it beats, feeds, leases, and gives messages whatever outcome a test wants, without SMTP.

For tests of what the client shows and does; the moves are the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailspool.client.connection import Connection
from mailspool.contract.codec import encode_outcome
from mailspool.contract.moves import Leased, run_token
from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED, FEED_GRACE_MS, LETTER_OF, SENT, Class, State

_GREYLISTED = "450 4.2.0 greylisted"
_UNKNOWN = "550 5.1.1 no such user"


class Hand:
    """One worker that has the relays named."""

    def __init__(self, connection: Connection, name: str = "hand", relays: Sequence[str] = ("main",)) -> None:
        self.connection = connection
        self.moves = connection.moves
        self.name = name
        self.relays = tuple(relays)

    async def beat(self, slots: int = 20) -> int:
        """Lives for 15 s; answers Redis' now."""
        return await self.moves.beat(
            self.name,
            {"versions": "1", "relays": ",".join(self.relays), "slots:transactional": slots, "slots:bulk": slots},
        )

    async def work(
        self,
        batch: str,
        states: Mapping[int, State] | None = None,
        *,
        rest: State | None = "sent",
        class_: Class = "bulk",
        delay_ms: int = 60_000,
    ) -> int:
        """Feed and work off whatever may go; answers how many messages got an outcome.

        `states`: by row number; `rest` for all others, None leaves them queued (their chunks come back in a moment).
        """
        done = 0
        now_ms = await self.beat()
        while fed := {*await self._feed(class_, now_ms), *await self._fed(batch)}:
            for b, k, gen in sorted(fed):
                leased = await self.moves.lease(b, k, gen, self.name, self.relays)
                if isinstance(leased, Leased):
                    wanted = dict(states or {}) if b == batch else {}
                    done += await self._run(b, k, gen, leased, wanted, rest, now_ms, delay_ms)
        return done

    async def _fed(self, batch: str) -> list[tuple[str, int, int]]:
        """What the producer's own feed has given out already."""
        runs = await self.connection.fields(f"{self.moves.keys.prefix}:run:{batch}")
        found = ((k, run.split(":")) for k, run in runs.items())
        return [(batch, int(k), int(run[1])) for k, run in found if run[0] == "fed"]

    async def _feed(self, class_: Class, now_ms: int) -> list[tuple[str, int, int]]:
        """All that may go; a batch that found no worker is looked at again a second later."""
        found: list[tuple[str, int, int]] = []
        while ids := (await self.moves.feed(class_, FEED_GRACE_MS, now_ms=now_ms + 2_000)).ids:
            found += [self.moves.keys.parse_job_id(job) for job in ids]
        return found

    async def _run(
        self,
        b: str,
        k: int,
        gen: int,
        leased: Leased,
        states: Mapping[int, State],
        rest: State | None,
        now_ms: int,
        delay_ms: int,
    ) -> int:
        token = run_token(gen, self.name)
        rows = int.from_bytes(leased.rows[1:3], "big")
        outcomes = []
        for index in range(rows):
            before = leased.outcomes.get(index)
            if before is not None and before[:1] != DEFERRED.encode():
                continue
            state = states.get(k * 100 + index + 1, rest)
            if state is not None:
                outcomes.append((index, encode_outcome(_outcome(state, now_ms, delay_ms))))
        await self.moves.record([(b, k, token, outcomes)])
        await self.moves.settle(b, k, token, 0 if len(outcomes) == rows else 60_000, "closed")
        return len(outcomes)


def _outcome(state: State, now_ms: int, delay_ms: int) -> Outcome:
    letter = LETTER_OF[state]
    if letter == SENT:
        return Outcome(letter, now_ms, 1, 0, "main", "250 2.0.0 Ok: queued as 4F1C2", "", now_ms, now_ms, 812)
    if letter == DEFERRED:
        return Outcome(letter, now_ms + delay_ms, 1, 0, "main", _GREYLISTED, "greylisted", now_ms, now_ms, 812)
    return Outcome(letter, now_ms, 1, 0, "main", _UNKNOWN, "mailbox_unknown", now_ms, now_ms, 812)
