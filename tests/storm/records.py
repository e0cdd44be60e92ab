"""What the callers were told: which rows are acknowledged, which uploads hold what, which attachments a batch has.

Learned from calls and answers alone, never from the server's keys, so that it can bear witness against them.
Called by world.py after every answer, before the audit of that step.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from mailspool.contract.codec import decode_rows, decode_spec, encode_row, encode_spec
from mailspool.contract.moves import Arg, Begun, Loaded, Sent1
from mailspool.contract.records import Row
from tests.storm import ops

Place = tuple[int, int]
"""(chunk, index in the chunk)."""


@lru_cache(maxsize=4096)
def row_of(identity: str) -> bytes:
    return encode_row(Row(f"{identity}@example.org", {"n": identity}))


@lru_cache(maxsize=4096)
def bare_row_of(identity: str) -> bytes:
    return encode_row(Row(f"{identity}@example.org", {}))


def payload(identities: list[str], erased: AbstractSet[int] = frozenset()) -> str:
    """A chunk as it must lie on the server: a msgpack array of rows, read as latin-1."""
    head = bytes((0xDC, len(identities) >> 8, len(identities) & 255))
    rows = (bare_row_of(who) if i in erased else row_of(who) for i, who in enumerate(identities))
    return (head + b"".join(rows)).decode("latin-1")


@lru_cache(maxsize=16)
def bare(spec: bytes) -> bytes:
    """A spec after the erasure of what it said."""
    told = decode_spec(spec)
    if told.kind == "template":
        return spec
    return encode_spec(
        msgspec.structs.replace(told, subject="", text=None, html=None, headers=(), attachments=(), erased=True)
    )


@dataclass
class Upload:
    """What a producer has loaded and not yet committed."""

    b: str
    op: ops.Begin
    chunks: dict[int, list[str]] = field(default_factory=dict)
    """Rows kept, by chunk; a chunk of known rows only is an empty list."""
    loaded_at: dict[int, int] = field(default_factory=dict)
    known: int = 0
    going: bool = False
    """A part of it is collected."""

    @property
    def added(self) -> int:
        return sum(map(len, self.chunks.values()))

    @property
    def keyed(self) -> bool:
        return self.op.key != ""


@dataclass
class Batch:
    """What was acknowledged."""

    key: str
    spec: bytes
    fields: Mapping[str, Arg]
    chunks: dict[int, list[str]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    due_at: dict[int, int] = field(default_factory=dict)
    """When each chunk was first due, as its commit says."""
    uploads: dict[str, tuple[int, int]] = field(default_factory=dict)
    empty_at: dict[str, int] = field(default_factory=dict)
    """When those were committed that added nothing."""

    @property
    def total(self) -> int:
        return sum(map(len, self.chunks.values()))

    def take(self, u: str, chunks: Mapping[int, list[str]], known: int, due_at: Mapping[int, int]) -> None:
        kept = {k: rows for k, rows in chunks.items() if rows}
        self.chunks.update(kept)
        self.due_at.update({k: due_at[k] for k in kept})
        self.ids.update(identity for rows in kept.values() for identity in rows)
        self.uploads[u] = (sum(map(len, kept.values())), known)


@dataclass
class Records:
    """All of it, over one storm."""

    batches: dict[str, Batch] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    attached: dict[str, set[str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def learn(self, op: object, answer: object, now: int) -> None:
        match op, answer:
            case ops.Begin(), Begun("LOAD", b):
                self.uploads.setdefault(op.u, Upload(b, op))
            case ops.Attach(), "OK":
                self._attach(op.b, op.sha, op.data)
            case ops.Load(), Loaded("OK"):
                self._load(op, now)
            case ops.Commit(), Loaded("OK"):
                self._commit(op.b, op.u, now)
            case ops.Collect(), "MORE":
                self.uploads[op.u].going = True
            case ops.Collect(), "OK":
                self._collect(op.u)
            case ops.SendOne(), Sent1("OK") if op.b not in self.batches:
                self._send1(op, now)
            case _:
                pass

    def known_before(self, b: str, identities: list[str]) -> set[str]:
        """Those that a committed upload of this batch has."""
        batch = self.batches.get(b)
        return batch.ids.intersection(identities) if batch else set()

    def expected_load(self, op: ops.Load) -> tuple[list[str], int]:
        """(rows to keep, rows that are known)."""
        if op.ids is None:
            return [identity_of(row) for row in op.rows], 0
        identities = [one.decode() for one in op.ids]
        known = self.known_before(op.b, identities)
        kept = [identity for identity in identities if identity not in known]
        return kept, len(identities) - len(kept)

    def _attach(self, b: str, sha: str, data: bytes | None) -> None:
        self.attached.setdefault(b, set()).add(sha)
        if data is not None:
            self.blobs.setdefault(sha, data)

    def _collect(self, u: str) -> None:
        upload = self.uploads.pop(u, None)
        if upload and upload.b not in self.batches:
            self.attached.pop(upload.b, None)

    def _load(self, op: ops.Load, now: int) -> None:
        upload = self.uploads[op.u]
        if op.k in upload.chunks:
            return
        kept, known = self.expected_load(op)
        upload.chunks[op.k] = kept
        upload.loaded_at[op.k] = now
        upload.known += known

    def _commit(self, b: str, u: str, now: int) -> None:
        upload = self.uploads.get(u)
        if upload is None:
            return
        begun = upload.op
        batch = self.batches.setdefault(b, Batch(begun.key, begun.spec, begun.fields))
        if u not in batch.uploads:
            batch.take(u, upload.chunks, upload.known, upload.loaded_at)
            if not batch.uploads[u][0]:
                batch.empty_at[u] = now
            del self.uploads[u]

    def _send1(self, op: ops.SendOne, now: int) -> None:
        batch = Batch(op.key, op.spec, op.fields)
        batch.take(op.u, {0: [identity.decode() for identity, _ in op.rows]}, 0, {0: now})
        self.batches[op.b] = batch
        for sha, data in op.blobs.items():
            self._attach(op.b, sha, data)


def identity_of(row: bytes) -> str:
    """The identity that `row_of` made the row from."""
    return str(decode_rows(b"\xdc\x00\x01" + row)[0].values["n"])
