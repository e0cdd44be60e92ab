"""One mail, a copy for each receiver: acknowledged in one round trip (the move send1), or by an upload.

By an upload go: a key that exists already (its contract is begin's business), more copies than a chunk holds, and
attachments too large to send again and again. Called by spool.py; raises what upload.py raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from mailspool.client.connection import Connection
from mailspool.client.receipt import Receipt
from mailspool.client.specs import Envelope
from mailspool.client.terms import Terms
from mailspool.client.upload import key_digest, new_batch_id, new_upload_id, uploading
from mailspool.content.address import identity
from mailspool.content.mime import Compiled
from mailspool.content.render import RenderError
from mailspool.contract.codec import encode_row, encode_spec, wire_values
from mailspool.contract.records import Row, Spec
from mailspool.contract.states import CHUNK_SIZE, SEND1_GRACE_MS
from mailspool.errors import InputError
from mailspool.lists.values import check_values

_INLINE_BLOBS = 256 * 1024
"""Attachments up to this go with the mail itself; larger ones are first asked for, as they may be there already."""
Copy = tuple[bytes, bytes]
"""Identity and encoded row."""


async def send_copies(
    connection: Connection, terms: Terms, spec: Spec, blobs: Mapping[str, bytes], copies: Sequence[Copy]
) -> Receipt:
    """Queues them. Raises InputError, KeyConflict, SpoolUnavailable, SpoolFull."""
    blob_bytes = sum(len(data) for data in blobs.values())
    row_bytes = sum(len(row) for _, row in copies)
    if blob_bytes <= _INLINE_BLOBS and len(copies) <= CHUNK_SIZE:
        await connection.require_room_for_one(blob_bytes + row_bytes)
        if batch := await _send1(connection, terms, spec, blobs, copies):
            return Receipt(batch, terms.class_, terms.name, terms.key or None, added=len(copies))
    async with uploading(connection, terms, spec, blobs) as upload:
        await upload.begin(row_bytes)
        for start in range(0, len(copies), CHUNK_SIZE):
            chunk = copies[start : start + CHUNK_SIZE]
            await upload.add([row for _, row in chunk], [mark for mark, _ in chunk] if terms.key else None)
        done = await upload.commit()
    receipt = upload.receipt(done)
    connection.feed(receipt.class_)
    return receipt


async def _send1(
    connection: Connection,
    terms: Terms,
    spec: Spec,
    blobs: Mapping[str, bytes],
    copies: Sequence[Copy],
) -> str:
    """The batch; nothing if the key is taken: then begin decides."""
    u, packed, fields = new_upload_id(), encode_spec(spec), terms.fields(key_digest(spec))
    while True:
        batch = new_batch_id()
        answer = await connection.moves.send1(
            batch, u, terms.key, packed, blobs, copies, fields, grace_ms=SEND1_GRACE_MS
        )
        if answer.kind != "NAMED":
            break
    if answer.kind == "EXPIRED":
        raise InputError("the mail would have expired before it was queued; nothing was queued.")
    if answer.kind == "KEY":
        return ""
    if answer.kind != "OK":
        raise AssertionError(f"send1 answered {answer.kind}")
    connection.wake(terms.class_, answer.ids, answer.now_ms)
    return batch


def copies_of(envelope: Envelope, content: Compiled, max_bytes: int) -> list[Copy]:
    """Every copy is rendered first, so that nothing is queued that cannot be sent. Raises InputError."""
    values = dict(envelope.values)
    plain, problem = check_values(values)
    if problem:
        raise InputError(f"values: {problem}.")
    copies = []
    for n, box in enumerate(envelope.receivers, 1):
        own = {**values, "email": box.address} if values else {}
        try:
            size = content.render(Row(box.address, own, box.name), n).size
        except RenderError as error:
            raise InputError(f"the mail cannot be rendered: {error}.") from None
        if size > max_bytes:
            raise InputError(
                f"the mail has {size:,} bytes; max_message_bytes is {max_bytes:,}. Make its attachments smaller."
            )
        row = encode_row(Row(box.address, own if plain else wire_values(own), box.name))
        copies.append((blake2b(identity(box.address).encode(), digest_size=16).digest(), row))
    return copies
