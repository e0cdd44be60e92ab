"""How long it takes through the real relay: sessions, rate, round trips."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailspool.cli.estimate import ASSUMED, Trip, chosen, estimate, pace
from mailspool.settings import relay_from_url

MAIN = relay_from_url("smtp://mail.acme.example")
NEAR = Trip(10, 100, "probed")


def test_sessions_bound_it() -> None:
    """20 sessions, 10 ms a mail and a hundredth of 100 ms for each connection."""
    per_s, limit = pace(MAIN, NEAR)
    assert per_s == pytest.approx(20 / 0.011)
    assert limit == "sessions"
    found = estimate(10_000, [(MAIN, NEAR)], None, 300)
    assert found is not None
    assert (found.seconds, found.limited_by, found.sessions, found.basis, found.retry_s) == (
        6,
        "sessions",
        20,
        "probed",
        300,
    )
    assert found.to_dict()["relays"] == ("main",)


def test_the_rate_bounds_it() -> None:
    slow = replace(MAIN, rate_per_s=14.0)
    found = estimate(14_000, [(slow, NEAR)], 5000.0, 300)
    assert found is not None
    assert (found.seconds, found.rate_per_s, found.limited_by) == (1000, 14.0, "rate")


def test_this_machine_bounds_it() -> None:
    found = estimate(1000, [(MAIN, NEAR)], 100.0, 300)
    assert found is not None
    assert (found.seconds, found.limited_by) == (10, "this machine")


def test_two_relays_share_it_and_the_slower_one_is_told() -> None:
    other = replace(MAIN, name="other", rate_per_s=10.0)
    found = estimate(1000, [(MAIN, NEAR), (other, ASSUMED)], None, 300)
    assert found is not None
    assert found.rate_per_s == pytest.approx(20 / 0.011 + 10, abs=0.1)
    assert (found.relays, found.basis, found.round_trip_ms, found.limited_by) == (
        ("main", "other"),
        "assumed",
        50,
        "sessions",
    )


def test_nothing_to_go_by() -> None:
    assert estimate(1000, [], 100.0, 300) is None
    none = estimate(0, [(MAIN, NEAR)], None, 300)
    assert none is not None
    assert none.seconds == 0
    assert pace(MAIN, Trip(0, 0, "probed"))[0] == pytest.approx(20_000)


def test_which_relays_carry_it() -> None:
    backup = replace(MAIN, name="backup", backup=True)
    shop = replace(MAIN, name="shop", from_domains=("shop.example",))
    table = {relay.name: relay for relay in (MAIN, backup, shop)}
    assert chosen(table, None, "acme.example") == [MAIN]
    assert chosen(table, None, "shop.example") == [MAIN, shop]
    assert chosen(table, "backup", "acme.example") == [backup]
    assert chosen(table, "none", "acme.example") == []
    assert chosen({"backup": backup}, None, "acme.example") == [backup]
