"""What a test left behind: keys without an owner, tasks without an end.

`orphans(redis)` reads every key and says, one sentence each, which belongs to nothing: a batch's parts must have their
batch, an upload's parts their upload, an attachment its users, an index only members that exist. `collected(...)` does
before what upkeep would do an hour later with uploads that were given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

from redis.asyncio import Redis

from mailspool.contract.moves import Moves

_OF_A_BATCH = frozenset(
    ("spec", "talk", "chunk", "out", "rows", "odd", "lost", "due", "run", "uploads", "empty", "blobs")
)
_OF_AN_UPLOAD = frozenset(("upload", "up:due", "up:rows"))
_BATCH_INDEXES = (
    "batches",
    "ids",
    "deadline",
    "retire",
    "open:transactional",
    "open:bulk",
    "later:transactional",
    "later:bulk",
)
_OTHERS = frozenset(("workers", "turn", "paused", "suppressed", "events", "loading", "chores", "erase"))
_PREFIXES = ("totals:", "worker:", "route:", "q:", "flight:", "apart:", "aside:")


class Everything:
    """All keys of one spool, read once."""

    def __init__(self, keys: dict[str, object], prefix: str) -> None:
        self.keys = keys
        self.prefix = prefix
        self.batches = {name[6:]: cast("dict[str, str]", value) for name, value in self._of("batch:")}
        self.loading = set(self._members("loading"))
        uploads = {u: cast("dict[str, str]", fields) for u, fields in self._cut("upload:")}
        self.uploads = {u: fields["batch"] for u, fields in uploads.items()}
        self.committed = {u for _, fields in self._of("uploads:") for u in cast("dict[str, str]", fields)}

    def _of(self, start: str) -> Iterator[tuple[str, object]]:
        for name, value in self.keys.items():
            if name.startswith(start):
                yield name, value

    def _cut(self, start: str) -> Iterator[tuple[str, object]]:
        return ((name.removeprefix(start), value) for name, value in self._of(start))

    def _members(self, name: str) -> list[str]:
        return list(cast("list[str] | dict[str, str]", self.keys.get(name, [])))

    def orphans(self) -> Iterator[str]:
        for name, value in self.keys.items():
            yield from self._orphan(name, value)
        for index in _BATCH_INDEXES:
            for batch in self._members(index):
                if batch not in self.batches:
                    yield f"{index} holds {batch}, which is no batch"
        for lease in ("flight", "apart"):
            for class_ in ("transactional", "bulk"):
                for member in self._members(f"{lease}:{class_}"):
                    if member.partition(":")[2] not in self._run(member.partition(":")[0]):
                        yield f"{lease}:{class_} holds {member}, which does not run"
        for batch, fields in self.batches.items():
            yield from self._strange_batch(batch, fields)

    def _orphan(self, name: str, value: object) -> Iterator[str]:
        kind, _, rest = name.partition(":")
        if kind == "up":
            kind, _, rest = name.rpartition(":")
        if kind == "batch" or name in _OTHERS or name in _BATCH_INDEXES or name.startswith(_PREFIXES):
            return
        if kind == "ids":
            if rest not in self.uploads and rest not in self.committed:
                yield f"{name} belongs to no upload"
        elif kind in _OF_A_BATCH:
            if rest.partition(":")[0] not in self.batches:
                yield f"{name} belongs to no batch"
            elif kind in ("chunk", "out"):
                yield from self._strange_chunk(name, *rest.split(":"))
        elif kind in _OF_AN_UPLOAD:
            if rest not in self.loading or rest not in self.uploads:
                yield f"{name} belongs to no upload"
        elif kind == "key":
            if self.batches.get(str(value), {}).get("key") != rest:
                yield f"{name} names {value}, which has another key or is gone"
        elif kind == "blob":
            yield from self._strange_blob(name)
        else:
            yield f"{name} is of no known kind"

    def _strange_chunk(self, name: str, batch: str, k: str) -> Iterator[str]:
        rows = set(self._members(f"rows:{batch}"))
        for upload, its_batch in self.uploads.items():
            if its_batch == batch:
                rows |= set(self._members(f"up:rows:{upload}"))
        if k not in rows:
            yield f"{name} is no chunk of its batch"

    def _strange_blob(self, name: str) -> Iterator[str]:
        blob = name.removesuffix(":refs")
        users = self._members(f"{blob}:refs")
        if not users:
            yield f"{name} has no user"
        for batch in users:
            if blob.removeprefix("blob:") not in self._members(f"blobs:{batch}"):
                yield f"{name} is used by {batch}, which does not know it"

    def _strange_batch(self, batch: str, fields: dict[str, str]) -> Iterator[str]:
        held_by = fields.get("upload")
        if held_by is not None and held_by not in self.loading:
            yield f"batch {batch} is reserved for {held_by}, which is no upload"
        if fields["state"] == "loading":
            if batch not in self.uploads.values():
                yield f"batch {batch} was never committed, and no upload loads it"
        elif batch not in self._members("batches") or batch not in self._members("ids"):
            yield f"batch {batch} is in no index"
        counted = sum(int(number) for name, number in fields.items() if name.startswith("n_") and name != "n_claimed")
        if counted > int(fields["total"]):
            yield f"batch {batch} counts more than it has"

    def _run(self, batch: str) -> list[str]:
        return self._members(f"run:{batch}")


async def everything(redis: Redis, prefix: str = "ms") -> Everything:
    """arq's own keys are left out: stale ids are allowed there."""
    command = cast("Callable[..., Awaitable[object]]", redis.execute_command)
    found: dict[str, object] = {}
    for raw in cast("list[bytes]", await command("KEYS", f"{prefix}:*")):
        name = raw.decode()
        value = await _value(command, name)
        if value != "none":  # it went away meanwhile
            found[name.removeprefix(f"{prefix}:")] = value
    return Everything(found, prefix)


async def _value(command: Callable[..., Awaitable[object]], name: str) -> object:
    kind = cast("bytes", await command("TYPE", name)).decode()
    if kind == "hash":
        pairs = cast("dict[bytes, bytes]", await command("HGETALL", name))
        return {field.decode(): value.decode("utf-8", "replace") for field, value in pairs.items()}
    if kind == "set":
        return [member.decode("utf-8", "replace") for member in cast("set[bytes]", await command("SMEMBERS", name))]
    if kind == "zset":
        return [member.decode() for member in cast("list[bytes]", await command("ZRANGE", name, 0, -1))]
    if kind == "string":
        return cast("bytes", await command("GET", name)).decode("utf-8", "replace")
    return kind


async def orphans(redis: Redis, prefix: str = "ms") -> list[str]:
    return sorted(set((await everything(redis, prefix)).orphans()))


async def collected(redis: Redis, moves: Moves) -> None:
    """Uploads that were given up are cleared away; one that still lives stays."""
    command = cast("Callable[..., Awaitable[object]]", redis.execute_command)
    for upload in cast("list[bytes]", await command("ZRANGE", moves.keys.loading, 0, -1)):
        while await moves.collect(upload.decode()) == "MORE":
            pass


def tasks_left() -> list[str]:
    """Names of the tasks that run in this loop beside the caller's."""
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
