"""The arithmetic of waiting: never earlier than written, never past the deadline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool_worker.schedule import (
    DEFAULT_SCHEDULE,
    Schedule,
    blocked_s,
    breaker_open_s,
    doubling_s,
    next_try_ms,
    pause_s,
)

NOW_MS = 1_700_000_000_000
NEVER_MS = NOW_MS * 10


def at_ms(
    attempts: int,
    *,
    schedule: Schedule = DEFAULT_SCHEDULE,
    now_ms: int = NOW_MS,
    rand: float = 0.0,
    jitter: float = 0.2,
    min_delay_s: float | None = None,
    expires_ms: int = NEVER_MS,
) -> int | None:
    return next_try_ms(
        attempts,
        now_ms,
        rand,
        schedule=schedule,
        jitter=jitter,
        min_delay_s=min_delay_s,
        expires_ms=expires_ms,
    )


def wait_ms(attempts: int, *, rand: float = 0.0, min_delay_s: float | None = None) -> int | None:
    at = at_ms(attempts, rand=rand, min_delay_s=min_delay_s)
    return None if at is None else at - NOW_MS


def test_the_default_schedule_is_the_written_one() -> None:
    minutes = [wait_ms(attempts) for attempts in range(1, 10)]
    assert minutes == [60_000 * step for step in (5, 15, 30, 60, 120, 240, 360, 360, 360)]


def test_no_counted_attempt_yet_waits_the_first_step() -> None:
    assert wait_ms(0) == wait_ms(1) == 300_000


def test_the_last_step_repeats_only_where_it_is_starred() -> None:
    once = Schedule((1.0, 2.0), last_repeats=False)
    assert [at_ms(attempts, schedule=once) for attempts in (1, 2, 3)] == [NOW_MS + 1_000, NOW_MS + 2_000, None]
    assert Schedule((1.0, 2.0)).step_s(1_000_000) == 2.0


def test_jitter_only_adds() -> None:
    assert wait_ms(1, rand=0.5) == 330_000
    assert wait_ms(1, rand=0.999999) == 360_000


def test_a_named_wait_is_a_lower_bound_and_gets_jitter_too() -> None:
    assert wait_ms(1, min_delay_s=299.0) == 300_000
    assert wait_ms(1, min_delay_s=301.0) == 301_000
    assert wait_ms(1, min_delay_s=600.0, rand=0.5) == 660_000


@pytest.mark.parametrize(("spare_ms", "tried"), [(-1, False), (0, False), (1, True)])
def test_a_try_at_or_past_the_deadline_is_none(spare_ms: int, tried: bool) -> None:
    at = at_ms(1, expires_ms=NOW_MS + 300_000 + spare_ms)
    assert at == (NOW_MS + 300_000 if tried else None)


def test_a_clock_that_went_back_changes_no_wait() -> None:
    assert at_ms(1, now_ms=NOW_MS - 3_600_000) == NOW_MS - 3_600_000 + 300_000


def test_milliseconds_are_rounded_up_but_not_by_the_last_bit_of_a_float() -> None:
    assert at_ms(1, schedule=Schedule((0.3,)), jitter=0.0) == NOW_MS + 300
    assert at_ms(1, schedule=Schedule((0.3001,)), jitter=0.0) == NOW_MS + 301


@pytest.mark.parametrize("steps_s", [(), (0.0,), (-1.0,), (1.0, float("inf")), (float("nan"),)])
def test_what_is_no_schedule_is_refused(steps_s: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(steps_s)


@pytest.mark.parametrize("rand", [-0.1, 1.0])
def test_rand_outside_its_range_is_refused(rand: float) -> None:
    with pytest.raises(ValueError, match="rand"):
        at_ms(1, rand=rand)


def test_negative_jitter_is_refused() -> None:
    with pytest.raises(ValueError, match="jitter"):
        at_ms(1, jitter=-0.1)


steps = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8)
shares = st.floats(0.0, 0.999999)


@given(
    steps,
    st.integers(0, 20),
    shares,
    st.floats(0.0, 2.0),
    st.none() | st.floats(0.0, 1e6),
)
def test_no_try_is_earlier_than_written(
    steps_s: list[float], attempts: int, rand: float, jitter: float, min_delay_s: float | None
) -> None:
    schedule = Schedule(tuple(steps_s))
    at = at_ms(
        attempts,
        schedule=schedule,
        rand=rand,
        jitter=jitter,
        min_delay_s=min_delay_s,
    )
    step_s = schedule.step_s(attempts)
    assert at is not None
    assert step_s is not None
    written_s = max(step_s, min_delay_s or 0.0)
    assert at - NOW_MS >= written_s * 1_000 - 0.001
    assert at - NOW_MS <= written_s * 1_000 * (1 + jitter) + 1.001


@given(steps, shares, shares, st.integers(1, 12))
def test_later_attempts_more_chance_and_longer_wishes_never_come_earlier(
    steps_s: list[float], low: float, high: float, attempts: int
) -> None:
    low, high = sorted((low, high))
    schedule = Schedule(tuple(sorted(steps_s)))

    def at(attempts: int, rand: float, min_delay_s: float | None = None) -> int:
        found = at_ms(attempts, schedule=schedule, rand=rand, min_delay_s=min_delay_s)
        assert found is not None
        return found

    assert at(attempts, low) <= at(attempts, high)
    assert at(attempts, low) <= at(attempts + 1, low)
    assert at(attempts, low) <= at(attempts, low, 3_600.0) <= at(attempts, low, 7_200.0)


def test_breakers_and_pauses_double_up_to_their_limit() -> None:
    assert [breaker_open_s(times) for times in (0, 1, 2, 5, 6, 7, 10_000)] == [60, 60, 120, 960, 1_800, 1_800, 1_800]
    assert [pause_s(times) for times in (1, 2, 4, 5, 10_000)] == [300, 600, 2_400, 3_600, 3_600]
    assert [blocked_s(times) for times in (1, 2, 3, 4, 10_000)] == [3_600, 7_200, 14_400, 21_600, 21_600]


def test_a_wait_without_a_limit_never_grows() -> None:
    assert [doubling_s(times, 3_600.0) for times in (1, 2, 50)] == [3_600.0, 3_600.0, 3_600.0]
