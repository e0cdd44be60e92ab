"""The edge of `why`: asks Redis what batches.py and others.py decide by. Changes nothing.

Called by Spool.why. What a reference means is decided in this order: "last" and "key:...", a relay's name, an address,
a domain (it has a dot), a message (`<batch>-<row>`), a batch. Raises NotFound.
Known limits: an answer is read in several round trips, so that its parts may be milliseconds apart. Replies of a batch
are counted in at most 200 of its chunks, taken at random; a domain is looked for in at most 200 chunks of at most 50
live batches, those that expire first; the spool's answer names at most 30 batches. Whatever was left out is said.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from mailspool.client import browse
from mailspool.client.connection import Connection
from mailspool.client.relays import crews_of, is_known, one_relay, relay_status
from mailspool.client.why.batches import of_batch, of_message
from mailspool.client.why.facts import (
    BatchFacts,
    DomainFacts,
    Groups,
    HeldSender,
    MessageFacts,
    QueueFact,
    RunFact,
    SpoolFacts,
    WorkerFact,
)
from mailspool.client.why.others import of_domain, of_relay, of_spool
from mailspool.client.why.report import Why
from mailspool.content.address import AddressError, identity, normalise
from mailspool.contract.codec import decode_outcome, decode_rows, decode_spec
from mailspool.contract.moves import Snapshot
from mailspool.contract.routenotes import sleeping_in
from mailspool.contract.states import CHUNK_SIZE, CLASSES, DEFERRED, FAILED, UNCERTAIN, WORKER_ALIVE_MS, Class
from mailspool.errors import NotFound
from mailspool.status import BatchStatus, MessageStatus, batch_status

_CHUNKS: Final = 200
_CHUNKS_AT_ONCE: Final = 20
_DOMAIN_BATCHES: Final = 50
_SPOOL_BATCHES: Final = 30
_DOUBTFUL_AMONG: Final = 1_000
"""Batches that are asked for uncertain messages, in one round trip."""
_LEAST_WINDOW: Final = 4
"""As the feeder counts: twice the job slots of the live workers, at least 4."""
_MESSAGE: Final = re.compile(r"(.+)-([1-9][0-9]{0,9})", re.ASCII)


async def why_of(connection: Connection, ref: str | None) -> Why:
    """Of the whole spool for None."""
    if ref is None:
        return of_spool(await _spool_facts(connection))
    ref = ref.strip()
    if not ref.startswith("key:") and ref != "last":
        if await is_known(connection, ref):
            return await _of_relay(connection, ref)
        if "@" in ref or "." in ref:
            return of_domain(await _domain_facts(connection, ref))
        if (found := _MESSAGE.fullmatch(ref)) is not None:
            return of_message(await _message_facts(connection, found[1], int(found[2])))
    try:
        batch = (await browse.find_batch(connection, ref)).batch
    except NotFound:  # a key may end in a number itself: the longest that exists is meant
        shorter = _MESSAGE.fullmatch(ref) if ref.startswith("key:") else None
        if shorter is None or not await connection.command("EXISTS", connection.keys.key(shorter[1][4:])):
            raise
        return of_message(await _message_facts(connection, shorter[1], int(shorter[2])))
    with browse.reading(connection, batch):
        return of_batch(await batch_facts(connection, batch))


# -- a batch


async def batch_facts(connection: Connection, batch: str, *, replies: bool = True) -> BatchFacts:
    """Everything that keeps this batch, or does not."""
    seen = await connection.moves.status(batch)
    if seen is None:
        raise browse.forgotten(connection, batch)
    status = batch_status(batch, seen)
    if status.done:
        return BatchFacts(seen, status)
    crews = await crews_of(connection)
    workers = tuple(_worker(name, fields) for name, fields in crews.items())
    groups, looked, odd = Groups(), 0, 0
    if replies and status.deferred:
        looked, odd = await _count_replies(connection, batch, groups)
    return BatchFacts(
        seen=seen,
        status=status,
        workers=workers,
        relays=tuple(relay_status(name, told, list(crews.values()), seen.now_ms) for name, told in seen.routes.items()),
        held_senders=await _held_senders(connection, batch, seen),
        runs=await _runs(connection, batch, status.class_, frozenset(crews), seen.now_ms),
        groups=groups.found(),
        queue=await _queue(connection, batch, status.class_, workers, seen.now_ms),
        looked=looked,
        odd=odd,
    )


def _worker(name: str, fields: dict[str, str]) -> WorkerFact:
    slots = {class_: fields.get(f"slots:{class_}", "0") for class_ in CLASSES}
    return WorkerFact(
        name,
        tuple(fields.get("relays", "").split(",")),
        tuple(fields.get("versions", "").split(",")),
        {class_: int(number) if number.isdecimal() else 0 for class_, number in slots.items()},
    )


async def _runs(
    connection: Connection, batch: str, class_: Class, alive: frozenset[str], now_ms: int
) -> tuple[RunFact, ...]:
    """Chunks that were given out; the feeder's window and the detached ones bound them."""
    keys = connection.keys
    runs = await connection.fields(keys.run(batch))
    if not runs:
        return ()
    names = {k: _holder(run) for k, run in runs.items()}
    silent = sorted({name for name in names.values() if name and name not in alive})
    members = [f"{batch}:{k}" for k in runs]
    leases, apart, *beats = await connection.commands(
        [
            ("ZMSCORE", keys.flight(class_), *members),
            ("ZMSCORE", keys.apart(class_), *members),
            *(("ZSCORE", keys.workers, name) for name in silent),
        ]
    )
    last = {name: _ms(beat) for name, beat in zip(silent, beats, strict=True)}
    found = []
    for (k, run), lease, aside in zip(runs.items(), _scores(leases), _scores(apart), strict=True):
        name = names[k]
        lives = name in alive or not name
        until_ms = lease if lease is not None else aside
        if not lives and until_ms is not None and until_ms > now_ms and (last[name] or 0) > now_ms - WORKER_ALIVE_MS:
            lives = True  # its description has just faded, its beat has not
        found.append(
            RunFact(
                int(k),
                "fed" if run.startswith("fed:") else "running",
                until_ms,
                name,
                lives,
                None if lives else last[name],
            )
        )
    return tuple(found)


def _holder(run: str) -> str:
    """The worker of `run:<gen>:<worker>.<random>`; nothing for a chunk that nobody has begun."""
    kind, _, rest = run.partition(":")
    token = rest.partition(":")[2]
    return (token.rpartition(".")[0] or token) if kind == "run" else ""


def _scores(answer: object) -> list[int | None]:
    return [_ms(score) for score in cast("Sequence[object]", answer)]


def _ms(score: object) -> int | None:
    return None if score is None else round(float(cast("bytes | float", score)))


async def _queue(
    connection: Connection, batch: str, class_: Class, workers: Sequence[WorkerFact], now_ms: int
) -> QueueFact:
    keys = connection.keys
    ahead, given_out, due, waiting = await connection.commands(
        [
            ("ZRANK", keys.open(class_), batch),
            ("ZCARD", keys.flight(class_)),
            ("ZCOUNT", keys.due(batch), "-inf", now_ms),
            ("ZCARD", keys.due(batch)),
        ]
    )
    window = max(_LEAST_WINDOW, 2 * sum(worker.slots[class_] for worker in workers))
    first = None if ahead is None else _number(ahead)
    return QueueFact(first, _number(given_out), window, _number(due), _number(waiting))


def _number(answer: object) -> int:
    return int(cast("int", answer))


async def _count_replies(connection: Connection, batch: str, groups: Groups) -> tuple[int, int]:
    """Of at most _CHUNKS chunks; answers how many were looked at, of how many."""
    keys = connection.keys
    odd = _number(await connection.command("SCARD", keys.odd(batch)))
    names = await connection.strings("SRANDMEMBER", keys.odd(batch), _CHUNKS)
    for start in range(0, len(names), _CHUNKS_AT_ONCE):
        part = names[start : start + _CHUNKS_AT_ONCE]
        dues, *outs = await connection.commands(
            [("ZMSCORE", keys.due(batch), *part), *(("HVALS", keys.out(batch, int(k))) for k in part)]
        )
        for due_ms, stored in zip(_scores(dues), outs, strict=True):
            for outcome in cast("list[bytes]", stored):
                groups.add(batch, decode_outcome(outcome), due_ms)
    return len(names), odd


async def _held_senders(connection: Connection, batch: str, seen: Snapshot) -> tuple[HeldSender, ...]:
    """Those of its own From; of a From that is a template all are told."""
    held = [one for name, told in seen.routes.items() for one in senders_of(name, told, seen.now_ms)]
    stored = await connection.command("GET", connection.keys.spec(batch)) if held else None
    if stored is None:
        return ()
    spec = decode_spec(cast("bytes", stored))
    sender = (spec.return_path or spec.from_).lower()
    address = sender.rpartition("<")[2].rstrip("> ")
    domain = address.rpartition("@")[2]
    return tuple(one for one in held if "{" in sender or one.sender in (address, domain))


def senders_of(relay: str, told: dict[str, str], now_ms: int) -> list[HeldSender]:
    """Senders that this relay takes nothing from for now; as its workers wrote them down."""
    return [
        HeldSender(relay, who.removeprefix("@"), asleep.why, asleep.until_ms)
        for who, asleep in sorted(sleeping_in(told).items())
        if asleep.until_ms > now_ms
    ]


# -- a message


async def _message_facts(connection: Connection, ref: str, row: int) -> MessageFacts:
    batch = (await browse.find_batch(connection, ref)).batch
    with browse.reading(connection, batch):
        facts = await batch_facts(connection, batch, replies=False)
        message = await _message(connection, batch, row, facts.status.total)
        k = (row - 1) // CHUNK_SIZE
        due, ahead = await connection.commands(
            [("ZSCORE", connection.keys.due(batch), k), ("ZRANK", connection.keys.due(batch), k)]
        )
        run = next((run for run in facts.runs if run.k == k), None)
        return MessageFacts(message, facts, run, _ms(due), None if ahead is None else _number(ahead))


async def _message(connection: Connection, batch: str, row: int, total: int) -> MessageStatus:
    async for chunk in browse.chunks(connection, batch, only_odd=False, row=row):
        for message in chunk.messages:
            if message.row == row:
                return message
    raise NotFound(f'no message "{batch}-{row}": its rows are 1 to {total:,}.', code="no_such_message")


# -- a relay


async def _of_relay(connection: Connection, name: str) -> Why:
    now_ms = await browse.now_ms(connection)
    told = (await browse.routes_told(connection, [name]))[name]
    pauses, senders = await browse.pauses(connection), tuple(senders_of(name, told, now_ms))
    return of_relay(await one_relay(connection, name), senders, pauses, now_ms)


# -- a domain


async def _domain_facts(connection: Connection, ref: str) -> DomainFacts:
    address, domain = _wanted(ref)
    keys, now_ms = connection.keys, await browse.now_ms(connection)
    live = await connection.strings("ZRANGE", keys.deadline, 0, _DOMAIN_BATCHES - 1)
    of_batches = _number(await connection.command("ZCARD", keys.deadline))
    groups = Groups((DEFERRED, UNCERTAIN, FAILED))
    looked, of_chunks, blocked = 0, 0, {}
    sizes = await connection.commands([("SCARD", keys.odd(batch)) for batch in live], broken=True)
    visited = 0
    for batch, size in zip(live, sizes, strict=True):
        of_chunks += _number(size or 0)
        if looked >= _CHUNKS:
            continue
        visited += 1
        with contextlib.suppress(NotFound), browse.reading(connection, batch):  # broken records hide nothing else
            looked += await _look_for(connection, batch, address, domain, groups, _CHUNKS - looked)
    found = groups.found()
    for batch in {group.batch for group in found}:
        with contextlib.suppress(NotFound):
            status = await browse.status_of(connection, batch)
            if status is not None and status.waiting_for and not status.waiting_for.startswith("a later try"):
                blocked[batch] = status.waiting_for
    whole = await browse.totals(connection)
    untried = max(0, whole["total"] - whole["ended"] - whole["n_deferred"] - whole["n_uncertain"])
    return DomainFacts(now_ms, address or domain, found, visited, of_batches, looked, of_chunks, blocked, untried)


def _wanted(ref: str) -> tuple[str, str]:
    """(address or nothing, domain) as they are stored."""
    try:
        stored = identity(normalise(ref if "@" in ref else f"x@{ref}"))
    except AddressError as error:
        raise NotFound(
            f'"{ref[:60]}" is no batch, message or relay, and no domain: {error}.', code="no_such_batch"
        ) from None
    return (stored if "@" in ref else ""), stored.rpartition("@")[2]


async def _look_for(connection: Connection, batch: str, address: str, domain: str, groups: Groups, most: int) -> int:
    keys = connection.keys
    names = await connection.strings("SRANDMEMBER", keys.odd(batch), most)
    for start in range(0, len(names), _CHUNKS_AT_ONCE):
        part = [int(name) for name in names[start : start + _CHUNKS_AT_ONCE]]
        dues, *answers = await connection.commands(
            [
                ("ZMSCORE", keys.due(batch), *part),
                *(("GET", keys.chunk(batch, k)) for k in part),
                *(("HGETALL", keys.out(batch, k)) for k in part),
            ]
        )
        payloads, outs = answers[: len(part)], answers[len(part) :]
        for due_ms, data, stored in zip(_scores(dues), payloads, outs, strict=True):
            if data is None:  # purged meanwhile
                continue
            outcomes = {int(index): value for index, value in cast("dict[bytes, bytes]", stored).items()}
            for index, row in enumerate(decode_rows(cast("bytes", data))):
                mine = identity(row.recipient) == address if address else row.recipient.rpartition("@")[2] == domain
                if mine and index in outcomes:
                    groups.add(batch, decode_outcome(outcomes[index]), due_ms)
    return len(names)


# -- the spool


async def _spool_facts(connection: Connection) -> SpoolFacts:
    keys = connection.keys
    counted = await browse.totals(connection)
    crews = await crews_of(connection)
    names = sorted({name for crew in crews.values() for name in crew.get("relays", "").split(",") if name})
    told = await browse.routes_told(connection, names)
    batches: list[BatchStatus] = []
    rated: set[str] = set()
    for batch in await connection.strings("ZRANGE", keys.deadline, 0, _SPOOL_BATCHES - 1):
        with contextlib.suppress(NotFound), browse.reading(connection, batch):
            if (seen := await connection.moves.status(batch)) is not None:
                batches.append(batch_status(batch, seen))
                if int(seen.batch.get("rate_until") or 0) > seen.now_ms:
                    rated.add(batch)
    now_ms = await browse.now_ms(connection)
    relays = [relay_status(name, fields, list(crews.values()), now_ms) for name, fields in told.items()]
    return SpoolFacts(
        now_ms=now_ms,
        pauses=await browse.pauses(connection),
        workers=len(crews),
        relays=tuple(relays),
        batches=tuple(batches),
        live=_number(await connection.command("ZCARD", keys.deadline)),
        queued=counted["total"] - counted["ended"] - counted["n_deferred"] - counted["n_uncertain"],
        deferred=counted["n_deferred"],
        uncertain=counted["n_uncertain"],
        rated=frozenset(rated),
        unserved=await _unserved(connection, crews) if crews else {},
        doubtful=await _doubtful(connection) if counted["n_uncertain"] else (),
    )


async def _unserved(connection: Connection, crews: Mapping[str, dict[str, str]]) -> dict[str, int]:
    """Mails of classes that no live worker has a slot for."""
    workers = [_worker(name, fields) for name, fields in crews.items()]
    found = {}
    for class_ in CLASSES:
        if not any(worker.slots[class_] for worker in workers):
            counted = await browse.totals(connection, (class_,))
            found[class_] = counted["total"] - counted["ended"] - counted["n_uncertain"]
    return {class_: mails for class_, mails in found.items() if mails}


async def _doubtful(connection: Connection) -> tuple[str, ...]:
    names = await browse.latest(connection, _DOUBTFUL_AMONG)
    answers = await connection.commands(
        [("HGET", connection.keys.batch(batch), "n_uncertain") for batch in names], broken=True
    )
    return tuple(batch for batch, stored in zip(names, answers, strict=True) if stored not in (None, b"0"))
