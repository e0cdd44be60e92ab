"""A route's decisions: when it sleeps and what wakes it, how many sessions it has, how fast it sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool_worker.routes import plan
from mailspool_worker.routes.plan import Cure, Health, Pace, Width


def failed(health: Health, now_s: float, *, paused: bool = False, cure: Cure = "session") -> Health:
    return plan.trouble(
        health,
        now_s,
        "refused",
        pause_s=plan.BREAKER_S,
        limit_s=plan.BREAKER_LIMIT_S,
        paused=paused,
        cure=cure,
    )


def test_the_breaker_doubles_from_a_minute_to_half_an_hour() -> None:
    health, now_s, waits = Health(), 0.0, []
    for _ in range(8):
        health = failed(health, now_s)
        waits.append(health.until_s - now_s)
        now_s = health.until_s
    assert waits == [60, 120, 240, 480, 960, 1_800, 1_800, 1_800]
    assert health.state == "waiting"


def test_failures_while_it_is_closed_change_nothing() -> None:
    health = failed(Health(), 0.0)
    assert failed(health, 59.0) is health


@given(st.integers(0, 10_000))
def test_no_number_of_failures_breaks_the_arithmetic(failures: int) -> None:
    health = failed(Health(failures=failures), 0.0)
    assert 60 <= health.until_s <= 1_800


def test_a_pause_without_a_limit_never_grows() -> None:
    health, now_s = Health(), 0.0
    for _ in range(3):
        health = plan.trouble(health, now_s, "quota", pause_s=3_600, limit_s=3_600, paused=True, cure="mail")
        assert health.until_s - now_s == 3_600
        now_s = health.until_s
    assert health.state == "paused"


@pytest.mark.parametrize(
    ("cure", "sign", "heals"),
    [("session", "session", True), ("session", "mail", True), ("mail", "session", False), ("mail", "mail", True)],
)
def test_a_route_is_well_by_the_opposite_of_what_closed_it(cure: Cure, sign: Cure, heals: bool) -> None:
    health = failed(Health(), 0.0, cure=cure)
    assert plan.well(health, 59.0, sign) is health, "still closed"
    assert plan.well(health, 61.0, sign) == (Health() if heals else health)


def test_a_healthy_route_stays_the_same_object() -> None:
    health = Health()
    assert plan.well(health, 1.0, "mail") is health


@pytest.mark.parametrize(
    ("health", "allowed", "waiting", "idle", "sessions", "opening", "opens"),
    [
        (Health(), 20, 100, 0, 0, 0, 2),
        (Health(), 20, 100, 0, 0, 1, 1),
        (Health(), 20, 100, 0, 0, 2, 0),
        (Health(), 20, 1, 0, 0, 0, 1),
        (Health(), 20, 1, 1, 1, 0, 0),
        (Health(), 20, 3, 1, 1, 0, 2),
        (Health(), 20, 100, 0, 20, 0, 0),
        (Health(), 20, 100, 0, 19, 0, 1),
        (Health(), 3, 100, 0, 5, 0, 0),
        (Health(), 20, 0, 0, 0, 0, 0),
        (Health("waiting", 200.0, "", 1), 20, 100, 0, 0, 0, 0),
        (Health("waiting", 50.0, "", 1), 20, 100, 0, 0, 0, 1),
        (Health("waiting", 50.0, "", 1), 20, 100, 0, 1, 0, 0),
    ],
)
def test_how_many_sessions_to_open(
    health: Health, allowed: int, waiting: int, idle: int, sessions: int, opening: int, opens: int
) -> None:
    width = Width(20, allowed)
    found = plan.to_open(health, width, 100.0, waiting=waiting, idle=idle, sessions=sessions, opening=opening)
    assert found == opens


def test_slower_halves_once_however_many_ask_at_the_same_time() -> None:
    width = Width(20, 20)
    for _ in range(20):
        width = width.slower(100.0, one=False)
    assert width.allowed == 10
    assert width.slower(106.0, one=False).allowed == 5
    assert width.slower(101.0, one=True).allowed == 1


def test_a_slowed_route_grows_by_one_a_minute() -> None:
    width = Width(20, 20).slower(100.0, one=True)
    assert width.grown(159.0) is width
    assert width.grown(160.0).allowed == 2
    assert width.grown(100.0 + 60 * 50).allowed == 20
    assert Width(20, 20).grown(1e9).allowed == 20


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200), st.floats(0.5, 100.0))
def test_a_pace_is_never_passed(steps: list[float], rate: float) -> None:
    pace, now_s, taken, begun_s = Pace(rate), 100.0, 0, 100.0
    for step in steps:
        while pace.take(now_s):
            taken += 1
        now_s += step
        assert taken <= (now_s - begun_s) * rate + max(1.0, rate / 20) + 1


def test_a_token_comes_when_it_was_told_to_come() -> None:
    pace = Pace(2.0)
    assert pace.take(10.0)
    assert not pace.take(10.0)
    wait_s = pace.wait_s(10.0)
    assert wait_s == pytest.approx(0.5)
    assert pace.take(10.0 + wait_s + 1e-9)
    pace.put_back()
    assert pace.take(10.6)


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None)
    assert all(pace.take(0.0) for _ in range(1_000))
    assert pace.wait_s(0.0) == 0.0


@pytest.mark.parametrize(
    ("rate", "asked", "batches", "waiting", "granted"),
    [
        (None, 100, 5, 0, 100),
        (10.0, 100, 1, 0, 100),
        (1.0, 100, 1, 0, 30),
        (1.0, 100, 3, 0, 10),
        (1.0, 100, 1, 30, 0),
        (1.0, 100, 1, 29, 1),
        (0.001, 100, 1, 0, 1),
    ],
)
def test_a_grant_is_a_batchs_share_of_what_leaves_within_the_budget(
    rate: float | None, asked: int, batches: int, waiting: int, granted: int
) -> None:
    assert plan.grant(Pace(rate), 30.0, asked=asked, batches=batches, waiting_of_batch=waiting) == granted


def test_a_request_to_slow_down_halves_the_rate_once_for_all_who_were_asked() -> None:
    pace = Pace(64.0)
    assert [pace.slower(now_s) for now_s in (10.0, 12.0, 15.0)] == [True, False, True]
    assert pace.rate_per_s == 16.0
    for n in range(20):
        pace.slower(100.0 + 10 * n)
    assert pace.rate_per_s == 1.0, "not for ever"


def test_the_rate_grows_back_by_a_tenth_a_minute() -> None:
    pace = Pace(10.0)
    pace.slower(0.0)
    for now_s, rate in ((59.0, 5.0), (60.0, 6.0), (61.0, 6.0), (180.0, 8.0), (3_600.0, 10.0), (7_200.0, 10.0)):
        pace.grow(now_s)
        assert pace.rate_per_s == rate


def test_where_there_is_no_rate_there_is_none_to_halve() -> None:
    pace = Pace(None)
    assert not pace.slower(1.0)
    pace.grow(100.0)
    assert pace.rate_per_s is None


def test_half_the_rate_is_half_the_mails() -> None:
    pace, now_s, taken = Pace(20.0), 100.0, 0
    pace.take(now_s)
    pace.slower(now_s)
    while now_s < 110.0:
        now_s += 0.01
        taken += pace.take(now_s)
    assert 98 <= taken <= 101


def test_who_is_told_to_wake_probes() -> None:
    health = plan.awake(failed(Health(), 0.0, paused=True), 5.0)
    assert not health.is_closed(5.0)
    assert health.is_probing(5.0)
    assert plan.awake(Health(), 5.0) == Health()
    assert failed(health, 5.0).until_s == 5.0 + 120.0, "it goes on doubling"
