"""CSV rows: what a cell becomes, which rows are bad and why, and the physical line of each."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailspool.errors import InputError
from mailspool.lists import BadRow, Item, ListOptions, ListRow
from mailspool.lists.rows import BATCH_ROWS
from mailspool.lists.table import Table, guarded
from tests.producer.lists.reading import Folder


def table(text: str, delimiter: str = ",", skipped: int = 0, options: ListOptions | None = None) -> Table:
    return Table("l.csv", io.StringIO(text, newline=""), skipped, delimiter, [], options or ListOptions())


def rows(text: str, delimiter: str = ",", options: ListOptions | None = None) -> list[Item]:
    read, found = table(text, delimiter, 0, options), []
    while batch := read.read():
        found += batch
    return found


def bad(line: int, problem: str, *cells: str) -> BadRow:
    return BadRow(line, problem, cells)


def test_cells_are_stripped_and_stand_under_their_variables() -> None:
    text = "Email , First Name,n\r\n  Ali@X.org ,  Ali ,\u00a07\u00a0\r\n"
    values: dict[str, object] = {"email": "Ali@x.org", "first_name": "Ali", "n": "7"}
    assert rows(text) == [ListRow("Ali@x.org", values, 2)]


def test_the_address_stands_under_its_own_variable_and_under_email() -> None:
    text = "E-Mail;name\nAli Reza <ali@x.org>;A\nb@x.org;B\n"
    assert rows(text, ";") == [
        ListRow("ali@x.org", {"e_mail": "ali@x.org", "name": "A", "email": "ali@x.org"}, 2, "Ali Reza"),
        ListRow("b@x.org", {"e_mail": "b@x.org", "name": "B", "email": "b@x.org"}, 3),
    ]


def test_an_email_column_beside_the_chosen_one_keeps_its_content() -> None:
    found = rows("email,work\nold,w@x.org\n", options=ListOptions(email_column="work"))
    assert found == [ListRow("w@x.org", {"email": "old", "work": "w@x.org"}, 2)]


def test_exact_headers_only_where_they_are_asked_for_and_differ() -> None:
    text = "email,First Name\nali@x.org, Ali \n"
    (row,) = rows(text, options=ListOptions(want_exact=True))
    assert isinstance(row, ListRow)
    assert row.exact == {"email": "ali@x.org", "First Name": "Ali"}
    assert row.values == {"email": "ali@x.org", "first_name": "Ali"}
    assert rows(text) == [ListRow("ali@x.org", row.values, 2)]
    (plain,) = rows("email,name\nali@x.org,Ali\n", options=ListOptions(want_exact=True))
    assert isinstance(plain, ListRow)
    assert plain.exact is None


def test_blank_rows_are_passed_over_and_lines_stay_physical() -> None:
    text = '\r\n,,\r\nemail,name\r\n\r\na@x.org,"Ali\r\nReza"\r\n , \r\n"b@x.org","B"\r\n'
    found = rows(text)
    assert [(row.line, type(row)) for row in found] == [(5, ListRow), (8, ListRow)]
    assert isinstance(found[0], ListRow)
    assert found[0].values["name"] == "Ali\r\nReza"


def test_lines_above_the_table_are_counted() -> None:
    assert table("email\na@x.org\n", skipped=3).read() == [ListRow("a@x.org", {"email": "a@x.org"}, 5)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ali@@x.org,Ali", bad(2, '"ali@@x.org": two @ signs (column email)', "ali@@x.org", "Ali")),
        (",Ali", bad(2, '"": no address (column email)', "", "Ali")),
        ("a@x.org b@x.org,A", bad(2, '"a@x.org b@x.org": two addresses (column email)', "a@x.org b@x.org", "A")),
        ("a@x.org,Reza, Ali", bad(2, "3 cells, header has 2: an unquoted comma?", "a@x.org", "Reza", "Ali")),
        ("a@x.org", bad(2, "1 cell, header has 2", "a@x.org")),
        ('"a@x.org"x,Ali', bad(2, "text after a closing quote", "a@x.orgx", "Ali")),
        ('a@x.org,"Ali', bad(2, "a quote that does not close", "a@x.org", "Ali")),
        (
            "a" * 70 + "\x1b[2J,A",
            bad(2, '"' + "a" * 59 + '…": a control character (U+001B) (column email)', "a" * 70 + "\x1b[2J", "A"),
        ),
        ("a\x1b[2J,A", bad(2, '"a\\x1b[2J": a control character (U+001B) (column email)', "a\x1b[2J", "A")),
        (
            "a@x.org," + "x" * 131_073,
            bad(2, "a cell of more than 131,072 characters", "a@x.org," + "x" * 131_073),
        ),
    ],
)
def test_bad_rows(line: str, expected: BadRow) -> None:
    assert rows(f"email,name\n{line}\n") == [expected]


def test_a_broken_row_takes_no_neighbour_with_it() -> None:
    found = rows('email,name\na@x.org,A\n"b"@x.org,B\nc@x.org,C\n\nd@x.org\ne@x.org,E\n')
    assert [(type(row), row.line) for row in found] == [
        (ListRow, 2),
        (BadRow, 3),
        (ListRow, 4),
        (BadRow, 6),
        (ListRow, 7),
    ]


def test_empty_cells_behind_the_last_column_are_padding() -> None:
    assert rows("email,name\na@x.org,A,, \n") == [ListRow("a@x.org", {"email": "a@x.org", "name": "A"}, 2)]


def test_the_delimiter_is_named_in_the_guess() -> None:
    (found,) = rows("email;name\na@x.org;R; A\n", ";")
    assert isinstance(found, BadRow)
    assert found.problem == "3 cells, header has 2: an unquoted semicolon?"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'email,name\na@x.org,"Ali\nb@x.org,B\nc@x.org,"C"\n',
            "l.csv: a quote opens in line 2 and does not close as it should (line 4). "
            'Close it, or double it ("") where it belongs to the text.',
        ),
        (
            'email,name\na@x.org,"Ali\nb@x.org,B\n',
            "l.csv: a quote opens in line 2 and does not close as it should (line 3). "
            'Close it, or double it ("") where it belongs to the text.',
        ),
        (
            'email,name\nx@x.org,X\na@x.org,"Ali\nb@x.org,B\nc@x.org,C"\nd@x.org,D\n',
            "l.csv: the row that begins in line 3 holds what looks like another row. "
            'Close the quote, or double it ("") where it belongs to the text.',
        ),
        ('email,"name\na@x.org,Ali\n', "l.csv: line 2 holds a broken quote."),
        (",,\n;", "l.csv has no address column: line 2 has ;. "
         "Call one of them email, or say which it is: --email-column NAME."),
    ],
)  # fmt: skip
def test_a_list_that_a_quote_makes_unaccountable_is_refused_as_a_whole(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        rows(text)
    assert str(caught.value) == sentence


def test_a_cell_of_several_lines_may_hold_an_address_and_a_comma() -> None:
    (row,) = rows('email,note,n\na@x.org,"call Ali,\nor write to b@x.org, thanks",1\n')
    assert isinstance(row, ListRow)


def test_batches_are_bounded_and_only_the_end_is_empty() -> None:
    lines = [f"u{n}@x.org" for n in range(2 * BATCH_ROWS + 1)]
    read = table("email\n" + "\n".join(["", *lines[:BATCH_ROWS], *[""] * 3 * BATCH_ROWS, *lines[BATCH_ROWS:]]))
    sizes = []
    while batch := read.read():
        sizes.append(len(batch))
    assert sum(sizes) == len(lines)
    assert max(sizes) <= BATCH_ROWS
    assert read.read() == []


@pytest.mark.parametrize("cell", ["=1+1", "+98 21", "-5", "@x", "'=1", "''+1", "'plain", "plain", ""])
def test_a_repaired_list_loses_the_quotes_that_guarded_formulas(cell: str) -> None:
    text = f"email,name,line,problem\na@x.org,{guarded(cell)},7,none\n"
    (row,) = rows(text)
    assert isinstance(row, ListRow)
    assert row.values["name"] == cell
    (other,) = rows(f"email,name\na@x.org,{guarded(cell)}\n")
    assert isinstance(other, ListRow)
    assert other.values["name"] == guarded(cell)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
noise = st.text("a,;\"\n\r'= @", max_size=8)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 99), cells | noise, cells | noise), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\r\n", "\n", "\r"]),
)
def test_what_csv_writes_comes_back_with_its_physical_lines(
    written: list[tuple[int, str, str]], delimiter: str, line_end: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["name", "email", "note"])
    expected = []
    for number, name, note in written:
        breaks = out.getvalue().replace("\r\n", "\n").replace("\r", "\n").count("\n")
        writer.writerow([name, f"u{number}@x.org", note])
        values: dict[str, object] = {"name": name.strip(), "email": f"u{number}@x.org", "note": note.strip()}
        expected.append(ListRow(f"u{number}@x.org", values, breaks + 1))
    assert rows(out.getvalue(), delimiter) == expected


async def test_nul_makes_a_bad_row_wherever_it_stands(lists: Folder) -> None:
    many = "".join(f"u{n}@x.org,x\n" for n in range(40_000))  # beyond the head that is sniffed
    read = await lists.read("l.csv", f"email,name\na@x.org,A\0li\n{many}b@x.org,B\0\n\0c@x.org,C\n")
    assert read.problems == [
        "line 2: a NUL character",
        "line 40003: a NUL character",
        'line 40004: "\\x00c@x.org": a NUL character (column email)',
    ]
    assert read.bad[0].cells == ("a@x.org", "A\0li")
    assert len(read.rows) == 40_000
