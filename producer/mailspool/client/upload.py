"""One upload: begin, attachments, chunks, commit. Until commit answers, nothing of it is queued.

Called by spool.py. Two uploads with one key never mix: the second waits until the first has committed or has been
silent for 15 s. Raises KeyConflict, InputError (dates), SpoolUnavailable (`acknowledged=None` when the connection was
lost in the middle of the commit), SpoolFull.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mailspool.client.connection import Connection
from mailspool.client.terms import Terms
from mailspool.content.digest import changed_fields, digest
from mailspool.contract.codec import decode_spec, encode_spec
from mailspool.contract.moves import Begun, Loaded
from mailspool.contract.records import Spec
from mailspool.contract.states import CHUNK_SIZE, UPLOAD_SIGN_S
from mailspool.errors import InputError, KeyConflict, SpoolUnavailable
from mailspool.status import utc

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_IN_FLIGHT = 8
"""Chunks on their way at once: hides the round trip, bounds the memory."""
_ASK_AGAIN_S = 0.2
_ROOM_EVERY = 500
"""Chunks between two looks at the room that Redis has left."""


@dataclass(frozen=True)
class Receipt:
    """What one call did."""

    batch: str
    created: bool = True
    added: int = 0
    skipped_known: int = 0
    skipped_bad: int = 0
    duplicates: int = 0
    rejects: Path | None = None
    notices: tuple[str, ...] = ()


def new_batch_id() -> str:
    """`b` and 45 random bits: a million batches collide with a chance of one in 70."""
    return "b" + "".join(secrets.choice(_CROCKFORD) for _ in range(9))


def new_upload_id() -> str:
    return secrets.token_hex(8)


def key_digest(spec: Spec) -> str:
    """What "same content" means for a key."""
    return digest(spec)


class Upload:
    """`batch` and `created` are known after `begin`; rows come as encoded bytes, with identities if there is a key."""

    def __init__(self, connection: Connection, terms: Terms, spec: Spec, blobs: Mapping[str, bytes]) -> None:
        self.batch = ""
        self.created = True
        self.stored_terms: dict[str, str] = {}
        self._connection = connection
        self._moves = connection.moves
        self._terms = terms
        self._spec = spec
        self._blobs = blobs
        self._u = new_upload_id()
        self._next = 0
        self._rows = 0
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._loads: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._signs: asyncio.Task[None] | None = None

    async def begin(self, needed_bytes: int) -> None:
        """Reserves the key; waits for another upload that holds it."""
        await self._connection.link.require_room(needed_bytes + sum(len(blob) for blob in self._blobs.values()))
        fields = self._terms.fields(key_digest(self._spec))
        spec = encode_spec(self._spec)
        candidate = new_batch_id()
        while True:
            begun = await self._moves.begin(candidate, self._u, self._terms.key, spec, fields)
            if begun.kind != "WAIT":
                break
            await asyncio.sleep(_ASK_AGAIN_S)
        if begun.kind == "CONFLICT":
            raise await self._conflict(begun)
        if begun.kind == "CLOSED":
            raise await self._closed(begun.batch, begun.verdict)
        if begun.kind != "LOAD":
            raise _taken()
        self.batch, self._next, self.created = begun.batch, begun.base, begun.batch == candidate
        if not self.created:
            self.stored_terms = await self._fields_of(begun.batch)
        self._signs = asyncio.create_task(self._sign_of_life(), name="upload's signs of life")
        for sha, data in self._blobs.items():
            answer = await self._moves.attach(self.batch, self._u, sha)
            if answer == "SEND":
                answer = await self._moves.attach(self.batch, self._u, sha, data)
            if answer != "OK":
                raise _taken()

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        """One chunk, at most CHUNK_SIZE rows; goes out while the next is made."""
        if self._failed is not None:
            raise self._failed
        if len(rows) > CHUNK_SIZE:
            raise AssertionError("a chunk holds at most CHUNK_SIZE rows")
        await self._free.acquire()
        k, self._next = self._next, self._next + 1
        self._rows += len(rows)
        task = asyncio.create_task(self._load(k, rows, ids))
        self._loads.add(task)
        task.add_done_callback(self._loaded)
        if k % _ROOM_EVERY == _ROOM_EVERY - 1:
            await self._connection.link.require_room(0)

    async def commit(self) -> Loaded:
        """From its answer on the batch is durable. Answers added and known."""
        while self._loads:
            await asyncio.wait(tuple(self._loads))
        if self._failed is not None:
            raise self._failed
        try:
            answer = await self._moves.commit(self.batch, self._u, self._rows, tuple(self._blobs))
        except SpoolUnavailable as error:
            safe = "Run it again: with its key that is safe." if self._terms.key else "Look at `mailspool status`."
            raise SpoolUnavailable(
                f"the connection to Redis was lost during the commit; the batch may be queued or not. {safe}",
                acknowledged=None,
            ) from error
        await self._stop_signs()
        match answer.kind:
            case "OK":
                return answer
            case "EXPIRED":
                raise InputError("the batch would have expired before it was queued; nothing was queued")
            case "CLOSED":
                raise await self._closed(self.batch, answer.detail)
            case "TAKEN":
                raise _taken()
            case other:
                raise AssertionError(f"commit of {self._rows} rows answered {other} {answer.detail}")

    async def abandon(self) -> None:
        """Nothing is queued; the key is free at once. Does nothing after a commit."""
        for task in tuple(self._loads):
            task.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        await self._stop_signs()
        if self.batch:
            try:
                await self._moves.abandon(self.batch, self._u)
            except SpoolUnavailable:
                return  # the upload falls silent, which frees the key in 15 s

    # -- inside

    async def _load(self, k: int, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        answer = await self._moves.load(self.batch, self._u, k, rows, ids)
        if answer.kind == "CLOSED":
            raise await self._closed(self.batch, answer.detail)
        if answer.kind != "OK":
            raise _taken()

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loads.discard(task)
        self._free.release()
        if not task.cancelled() and self._failed is None:
            self._failed = task.exception()

    async def _sign_of_life(self) -> None:
        """By a task of its own: a slow stdin must not look dead."""
        while True:
            await asyncio.sleep(UPLOAD_SIGN_S)
            await self._moves.sign_of_life(self.batch, self._u)

    async def _stop_signs(self) -> None:
        if self._signs is not None:
            self._signs.cancel()
            await asyncio.gather(self._signs, return_exceptions=True)
            self._signs = None

    async def _fields_of(self, batch: str) -> dict[str, str]:
        return await self._connection.fields(self._connection.keys.batch(batch))

    async def _conflict(self, begun: Begun) -> KeyConflict:
        fields = await self._fields_of(begun.batch)
        stored = await self._connection.command("GET", self._connection.keys.spec(begun.batch))
        changed = changed_fields(decode_spec(cast("bytes", stored)), self._spec) if stored else []
        what = " and ".join(changed) or "content"
        return KeyConflict(
            f'key "{self._terms.key}" belongs to batch {begun.batch} of {_clock(fields)} with another {what}. '
            "Nothing was queued. Use a new key for a new mailing.",
            hint="use a new key for a new mailing",
        )

    async def _closed(self, batch: str, verdict: str) -> KeyConflict:
        fields = await self._fields_of(batch)
        return KeyConflict(
            f'key "{self._terms.key}" belongs to batch {batch} of {_clock(fields)}, which is {verdict}. '
            "Nothing was queued. Use a new key to mail again.",
            hint="use a new key to mail again",
        )


def _clock(fields: Mapping[str, str]) -> str:
    created = utc(fields.get("created"))
    return f"{created.astimezone():%d %b %H:%M}" if created else "a moment ago"


def _taken() -> KeyConflict:
    return KeyConflict(
        "this upload was silent for 15 s, and another one with the same key took its place. Nothing of it was queued; "
        "run it again to add what is missing."
    )
