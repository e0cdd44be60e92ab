"""Which servers may carry mail, what they promise, and when there is no room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from mailspool.errors import SpoolFull, SpoolUnsafe
from mailspool.redis_server.safety import (
    Asked,
    ServerFacts,
    check_disk,
    check_memory,
    facts_from,
    human_bytes,
    inspect_server,
    judge,
    memory_left,
    promise,
)
from tests.support.embedded import plain_server

NAME = "redis://queue:6379"
INFO = {
    "redis_version": "7.2.4",
    "redis_mode": "standalone",
    "run_id": "abc",
    "role": "master",
    "loading": "0",
    "aof_enabled": "1",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "used_memory": "1000000",
    "cluster_enabled": "0",
}
ALWAYS = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
EVERYSEC = {**ALWAYS, "appendfsync": "everysec"}


def facts(config: dict[str, str] | None = None, **info: str) -> ServerFacts:
    return facts_from({**INFO, **info}, EVERYSEC if config is None else config)


def verdict(found: ServerFacts, asked: Asked = "auto", *, embedded: bool = False) -> str:
    try:
        judge(found, asked, name=NAME, embedded=embedded)
    except SpoolUnsafe as exc:
        return exc.code
    return "fit"


def test_facts() -> None:
    assert facts() == ServerFacts(
        version="7.2.4",
        product="Redis",
        compatible=(7, 2),
        cluster=False,
        replica=False,
        loading=False,
        appendonly=True,
        appendfsync="everysec",
        fsync_pauses=False,
        durability="everysec",
        durability_proven=True,
        eviction_policy="noeviction",
        maxmemory_bytes=0,
        used_bytes=1_000_000,
        run_id="abc",
    )
    valkey = facts(ALWAYS, valkey_version="9.1.2", server_name="valkey")
    assert (valkey.product, valkey.version, valkey.durability) == ("Valkey", "9.1.2", "fsync")


NO_FSYNC = {**ALWAYS, "appendfsync": "no"}
PAUSING = {**ALWAYS, "no-appendfsync-on-rewrite": "yes"}
OFF = {"appendonly": "no", "appendfsync": "always"}
REFUSED: dict[str, str] = {}


@pytest.mark.parametrize(
    ("config", "aof", "verdicts", "phrase"),
    [
        # asked for:      auto       fsync      everysec   none
        (ALWAYS, "1", ["fit", "fit", "fit", "fit"], "append-only, fsync always"),
        (EVERYSEC, "1", ["fit", "forgets", "fit", "fit"], "append-only, fsync each second"),
        (PAUSING, "1", ["fit", "forgets", "fit", "fit"], "append-only, fsync always, but not during rewrites"),
        (NO_FSYNC, "1", ["forgets", "forgets", "forgets", "fit"], "append-only, fsync left to the operating system"),
        (OFF, "0", ["forgets", "forgets", "forgets", "fit"], "forgets mail at a restart: appendonly is off"),
        (REFUSED, "1", ["fit", "unproven", "fit", "fit"], "append-only, fsync each second assumed (CONFIG is refused)"),
        (REFUSED, "0", ["forgets", "forgets", "forgets", "fit"], "forgets mail at a restart: appendonly is off"),
    ],
)
def test_durability(config: dict[str, str], aof: str, verdicts: Sequence[str], phrase: str) -> None:
    found = facts(config, aof_enabled=aof)
    asked: tuple[Asked, ...] = ("auto", "fsync", "everysec", "none")
    assert [verdict(found, one) for one in asked] == verdicts
    assert promise(found) == phrase


def test_the_embedded_server_owes_fsync() -> None:
    assert verdict(facts(EVERYSEC), "auto", embedded=True) == "forgets"
    assert verdict(facts(EVERYSEC), "everysec", embedded=True) == "fit"
    assert verdict(facts(ALWAYS), "auto", embedded=True) == "fit"


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("6.0.16", "too_old"),
        ("6.1.9", "too_old"),
        ("5.0", "too_old"),
        ("6.2.0", "fit"),
        ("7.0", "fit"),
        ("10.0", "fit"),
    ],
)
def test_versions(version: str, code: str) -> None:
    assert verdict(facts(redis_version=version)) == code


def test_an_unreadable_version_is_too_old() -> None:
    assert verdict(facts(redis_version="unstable")) == "too_old"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
@pytest.mark.parametrize("asked", ["auto", "none"])
def test_evicting_servers_are_refused_whatever_is_asked(policy: str, asked: Asked) -> None:
    assert verdict(facts(maxmemory_policy=policy), asked) == "evicts"


def test_the_words() -> None:
    rows = [
        (
            facts(OFF, aof_enabled="0"),
            'would lose mail at a restart: appendonly is off. Set it, or durability = "none" if',
        ),
        (
            facts(maxmemory_policy="allkeys-lru"),
            "would delete mail when its memory is full: maxmemory-policy is allkeys",
        ),
        (facts(cluster_enabled="1"), "is a Redis Cluster, and one queue cannot span its nodes."),
        (facts(redis_version="6.0.16"), "is Redis 6.0.16: too old. Mailspool needs Redis 6.2 or newer, or any Valkey."),
        (facts(NO_FSYNC), "would lose up to 30 seconds of mail at a power cut: appendfsync is no."),
        (facts(EVERYSEC), "may lose the last 2 seconds of mail at a power cut: appendfsync is everysec."),
        (facts(PAUSING), "may lose mail at a power cut while it rewrites its file: no-appendfsync-on-rewrite is on."),
        (facts(REFUSED), "does not show how it keeps mail (CONFIG is refused), so fsync cannot be proven."),
    ]
    for found, words in rows:
        with pytest.raises(SpoolUnsafe) as caught:
            judge(found, "fsync", name=NAME, embedded=False)
        assert str(caught.value).startswith(f"{NAME} {words}")
        assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("options", "asked", "code"),
    [
        (["--appendonly", "yes"], "auto", "fit"),
        (["--appendonly", "yes"], "fsync", "forgets"),
        (["--appendonly", "yes", "--appendfsync", "always"], "fsync", "fit"),
        (["--appendonly", "yes", "--appendfsync", "no"], "auto", "forgets"),
        (["--save", "60", "1"], "auto", "forgets"),
        (["--save", ""], "none", "fit"),
        (["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], "auto", "evicts"),
        (["--appendonly", "yes", "--cluster-enabled", "yes"], "none", "cluster"),
        (["--appendonly", "yes", "--rename-command", "CONFIG", ""], "auto", "fit"),
        (["--appendonly", "yes", "--rename-command", "CONFIG", ""], "fsync", "unproven"),
        (["--appendonly", "yes", "--user", "default", "on", "nopass", "~*", "+@all", "-config"], "fsync", "unproven"),
        (["--appendonly", "no", "--rename-command", "CONFIG", ""], "auto", "forgets"),
    ],
)
async def test_real_servers(folder: Path, options: list[str], asked: Asked, code: str) -> None:
    with plain_server(folder, *options) as socket:
        redis = Redis(unix_socket_path=str(socket))
        found = await inspect_server(redis)
        await redis.aclose()
    assert found.product == "Valkey"
    assert len(found.run_id) == 40
    assert found.used_bytes > 100_000
    assert verdict(found, asked) == code


async def test_a_real_servers_limits(folder: Path) -> None:
    with plain_server(folder, "--appendonly", "yes", "--maxmemory", "100mb") as socket:
        redis = Redis(unix_socket_path=str(socket))
        found = await inspect_server(redis)
        await redis.aclose()
    assert found.maxmemory_bytes == 100 << 20
    left = memory_left(found, 0.1)
    assert left is not None
    assert 80 << 20 < left < 90 << 20


MIB = 1 << 20


def test_room_in_memory() -> None:
    limited = replace(facts(), maxmemory_bytes=100 * MIB, used_bytes=50 * MIB)
    check_memory(40 * MIB, limited, 0.1)
    with pytest.raises(SpoolFull) as caught:
        check_memory(40 * MIB + 1, limited, 0.1)
    assert str(caught.value) == "this batch needs 40.0 MiB, Redis has 40.0 MiB left. Nothing was queued."
    assert caught.value.hint == "maxmemory is 100.0 MiB; 10% of it is kept for the workers (redis_reserve)."
    over = replace(limited, used_bytes=95 * MIB)
    assert memory_left(over, 0.1) == 0
    check_memory(0, over, 0.1)
    with pytest.raises(SpoolFull):
        check_memory(1, over, 0.1)
    assert memory_left(facts(), 0.1) is None
    check_memory(1 << 60, facts(), 0.1)


@pytest.mark.parametrize(
    ("total_mib", "kept_mib"),
    [(1000, 256), (5120, 256), (10_000, 500)],
)
def test_room_on_the_disk(total_mib: int, kept_mib: int) -> None:
    total = total_mib * MIB
    check_disk(10 * MIB, free_bytes=(kept_mib + 10) * MIB, total_bytes=total, name="~/spool")
    check_disk(0, free_bytes=kept_mib * MIB, total_bytes=total, name="~/spool")
    with pytest.raises(SpoolFull) as caught:
        check_disk(10 * MIB, free_bytes=(kept_mib + 10) * MIB - 1, total_bytes=total, name="~/spool")
    assert str(caught.value) == (
        f"this batch needs 10.0 MiB; the disk of ~/spool has {kept_mib + 10}.0 MiB free, of which {kept_mib}.0 MiB"
        " must stay free. Nothing was queued."
    )
    assert caught.value.exit_code == 73


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes_for_people(size: int, words: str) -> None:
    assert human_bytes(size) == words
