"""Slow upkeep: which uploads and batches it takes, in slices, and that a worker that stops need not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Moves, RedisCaller
from mailspool.contract.states import UPLOAD_ABANDONED_MS
from mailspool.redis_server.link import Link
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.upkeep import resume_blocked, upkeep
from tests.support.embedded import plain_server
from tests.support.worker_parts import TestClock

NOW_MS = 1_700_000_000_000


class Spool:
    """Moves and Redis: every purge and collect takes three slices."""

    def __init__(self) -> None:
        self.keys = Keys("t")
        self.redis = self
        self.asked: list[str] = []
        self.looked: dict[str, int] = {}
        self.over_after: int | None = None

        self.broken: dict[str, str] = {}
        """What a move answers instead; "!" in front: raises."""
        self.logged: list[object] = []
        self.put_off: list[tuple[str, dict[bytes, int]]] = []
        self.retire = [b"b1", b"b2"]
        self.clock = TestClock()
        self.slice_s = 0.0

    async def zadd(self, key: str, mapping: dict[bytes, int], *, xx: bool) -> None:
        assert xx
        self.put_off.append((key, mapping))

    async def zrangebyscore(self, key: str, low: str, until_ms: int, *, start: int, num: int) -> list[bytes]:
        self.looked[key] = until_ms
        assert start == 0
        return [b"u1"] if key == self.keys.loading else self.retire[:num]

    def _slice(self, what: str) -> str:
        self.asked.append(what)
        if (answer := self.broken.get(what, "")).startswith("!"):
            raise ResponseError(answer)
        if answer:
            return answer
        return "MORE" if self.asked.count(what) < 3 else "OK"

    async def collect(self, upload: str) -> str:
        return self._slice(f"collect {upload}")

    async def purge(self, batch: str) -> str:
        self.clock.now_s += self.slice_s
        answer = self._slice(f"purge {batch}")
        if answer == "OK":
            self.retire.remove(batch.encode())
        return answer

    async def broom(self, class_: str, version: int, start: int) -> int:
        self.asked.append(what := f"broom {class_} {start}")
        if what in self.broken:
            raise ResponseError(self.broken[what])
        return 200 if start == 0 else -1

    def warning(self, what: str, **facts: object) -> None:
        self.logged.append((what, facts["name"]))

    def over(self) -> bool:
        return self.over_after is not None and len(self.asked) >= self.over_after


async def one_round(spool: Spool) -> list[str]:
    clock = RedisClock(spool.clock)
    clock.observe(NOW_MS)
    await upkeep(cast("Link", spool), cast("Moves", spool), clock, spool.over, cast("Events", spool))
    return spool.asked


async def test_a_round() -> None:
    spool = Spool()
    assert await one_round(spool) == [
        *["collect u1"] * 3,
        *["purge b1"] * 3,
        *["purge b2"] * 3,
        *["broom transactional 0", "broom transactional 200", "broom bulk 0", "broom bulk 200"],
    ]
    assert spool.looked == {"t:loading": NOW_MS - UPLOAD_ABANDONED_MS, "t:retire": NOW_MS}


async def test_a_worker_that_stops_ends_it_between_two_slices() -> None:
    spool = Spool()
    spool.over_after = 4
    assert len(await one_round(spool)) == 4


async def test_what_is_broken_stops_nobody_and_is_put_off() -> None:
    spool = Spool()
    spool.broken = {
        "collect u1": "!WRONGTYPE",
        "purge b1": "!attempt to compare nil",
        "broom transactional 0": "!WRONGTYPE",
    }
    asked = await one_round(spool)
    assert asked[:2] == ["collect u1", "purge b1"]
    assert asked[2:] == [*["purge b2"] * 3, "broom transactional 0", "broom bulk 0", "broom bulk 200"]
    assert spool.logged == [("upkeep_put_off", name) for name in ("u1", "b1", "broom")]
    half_ms = UPLOAD_ABANDONED_MS // 2
    assert spool.put_off == [("t:loading", {b"u1": NOW_MS - half_ms}), ("t:retire", {b"b1": NOW_MS + half_ms})]


async def test_who_must_not_go_yet_makes_room_for_the_others() -> None:
    spool = Spool()
    spool.broken = {"collect u1": "ALIVE", "purge b1": "BUSY", "purge b2": "GONE"}
    await one_round(spool)
    assert [next(iter(names)) for _, names in spool.put_off] == [b"b1", b"b2"], "u1 has given a sign of life meanwhile"
    assert not spool.logged, "another worker's upkeep may have been faster"


async def test_single_mails_are_a_batch_each_and_all_that_are_due_go_in_one_round() -> None:
    spool = Spool()
    spool.retire = [f"b{n}".encode() for n in range(500)]
    await one_round(spool)
    assert not spool.retire


async def test_those_that_take_longer_than_a_round_keep_nobody_waiting_for_ever() -> None:
    spool = Spool()
    spool.broken = {f"purge b{n}": "MORE" for n in range(60)}
    spool.retire = [f"b{n}".encode() for n in range(60)]
    asked = await one_round(spool)
    assert len(asked) < 60 * 201, "each once"


async def test_a_round_ends_after_its_time_and_the_rest_of_upkeep_has_its_turn() -> None:
    spool = Spool()
    spool.retire, spool.slice_s = [f"b{n}".encode() for n in range(500)], 1.0
    asked = await one_round(spool)
    assert 0 < sum(what.startswith("purge") for what in asked) < 30
    assert "broom bulk 0" in asked


class _Open(NamedTuple):
    redis: Redis


async def test_a_worker_that_starts_resumes_all_that_waited_for_a_route(tmp_path: Path) -> None:
    """Also those behind thousands that wait for their date, and behind a broken one."""
    with plain_server(tmp_path / "plain") as server:
        redis = Redis(unix_socket_path=str(server))
        moves = Moves(RedisCaller(redis), Keys("t"))
        far_ms, blocked = 4_000_000_000_000, [f"b{n}" for n in range(0, 3_000, 20)]
        pipeline = redis.pipeline(transaction=False)
        for n in range(3_000):
            name = f"b{n}"
            waits = {"wait_why": "closed", "wait_until": far_ms} if name in blocked else {}
            fields = {"state": "live", "class": "bulk", "expires": far_ms, **waits}
            pipeline.hset(moves.keys.batch(name), mapping=fields)
            pipeline.zadd(moves.keys.later("bulk"), {name: far_ms - n})
            pipeline.zadd(f"t:due:{name}", {"0": 0 if waits else far_ms})
        pipeline.set(moves.keys.batch("broken"), "x")
        pipeline.zadd(moves.keys.later("bulk"), {b"broken": 0, b"\xff": 1})
        await pipeline.execute()
        await resume_blocked(cast("Link", _Open(redis)), moves, ["transactional", "bulk"])
        resumed = await redis.zrange("t:open:bulk", 0, -1)
        assert sorted(name.decode() for name in resumed) == sorted(blocked)
        await redis.aclose()
