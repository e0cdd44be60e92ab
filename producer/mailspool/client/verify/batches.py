"""Every batch of a spool, chunk by chunk: counters from outcomes, places from what is written. Bounded memory.

Called by `verify`. The spool lives on meanwhile. A chunk is judged by one look at one moment. Counters of a batch that
fits into one look are, too; those of a larger one are folded look by look, then all chunks that were in somebody's
hands meanwhile are looked at again with the counters; a difference counts once two walks show the same one.
Memory: the fold of each chunk of the batch at hand (a hundredth of its messages), nothing of the others.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, cast

from redis.exceptions import ResponseError

from mailspool.client.connection import Connection
from mailspool.client.verify.judge import UNCOMMITTED, drift, judge_batch, judge_chunk, judge_counters
from mailspool.client.verify.report import Fault, Findings
from mailspool.contract.inspection import BatchFacts, ChunkFacts, Fold, Inspection

_PAGE: Final = 100
"""Batches in one round trip."""
_CHUNKS_A_LOOK: Final = 20
_MESSAGES_A_LOOK: Final = 2_000
"""About 2 ms of Redis."""
_WALKS: Final = 4
_LAST_LOOKS: Final = 5


@dataclass
class Walk:
    """What is known of one batch."""

    facts: BatchFacts | None = None
    rows: dict[str, int] = field(default_factory=dict)
    folds: dict[str, Fold] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By chunk: a later look at a chunk replaces an earlier one."""
    moved: set[str] = field(default_factory=set)

    def take(self, batch: str, facts: BatchFacts) -> None:
        self.facts = facts
        self.moved.update(facts.runs)
        for chunk in facts.chunks:
            self.faults[chunk.k] = list(judge_chunk(batch, facts, chunk))
            self._count(chunk)

    def _count(self, chunk: ChunkFacts) -> None:
        if chunk.rows is not None:
            self.rows[chunk.k] = chunk.rows
            self.folds[chunk.k] = chunk.fold

    def all_faults(self, batch: str) -> list[Fault]:
        """After the last look."""
        if self.facts is None:
            return []
        found = [fault for faults in self.faults.values() for fault in faults]
        found += judge_batch(batch, self.facts)
        found += judge_counters(batch, self.facts.fields, *self._counts())
        return found

    def drift(self) -> dict[str, int]:
        """By how much counters are off: stays the same on a batch that moves, for every move changes both sides."""
        return drift(self.facts.fields, *self._counts()) if self.facts is not None else {}

    def _counts(self) -> tuple[int, Fold]:
        folds = self.folds.values()
        return sum(self.rows.values()), Fold(*map(sum, zip(*folds, strict=True))) if folds else Fold()


class Batches:
    """One pass over all of them."""

    def __init__(self, connection: Connection, inspection: Inspection, findings: Findings, *, repair: bool) -> None:
        self._connection = connection
        self._keys = connection.keys
        self._inspection = inspection
        self._findings = findings
        self._repair = repair
        self._uploads = array("Q")

    async def run(self) -> None:
        async for names in self.pages():
            await self._page(names)
        self._uploads = array("Q", sorted(self._uploads))

    def has_upload(self, name: str) -> bool:
        """After `run`: was this upload committed into one of the batches seen? 8 bytes each, a false yes in 10^12."""
        at = bisect_left(self._uploads, mark := _mark(name))
        return at < len(self._uploads) and self._uploads[at] == mark

    async def pages(self) -> AsyncIterator[list[str]]:
        """In the order of their ids: each once, whatever comes and goes meanwhile."""
        after: str | bytes = "-"
        while True:
            words = ("ZRANGEBYLEX", self._keys.ids, after, "+", "LIMIT", 0, _PAGE)
            (answer,) = await self._connection.commands([words], broken=True)
            found = cast("list[bytes]", answer)
            if not found:  # also where something else lies there: the walk over all keys tells that
                return
            after = b"(" + found[-1]
            yield [name.decode("utf-8", "backslashreplace") for name in found]

    async def _page(self, names: Sequence[str]) -> None:
        keys = self._keys
        wanted = [("HSCAN", keys.rows(batch), 0, "COUNT", _PAGE) for batch in names]
        wanted_uploads = [("HKEYS", f"{keys.prefix}:uploads:{batch}") for batch in names]
        answers = await self._connection.commands([*wanted, *wanted_uploads], broken=True)
        for uploads in answers[len(names) :]:
            self._uploads.extend(
                _mark(u.decode("utf-8", "backslashreplace")) for u in cast("list[bytes]", uploads or [])
            )
        small: dict[str, list[str]] = {}
        messages = 0
        for batch, answer in zip(names, answers, strict=False):
            cursor, found = cast("tuple[int, dict[bytes, bytes]]", answer or (0, {}))
            rows = sum(int(n) for n in found.values() if n.isdigit())
            if cursor or rows > _MESSAGES_A_LOOK:
                await self.one(batch)
                continue
            if messages + rows > _MESSAGES_A_LOOK:
                await self._small(small)
                small, messages = {}, 0
            small[batch] = [_text(k) for k in found]
            messages += rows
        await self._small(small)

    async def _small(self, wanted: dict[str, list[str]]) -> None:
        """Batches that fit into one look together; one that needs a second look goes the long way."""
        try:
            looked = await self._inspection.look(wanted)
        except (ResponseError, ValueError):
            for batch in wanted:
                await self.one(batch)
            return
        for batch, facts in looked.items():
            if facts is None or facts.fields.get("state") in UNCOMMITTED:
                continue
            walk = Walk()
            walk.take(batch, facts)
            if walk.all_faults(batch) or facts.chunks_known != len(walk.rows) or self._strangers(walk):
                await self.one(batch)
            else:
                self._counted(walk)

    def _counted(self, walk: Walk) -> None:
        self._findings.batches += 1
        self._findings.messages += sum(walk.rows.values())

    async def one(self, batch: str) -> None:
        """One batch, looked at as often as it takes to be sure."""
        try:
            walk, faults = await self._sure(batch)
            if walk is None:
                return
            if faults and self._repair:
                await self._mend(batch, walk, faults)
        except (ResponseError, ValueError) as error:
            walk = Walk()
            words = f"cannot be read: something else has written there ({type(error).__name__})"
            faults = [Fault("broken_record", batch, "", words)]
        self._counted(walk)
        self._findings.add(faults)

    async def _sure(self, batch: str) -> tuple[Walk | None, list[Fault]]:
        before: tuple[set[object], dict[str, int]] | None = None
        walk, faults = None, []
        for _ in range(_WALKS):
            walk = await self._walked(batch)
            if walk is None:
                return None, []
            faults = walk.all_faults(batch)
            seen: tuple[set[object], dict[str, int]] = ({fault.place for fault in faults}, walk.drift())
            if not faults or seen == before:
                return walk, faults
            before = seen
        certain = [fault for fault in faults if fault.what != "counter"]
        if len(certain) < len(faults):
            self._findings.unproved.append(f"{batch} moves too fast to be counted")
        return walk, certain

    async def _walked(self, batch: str) -> Walk | None:
        walk = Walk()
        async for ks in self._chunks(batch):
            if not await self._look(batch, walk, ks):
                return None
        if not await self._look(batch, walk, []):
            return None
        if strangers := await self._find_strangers(batch, walk):
            await self._look(batch, walk, strangers)
        for _ in range(_LAST_LOOKS):
            asked = set(walk.moved)
            if not await self._look(batch, walk, sorted(asked)):
                return None
            if walk.moved == asked:
                break
        return walk

    async def _look(self, batch: str, walk: Walk, ks: Sequence[str]) -> bool:
        facts = (await self._inspection.look({batch: ks}))[batch]
        if facts is None or facts.fields.get("state") in UNCOMMITTED:
            return False
        walk.take(batch, facts)
        return True

    async def _chunks(self, batch: str) -> AsyncIterator[list[str]]:
        async for found in self._scan("HSCAN", self._keys.rows(batch)):
            for start in range(0, len(found), _CHUNKS_A_LOOK):
                yield found[start : start + _CHUNKS_A_LOOK]

    async def _scan(self, command: str, key: str) -> AsyncIterator[list[str]]:
        """Members or fields; what is there from beginning to end comes at least once."""
        cursor = -1
        while cursor:
            answer = await self._connection.command(command, key, max(cursor, 0), "COUNT", 200)
            cursor, found = cast("tuple[int, Iterable[bytes | tuple[bytes, float]]]", answer)
            yield [_text(item[0] if isinstance(item, tuple) else item) for item in found]

    def _strangers(self, walk: Walk) -> bool:
        """Does a place of this batch hold more than the chunks that were looked at?"""
        facts = walk.facts
        return facts is not None and (
            facts.due != sum(chunk.due_ms is not None for chunk in facts.chunks)
            or facts.odd != sum(chunk.odd for chunk in facts.chunks)
            or facts.lost > len(facts.chunks)
            or bool(facts.runs.keys() - walk.rows.keys())
        )

    async def _find_strangers(self, batch: str, walk: Walk) -> list[str]:
        prefix = self._keys.prefix
        found: set[str] = set()
        for command, kind in (("ZSCAN", "due"), ("HSCAN", "run"), ("HSCAN", "lost"), ("SSCAN", "odd")):
            async for members in self._scan(command, f"{prefix}:{kind}:{batch}"):
                found.update(k for k in members if k not in walk.rows)
        return sorted(found)

    async def _mend(self, batch: str, walk: Walk, faults: Sequence[Fault]) -> None:
        """Chunks first, then the counters over them, then the batch that follows from both."""
        for ks in _sliced([k for k, found in walk.faults.items() if found]):
            await self._inspection.mend(batch, ks)
        if any(fault.what in ("counter", "stray_outcome", "claim") for fault in faults):
            await self._inspection.recount(batch)
        await self._inspection.mend(batch)


def _sliced(ks: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ks), _CHUNKS_A_LOOK):
        yield ks[start : start + _CHUNKS_A_LOOK]


def _mark(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _text(item: bytes) -> str:
    return item.decode("utf-8", "backslashreplace")
