"""Reading a spool: batches by reference, messages by chunk, the whole at a glance. Changes nothing.

Called by Spool and Batch. Raises NotFound, InputError (a pinned relay that no live worker has), SpoolUnsafe.
Known limit: the age of the oldest waiting mail is looked for among the latest batches and those that expire first.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from redis.exceptions import ResponseError

from mailspool.client.connection import Connection, as_fields
from mailspool.client.receipt import Receipt
from mailspool.content.messageids import MessageIds
from mailspool.contract.codec import DecodeError, decode_rows, decode_spec
from mailspool.contract.states import CHUNK_SIZE, CLASSES, WORKER_ALIVE_MS, Class, OnUncertain
from mailspool.errors import InputError, MailspoolError, NotFound, SpoolUnsafe
from mailspool.redis_server.broken import BrokenRecords
from mailspool.status import (
    BatchStatus,
    MessageStatus,
    PauseStatus,
    RouteStatus,
    SpoolStatus,
    batch_status,
    message_status,
    route_status,
    since_when,
    utc,
)

_PREFIX_LEAST = 4
_AT_ONCE = 20
"""Chunks fetched in one round trip, if their rows are small."""
_BYTES_AT_ONCE = 4 * 1024 * 1024
_OLDEST_AMONG = 50
_LAST_OF = "last:"
_LAST_AMONG = 5_000
"""Batches whose class is asked for, in one round trip."""
_VERIFY = "`mailspool verify` tells what is broken"
_TIME = re.compile(rb"\d{1,13}")
"""Milliseconds up to the year 2286."""


class Chunk(NamedTuple):
    """One chunk's messages."""

    k: int
    messages: list[MessageStatus]


async def find_batch(connection: Connection, ref: str) -> Receipt:
    """The batch behind an id, a unique prefix of at least 4 characters, "key:<key>", "last" or "last:<class>"."""
    batch = await _find_id(connection, ref)
    with reading(connection, batch):
        found = await connection.command("HMGET", connection.keys.batch(batch), "class", "name", "key")
    class_, name, key = (value.decode(errors="replace") if value else "" for value in cast("list[bytes | None]", found))
    if not class_:  # purged this very moment
        raise no_batch(connection, ref)
    return Receipt(batch, cast("Class", class_), name, key or None, created=False)


def no_batch(connection: Connection, ref: str, more: str = "") -> NotFound:
    return NotFound(f'no batch "{ref[:60]}" in {connection.link.name}.{more}', code="no_such_batch")


def forgotten(connection: Connection, batch: str) -> NotFound:
    """For who holds a handle: the batch was there, and the server does not know why it is not any more."""
    return NotFound(
        f"{connection.link.name} does not know batch {batch} any more: its retention is over, or the server has lost "
        "its data (FLUSHALL, an older backup, another database).",
        hint="`mailspool status` shows what is there",
        code="no_such_batch",
    )


async def _find_id(connection: Connection, ref: str) -> str:
    keys = connection.keys
    if ref == "last":
        for batch in await latest(connection, 1):
            return batch
        raise NotFound(f"no batches in {connection.link.name} yet.", code="no_such_batch")
    if ref.startswith(_LAST_OF):
        return await _last_of(connection, ref.removeprefix(_LAST_OF))
    if ref.startswith("key:"):
        found = await connection.command("GET", keys.key(ref[4:]))
        if found is None:
            raise NotFound(f'no batch with the key "{ref[4:64]}" in {connection.link.name}.', code="no_such_batch")
        return cast("bytes", found).decode()
    if await connection.command("ZSCORE", keys.ids, ref) is not None:
        return ref
    names: list[str] = []
    if len(ref) >= _PREFIX_LEAST:
        names = await connection.strings("ZRANGEBYLEX", keys.ids, f"[{ref}", f"[{ref}\xff", "LIMIT", 0, 4)
    if len(names) == 1:
        return names[0]
    if names:
        more = " ..." if len(names) > 3 else ""
        raise NotFound(
            f'"{ref[:60]}" is the beginning of several batches: {", ".join(names[:3])}{more}', code="no_such_batch"
        )
    raise no_batch(connection, ref, await _latest_words(connection))


async def _last_of(connection: Connection, class_: str) -> str:
    """Where single mails come every second, `last` is one of them."""
    if class_ not in CLASSES:
        known = " or ".join(f"{_LAST_OF}{name}" for name in CLASSES)
        raise no_batch(connection, f"{_LAST_OF}{class_}", f" Did you mean {known}?")
    names = await latest(connection, _LAST_AMONG)
    answers = await connection.commands(
        [("HGET", connection.keys.batch(batch), "class") for batch in names], broken=True
    )
    for batch, stored in zip(names, answers, strict=True):
        if stored == class_.encode():
            return batch
    among = f" among the latest {_LAST_AMONG:,}" if len(names) == _LAST_AMONG else ""
    raise NotFound(f"no {class_} batch in {connection.link.name}{among}.", code="no_such_batch")


async def _latest_words(connection: Connection) -> str:
    async for status in readable(connection, 1):
        if status.created_at is not None:
            batch = status.id
            name = f"{status.name}, " if status.name else ""
            return f" Latest: {batch} ({name}{status.created_at.astimezone():%H:%M})."
    return ""


async def is_committed(connection: Connection, key: str) -> bool:
    """Does this key have its batch, so that the first call's terms stand?"""
    batch = await connection.command("GET", connection.keys.key(key)) if key else None
    if batch is None:
        return False
    state = await connection.command("HGET", connection.keys.batch(cast("bytes", batch).decode()), "state")
    return state not in (None, b"loading")


async def latest(connection: Connection, limit: int) -> list[str]:
    """Ids of committed batches, the youngest first."""
    return await connection.strings("ZREVRANGE", connection.keys.batches, 0, limit - 1) if limit > 0 else []


async def status_of(connection: Connection, batch: str) -> BatchStatus | None:
    with reading(connection, batch):
        seen = await connection.moves.status(batch)
        return None if seen is None else batch_status(batch, seen)


@contextlib.contextmanager
def reading(connection: Connection, batch: str) -> Iterator[None]:
    """What is no record of ours (somebody else wrote there) is told in words, as NotFound."""
    try:
        yield
    except BrokenRecords as error:
        raise _unreadable(connection, batch, error) from error
    except MailspoolError:  # some of its classes are ValueErrors, too
        raise
    except (ResponseError, ValueError, KeyError, OverflowError) as error:  # a DecodeError is a ValueError
        raise _unreadable(connection, batch, error) from error


def _unreadable(connection: Connection, batch: str, error: Exception) -> NotFound:
    return NotFound(
        f"batch {batch} in {connection.link.name} cannot be read: it is a later release's, or something else has "
        "written there.",
        hint=str(error) if isinstance(error, DecodeError) else _VERIFY,
        code="unreadable_batch",
    )


async def spool_status(connection: Connection, limit: int = 20) -> SpoolStatus:
    """Counts from the class totals, so that it costs the same with a million batches."""
    counted = await totals(connection)
    batches, unreadable = [], 0
    for batch in await latest(connection, limit):
        try:
            status = await status_of(connection, batch)
        except NotFound:
            unreadable += 1
            continue
        if status is not None:
            batches.append(status)
    workers = await live_workers(connection)
    return SpoolStatus(
        spool=connection.link.name,
        durability=connection.link.promise,
        workers=len(workers),
        queued=counted["total"] - counted["ended"] - counted["n_deferred"] - counted["n_uncertain"],
        deferred=counted["n_deferred"],
        uncertain=counted["n_uncertain"],
        oldest_s=await _oldest_s(connection, batches),
        routes=await _routes(connection, workers),
        batches=tuple(batches),
        unreadable=unreadable,
        paused=await pauses(connection),
    )


async def pauses(connection: Connection) -> tuple[PauseStatus, ...]:
    """What a person has paused: the whole spool, a class."""
    told = await connection.fields(connection.keys.paused)
    return tuple(PauseStatus(what, since_when(told[what])) for what in ("spool", *CLASSES) if what in told)


async def readable(connection: Connection, limit: int) -> AsyncIterator[BatchStatus]:
    """The latest batches; one whose record is broken is left out."""
    for batch in await latest(connection, limit):
        with contextlib.suppress(NotFound):
            if (status := await status_of(connection, batch)) is not None:
                yield status


async def totals(connection: Connection, classes: Sequence[Class] = CLASSES) -> dict[str, int]:
    """A claimed message counts as queued."""
    return sums(await connection.commands([("HGETALL", connection.keys.totals(class_)) for class_ in classes]))


def sums(answers: Iterable[object]) -> dict[str, int]:
    """The counters of classes, together."""
    found = {"total": 0, "n_deferred": 0, "n_uncertain": 0, "ended": 0}
    for answer in answers:
        for name, number in as_fields(answer).items():
            if name != "n_claimed":
                found[name if name in found else "ended"] += int(number) if number.removeprefix("-").isdecimal() else 0
    return found


async def now_ms(connection: Connection) -> int:
    seconds, micros = cast("tuple[int, int]", await connection.command("TIME"))
    return seconds * 1000 + micros // 1000


async def live_workers(connection: Connection) -> list[str]:
    since = await now_ms(connection) - WORKER_ALIVE_MS
    return await connection.strings("ZRANGEBYSCORE", connection.keys.workers, f"({since}", "+inf")


async def _oldest_s(connection: Connection, batches: Sequence[BatchStatus]) -> int | None:
    """Of batches with equal lifetimes the oldest expires first."""
    keys = connection.keys
    first = await connection.strings("ZRANGE", keys.deadline, 0, _OLDEST_AMONG - 1)
    stored = await connection.commands([("HGET", keys.batch(batch), "created") for batch in first], broken=True)
    created = [utc(int(at_ms)) for at_ms in stored if isinstance(at_ms, bytes) and _TIME.fullmatch(at_ms)]
    created += [status.created_at for status in batches if not status.done]
    times = [when.timestamp() for when in created if when is not None]
    return max(0, round(await now_ms(connection) / 1000 - min(times))) if times else None


async def _relays_of(connection: Connection, workers: Sequence[str]) -> list[str]:
    """What they offer, each name once."""
    offered = await connection.commands([("HGET", connection.keys.worker(worker), "relays") for worker in workers])
    lists = (names.decode().split(",") for names in cast("list[bytes | None]", offered) if names)
    return list(dict.fromkeys(name for names in lists for name in names))


async def _routes(connection: Connection, workers: Sequence[str]) -> tuple[RouteStatus, ...]:
    names = await _relays_of(connection, workers)
    told = await routes_told(connection, names)
    return tuple(route_status(name, fields) for name, fields in told.items())


async def routes_told(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the workers tell of these relays; `paused_at` where a person has paused one."""
    keys = connection.keys
    asked = [*(("HGETALL", keys.route(name)) for name in names), ("HGETALL", keys.paused)]
    *answers, stopped = await connection.commands(asked)
    paused = as_fields(stopped)
    told = {name: as_fields(answer) for name, answer in zip(names, answers, strict=True)}
    for name, fields in told.items():
        if since := paused.get(f"relay:{name}"):
            fields["paused_at"] = since
    return told


async def check_relay(connection: Connection, relay: str) -> None:
    """A pinned name that nobody has is a typing error: asked of the live workers, else of our own settings."""
    if not relay:
        return
    known = await _relays_of(connection, await live_workers(connection))
    who = "the running workers have"
    if not known:
        known, who = connection.settings.relay_names(), "the settings have"
    if known and relay not in known:
        raise InputError(f'no relay "{relay}": {who} {", ".join(known)}. Nothing was queued.', code="no_such_relay")


def check_policy(connection: Connection, on_uncertain: OnUncertain) -> None:
    """`hold` promises that nothing is repeated: a claim must be on the disk before the last byte goes out."""
    facts = connection.link.facts
    if on_uncertain == "hold" and not (facts.durability == "fsync" and facts.durability_proven):
        raise SpoolUnsafe(
            f'on_uncertain="hold" needs a Redis that is known to fsync every write (appendfsync always); '
            f"{connection.link.name}: {connection.link.promise}. Nothing was queued.",
            hint='set appendfsync always, or on_uncertain="resend"',
        )


async def chunks(connection: Connection, batch: str, only_odd: bool, row: int | None = None) -> AsyncIterator[Chunk]:
    """All chunks in order, or only those with an outcome other than sent (of a closed batch every chunk)."""
    keys = connection.keys
    fields = await connection.fields(keys.batch(batch))
    if not fields:
        raise forgotten(connection, batch)
    verdict = fields.get("verdict") if fields.get("state") in ("closed", "purging") else None
    with reading(connection, batch):
        ids = await _ids_of(connection, batch)
    if only_odd and verdict is None:
        names = await connection.strings("SMEMBERS", keys.odd(batch))
    else:
        names = await connection.strings("HKEYS", keys.rows(batch))
    with reading(connection, batch):
        numbers = sorted(int(name) for name in names)
    if row is not None:
        numbers = [k for k in numbers if k == (row - 1) // CHUNK_SIZE]
    start, at_once = 0, 1
    while group := numbers[start : start + at_once]:
        start += len(group)
        wanted = [("GET", keys.chunk(batch, k)) for k in group] + [("HGETALL", keys.out(batch, k)) for k in group]
        answers = await connection.commands(wanted)
        rows, outcomes = answers[: len(group)], answers[len(group) :]
        size = sum(len(cast("bytes", data)) for data in rows if data is not None)
        at_once = max(1, min(_AT_ONCE, 2 * at_once, _BYTES_AT_ONCE * len(group) // max(1, size)))
        for k, data, outs in zip(group, rows, outcomes, strict=True):
            if data is not None:  # else purged meanwhile
                with reading(connection, batch):
                    decoded = {int(i): value for i, value in cast("dict[bytes, bytes]", outs).items()}
                    found = _messages(batch, k, cast("bytes", data), decoded, verdict, ids, "erased" in fields)
                yield Chunk(k, found)


async def _ids_of(connection: Connection, batch: str) -> MessageIds | None:
    stored = await connection.command("GET", connection.keys.spec(batch))
    return None if stored is None else MessageIds(decode_spec(cast("bytes", stored)), batch=batch)


def _messages(
    batch: str,
    k: int,
    data: bytes,
    outcomes: dict[int, bytes],
    verdict: str | None,
    ids: MessageIds | None,
    erased: bool,
) -> list[MessageStatus]:
    found = []
    for index, row in enumerate(decode_rows(data)):
        n = k * CHUNK_SIZE + index + 1
        message_id = ids.of(row, n) if ids is not None else ""
        stored = outcomes.get(index)
        bare = erased and not row.values
        status = message_status(batch, n, row.recipient, stored, verdict=verdict, message_id=message_id, bare=bare)
        found.append(status)
    return found
