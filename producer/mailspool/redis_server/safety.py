"""May this Redis carry mail, and is there room for more?

Called by link.py (at start and after an outage) and by whoever prints the promise. `inspect_server` reads; all else is
pure. Raises SpoolUnsafe (codes `cluster`, `too_old`, `evicts`, `forgets`, `unproven`) and SpoolFull.

Where CONFIG is refused (managed servers), INFO says whether the append-only file is on; that it is synced each second
is then assumed, and `durability_proven` is False.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mailspool.errors import SpoolFull, SpoolUnsafe

Durability = Literal["fsync", "everysec", "none"]
Asked = Literal["auto", "fsync", "everysec", "none"]
_ORDER: tuple[Durability, ...] = ("none", "everysec", "fsync")

OLDEST = (6, 2)  # our scripts use HRANDFIELD (6.2) and SMISMEMBER (6.2)

# A server with fsync ends on a full disk, and a rewrite of its file needs room beside the old one.
DISK_SHARE_KEPT = 0.05
DISK_LEAST_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says about itself."""

    version: str
    product: str  # "Valkey", "Redis"
    compatible: tuple[int, int]  # the Redis version that it equals
    cluster: bool
    replica: bool
    loading: bool
    appendonly: bool
    appendfsync: str | None  # None: CONFIG is refused, nobody knows
    fsync_pauses: bool  # no-appendfsync-on-rewrite: no fsync while the file is rewritten
    durability: Durability
    durability_proven: bool
    eviction_policy: str
    maxmemory_bytes: int  # 0 = no limit
    used_bytes: int
    run_id: str


async def inspect_server(redis: Redis) -> ServerFacts:
    """Ask the server. Raises redis-py's errors."""
    info = await cast("Awaitable[Mapping[str, object]]", redis.info())
    try:
        # One pattern: several names need Redis 7.
        config = await cast("Awaitable[Mapping[str, str]]", redis.config_get("*append*"))
    except ResponseError:  # refused, renamed, or not in this user's ACL
        config = {}
    return facts_from({name: str(value) for name, value in info.items()}, config)


def facts_from(info: Mapping[str, str], config: Mapping[str, str]) -> ServerFacts:
    """The facts in what INFO and CONFIG GET answered; an empty `config` means that CONFIG is refused."""
    is_valkey = "valkey_version" in info
    appendonly = info.get("aof_enabled", "0") == "1"
    appendfsync = config.get("appendfsync")
    pauses = config.get("no-appendfsync-on-rewrite", "no") == "yes"
    numbers = re.findall(r"\d+", info.get("redis_version", "0.0"))[:2]
    return ServerFacts(
        version=info.get("valkey_version") or info.get("redis_version", "unknown"),
        product="Valkey" if is_valkey else "Redis",
        compatible=(int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else (0, 0),
        cluster=info.get("cluster_enabled", "0") == "1" or info.get("redis_mode") == "cluster",
        replica=info.get("role", "master") != "master",
        loading=info.get("loading", "0") == "1",
        appendonly=appendonly,
        appendfsync=appendfsync,
        fsync_pauses=pauses,
        durability=_durability(appendonly, appendfsync, pauses),
        durability_proven=appendfsync is not None or not appendonly,
        eviction_policy=info.get("maxmemory_policy", "noeviction"),
        maxmemory_bytes=int(info.get("maxmemory", "0")),
        used_bytes=int(info.get("used_memory", "0")),
        run_id=info.get("run_id", ""),
    )


def _durability(appendonly: bool, appendfsync: str | None, pauses: bool) -> Durability:
    if not appendonly or appendfsync == "no":
        return "none"
    return "fsync" if appendfsync == "always" and not pauses else "everysec"


def judge(facts: ServerFacts, asked: Asked, *, name: str, embedded: bool) -> None:
    """Refuse a server that would lose, delete or misplace mail."""
    if facts.cluster:
        raise SpoolUnsafe(
            f"{name} is a Redis Cluster, and one queue cannot span its nodes. Use a single Redis or Valkey; several"
            " carry more when each has its own batches.",
            code="cluster",
        )
    if facts.compatible < OLDEST:
        raise SpoolUnsafe(
            f"{name} is {facts.product} {facts.version}: too old. Mailspool needs Redis 6.2 or newer, or any Valkey.",
            code="too_old",
        )
    if facts.eviction_policy != "noeviction":
        raise SpoolUnsafe(
            f"{name} would delete mail when its memory is full: maxmemory-policy is {facts.eviction_policy}."
            " Set it to noeviction.",
            code="evicts",
        )
    needed: Durability = asked if asked != "auto" else ("fsync" if embedded else "everysec")
    if _ORDER.index(facts.durability) < _ORDER.index(needed):
        raise SpoolUnsafe(_too_forgetful(facts, name), code="forgets" if facts.durability_proven else "unproven")


def _too_forgetful(facts: ServerFacts, name: str) -> str:
    if not facts.appendonly:
        return f'{name} would lose mail at a restart: appendonly is off. Set it, or durability = "none" if you mean it.'
    if facts.durability == "none":
        return (
            f"{name} would lose up to 30 seconds of mail at a power cut: appendfsync is no."
            ' Set it to everysec or always, or durability = "none" if you mean it.'
        )
    if not facts.durability_proven:
        return (
            f"{name} does not show how it keeps mail (CONFIG is refused), so fsync cannot be proven."
            ' Set durability = "everysec", or use a server that shows it.'
        )
    if facts.appendfsync == "always":
        return (
            f"{name} may lose mail at a power cut while it rewrites its file: no-appendfsync-on-rewrite is on."
            ' Switch it off, or set durability = "everysec".'
        )
    return (
        f"{name} may lose the last 2 seconds of mail at a power cut: appendfsync is {facts.appendfsync}."
        ' Set it to always, or durability = "everysec".'
    )


def promise(facts: ServerFacts) -> str:
    """What this server's settings give, in one phrase; printed at start and in every status."""
    if not facts.appendonly:
        return "forgets mail at a restart: appendonly is off"
    if facts.appendfsync is None:
        return "append-only, fsync each second assumed (CONFIG is refused)"
    if facts.appendfsync == "no":
        return "append-only, fsync left to the operating system"
    often = "always" if facts.appendfsync == "always" else "each second"
    return f"append-only, fsync {often}{', but not during rewrites' if facts.fsync_pauses else ''}"


def memory_left(facts: ServerFacts, reserve: float) -> int | None:
    """What producers may still fill; workers need the reserve to record. None: the server has no limit."""
    if not facts.maxmemory_bytes:
        return None
    return max(0, int(facts.maxmemory_bytes * (1 - reserve)) - facts.used_bytes)


def check_memory(needed_bytes: int, facts: ServerFacts, reserve: float) -> None:
    """Refuse what does not fit into Redis."""
    left = memory_left(facts, reserve)
    if left is not None and needed_bytes > left:
        raise SpoolFull(
            f"this batch needs {human_bytes(needed_bytes)}, {facts.product} has {human_bytes(left)} left."
            " Nothing was queued.",
            hint=f"maxmemory is {human_bytes(facts.maxmemory_bytes)}; {reserve:.0%} of it is kept for the workers"
            " (redis_reserve).",
        )


def check_disk(needed_bytes: int, *, free_bytes: int, total_bytes: int, name: str) -> None:
    """Refuse what would bring the embedded server's disk near its end."""
    kept = max(int(total_bytes * DISK_SHARE_KEPT), DISK_LEAST_KEPT_BYTES)
    if free_bytes - needed_bytes < kept:
        raise SpoolFull(
            f"this batch needs {human_bytes(needed_bytes)}; the disk of {name} has {human_bytes(free_bytes)} free, of"
            f" which {human_bytes(kept)} must stay free. Nothing was queued.",
        )


def human_bytes(size: int) -> str:
    """1.2 GiB"""
    if size < 1024:
        return f"{size} bytes"
    value, units = size / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"
