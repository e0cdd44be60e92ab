"""One upload: begin, attachments, chunks, commit. Until commit answers, nothing of it is queued.

Called by spool.py and single.py, inside `uploading`, which gives up an upload that did not come to its commit. Two
uploads with one key never mix: the second waits until the first has committed or has been silent for 15 s. Raises
KeyConflict, InputError (dates), SpoolUnavailable (`acknowledged=None` when the connection was lost in the middle of
the commit), SpoolFull.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

from redis.exceptions import RedisError

from mailspool.client.connection import Connection
from mailspool.client.receipt import Receipt
from mailspool.client.terms import Terms
from mailspool.content.digest import changed_fields, digest
from mailspool.contract.codec import decode_spec, encode_spec
from mailspool.contract.moves import Begun, Loaded
from mailspool.contract.records import Spec
from mailspool.contract.states import CHUNK_SIZE, UPLOAD_SIGN_S, Class
from mailspool.errors import InputError, KeyConflict, MailspoolError, SpoolFull, SpoolUnavailable
from mailspool.redis_server.tasks import end
from mailspool.status import utc

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_IN_FLIGHT = 8
"""Chunks on their way at once: hides the round trip, bounds the memory."""
_ASK_AGAIN_S = 0.2
_ROOM_EVERY = 500
"""Chunks between two looks at the room that Redis has left."""
_ROOM_EVERY_BYTES = 4 * 1024 * 1024
"""The same for large rows: several producers that go on this long stay inside the workers' reserve."""
_ROW_COSTS = 120
"""Bytes that Redis keeps of a row beside its text: identity, outcome, indexes (measured: 52 + 45 + some)."""
_LEAST_ROOM = 64 * 1024
"""What an upload of unknown size must find: a few chunks; the rest is looked at on the way."""
_GIVE_UP_S = 1.0
"""Giving up tells Redis so if it answers at once; if not, the upload falls silent, which frees the key in 15 s."""


def new_batch_id() -> str:
    """`b` and 45 random bits. A name that is taken is refused (NAMED): a million single mails a day meet one a week."""
    return "b" + "".join(secrets.choice(_CROCKFORD) for _ in range(9))


def new_upload_id() -> str:
    return secrets.token_hex(8)


def key_digest(spec: Spec) -> str:
    """What "same content" means for a key."""
    return digest(spec)


@contextmanager
def before_the_commit(terms: Terms) -> Iterator[None]:
    """Errors of Redis say what became of the mail: nothing was queued, or (inside a commit) nobody knows."""
    try:
        yield
    except SpoolUnavailable as error:
        words = error.message.removesuffix(" Nothing was queued.")
        if error.acknowledged is None:
            safe = "Run it again: with its key that is safe." if terms.key else "Look at `mailspool status`."
            raise SpoolUnavailable(f"{words} {safe}", acknowledged=None, hint=error.hint) from error
        raise SpoolUnavailable(f"{words} Nothing was queued.", hint=error.hint) from error
    except SpoolFull as error:
        words = error.message.removesuffix(" Nothing was queued.")
        raise SpoolFull(f"{words} Nothing was queued.", hint=error.hint) from error


class Upload:
    """`batch`, `created` and `stored` are known after `begin`; rows come encoded, with identities if there is a key."""

    def __init__(self, connection: Connection, terms: Terms, spec: Spec, blobs: Mapping[str, bytes]) -> None:
        self.batch = ""
        self.created = True
        self.stored: dict[str, str] = {}
        """The fields of a batch that was there before."""
        self._connection = connection
        self._moves = connection.moves
        self._terms = terms
        self._spec = spec
        self._blobs = blobs
        self._u = new_upload_id()
        self._cancellations = _cancellations()
        self._beginning: asyncio.Task[Begun] | None = None
        self._next = 0
        self._rows = 0
        self._bytes = 0
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._loads: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._signs: asyncio.Task[None] | None = None
        self._committed = False

    async def begin(self, rows_bytes: int) -> None:
        """Reserves the key; waits for another upload that holds it. `rows_bytes`: what the rows take, if known."""
        fields = self._terms.fields(key_digest(self._spec))
        spec = encode_spec(self._spec)
        candidate = new_batch_id()
        while True:
            begin = self._moves.begin(candidate, self._u, self._terms.key, spec, fields)
            self._beginning = asyncio.create_task(begin, name="upload begins")
            begun = await asyncio.shield(self._beginning)  # its answer is what giving up needs
            if begun.kind == "NAMED":
                candidate = new_batch_id()
            elif begun.kind == "WAIT":
                await asyncio.sleep(_ASK_AGAIN_S)
            else:
                break
        if begun.kind == "CONFLICT":
            raise await self._conflict(begun)
        if begun.kind == "CLOSED":
            raise await self._closed(begun.batch, begun.verdict)
        if begun.kind != "LOAD":
            raise self._taken()
        self.batch, self._next, self.created = begun.batch, begun.base, begun.batch == candidate
        self._signs = asyncio.create_task(self._sign_of_life(), name="upload's signs of life")
        if self.created:
            await self._require_room(rows_bytes)
        else:
            self.stored = await self._fields_of(begun.batch)
        await self._attach()

    async def _require_room(self, rows_bytes: int) -> None:
        blobs = sum(map(len, self._blobs.values()))
        try:
            await self._connection.require_room(max(rows_bytes + blobs, _LEAST_ROOM))
        except SpoolFull as error:
            share = round(100 * blobs / (rows_bytes + blobs)) if blobs else 0
            if share < 50:
                raise
            raise SpoolFull(f"{error.message} Attachments are {share} % of it.", hint=error.hint) from None

    async def _attach(self) -> None:
        for sha, data in self._blobs.items():
            answer = await self._moves.attach(self.batch, self._u, sha)
            if answer == "SEND":
                answer = await self._moves.attach(self.batch, self._u, sha, data)
            if answer != "OK":
                raise self._taken()

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        """One chunk, at most CHUNK_SIZE rows; goes out while the next is made."""
        if self._failed is not None:
            raise self._failed
        if len(rows) > CHUNK_SIZE:
            raise AssertionError("a chunk holds at most CHUNK_SIZE rows")
        await self._free.acquire()
        k, self._next = self._next, self._next + 1
        self._rows += len(rows)
        self._bytes += sum(map(len, rows)) + _ROW_COSTS * len(rows)
        task = asyncio.create_task(self._load(k, rows, ids))
        self._loads.add(task)
        task.add_done_callback(self._loaded)
        if k % _ROOM_EVERY == _ROOM_EVERY - 1 or self._bytes >= _ROOM_EVERY_BYTES:
            needed, self._bytes = self._bytes, 0  # the next ones need about what these did
            await self._connection.require_room(needed)

    async def commit(self) -> Loaded:
        """From its answer on the batch is durable. Answers added and known."""
        while self._loads:
            await asyncio.wait(tuple(self._loads))
        if self._failed is not None:
            raise self._failed
        if _cancellations() > self._cancellations:  # Python 3.11's wait_for, inside redis-py, can swallow one
            raise asyncio.CancelledError
        answer = await self._moves.commit(self.batch, self._u, self._rows, tuple(self._blobs))
        match answer.kind:
            case "OK":
                self._committed = True
                return answer
            case "EXPIRED":
                raise InputError("the batch would have expired before it was queued; nothing was queued.")
            case "CLOSED":
                raise await self._closed(self.batch, answer.detail)
            case "TAKEN":
                raise self._taken()
            case other:
                raise AssertionError(f"commit of {self._rows} rows answered {other} {answer.detail}")

    def receipt(self, done: Loaded, bad: int = 0, duplicates: int = 0, rejects: Path | None = None) -> Receipt:
        """What it did, and the batch that it went into as that one was made."""
        terms, stored = self._terms, self.stored
        return Receipt(
            self.batch,
            class_=terms.class_ if self.created else cast("Class", stored["class"]),
            name=terms.name if self.created else stored.get("name", ""),
            key=terms.key or None,
            created=self.created,
            added=done.added,
            skipped_known=done.known,
            skipped_bad=bad,
            duplicates=duplicates,
            rejects=rejects,
            notices=() if self.created else terms.differing(stored),
        )

    async def end(self) -> None:
        """After a commit: nothing to do. Else the upload is given up: nothing is queued, the key is free at once."""
        await end((*self._loads, *([self._signs] if self._signs is not None else ())))
        if not self._committed:
            try:
                async with asyncio.timeout(_GIVE_UP_S):
                    await self._abandon()
            except (TimeoutError, RedisError, OSError, MailspoolError):
                return  # see _GIVE_UP_S

    # -- inside

    async def _abandon(self) -> None:
        if self._beginning is None:
            return
        begun = await self._beginning  # it may have been cut off before its answer was read
        if begun.kind == "LOAD":
            await self._connection.hasty_moves.abandon(begun.batch, self._u)

    async def _load(self, k: int, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        await self._check(await self._moves.load(self.batch, self._u, k, rows, ids))

    async def _check(self, answer: Loaded) -> None:
        if answer.kind == "CLOSED":
            raise await self._closed(self.batch, answer.detail)
        if answer.kind != "OK":
            raise self._taken()

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loads.discard(task)
        self._free.release()
        error = None if task.cancelled() else task.exception()
        self._failed = self._failed or error

    async def _sign_of_life(self) -> None:
        """By a task of its own: a slow stdin must not look dead. An outage ends nothing: the next load tells."""
        while True:
            await asyncio.sleep(UPLOAD_SIGN_S)
            try:
                await self._check(await self._moves.sign_of_life(self.batch, self._u))
            except (SpoolUnavailable, SpoolFull):
                continue
            except KeyConflict as error:
                self._failed = self._failed or error
                return

    async def _fields_of(self, batch: str) -> dict[str, str]:
        return await self._connection.fields(self._connection.keys.batch(batch))

    async def _conflict(self, begun: Begun) -> KeyConflict:
        fields = await self._fields_of(begun.batch)
        stored = await self._connection.command("GET", self._connection.keys.spec(begun.batch))
        old = decode_spec(cast("bytes", stored)) if stored else None
        changed = changed_fields(old, self._spec) if old is not None and not old.erased else []
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

    def _taken(self) -> KeyConflict:
        return KeyConflict(
            f'this upload was silent for 15 s, and another one with the key "{self._terms.key}" took its place. '
            "Nothing of it was queued; run it again to add what is missing."
        )


@asynccontextmanager
async def uploading(
    connection: Connection, terms: Terms, spec: Spec, blobs: Mapping[str, bytes]
) -> AsyncIterator[Upload]:
    """An Upload that is given up unless it was committed; also when the task is cancelled, once or twice."""
    upload = Upload(connection, terms, spec, blobs)
    try:
        yield upload
    finally:
        ending = asyncio.create_task(upload.end(), name="upload ends")
        await asyncio.shield(ending)


def _cancellations() -> int:
    """How often somebody asked the present task to end, and was not answered."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _clock(fields: Mapping[str, str]) -> str:
    """When the batch was made, on the reader's clock; the day only if it is not today."""
    created = utc(fields.get("created"))
    if created is None:
        return "a moment ago"
    at = created.astimezone()
    return f"{at:%H:%M}" if at.date() == datetime.now().astimezone().date() else f"{at:%d %b %H:%M}"
