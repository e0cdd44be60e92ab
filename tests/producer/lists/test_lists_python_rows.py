"""Rows from a program: what a row and a value may be, and what is said about the rest."""

from __future__ import annotations

import enum
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import MappingProxyType

import pytest

from mailspool.errors import InputError
from mailspool.lists import BadRow, ListOptions, ListRow, open_rows
from mailspool.lists.python_rows import check_row
from mailspool.lists.rows import BATCH_ROWS
from mailspool.lists.values import DEEPEST, check_values
from tests.producer.lists.reading import read_all

ALLOWED = "a value may be str, int, float, bool, None, Decimal, date, datetime, list or dict"


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


def nested(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


async def test_addresses_and_mappings_are_numbered_from_one() -> None:
    read = await read_all(
        ["Ali Reza <ali@X.org>", {"email": "<b@x.org>", "First Name": 7}, MappingProxyType({"email": "c@x.org"})]
    )
    assert read.rows == [
        ListRow("ali@x.org", {"email": "ali@x.org"}, 1, "Ali Reza"),
        ListRow("b@x.org", {"email": "b@x.org", "First Name": 7}, 2),
        ListRow("c@x.org", {"email": "c@x.org"}, 3),
    ]
    assert (read.source.title, read.source.unit, read.source.columns) == ("", "row", None)
    assert read.source.reject_form is None


async def test_a_generator_may_fill_the_same_dict_again() -> None:
    def rows() -> Iterator[dict[str, object]]:
        row: dict[str, object] = {}
        for number in range(3):
            row["email"] = f"u{number}@x.org"
            yield row

    assert [row.values["email"] for row in (await read_all(rows())).rows] == ["u0@x.org", "u1@x.org", "u2@x.org"]


async def test_async_rows_in_batches() -> None:
    async def rows() -> AsyncIterator[str]:
        for number in range(2 * BATCH_ROWS + 1):
            yield f"u{number}@x.org"

    read = await read_all(rows())
    assert read.sizes == [BATCH_ROWS, BATCH_ROWS, 1]
    assert read.rows[-1].line == 2 * BATCH_ROWS + 1
    read = await read_all(f"u{n}@x.org" for n in range(BATCH_ROWS + 1))
    assert read.sizes == [BATCH_ROWS, 1]
    assert [row.line for row in read.rows] == [*range(1, BATCH_ROWS + 2)]
    assert (await read_all([])).sizes == []


async def test_errors_of_the_callers_iterator_pass_through() -> None:
    def rows() -> Iterator[str]:
        yield "a@x.org"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read_all(rows())


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("customers.csv", "rows is a str: give Path('customers.csv') for a file, or a list of addresses."),
        (b"x", "rows is a bytes: give Path('customers.csv') for a file, or a list of addresses."),
        ({"email": "a@x.org"}, "rows is one mapping: give a list of rows, [row]."),
        (7, "rows is an int: give a Path, or an iterable of addresses or mappings."),
        (None, "rows is None: give a Path, or an iterable of addresses or mappings."),
    ],
)
async def test_what_is_no_list_of_rows(rows: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        async with open_rows(rows):  # type: ignore[arg-type]  # that is the test
            pass
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("ali@@x.org", '"ali@@x.org": two @ signs (column email)'),
        ("", '"": no address (column email)'),
        ({"mail": "a@x.org", "name": "Ali"}, 'no "email"; it has: mail, name'),
        ({}, 'no "email"; it has: nothing'),
        ({"email": None}, '"email" is None, not an address'),
        ({"email": 7}, '"email" is an int, not an address'),
        (("a@x.org", "Ali"), "a tuple, neither an address nor a mapping"),
        (None, "None, neither an address nor a mapping"),
        ({"email": "a@x.org", "id": uuid.UUID(int=1)}, f'"id" is a UUID; {ALLOWED}'),
        ({"email": "a@x.org", "x": (1, 2)}, f'"x" is a tuple; {ALLOWED}'),
        ({"email": "a@x.org", "x": b"1"}, f'"x" is a bytes; {ALLOWED}'),
        ({"email": "a@x.org", "x": time(1)}, f'"x" is a time; {ALLOWED}'),
        ({"email": "a@x.org", "x": Level.LOW}, f'"x" is a Level; {ALLOWED}'),
        ({"email": "a@x.org", "x": [1, {"y": {2}}]}, f'"x" holds a set; {ALLOWED}'),
        ({"email": "a@x.org", "x": {1: 2}}, '"x" holds a dict in which the key "1" is an int, not a str'),
        ({"email": "a@x.org", 1: 2}, 'the key "1" is an int, not a str'),
        ({"email": "a@x.org", "x": 2**64}, '"x" is an int of more than 64 bits; make it a str'),
        ({"email": "a@x.org", "x": [-(2**63) - 1]}, '"x" holds an int of more than 64 bits; make it a str'),
        ({"email": "a@x.org", "x": "a\0b"}, "a NUL character"),
        ({"email": "a@x.org", "x\0": 1}, "a NUL character"),
        ({"email": "a@x.org", "x": ["ü\0"]}, '"x" holds a NUL character'),
        ({"email": "a@x.org", "x": {"k\0": 1}}, '"x" holds a NUL character'),
        ({"email": "a@x.org", "x": "\udcff"}, "text that is no Unicode (a lone surrogate)"),
        ({"email": "a@x.org", "x": nested(DEEPEST + 1)}, f'"x" is nested more than {DEEPEST} levels deep'),
    ],
)
def test_bad_rows(row: object, problem: str) -> None:
    assert check_row(7, row, None) == BadRow(7, problem)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("text", True),
        (-(2**63), True),
        (2**64 - 1, True),
        (1.5, True),
        (float("inf"), True),
        (True, True),
        (None, True),
        (Decimal("1.10"), False),
        (date(2026, 11, 24), False),
        (datetime(2026, 11, 24, tzinfo=UTC), False),
        ([1, "a", None, [Decimal(1)]], False),
        ({"a": {"b": date(2026, 1, 1)}}, False),
        (Colour.RED, False),
        (nested(DEEPEST), False),
    ],
)
def test_values_that_travel(value: object, plain: bool) -> None:
    assert check_values({"email": "a@x.org", "x": value}) == (plain, "")


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert check_values({"x": endless}) == (False, f'"x" is nested more than {DEEPEST} levels deep')


async def test_a_row_key_must_be_in_every_row() -> None:
    rows: list[Mapping[str, object]] = [{"email": "a@x.org", "n": 1}, {"email": "a@x.org"}]
    read = await read_all(rows, ListOptions(row_key="n"))
    assert read.problems == ['row 2: no "n" (row_key); it has: email']
    assert read.source.spoil(read.rows[0], "too big") == BadRow(1, "too big")
