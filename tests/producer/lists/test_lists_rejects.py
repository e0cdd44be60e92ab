"""The rejects file: safe for spreadsheets, readable again, never over somebody's repair work."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mailspool.errors import InputError
from mailspool.lists import BadRow, RejectForm, Rejects
from tests.producer.lists.reading import Folder, Read, read_all


def written(read: Read, named: Path | None = None) -> Path | None:
    assert read.source.reject_form is not None
    rejects = Rejects(read.source.reject_form, named)
    for bad in read.bad:
        rejects.add(bad)
    return rejects.finish()


def cells(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


async def test_a_csv_with_its_columns_and_the_problem(lists: Folder) -> None:
    read = await lists.read("customers.csv", 'E-Mail;Name\nali@@x.org;علی\na@x.org;A\n;"=1+1"\nb@x.org;R; B\n')
    path = written(read)
    assert path == lists.path / "customers.rejected.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert path.stat().st_mode & 0o777 == 0o600
    assert cells(path, ";") == [
        ["E-Mail", "Name", "line", "problem"],
        ["ali@@x.org", "علی", "2", '"ali@@x.org": two @ signs (column E-Mail)'],
        ["", "'=1+1", "4", '"": no address (column E-Mail)'],
        ["b@x.org", "R", "B", "5", "3 cells, header has 2: an unquoted semicolon?"],
    ]


async def test_a_repaired_file_reads_well_and_a_bad_one_stays_bad(lists: Folder) -> None:
    read = await lists.read("l.csv", "email,name\nali@@x.org,+98 21\nb@x.org,R, B\n")
    path = written(read)
    assert path is not None
    again = await read_all(path)
    assert again.problems == [
        'line 2: "ali@@x.org": two @ signs (column email)',
        "line 3: 5 cells, header has 4: an unquoted comma?",
    ]
    path.write_text(path.read_text(encoding="utf-8").replace("ali@@", "ali@"), encoding="utf-8")
    assert (await read_all(path)).rows[0].values["name"] == "+98 21"


async def test_rejects_of_rejects_carry_line_and_problem_once(lists: Folder) -> None:
    first = written(await lists.read("l.csv", "email,name\nali@@x.org,=A\n"))
    assert first is not None
    second = written(await read_all(first))
    assert second == lists.path / "l.rejected.rejected.csv"
    assert cells(second) == [
        ["email", "name", "line", "problem"],
        ["ali@@x.org", "'=A", "2", '"ali@@x.org": two @ signs (column email)'],
    ]


async def test_address_lists_and_json_lines(lists: Folder) -> None:
    path = written(await lists.read("people.txt", "a@x.org\nali@@x.org\n"))
    assert path is not None
    assert cells(path) == [
        ["email", "line", "problem"],
        ["ali@@x.org", "2", '"ali@@x.org": two @ signs'],
    ]
    path = written(await lists.read("people.jsonl", '{"email": "ali@@x.org", "n": 1}\n{"email\n'))
    assert path == lists.path / "people.rejected.jsonl"
    assert path.read_text(encoding="utf-8") == (
        '{"email":"ali@@x.org","n":1,"line":1,"problem":"\\"ali@@x.org\\": two @ signs (column email)"}\n'
        '{"line":2,"problem":"not a JSON object (Input data was truncated)","text":"{\\"email"}\n'
    )


async def test_no_bad_rows_no_file(lists: Folder) -> None:
    assert written(await lists.read("l.csv", "email\na@x.org\n")) is None
    assert [file.name for file in lists.path.iterdir()] == ["l.csv"]


def test_repair_work_is_never_overwritten(tmp_path: Path) -> None:
    def reject(line: int, named: Path | None = None) -> Path | None:
        rejects = Rejects(RejectForm(tmp_path / "l.rejected.csv", ("email",)), named)
        rejects.add(BadRow(line, "none", ("x",)))
        return rejects.finish()

    assert reject(1) == tmp_path / "l.rejected.csv"
    assert reject(1) == tmp_path / "l.rejected.csv"
    assert reject(2) == tmp_path / "l.rejected.2.csv"
    assert reject(3) == tmp_path / "l.rejected.3.csv"
    assert reject(2) == tmp_path / "l.rejected.2.csv"
    assert reject(4, tmp_path / "l.rejected.csv") == tmp_path / "l.rejected.csv"
    assert cells(tmp_path / "l.rejected.csv")[1][1] == "4"
    assert len(list(tmp_path.iterdir())) == 3


def test_discarded_rejects_leave_nothing(tmp_path: Path) -> None:
    rejects = Rejects(RejectForm(tmp_path / "l.rejected.csv", ("email",)))
    rejects.discard()
    rejects.add(BadRow(1, "none", ("x",)))
    rejects.discard()
    rejects.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "out.csv"
    with pytest.raises(InputError) as caught:
        Rejects(RejectForm(tmp_path / "l.csv", ("email",)), target).add(BadRow(1, "none", ("x",)))
    assert str(caught.value) == (
        f"cannot write {target} for the rejected rows: No such file or directory. Name another place: --rejects FILE."
    )
    assert caught.value.exit_code == 73
    folder = tmp_path / "out.csv"
    folder.mkdir()
    rejects = Rejects(RejectForm(tmp_path / "l.csv", ("email",)), folder)
    rejects.add(BadRow(1, "none", ("x",)))
    with pytest.raises(InputError, match="Is a directory"):
        rejects.finish()
    assert list(tmp_path.iterdir()) == [folder]
