"""The queue: does Redis answer, what does it promise, has it room, is its clock ours, who works on it.

Called by `diagnose`. A server of the user's that would lose mail is looked at all the same, so that all its faults are
told at once. Raises nothing of Redis: what does not answer is a check that failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mailspool.client.browse import sums
from mailspool.client.connection import as_fields
from mailspool.client.doctor.report import Check, failed
from mailspool.contract.keys import Keys
from mailspool.contract.states import CLASSES, RECORD_VERSION, WORKER_ALIVE_MS, Class
from mailspool.errors import MailspoolError, SpoolUnavailable, SpoolUnsafe
from mailspool.redis_server import pool as pools
from mailspool.redis_server.address import parse_redis_url
from mailspool.redis_server.folder import disk_room
from mailspool.redis_server.link import Link
from mailspool.redis_server.safety import (
    DISK_LEAST_KEPT_BYTES,
    DISK_SHARE_KEPT,
    OLDEST,
    Asked,
    ServerFacts,
    human_bytes,
    inspect_server,
    judge,
    memory_left,
    promise,
)
from mailspool.settings import Settings

_CLOCK_S: Final = 2.0
"""No host's clock decides when mail goes; but dates in mails, --at and certificates are read by it."""
_NEARLY_FULL: Final = 0.1
_WAITING_READ: Final = 1_000
"""Batches whose record format is compared with what the workers read."""
_SURVIVES: Final = {
    "fsync": "what is acknowledged survives a power cut",
    "everysec": "a power cut may cost the last 2 s of what is acknowledged",
    "none": "a restart of Redis loses mail",
}
_FIX: Final = {
    "cluster": "use a single Redis or Valkey; several carry more when each has its own batches",
    "too_old": "use Redis 6.2 or newer, or any Valkey",
    "evicts": "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
    "forgets": 'appendonly yes and appendfsync everysec (or always) in redis.conf; durability = "none" if you mean it',
    "unproven": 'durability = "everysec", or a server that answers CONFIG',
}
_NAMES: Final = {"evicts": "eviction", "forgets": "persistence", "unproven": "persistence"}


class WorkerSeen(NamedTuple):
    """A live worker, as its beat says."""

    host: str
    pid: str
    versions: frozenset[str]
    relays: tuple[str, ...]
    classes: frozenset[str] = frozenset(CLASSES)
    """Those of which it takes mail."""


class SpoolSeen(NamedTuple):
    """The checks, and the relays that live workers have."""

    checks: list[Check]
    relays: tuple[str, ...] = ()


async def of_spool(settings: Settings) -> SpoolSeen:
    """Starts the embedded server, as every command does, and leaves it."""
    try:
        async with _opened(settings) as (redis, link):
            return await _look(redis, link, settings)
    except SpoolUnavailable as error:
        words = f"{error.message.rstrip('.')}{f': {error.hint}' if error.hint else ''}"
        return SpoolSeen([Check("spool", False, words, "start it, or correct redis_url (mailspool settings shows it)")])
    except MailspoolError as error:
        return SpoolSeen(
            failed("spool", error.message, error.hint, "mailspool settings shows where redis_url came from")
        )
    except (RedisError, OSError) as error:
        words = f"{Link(settings).name} stopped answering ({type(error).__name__})"
        return SpoolSeen([Check("spool", False, words, "look at its log, then run doctor again")])


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Redis, Link]]:
    link = Link(settings)
    try:
        await link.open()
    except SpoolUnsafe:
        if settings.redis_url is None:
            raise
        secret = settings.redis_password
        address = parse_redis_url(settings.redis_url, secret.get_secret_value() if secret else None)
        redis = Redis.from_pool(pools.make_pool(address))
        try:
            yield redis, link
        finally:
            await redis.aclose()
        return
    try:
        yield link.redis, link
    finally:
        await link.close()


async def _look(redis: Redis, link: Link, settings: Settings) -> SpoolSeen:
    facts = await inspect_server(redis)
    embedded = settings.redis_url is None
    checks = of_server(facts, settings.durability, name=link.name, embedded=embedded)
    memory = await cast("Awaitable[Mapping[str, object]]", redis.info("memory"))
    checks.append(of_memory(facts, settings.redis_reserve, int(str(memory.get("total_system_memory", 0)))))
    if embedded:
        room = await asyncio.to_thread(disk_room, settings.data_dir.expanduser())
        checks.append(of_disk(room.free_bytes, room.total_bytes))
    checks.append(of_clock(await _offset_s(redis)))
    if facts.cluster:  # several keys in one script do not work there
        return SpoolSeen(checks)
    keys = Keys(settings.key_prefix)
    workers = await _workers(redis, keys)
    checks += [
        of_workers(workers, await _waiting(redis, keys)),
        *of_records(workers, await _waiting_versions(redis, keys)),
    ]
    checks += await _paused(redis, keys)
    relays = tuple(dict.fromkeys(name for worker in workers for name in worker.relays if name))
    checks += [check for name in relays for check in of_route(name, await _fields(redis, keys.route(name)))]
    return SpoolSeen(checks, relays)


# -- pure


def of_server(facts: ServerFacts, asked: Asked, *, name: str, embedded: bool) -> list[Check]:
    """The server, how it keeps, whether it deletes; every reason for which `open` would refuse it."""
    kind = f"embedded {facts.product}" if embedded else f"{name}: {facts.product}"
    bad = {_NAMES.get(error.code, "spool"): error for error in _refusals(facts, asked, name=name, embedded=embedded)}
    keeps = f"{promise(facts)}: {_SURVIVES[facts.durability]}"
    forgets = facts.durability == "none" and "persistence" not in bad
    found = [
        Check("spool", True, f"{kind} {facts.version}{f' in {name}' if embedded else ''}"),
        Check("persistence", True, keeps, 'durability = "none" is set: mean it' if forgets else None),
        Check("eviction", True, facts.eviction_policy),
    ]
    return [
        Check(check.name, False, error.message.partition(". ")[0].rstrip("."), _FIX.get(error.code, error.hint or None))
        if (error := bad.get(check.name))
        else check
        for check in found
    ]


def _refusals(facts: ServerFacts, asked: Asked, *, name: str, embedded: bool) -> list[SpoolUnsafe]:
    """`judge` stops at the first: what it found is forgiven, and it is asked again."""
    found: list[SpoolUnsafe] = []
    for _ in range(len(_FIX)):
        try:
            judge(facts, asked, name=name, embedded=embedded)
        except SpoolUnsafe as error:
            found.append(error)
            facts = _forgiven(facts, error.code)
    return found


def _forgiven(facts: ServerFacts, code: str) -> ServerFacts:
    match code:
        case "cluster":
            return replace(facts, cluster=False)
        case "too_old":
            return replace(facts, compatible=OLDEST)
        case "evicts":
            return replace(facts, eviction_policy="noeviction")
        case _:
            return replace(facts, durability="fsync")


def of_memory(facts: ServerFacts, reserve: float, machine_bytes: int) -> Check:
    """Headroom below maxmemory less what is kept for the workers; else below what the machine has."""
    used = human_bytes(facts.used_bytes)
    left, limit = memory_left(facts, reserve), facts.maxmemory_bytes
    grow = "give it more (maxmemory), or wait until batches have been sent and purged"
    if left is not None:
        words = f"{used} of {human_bytes(limit)} used, {human_bytes(left)} left for new batches"
        if left == 0:
            return Check("memory", False, f"{words}: nothing more is taken", grow)
        return Check("memory", True, words, grow if left < limit * _NEARLY_FULL else None)
    machine = f", the machine has {human_bytes(machine_bytes)}" if machine_bytes else ""
    full = machine_bytes and facts.used_bytes > machine_bytes * (1 - 2 * _NEARLY_FULL)
    return Check("memory", True, f"{used} used, no limit{machine}", "set maxmemory below it" if full else None)


def of_disk(free_bytes: int, total_bytes: int) -> Check:
    """A server with fsync ends on a full disk: producers are refused before."""
    kept = max(int(total_bytes * DISK_SHARE_KEPT), DISK_LEAST_KEPT_BYTES)
    words = f"{human_bytes(free_bytes)} free"
    if free_bytes <= kept:
        full = f"{words}, and {human_bytes(kept)} must stay free: nothing more is taken"
        return Check("disk", False, full, "make room, or set data_dir to another disk")
    return Check("disk", True, words, "make room soon" if free_bytes < 2 * kept else None)


def of_clock(offset_s: float) -> Check:
    """How far this machine is ahead of Redis."""
    words = f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} Redis"
    if abs(offset_s) < _CLOCK_S:
        return Check("clock", True, f"{abs(offset_s):.1f} s from Redis")
    return Check("clock", True, words, "set one of the two: timedatectl set-ntp true")


def of_workers(workers: list[WorkerSeen], waiting: Mapping[Class, int]) -> Check:
    """`waiting`: mails of each class; of one that no worker serves they would wait for ever."""
    if not workers:
        return Check("worker", False, "none running", "mailspool worker")
    shown = ", ".join(f"{worker.host} pid {worker.pid} ({', '.join(worker.relays)})" for worker in workers[:5])
    more = f" and {len(workers) - 5} more" if len(workers) > 5 else ""
    words = f"{len(workers)} running: {shown}{more}"
    unserved = [class_ for class_ in CLASSES if not any(class_ in worker.classes for worker in workers)]
    if not unserved:
        return Check("worker", True, words)
    mails = [f"{waiting[class_]:,} {class_}" for class_ in unserved if waiting.get(class_)]
    words = f"{words}, none for {' and '.join(unserved)} mail"
    if mails:
        words += f" ({' and '.join(mails)} waiting)"
    return Check("worker", not mails, words, f"mailspool worker --class {unserved[0]}")


def of_records(workers: list[WorkerSeen], waiting: set[str]) -> list[Check]:
    """Formats: what we write, what waits, what the workers read."""
    if not workers:
        return []
    read = frozenset[str]().union(*(worker.versions for worker in workers))
    shown = ", ".join(sorted(read))
    unread = sorted({str(RECORD_VERSION), *waiting} - read)
    if unread:
        words = f"no worker reads format {', '.join(unread)}; they read {shown}"
        return [Check("records", False, words, "upgrade the workers to this release")]
    behind = [worker.host for worker in workers if str(RECORD_VERSION) not in worker.versions]
    if behind:
        words = f"not every worker reads format {RECORD_VERSION}: {', '.join(behind[:5])}"
        return [Check("records", True, words, "upgrade those workers")]
    return [Check("records", True, f"format {RECORD_VERSION}, and every worker reads it")]


def of_route(name: str, told: Mapping[str, str]) -> list[Check]:
    """What the workers say of a relay."""
    state = told.get("state", "ok")
    if state in ("", "ok"):
        return []
    return [Check(f"route {name}", False, f"{state}: {told.get('why', '')}".rstrip(": "), f"mailspool probe {name}")]


def of_pause(what: str) -> list[Check]:
    """What somebody has stopped: the spool, a class, a relay."""
    if what == "spool":
        return [Check("paused", True, "the whole spool is paused", "mailspool resume")]
    if what in CLASSES:
        return [Check("paused", True, f"{what} mail is paused", f"mailspool resume --class {what}")]
    kind, _, relay = what.partition(":")
    if kind == "relay" and relay:
        return [Check("paused", True, f"the relay {relay} is paused", f"mailspool relay resume {relay}")]
    return []


# -- asking


async def _ask(redis: Redis, *words: str | int) -> object:
    return await cast("Callable[..., Awaitable[object]]", redis.execute_command)(*words)


async def _fields(redis: Redis, key: str) -> dict[str, str]:
    return as_fields(await _ask(redis, "HGETALL", key))


async def _names(redis: Redis, *words: str | int) -> list[str]:
    return [name.decode("utf-8", "backslashreplace") for name in cast("list[bytes]", await _ask(redis, *words))]


async def _offset_s(redis: Redis) -> float:
    """By the quickest of three answers."""
    best = (float("inf"), 0.0)
    for _ in range(3):
        before = time.time()
        seconds, micros = cast("tuple[int, int]", await _ask(redis, "TIME"))
        after = time.time()
        best = min(best, (after - before, (before + after) / 2 - seconds - micros / 1e6))
    return best[1]


async def _workers(redis: Redis, keys: Keys) -> list[WorkerSeen]:
    seconds, micros = cast("tuple[int, int]", await _ask(redis, "TIME"))
    since = seconds * 1000 + micros // 1000 - WORKER_ALIVE_MS
    found = []
    for name in await _names(redis, "ZRANGEBYSCORE", keys.workers, f"({since}", "+inf"):
        told = await _fields(redis, keys.worker(name))
        if told:
            versions, relays = frozenset(told.get("versions", "").split(",")), tuple(told.get("relays", "").split(","))
            classes = frozenset(class_ for class_ in CLASSES if told.get(f"slots:{class_}", "0") != "0")
            found.append(WorkerSeen(told.get("host", "?"), told.get("pid", "?"), versions, relays, classes))
    return found


async def _waiting(redis: Redis, keys: Keys) -> dict[Class, int]:
    """Mails of each class that have not come to an end, without those that a person must decide about."""
    counted = {class_: sums([await _ask(redis, "HGETALL", keys.totals(class_))]) for class_ in CLASSES}
    return {class_: each["total"] - each["ended"] - each["n_uncertain"] for class_, each in counted.items()}


async def _waiting_versions(redis: Redis, keys: Keys) -> set[str]:
    found: set[str] = set()
    for batch in await _names(redis, "ZRANGE", keys.deadline, 0, _WAITING_READ - 1):
        version = await _ask(redis, "HGET", keys.batch(batch), "v")
        if isinstance(version, bytes):
            found.add(version.decode("utf-8", "backslashreplace"))
    return found


async def _paused(redis: Redis, keys: Keys) -> list[Check]:
    return [check for what in await _fields(redis, f"{keys.prefix}:paused") for check in of_pause(what)]
