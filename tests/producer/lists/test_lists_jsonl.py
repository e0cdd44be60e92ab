"""JSON lines: keys become variables, values keep their type, objects may differ."""

from __future__ import annotations

import pytest

from mailspool.lists import BadRow, ListOptions, ListRow
from mailspool.lists.jsonl import SHAPES_KEPT, JsonLines
from mailspool.lists.rows import BATCH_ROWS
from tests.producer.lists.reading import Folder


def read(text: str, options: ListOptions | None = None) -> list[ListRow | BadRow]:
    lines = JsonLines(iter(text.splitlines(keepends=True)), options or ListOptions())
    found = []
    while batch := lines.read():
        found += batch
    return found


def test_values_keep_their_type_and_keys_become_variables() -> None:
    text = '\n{"E-Mail": " Ali Reza <ali@X.org>", "First Name": " Ali ", "n": 7, "tags": ["a", {"b": null}]}\n'
    values = {"e_mail": "ali@x.org", "first_name": " Ali ", "n": 7, "tags": ["a", {"b": None}], "email": "ali@x.org"}
    assert read(text) == [ListRow("ali@x.org", values, 2, "Ali Reza", False)]
    (row,) = read(text, ListOptions(want_exact=True))
    assert isinstance(row, ListRow)
    assert row.exact == {
        "E-Mail": "ali@x.org",
        "First Name": " Ali ",
        "n": 7,
        "tags": ["a", {"b": None}],
    }


def test_plain_values_need_no_conversion() -> None:
    (row,) = read('{"email": "a@x.org", "n": 1.5, "ok": true, "none": null}\n')
    assert row == ListRow("a@x.org", {"email": "a@x.org", "n": 1.5, "ok": True, "none": None}, 1)


def test_every_object_finds_its_own_address() -> None:
    found = read('{"mail": "a@x.org"}\n{"to": "b@x.org", "name": "B"}\n{"x": "c@x.org", "address": "d@x.org"}\n')
    assert [row.recipient for row in found if isinstance(row, ListRow)] == ["a@x.org", "b@x.org", "d@x.org"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not a JSON object (Input data was truncated)"),
        ('{"email": NaN}', "not a JSON object (invalid character (byte 10))"),
        ("[1]", "a list, not a JSON object"),
        ("null", "None, not a JSON object"),
        ("[" * 100_000, "not a JSON object (too deep)"),
        ('{"name": "Ali", "n": 1}', 'no "email"; it has: name, n'),
        ("{}", 'no "email"; it has: nothing'),
        ('{"mail": "a@x.org", "to": "b@x.org"}', 'several keys may hold the address: "mail" and "to"'),
        ('{"email": 7}', '"email" is an int, not an address'),
        ('{"email": null}', '"email" is None, not an address'),
        ('{"email": "ali@@x.org"}', '"ali@@x.org": two @ signs (column email)'),
        ('{"email": "a@x.org", "N 1": 1, "n-1": 2}', 'the keys "N 1" and "n-1" are both {{ n_1 }}'),
        ('{"email": "a@x.org", "n": 18446744073709551616}', '"n" is an int of more than 64 bits; make it a str'),
        ('{"email": "a@x.org", "n": "\\u0000"}', "a NUL character"),
        ('{"email": "a@x.org", "n": ["\\u0000"]}', '"n" holds a NUL character'),
    ],
)
def test_bad_objects(line: str, problem: str) -> None:
    assert read(f"{line}\n") == [BadRow(1, problem, (line,))]


def test_a_row_key_and_an_email_column_are_looked_for_in_every_object() -> None:
    options = ListOptions(row_key="Invoice No", email_column="Kontakt")
    found = read('{"kontakt": "a@x.org", "invoice no": 7}\n{"kontakt": "a@x.org"}\n{"invoice_no": 8}\n', options)
    assert [getattr(row, "problem", "") for row in found] == [
        "",
        'no "invoice_no" (row_key); it has: kontakt',
        'no "Kontakt"; it has: invoice_no',
    ]


def test_many_shapes_do_not_fill_the_memory() -> None:
    lines = JsonLines(iter(f'{{"email": "a@x.org", "k{n}": 1}}\n' for n in range(SHAPES_KEPT + 10)), ListOptions())
    while lines.read():
        pass
    assert 0 < len(lines._shapes) <= SHAPES_KEPT


async def test_from_a_file(lists: Folder) -> None:
    found = await lists.read("l.jsonl", '\ufeff{"email": "a@x.org"}\r\n' + '{"email": "b@x.org"}\r\n' * BATCH_ROWS)
    assert found.sizes == [BATCH_ROWS, 1]
    assert found.source.columns is None
    assert found.source.describe() == "UTF-8, JSON lines"
    assert [row.line for row in found.rows[::BATCH_ROWS]] == [1, BATCH_ROWS + 1]
