"""Keys without an owner, index entries of nobody, batches that no index names. Streamed by SCAN; bounded memory.

Called by `verify` after the batches. Whether a key has an owner is decided, and for a repair acted upon, inside Redis:
so an upload in progress is never taken for litter. Two owners cannot be told at one moment: identities of a
committed upload (all batches are asked then), and arq's keys between a job's end and its tidying (asked again
after the rest). Keys of no known kind are told and left alone: a newer release may know them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, cast

from redis.exceptions import ResponseError

from mailspool.client.connection import Connection
from mailspool.client.verify.batches import Batches
from mailspool.client.verify.report import SHOWN, Fault, Findings
from mailspool.contract.inspection import Inspection, StraysMode
from mailspool.contract.states import CLASSES

_COUNT: Final = 500
_OF_CLASS: Final = ("open", "later", "flight", "apart", "aside")
_INDEXES: Final = (
    *("batches", "ids", "deadline", "retire", "loading"),
    *(f"{index}:{class_}" for index in _OF_CLASS for class_ in CLASSES),
)
_WORDS: Final = {
    "orphan": "belongs to nobody",
    "stranger": "is of no kind that this release knows; it is left alone",
    "empty": "an attachment without its content; nothing can bring it back",
    "broken": "cannot be read: something else has written there",
}
_WHAT: Final = {"orphan": "orphan", "stranger": "stranger", "empty": "lost_content", "broken": "broken_record"}


class Orphans:
    """One pass over all keys."""

    def __init__(
        self, connection: Connection, inspection: Inspection, batches: Batches, findings: Findings, *, repair: bool
    ) -> None:
        self._connection = connection
        self._prefix = f"{connection.keys.prefix}:"
        self._inspection = inspection
        self._batches = batches
        self._findings = findings
        self._repair = repair
        self._again: dict[bytes, None] = {}
        """arq's keys that looked ownerless."""
        self._uploads: dict[str, bytes] = {}
        """Identities of which no batch seen so far has the upload."""

    async def run(self) -> None:
        async for names in self._scan("SCAN", None, f"{self._prefix}*"):
            await self._unlisted(names)
            await self._owners(names)
        async for names in self._scan("SCAN", None, f"arq:*:{self._prefix}*"):
            self._suspect(await self._inspection.owners("tell", names))
        for index in _INDEXES:
            await self._strays(index)
        await self._identities()
        await self._arq()

    async def _owners(self, names: Sequence[bytes]) -> None:
        found = await self._inspection.owners("delete" if self._repair else "tell", names)
        for name, why in found:
            if why == "ask":
                u = self._shown(name).removeprefix("ids:")
                if not self._batches.has_upload(u) and len(self._uploads) < SHOWN:
                    self._uploads[u] = name
            else:
                self._tell(name, why)

    def _suspect(self, found: Iterable[tuple[bytes, str]]) -> None:
        for name, why in found:
            if why == "orphan" and len(self._again) < SHOWN:
                self._again[name] = None

    async def _arq(self) -> None:
        for name, why in await self._inspection.owners("delete" if self._repair else "tell", tuple(self._again)):
            self._tell(name, why)

    async def _identities(self) -> None:
        """Whoever committed one of these did so before we saw that its upload was over: so a batch has it by now."""
        if not self._uploads:
            return
        async for keys in self._scan("SCAN", None, f"{self._prefix}uploads:*"):
            us = list(self._uploads)
            wanted: list[tuple[str | bytes, ...]] = [("HMGET", key, *us) for key in keys]
            answers = await self._connection.commands(wanted, broken=True)
            for answer in answers:
                for u, stored in zip(us, cast("list[bytes | None]", answer or [None] * len(us)), strict=True):
                    if stored is not None:
                        self._uploads.pop(u, None)
            if not self._uploads:
                return
        names = tuple(self._uploads.values())
        gone = await self._inspection.owners("ids", names) if self._repair else [(name, "orphan") for name in names]
        for name, why in gone:
            self._tell(name, why)

    async def _strays(self, index: str) -> None:
        mode: StraysMode = "delete" if self._repair else "tell"
        try:
            await self._members(index, mode)
        except ResponseError:
            self._tell(f"{self._prefix}{index}".encode(), "broken")

    async def _members(self, index: str, mode: StraysMode) -> None:
        async for members in self._scan("ZSCAN", f"{self._prefix}{index}", None):
            for member in await self._inspection.strays(mode, index, members):
                shown = member.decode("utf-8", "backslashreplace")[:60]
                self._findings.add(
                    [Fault("stray", None, f"{index} {shown}", f"{index} names {shown}, and nothing is there")]
                )

    async def _unlisted(self, names: Sequence[bytes]) -> None:
        """A batch that `ids` does not name was not among the batches; unless it loads or goes, it must be."""
        head = f"{self._prefix}batch:".encode()
        batches = [name[len(head) :] for name in names if name.startswith(head)]
        scores = await self._connection.commands(
            [("ZSCORE", self._connection.keys.ids, b) for b in batches], broken=True
        )
        for batch, score in zip(batches, scores, strict=True):
            if score is None:
                await self._batches.one(batch.decode("utf-8", "backslashreplace"))

    async def _scan(self, command: str, key: str | None, pattern: str | None) -> AsyncIterator[list[bytes]]:
        cursor = -1
        where = () if key is None else (key,)
        match = () if pattern is None else ("MATCH", pattern)
        while cursor:
            answer = await self._connection.command(command, *where, max(cursor, 0), *match, "COUNT", _COUNT)
            cursor, found = cast("tuple[int, list[bytes | tuple[bytes, float]]]", answer)
            if found:
                yield [item[0] if isinstance(item, tuple) else item for item in found]

    def _shown(self, name: bytes) -> str:
        return name.decode("utf-8", "backslashreplace").removeprefix(self._prefix)

    def _tell(self, name: bytes, why: str) -> None:
        shown = name.decode("utf-8", "backslashreplace")[:100]
        self._findings.add([Fault(_WHAT[why], None, shown, f"{shown} {_WORDS[why]}")])
