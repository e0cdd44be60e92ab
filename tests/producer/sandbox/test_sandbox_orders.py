"""orders(): the table from local part to order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.sandbox.orders import RULES, Order, order_help, orders

TEXT = "as ordered by the local part"


@pytest.mark.parametrize(
    ("local_part", "expected"),
    [
        ("550-x", Order("rcpt", f"550 {TEXT}")),
        ("550-5.1.1-x", Order("rcpt", f"550 5.1.1 {TEXT}")),
        ("450-3-x", Order("rcpt", f"450 {TEXT}", tries=3)),
        ("451-4.7.1-12-anna.b", Order("rcpt", f"451 4.7.1 {TEXT}", tries=12)),
        ("550-5.1.1-3-x-y-z", Order("rcpt", f"550 5.1.1 {TEXT}", tries=3)),
        ("450-3", Order("rcpt", f"450 {TEXT}")),
        ("251-x", Order("rcpt", f"251 {TEXT}")),
        ("421-x", Order("rcpt", f"421 {TEXT}", close=True)),
        ("421-1-x", Order("rcpt", f"421 {TEXT}", close=True, tries=1)),
        ("421-after-5-x", Order("rcpt", f"421 {TEXT}", close=True, after=5)),
        ("452-4.5.3-after-2-x", Order("rcpt", f"452 4.5.3 {TEXT}", after=2)),
        ("dot-554-x", Order("dot", f"554 {TEXT}")),
        ("dot-451-2-x", Order("dot", f"451 {TEXT}", tries=2)),
        ("dot-550-5.7.1-x", Order("dot", f"550 5.7.1 {TEXT}")),
        ("dot-450-4.2.0-3-x", Order("dot", f"450 4.2.0 {TEXT}", tries=3)),
        ("dot-421-1-x", Order("dot", f"421 {TEXT}", close=True, tries=1)),
        ("greylist-x", Order("rcpt", "450 4.7.1 greylisted, try again later", tries=1)),
        ("quota-x", Order("rcpt", "452 4.2.2 mailbox full")),
        ("close-after-rcpt-x", Order("rcpt", close=True)),
        ("close-after-rcpt-2-x", Order("rcpt", close=True, tries=2)),
        ("drop-in-data-x", Order("body", close=True)),
        ("drop-in-data-2-x", Order("body", close=True, tries=2)),
        ("close-after-dot-x", Order("dot", "", close=True)),
        ("close-after-dot-1-x", Order("dot", "", close=True, tries=1)),
        ("stall-x", Order("dot", "")),
        ("slow-30s-x", Order("dot", delay_s=30.0)),
        ("slow-200ms-x", Order("dot", delay_s=0.2)),
        ("slow-1.5m-2-x", Order("dot", delay_s=90.0, tries=2)),
        ("SLOW-30S-X", Order("dot", delay_s=30.0)),
        ("Drop-In-Data-x", Order("body", close=True)),
    ],
)
def test_a_local_part_orders(local_part: str, expected: Order) -> None:
    assert orders(local_part) == expected


@pytest.mark.parametrize(
    "local_part",
    [
        *("", "-", "x", "550", "550-", "anna", "anna-maria", "5500-x", "650-x", "150-x", "550x", "x-550-x", "٥٥٠-x"),
        *("dot-x", "dot-550", "dot-550-", "dot-650-x", "slow-x", "slow-30-x", "slow-30s", "slow-s-x", "slow-1e9s-x"),
        *("drop-in-data", "drop-x", "close-after-x", "close-after-dot", "stall", "stalled-x", "quota", "quotas-x"),
        *("greylist-", "550-5.1.1", "421-after-5"),
    ],
)
def test_other_local_parts_order_nothing_or_what_is_left_of_them(local_part: str) -> None:
    order = orders(local_part)
    # A code needs no more than some text behind it; what looks like a parameter then is that text.
    assert order is None or (local_part in ("550-5.1.1", "421-after-5") and order.tries is None and order.after == 0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.form)
def test_each_rule_reads_its_own_example(rule: object) -> None:
    assert rule in RULES
    rule = RULES[RULES.index(rule)]
    match = rule.pattern.fullmatch(rule.example)
    assert match is not None
    assert orders(rule.example) == rule.build(match)


def test_the_help_names_every_rule() -> None:
    lines = order_help().splitlines()
    assert [line.split()[0] for line in lines] == [rule.form for rule in RULES]
    assert all(rule.meaning in line for rule, line in zip(RULES, lines, strict=True))
    assert all(len(line) <= 120 for line in lines)


@given(st.text(alphabet="-.0123456789abcdlmnopqrstuwyx", max_size=30) | st.text(max_size=30))
def test_any_text_is_read_without_an_error(local_part: str) -> None:
    order = orders(local_part)
    assert order is None or order.stage in ("rcpt", "body", "dot")
