"""The same address twice, against a naive oracle; identities that never change; memory a row."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailspool.lists import NEW, REPEAT, Duplicates, ListRow, Policy, Verdict
from mailspool.lists.python_rows import check_row

PLAIN = frozenset((str, int, float, bool, type(None)))


def row(line: int, address: str, name: str = "", /, **values: object) -> ListRow:
    item = check_row(line, {"email": address, **values}, None)
    assert isinstance(item, ListRow)
    item.to_name = name
    return item


class Oracle:
    """What the rules say, with everything remembered."""

    def __init__(self, policy: Policy, row_key: str | None) -> None:
        self.policy = policy
        self.row_key = row_key
        self.seen: dict[tuple[str, str], ListRow] = {}

    def see(self, item: ListRow) -> Verdict:
        if self.policy == "all":
            return NEW
        key = "" if self.row_key is None else str(item.values[self.row_key])
        earlier = self.seen.setdefault((item.recipient.lower(), key), item)
        if earlier is item:
            return NEW
        same = self.policy == "first" or self.facts(earlier) == self.facts(item)
        return REPEAT if same else Verdict("conflict", earlier.line)

    def facts(self, item: ListRow) -> object:
        values = {**item.values, "email": ""}
        return item.to_name, sorted((name, type(value).__name__, repr(value)) for name, value in values.items())


values = st.one_of(
    st.sampled_from(["", "a", "b", 0, 1, -1, -2, True, False, None, 1.0, 0.5, Decimal(1), date(2026, 1, 1)]),
    st.lists(st.sampled_from([1, "1"]), max_size=2),
)
some_rows = st.lists(
    st.tuples(
        st.sampled_from(["a@x.org", "A@x.org", "b@x.org", "a@y.org"]), st.sampled_from(["", "Ali"]), values, values
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=400)
@given(some_rows, st.sampled_from(["refuse", "first", "all"]), st.sampled_from([None, "n"]))
def test_verdicts_are_the_oracles(
    told: list[tuple[str, str, object, object]], policy: Policy, row_key: str | None
) -> None:
    duplicates, oracle = Duplicates(policy, row_key), Oracle(policy, row_key)
    for line, (address, name, number, other) in enumerate(told, 1):
        item = row(line, address, name, n=number, o=other)
        assert duplicates.see(item) == oracle.see(item)
        assert item.identity == Duplicates(policy, row_key).row_identity(item)


def test_a_table_that_has_grown_forgets_nobody() -> None:
    duplicates = Duplicates("refuse")
    assert {duplicates.see(row(n, f"u{n}@x.org", n=str(n))) for n in range(1, 20_001)} == {NEW}
    for n in range(1, 20_001):
        assert duplicates.see(row(30_000, f"U{n}@x.org", n=str(n))) is REPEAT
        assert duplicates.see(row(30_000, f"u{n}@x.org", n="other")) == Verdict("conflict", n)


class HalfBlind(Duplicates):
    """Identities that differ in their upper half only, as one pair in 2^64 does."""

    def row_identity(self, row: ListRow) -> bytes:
        return bytes(8) + row.line.to_bytes(8, "little")


def test_all_bits_of_an_identity_count() -> None:
    duplicates = HalfBlind("first")
    assert {duplicates.see(row(n, "a@x.org")) for n in range(1, 1_000)} == {NEW}
    assert {duplicates.see(row(n, "a@x.org")) for n in range(1, 1_000)} == {REPEAT}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"n": 1}, {"n": True}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": -1}, {"n": -2}),
        ({"n": 1}, {"n": "1"}),
        ({"n": None}, {"n": ""}),
        ({"n": "a", "o": "b"}, {"n": "b", "o": "a"}),
        ({"n": "ab", "o": "c"}, {"n": "a", "o": "bc"}),
        ({"n": Decimal("1.0")}, {"n": Decimal("1.00")}),
        ({"n": [1]}, {"n": ["1"]}),
    ],
)
def test_values_that_look_alike_are_different(one: Mapping[str, object], two: Mapping[str, object]) -> None:
    duplicates = Duplicates("refuse")
    duplicates.see(row(1, "a@x.org", **one))
    assert duplicates.see(row(2, "a@x.org", **two)) == Verdict("conflict", 1)
    everything = Duplicates("all")
    assert everything.row_identity(row(1, "a@x.org", **one)) != everything.row_identity(row(2, "a@x.org", **two))


def test_the_order_of_keys_and_the_case_of_the_address_are_no_values() -> None:
    duplicates = Duplicates("refuse")
    one = ListRow("Ali@x.org", {"e_mail": "Ali@x.org", "n": "1", "email": "Ali@x.org"}, 1)
    two = ListRow("ali@x.org", {"email": "ali@x.org", "e_mail": "ali@x.org", "n": "1"}, 2)
    assert (duplicates.see(one), duplicates.see(two)) == (NEW, REPEAT)
    assert Duplicates("all").row_identity(one) == Duplicates("all").row_identity(two)


@pytest.mark.parametrize(
    ("policy", "row_key", "item", "expected"),
    [
        ("refuse", None, row(1, "ali@x.org", n="7"), "7ada229e93eb55338fdf599f834fd1ec"),
        ("first", None, row(9, "ALI@x.org", n="8"), "7ada229e93eb55338fdf599f834fd1ec"),
        ("refuse", "n", row(1, "ali@x.org", n="7"), "9fce317d1a241cc2a5d6d811fc9681a6"),
        ("all", "n", row(1, "ali@x.org", n=7), "9fce317d1a241cc2a5d6d811fc9681a6"),
        ("all", None, row(1, "ali@x.org", n="7"), "f34f8d9573b114275bf8b13aa84612ee"),
        (
            "all",
            None,
            row(1, "ali@x.org", "Ali", n=Decimal("7.0"), d=date(2026, 11, 24)),
            "182e1e5643c28a1d632da0e100881fb1",
        ),
    ],
)
def test_identities_never_change(policy: Policy, row_key: str | None, item: ListRow, expected: str) -> None:
    """A release that fails here would send every keyed batch of its users a second time."""
    assert Duplicates(policy, row_key).row_identity(item).hex() == expected


def test_memory_a_row() -> None:
    """At every thousandth row, so that moments are among them when parts of the table have just grown."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        duplicates = Duplicates("refuse")
        for n in range(1, 60_001):
            duplicates.see(ListRow(f"u{n}@x.org", {"email": f"u{n}@x.org"}, n))
            if n >= 10_000 and n % 1_000 == 0:
                _, peak = tracemalloc.get_traced_memory()
                assert peak - before <= 50 * n
    finally:
        tracemalloc.stop()


def test_all_keeps_nothing() -> None:
    duplicates = Duplicates("all")
    same = row(1, "a@x.org")
    assert [duplicates.see(same) for _ in range(3)] == [NEW] * 3
    assert same.identity == duplicates.row_identity(same)
