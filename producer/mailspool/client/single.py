"""One mail, a copy for each receiver: acknowledged in one round trip (the move send1), or by an upload.

By an upload go: a key that exists already (its contract is begin's business), more copies than a chunk holds, and
attachments too large to send again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from mailspool.client.connection import Connection
from mailspool.client.specs import Envelope
from mailspool.client.terms import Terms
from mailspool.client.upload import Receipt, Upload, key_digest, new_batch_id, new_upload_id
from mailspool.content.address import identity
from mailspool.content.mime import Compiled
from mailspool.content.render import RenderError
from mailspool.contract.codec import encode_row, encode_spec, wire_values
from mailspool.contract.records import Row, Spec
from mailspool.contract.states import CHUNK_SIZE, SEND1_GRACE_MS
from mailspool.errors import InputError, SpoolUnavailable

_INLINE_BLOBS = 256 * 1024
"""Attachments up to this go with the mail itself; larger ones are first asked for, as they may be there already."""


async def send_copies(
    connection: Connection,
    terms: Terms,
    spec: Spec,
    blobs: Mapping[str, bytes],
    envelope: Envelope,
    content: Compiled,
) -> Receipt:
    """Queues them. Raises InputError, KeyConflict, SpoolUnavailable, SpoolFull."""
    rows, ids = _rows(envelope, content, connection.settings.max_message_bytes)
    small = sum(len(data) for data in blobs.values()) <= _INLINE_BLOBS
    if small and len(rows) <= CHUNK_SIZE:
        batch = new_batch_id()
        answer = await _send1(connection, terms, spec, blobs, rows, ids, batch)
        if answer:
            return Receipt(batch, created=True, added=len(rows))
    upload = Upload(connection, terms, spec, blobs)
    try:
        await upload.begin(sum(len(row) for row in rows))
        for start in range(0, len(rows), CHUNK_SIZE):
            stop = start + CHUNK_SIZE
            await upload.add(rows[start:stop], ids[start:stop] if terms.key else None)
        done = await upload.commit()
    except BaseException:
        await asyncio.shield(upload.abandon())
        raise
    connection.feed(terms.class_)
    notices = () if upload.created else tuple(terms.differing(upload.stored_terms))
    return Receipt(upload.batch, created=upload.created, added=done.added, skipped_known=done.known, notices=notices)


async def _send1(
    connection: Connection,
    terms: Terms,
    spec: Spec,
    blobs: Mapping[str, bytes],
    rows: Sequence[bytes],
    ids: Sequence[bytes],
    batch: str,
) -> bool:
    """False if the key is taken: then begin decides."""
    try:
        answer = await connection.moves.send1(
            batch,
            new_upload_id(),
            terms.key,
            encode_spec(spec),
            blobs,
            list(zip(ids, rows, strict=True)),
            terms.fields(key_digest(spec)),
            grace_ms=SEND1_GRACE_MS,
        )
    except SpoolUnavailable as error:
        safe = "Run it again: with its key that is safe." if terms.key else "Look at `mailspool status`."
        raise SpoolUnavailable(
            f"the connection to Redis was lost while the mail was queued; it may be queued or not. {safe}",
            acknowledged=None,
        ) from error
    if answer.kind == "EXPIRED":
        raise InputError("the mail would have expired before it was queued; nothing was queued")
    if answer.kind == "KEY":
        return False
    connection.wake(terms.class_, answer.ids, answer.now_ms)
    return True


def _rows(envelope: Envelope, content: Compiled, max_bytes: int) -> tuple[list[bytes], list[bytes]]:
    """Encoded rows and identities; every copy is rendered first, so that nothing is queued that cannot be sent."""
    try:
        values = wire_values(envelope.values)
    except TypeError as error:
        raise InputError(
            f"a value of type {error} cannot be stored; give text, a number, a date, a list or a dict"
        ) from None
    rows, ids = [], []
    for n, box in enumerate(envelope.receivers, 1):
        try:
            size = content.render(Row(box.address, {**envelope.values, "email": box.address}, box.name), n).size
        except RenderError as error:
            raise InputError(f"the mail cannot be rendered: {error}") from None
        if size > max_bytes:
            raise InputError(
                f"the mail has {size:,} bytes; max_message_bytes is {max_bytes:,}. Make its attachments smaller."
            )
        rows.append(encode_row(Row(box.address, {**values, "email": box.address}, box.name)))
        ids.append(blake2b(identity(box.address).encode(), digest_size=16).digest())
    return rows, ids
