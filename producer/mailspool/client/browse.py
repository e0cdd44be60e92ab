"""Reading a spool: batches by reference, messages by chunk, the whole at a glance. Changes nothing.

Called by Spool and Batch. Raises NotFound, InputError (a pinned relay that no live worker has), SpoolUnsafe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, cast

from mailspool.client.connection import Connection
from mailspool.content.mime import Compiled
from mailspool.contract.codec import decode_rows, decode_spec
from mailspool.contract.states import CHUNK_SIZE, CLASSES, WORKER_ALIVE_MS, OnUncertain
from mailspool.errors import InputError, NotFound, SpoolUnsafe
from mailspool.status import BatchStatus, MessageStatus, RouteStatus, SpoolStatus, batch_status, message_status, utc

_PREFIX_LEAST = 4
_AT_ONCE = 20
"""Chunks fetched in one round trip."""


class Chunk(NamedTuple):
    """One chunk's messages."""

    k: int
    messages: list[MessageStatus]


async def find_batch(connection: Connection, ref: str) -> str:
    """The id behind an id, a unique prefix of at least 4 characters, "key:<key>" or "last"."""
    keys = connection.keys
    if ref == "last":
        found = await latest(connection, 1)
        if found:
            return found[0]
        raise NotFound(f"no batches in {connection.link.name} yet.", code="no_such_batch")
    if ref.startswith("key:"):
        batch = await connection.command("GET", keys.key(ref[4:]))
        if batch is None:
            raise NotFound(f'no batch with the key "{ref[4:]}" in {connection.link.name}.', code="no_such_batch")
        return cast("bytes", batch).decode()
    if await connection.command("ZSCORE", keys.ids, ref) is not None:
        return ref
    found = []
    if len(ref) >= _PREFIX_LEAST:
        found = await connection.strings("ZRANGEBYLEX", keys.ids, f"[{ref}", f"[{ref}\xff", "LIMIT", 0, 3)
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f'"{ref}" is the beginning of several batches: {", ".join(found)} ...', code="no_such_batch")
    raise NotFound(
        f'no batch "{ref}" in {connection.link.name}.{await _latest_words(connection)}', code="no_such_batch"
    )


async def _latest_words(connection: Connection) -> str:
    for batch in await latest(connection, 1):
        status = await status_of(connection, batch)
        if status is not None and status.created_at is not None:
            name = f"{status.name}, " if status.name else ""
            return f" Latest: {batch} ({name}{status.created_at.astimezone():%H:%M})."
    return ""


async def latest(connection: Connection, limit: int) -> list[str]:
    """Ids of committed batches, the youngest first."""
    return await connection.strings("ZREVRANGE", connection.keys.batches, 0, limit - 1)


async def status_of(connection: Connection, batch: str) -> BatchStatus | None:
    seen = await connection.moves.status(batch)
    return None if seen is None else batch_status(batch, seen)


async def spool_status(connection: Connection, limit: int = 20) -> SpoolStatus:
    """Counts from the class totals, so that it costs the same with a million batches."""
    keys = connection.keys
    totals = {"total": 0, "n_deferred": 0, "n_uncertain": 0, "final": 0}
    for class_ in CLASSES:
        for name, number in (await connection.fields(keys.totals(class_))).items():
            if name in totals:
                totals[name] += int(number)
            elif name != "n_claimed":
                totals["final"] += int(number)
    batches = []
    for batch in await latest(connection, limit):
        status = await status_of(connection, batch)
        if status is not None:
            batches.append(status)
    workers = await live_workers(connection)
    return SpoolStatus(
        spool=connection.link.name,
        durability=connection.link.promise,
        workers=len(workers),
        queued=totals["total"] - totals["final"] - totals["n_deferred"] - totals["n_uncertain"],
        deferred=totals["n_deferred"],
        uncertain=totals["n_uncertain"],
        oldest_s=await _oldest_s(connection, batches),
        routes=await _routes(connection, workers),
        batches=tuple(batches),
    )


async def now_ms(connection: Connection) -> int:
    seconds, micros = cast("tuple[int, int]", await connection.command("TIME"))
    return seconds * 1000 + micros // 1000


async def live_workers(connection: Connection) -> list[str]:
    since = await now_ms(connection) - WORKER_ALIVE_MS
    return await connection.strings("ZRANGEBYSCORE", connection.keys.workers, f"({since}", "+inf")


async def _oldest_s(connection: Connection, batches: Sequence[BatchStatus]) -> int | None:
    waiting = [status.created_at for status in batches if not status.done and status.created_at is not None]
    if not waiting:
        return None
    return max(0, round(await now_ms(connection) / 1000 - min(waiting).timestamp()))


async def _relays_of(connection: Connection, workers: Sequence[str]) -> list[str]:
    names: dict[str, None] = {}
    for worker in workers:
        offered = await connection.command("HGET", connection.keys.worker(worker), "relays")
        if offered is not None:
            names.update(dict.fromkeys(cast("bytes", offered).decode().split(",")))
    return list(names)


async def _routes(connection: Connection, workers: Sequence[str]) -> tuple[RouteStatus, ...]:
    routes = []
    for name in await _relays_of(connection, workers):
        told = await connection.fields(connection.keys.route(name))
        state = told.get("state", "ok")
        closed = state != "ok"
        routes.append(
            RouteStatus(name, state, told.get("why") if closed else None, utc(told.get("until")) if closed else None)
        )
    return tuple(routes)


async def check_relay(connection: Connection, relay: str) -> None:
    """A pinned name that nobody has is a typing error, if there are workers to ask."""
    if not relay:
        return
    known = await _relays_of(connection, await live_workers(connection)) or list(connection.settings.relay_table())
    if known and relay not in known:
        raise InputError(f'no relay "{relay}": the running workers have {", ".join(known)}')


def check_policy(connection: Connection, on_uncertain: OnUncertain) -> None:
    """`hold` promises that nothing is repeated: a claim must be on the disk before the last byte goes out."""
    facts = connection.link.facts
    if on_uncertain == "hold" and not (facts.durability == "fsync" and facts.durability_proven):
        raise SpoolUnsafe(
            f'on_uncertain="hold" needs a Redis that is known to fsync every write (appendfsync always); '
            f"{connection.link.name} is {connection.link.promise}. Nothing was queued.",
            hint='set appendfsync always, or on_uncertain="resend"',
        )


async def chunks(connection: Connection, batch: str, only_odd: bool, row: int | None = None) -> AsyncIterator[Chunk]:
    """All chunks in order, or only those with an outcome other than sent (of a closed batch every chunk)."""
    keys = connection.keys
    fields = await connection.fields(keys.batch(batch))
    if not fields:
        raise NotFound(f'no batch "{batch}" in {connection.link.name}.', code="no_such_batch")
    verdict = fields.get("verdict") if fields.get("state") == "closed" else None
    stored = await connection.command("GET", keys.spec(batch))
    content = Compiled(decode_spec(cast("bytes", stored)), {}, batch=batch, date_ms=0) if stored else None
    source = keys.odd(batch) if only_odd and verdict is None else keys.rows(batch)
    names = await connection.strings("SMEMBERS" if source == keys.odd(batch) else "HKEYS", source)
    numbers = sorted(int(name) for name in names)
    if row is not None:
        numbers = [k for k in numbers if k == (row - 1) // CHUNK_SIZE]
    for start in range(0, len(numbers), _AT_ONCE):
        for k in numbers[start : start + _AT_ONCE]:
            data = await connection.command("GET", keys.chunk(batch, k))
            if data is None:
                continue  # purged meanwhile
            outcomes = {int(i): value for i, value in (await connection.hash(keys.out(batch, k))).items()}
            messages = []
            for index, stored_row in enumerate(decode_rows(cast("bytes", data))):
                number = k * CHUNK_SIZE + index + 1
                message_id = content.message_id(stored_row, number) if content is not None else ""
                messages.append(
                    message_status(
                        batch, number, stored_row.recipient, outcomes.get(index), verdict=verdict, message_id=message_id
                    )
                )
            yield Chunk(k, messages)
