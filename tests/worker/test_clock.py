"""Redis' clock as this process knows it: between observations, after jumps of either clock, in both directions."""

from __future__ import annotations

import pytest

from mailspool_worker import clock as module
from mailspool_worker.clock import RedisClock
from tests.support.worker_parts import TestClock

REDIS_MS = 1_700_000_000_000


def test_time_goes_on_by_the_boot_clock() -> None:
    boot = TestClock(50.0)
    clock = RedisClock(boot)
    clock.observe(REDIS_MS)
    boot.now_s += 1.25
    assert clock.now_ms() == REDIS_MS + 1_250
    assert clock.to_boot_s(REDIS_MS + 2_000) == pytest.approx(52.0)


@pytest.mark.parametrize(
    ("boot_s", "redis_ms", "jumps"),
    [(10.0, 10_000, 0), (10.0, 14_000, 0), (10.0, 15_100, 1), (10.0, 4_900, 1), (0.0, -3_600_000, 1), (3_600.0, 0, 1)],
)
def test_a_jump_is_when_the_two_clocks_part(boot_s: float, redis_ms: int, jumps: int) -> None:
    boot = TestClock(50.0)
    clock = RedisClock(boot)
    clock.observe(REDIS_MS)
    assert clock.jumps == 0, "the first observation has nothing to compare with"
    boot.now_s += boot_s
    clock.observe(REDIS_MS + redis_ms)
    assert clock.jumps == jumps
    assert clock.now_ms() == REDIS_MS + redis_ms


def test_whoever_observes_a_jump_it_is_counted() -> None:
    """deliver observes, too: the tick would find both clocks in step again."""
    boot = TestClock()
    clock = RedisClock(boot)
    clock.observe(REDIS_MS)
    clock.observe(REDIS_MS + 60_000)
    clock.observe(REDIS_MS + 60_001)
    assert clock.jumps == 1


def test_the_hosts_clock_counts_seconds_since_boot() -> None:
    first, second = module.boot_s(), RedisClock().boot_s()
    assert 0 < first <= second
