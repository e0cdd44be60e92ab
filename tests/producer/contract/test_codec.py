"""Records come back as they went; what is no record is a DecodeError, never anything else."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.contract.codec import (
    DecodeError,
    decode_outcome,
    decode_rows,
    decode_spec,
    encode_outcome,
    encode_row,
    encode_spec,
    wire_values,
)
from mailspool.contract.records import AttachmentRef, Outcome, Row, Spec
from mailspool.contract.states import NAME_OF

text = st.text(st.characters(exclude_categories=["Cs"]))
# An hour that a clock shows twice equals nothing in another zone object (PEP 495): those are left out below.
zones = st.sampled_from([UTC, timezone(timedelta(hours=3, minutes=30)), zoneinfo.ZoneInfo("Asia/Tehran")])
since = datetime(1950, 1, 1)  # noqa: DTZ001 - hypothesis wants it naive; both kinds travel
scalars = st.one_of(
    text,
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(since),
    st.datetimes(since, timezones=zones).filter(lambda when: when == datetime.fromisoformat(when.isoformat())),
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
rows = st.builds(Row, text, st.dictionaries(text, values), text, st.none() | text, st.none() | st.binary())
times = st.integers(0, 10**13 - 1)
sizes = st.integers(0, 2**40)
outcomes = st.builds(
    Outcome,
    st.sampled_from(sorted(NAME_OF)),
    times,
    st.integers(0, 999),
    st.integers(0, 9),
    text,
    text,
    text,
    times,
    times,
    sizes,
)


def chunk(encoded: list[bytes]) -> bytes:
    """As the load script stores it."""
    return bytes((0xDC, len(encoded) >> 8, len(encoded) & 255)) + b"".join(encoded)


def same(value: object, other: object) -> bool:
    """Equal and of one type, all the way down (1 == True == Decimal(1) is not enough for a template)."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(same(value[name], other[name]) for name in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    return type(value) is type(other) and value == other


@given(st.lists(rows, max_size=4))
def test_rows_come_back_with_their_types(given_rows: list[Row]) -> None:
    wired = [Row(r.recipient, wire_values(r.values), r.to_name, r.mail_from, r.raw) for r in given_rows]
    found = decode_rows(chunk(list(map(encode_row, wired))))
    assert found == given_rows
    assert all(same(back.values, row.values) for back, row in zip(found, given_rows, strict=True))


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), float("inf"), Decimal("-Infinity"), Decimal("1E+999")])
def test_numbers_that_are_hard_to_compare_travel_too(value: float | Decimal) -> None:
    (row,) = decode_rows(chunk([encode_row(Row("a@example.org", wire_values({"x": value})))]))
    assert repr(row.values["x"]) == repr(value)


def test_the_sign_and_the_zeros_of_an_amount_stay() -> None:
    (row,) = decode_rows(chunk([encode_row(Row("a@example.org", wire_values({"amount": Decimal("-10.00")})))]))
    assert str(row.values["amount"]) == "-10.00"


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), 1j, timedelta(1), [b"inside"], {"deep": [{1}]}])
def test_a_value_that_cannot_travel_names_its_type(value: object) -> None:
    with pytest.raises(TypeError, match=r"^(bytes|set|object|complex|timedelta)$"):
        wire_values({"x": value})


def test_a_tuple_travels_as_a_list_and_a_subclass_of_str_as_its_text() -> None:
    class Markup(str):
        __slots__ = ()

    assert wire_values({"t": (1, (2,)), "m": Markup("x")}) == {"t": [1, [2]], "m": "x"}
    assert type(wire_values({"m": Markup("x")})["m"]) is str


@given(outcomes)
def test_outcomes_come_back(outcome: Outcome) -> None:
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(outcomes)
def test_the_columns_that_scripts_read_stand_where_they_read_them(outcome: Outcome) -> None:
    data = encode_outcome(outcome)
    assert data[:1].decode() == outcome.state
    assert int(data[1:14]) == outcome.at_ms
    assert (int(data[14:17]), int(data[17:18])) == (outcome.attempts, outcome.doubts)


def test_counts_that_outgrow_their_column_stay_at_its_end() -> None:
    found = decode_outcome(encode_outcome(Outcome("d", 1, attempts=1234, doubts=12)))
    assert (found.attempts, found.doubts) == (999, 9)


def test_a_mail_sent_at_once_is_short_enough_for_a_listpack() -> None:
    outcome = Outcome(
        "s", 1_700_000_000_000, 1, 0, "main", "250 2.0.0 ok", "", 1_700_000_000_000, 1_700_000_000_000, 4096
    )
    assert len(encode_outcome(outcome)) <= 64


@pytest.mark.parametrize("columns", [b"s1700000000000", b"c1700000000000001", b"d17000000000000030"])
def test_an_outcome_without_its_rest_can_be_read(columns: bytes) -> None:
    """What a script made of it: a claim that came to rest, a message that was reopened."""
    found = decode_outcome(columns)
    assert (found.state, found.at_ms) == (columns[:1].decode(), 1_700_000_000_000)


specs = st.builds(
    Spec,
    v=st.just(1),
    kind=st.sampled_from(["template", "literal", "mime"]),
    from_=text,
    to=st.none() | text,
    subject=text,
    text=st.none() | text,
    html=st.none() | text,
    headers=st.lists(st.tuples(text, text), max_size=3).map(tuple),
    attachments=st.lists(st.builds(AttachmentRef, text, text, text, sizes), max_size=2).map(tuple),
    mime=st.binary(),
)


@given(specs)
def test_specs_come_back(spec: Spec) -> None:
    assert decode_spec(encode_spec(spec)) == spec


def test_a_spec_with_a_field_of_a_later_release_can_be_read() -> None:
    later = msgspec.msgpack.decode(encode_spec(Spec(v=1, kind="literal", from_="a@example.org")))
    assert decode_spec(msgspec.msgpack.encode({**later, "unheard_of": [1]})).from_ == "a@example.org"


@given(st.binary())
def test_garbage_is_a_decode_error(data: bytes) -> None:
    for decode in (decode_rows, decode_spec, decode_outcome):
        try:
            decode(data)
        except DecodeError as error:
            assert "cannot be read" in str(error) or "extension" in str(error)  # noqa: PT017 - garbage may also be a record


@given(outcomes, st.integers(0, 40), st.binary(min_size=1, max_size=3))
def test_a_damaged_outcome_is_read_or_is_a_decode_error(outcome: Outcome, at: int, damage: bytes) -> None:
    data = encode_outcome(outcome)
    try:
        decode_outcome(data[:at] + damage + data[at + len(damage) :])
    except DecodeError as error:
        assert "outcome" in str(error)  # noqa: PT017 - damage may also be another outcome


NESTED = b"\x91" * 100_000
BAD_ROWS = {
    "empty": b"",
    "no array": b"\xc0",
    "cut": chunk([encode_row(Row("a@example.org", {}))])[:-1],
    "fewer rows than its head says": b"\xdc\x00\x02" + encode_row(Row("a@example.org", {})),
    "more": chunk([encode_row(Row("a@example.org", {}))]) + b"\xc0",
    "no text in an extension": chunk([msgspec.msgpack.encode(["a", {"x": msgspec.msgpack.Ext(1, b"\xff")}])]),
    "no number in an extension": chunk([msgspec.msgpack.encode(["a", {"x": msgspec.msgpack.Ext(1, b"ten")}])]),
    "no date in an extension": chunk([msgspec.msgpack.encode(["a", {"x": msgspec.msgpack.Ext(2, b"2026-02-30")}])]),
    "an extension of nobody": chunk([msgspec.msgpack.encode(["a", {"x": msgspec.msgpack.Ext(77, b"1")}])]),
    "nested deeper than the stack": chunk([b"\x95\xa1a\x81\xa1x" + NESTED + b"\xc0\xa0\xc0\xc0"]),
}


@pytest.mark.parametrize("data", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_chunk_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_rows(data)


def test_a_spec_nested_deeper_than_the_stack_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="spec cannot be read"):
        decode_spec(b"\x82\xa1v\x01\xa1z" + NESTED + b"\xc0")


@pytest.mark.parametrize(
    "data", [b"", b"s", b"s17000", b"z1700000000000", b"\xff1700000000000", b"s17000000000000010\xc0"]
)
def test_a_bad_outcome_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="outcome cannot be read"):
        decode_outcome(data)
