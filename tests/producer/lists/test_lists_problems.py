"""The one refusal of a list, sentence by sentence."""

from __future__ import annotations

from mailspool.lists import BadRow, ListProblems, ListRow, Verdict, empty_list
from mailspool.lists.problems import PROBLEMS_SHOWN

SKIP = 'Skip them with on_bad_row="skip" (--skip-bad).'
APART = (
    'Say duplicates="first" (--duplicates first: one mail each), or "all" (every row is a mail), '
    'or row_key="COLUMN" (--row-key COLUMN, and running it again stays safe).'
)
ALI = ListRow("ali@x.org", {"email": "ali@x.org", "number": "7"}, 90)


def problems(*bad: int, title: str = "customers.csv") -> ListProblems:
    found = ListProblems(title, "line" if title else "row")
    for line in bad:
        found.add(BadRow(line, '"ali@@x.org": two @ signs (column email)'))
    return found


def test_bad_rows() -> None:
    error = problems(17, 18, 400).refusal(50_000, skip_bad=False)
    assert error is not None
    assert str(error) == (
        "customers.csv: 3 of 50,000 rows are bad; nothing was queued.\n"
        'line 17: "ali@@x.org": two @ signs (column email)\n'
        'line 18: "ali@@x.org": two @ signs (column email)\n'
        'line 400: "ali@@x.org": two @ signs (column email)\n' + SKIP
    )
    assert error.problems == (
        'line 17: "ali@@x.org": two @ signs (column email)',
        'line 18: "ali@@x.org": two @ signs (column email)',
        'line 400: "ali@@x.org": two @ signs (column email)',
    )
    assert (error.hint, error.code, error.exit_code) == (SKIP, "bad_rows", 65)


def test_one_bad_row_from_a_program() -> None:
    error = problems(2, title="").refusal(3, skip_bad=False)
    assert str(error) == (
        '1 of 3 rows is bad; nothing was queued.\nrow 2: "ali@@x.org": two @ signs (column email)\n' + SKIP
    )


def test_the_first_twenty_are_shown_and_all_are_counted() -> None:
    error = problems(*range(1, 2_001)).refusal(50_000, skip_bad=False)
    assert error is not None
    lines = str(error).splitlines()
    assert lines[0] == "customers.csv: 2,000 of 50,000 rows are bad; nothing was queued."
    assert lines[-2] == "and 1,980 more"
    assert len(lines) == PROBLEMS_SHOWN + 3
    assert len(error.problems) == PROBLEMS_SHOWN


def test_skipped_bad_rows_refuse_nothing_unless_there_is_no_good_one() -> None:
    assert problems(17).refusal(50_000, skip_bad=True) is None
    assert problems().refusal(0, skip_bad=True) is None
    assert problems().refusal(7, skip_bad=False) is None
    error = problems(1, 2).refusal(2, skip_bad=True)
    assert error is not None
    assert str(error) == (
        "customers.csv: all 2 rows are bad; nothing was queued.\n"
        'line 1: "ali@@x.org": two @ signs (column email)\n'
        'line 2: "ali@@x.org": two @ signs (column email)'
    )
    assert error.hint == ""


def test_the_same_address_with_different_values_is_never_skipped() -> None:
    found = problems()
    found.add_conflict(ALI, Verdict("conflict", 17))
    error = found.refusal(50_000, skip_bad=True)
    assert error is not None
    assert str(error) == (
        "customers.csv: 1 row contradicts an earlier one; nothing was queued.\n"
        "ali@x.org stands in lines 17 and 90 with different values\n" + APART
    )
    assert error.hint == APART


def test_both_kinds_together_and_a_row_key() -> None:
    found = ListProblems("", "row", "number")
    found.add(BadRow(3, "a NUL character"))
    found.add_conflict(ALI, Verdict("conflict", 17))
    found.add_conflict(ALI, Verdict("conflict", 18))
    assert str(found.refusal(90, skip_bad=False)) == (
        "1 of 90 rows is bad, 2 rows contradict earlier ones; nothing was queued.\n"
        "row 3: a NUL character\n"
        'ali@x.org with number "7" stands in rows 17 and 90 with different values\n'
        'ali@x.org with number "7" stands in rows 18 and 90 with different values\n'
        f"{SKIP}\n{APART}"
    )
    assert (found.bad, found.conflicts) == (1, 2)


def test_an_empty_list() -> None:
    error = empty_list("customers.csv")
    assert str(error) == "customers.csv holds no rows; nothing was queued."
    assert error.exit_code == 65
