"""Class totals: are they the sum over the batches?

Called by `verify` after the batches. Every move changes a batch's counters and its class' totals in one step, so the
difference of the two stays the same while the spool lives on. Batches at rest are summed up streamed; all that may move
in the meantime (alive, new, closing, near their purge) inside Redis at one moment, together with the totals. A
difference counts once two rounds show the same one. A repair takes exactly that difference off.
Known limit: with more than 20,000 batches alive the sum is taken while they stand still, else it is told as unproved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from redis.exceptions import ResponseError

from mailspool.client.connection import Connection
from mailspool.client.verify.batches import Batches
from mailspool.client.verify.judge import AT_REST, COUNTERS
from mailspool.client.verify.report import Fault, Findings
from mailspool.contract.inspection import Inspection
from mailspool.contract.states import CLASSES, Class

_ROUNDS: Final = 4
_PURGED_SOON_MS: Final = 3_600_000
"""A batch that may be purged while we count is counted with those that move."""
FIELDS: Final = ("total", *(f"n_{name}" for name in COUNTERS))
_READ: Final = ("class", "state", "created", "finished", "keep", "keep_bad", *FIELDS)


class Totals:
    """Both classes."""

    def __init__(
        self, connection: Connection, inspection: Inspection, batches: Batches, findings: Findings, *, repair: bool
    ) -> None:
        self._connection = connection
        self._inspection = inspection
        self._batches = batches
        self._findings = findings
        self._repair = repair

    async def run(self) -> None:
        for class_ in CLASSES:
            try:
                await self._no_numbers(class_)
                drift = await self._sure(class_)
            except ResponseError:
                words = f"the totals of {class_} mail cannot be read: something else has written there"
                self._findings.add([Fault("broken_record", None, f"totals {class_}", words)])
                continue
            if drift is None:
                self._findings.unproved.append(f"the totals of {class_} mail: too much moves at once")
                continue
            self._findings.add(
                Fault("class_total", None, f"{class_} {name.removeprefix('n_')}", _words(class_, name, by))
                for name, by in drift.items()
            )
            if self._repair:
                await self._take_off(class_, drift)

    async def _no_numbers(self, class_: Class) -> None:
        """What somebody else has written counts as 0; the moves write over it, too."""
        key = self._connection.keys.totals(class_)
        for name, told in (await self._connection.fields(key)).items():
            if name in FIELDS and not told.removeprefix("-").isdecimal():
                word = name.removeprefix("n_")
                words = f"the total of {class_} {word} mails is no number"
                self._findings.add([Fault("class_total", None, f"{class_} {word}", words)])
                if self._repair:
                    await self._connection.command("HSET", key, name, 0)

    async def _sure(self, class_: Class) -> Mapping[str, int] | None:
        """What each total stands above the sum; None where it cannot be told."""
        before: Mapping[str, int] | None = None
        moving: dict[str, None] = {}
        for _ in range(_ROUNDS):
            found = await self._round(class_, moving)
            if found is not None and (not found or found == before):
                return found
            before = found
        return None

    async def _round(self, class_: Class, moving: dict[str, None]) -> Mapping[str, int] | None:
        since_ms = await self._now_ms()
        first = await self._totals(class_)
        resting, moving_sum = Counter[str](), Counter[str]()
        async for names in self._batches.pages():
            for batch, fields in zip(names, await self._read(names), strict=True):
                if fields["class"] != class_ or _int(fields["created"]) >= since_ms:
                    continue
                counts = {name: _int(fields[name]) for name in FIELDS}
                if batch in moving or _may_move(fields, since_ms):
                    moving[batch] = None
                    moving_sum.update(counts)
                elif fields["state"] in AT_REST:
                    resting.update(counts)
        tally = await self._inspection.tally(class_, since_ms, tuple(moving))
        if tally is None:
            totals = await self._totals(class_)
            resting.update(moving_sum)
            return _drift(totals, resting) if totals == first else None
        resting.update(tally.sums)
        return _drift(tally.totals, resting)

    async def _now_ms(self) -> int:
        seconds, micros = cast("tuple[int, int]", await self._connection.command("TIME"))
        return seconds * 1000 + micros // 1000

    async def _totals(self, class_: Class) -> dict[str, int]:
        return {
            name: _int(n) for name, n in (await self._connection.fields(self._connection.keys.totals(class_))).items()
        }

    async def _read(self, names: Sequence[str]) -> list[dict[str, str]]:
        wanted = [("HMGET", self._connection.keys.batch(batch), *_READ) for batch in names]
        found = []
        for answer in await self._connection.commands(wanted, broken=True):
            values = cast("list[bytes | None]", answer or [None] * len(_READ))
            texts = (value.decode("utf-8", "backslashreplace") if value else "" for value in values)
            found.append(dict(zip(_READ, texts, strict=True)))
        return found

    async def _take_off(self, class_: Class, drift: Mapping[str, int]) -> None:
        # Once, and never again after an outage: what was carried out twice would be wrong the other way.
        execute = cast("Callable[..., Awaitable[object]]", self._connection.link.redis.execute_command)
        for name, by in drift.items():
            await execute("HINCRBY", self._connection.keys.totals(class_), name, -by)


def _may_move(fields: Mapping[str, str], now_ms: int) -> bool:
    if fields["state"] not in AT_REST:
        return fields["state"] not in ("loading", "purging", "")
    keep = min(_int(fields["keep"]), _int(fields["keep_bad"]))
    return _int(fields["finished"]) + keep < now_ms + _PURGED_SOON_MS


def _drift(totals: Mapping[str, int], sums: Mapping[str, int]) -> dict[str, int]:
    found = {name: totals.get(name, 0) - sums.get(name, 0) for name in FIELDS}
    return {name: by for name, by in found.items() if by}


def _int(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _words(class_: Class, name: str, by: int) -> str:
    word = name.removeprefix("n_")
    return (
        f"the total of {class_} {word} mails stands {abs(by)} {'above' if by > 0 else 'below'} the sum of the batches"
    )
