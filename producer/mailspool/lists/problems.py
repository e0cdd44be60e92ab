"""What is wrong with a list, collected while it is read, and the one InputError that says so.

`upload` adds bad rows and contradicting ones in order and asks for the refusal at the end. The first 20 problems are
kept, the rest is counted. Every InputError made here repeats in its text what `.hint` advises, and has the problems
it shows in `.problems`.
"""

from __future__ import annotations

from typing import Final, Literal

from mailspool.errors import InputError
from mailspool.lists.duplicates import Verdict
from mailspool.lists.rows import BadRow, ListRow, shown

Unit = Literal["line", "row"]

PROBLEMS_SHOWN: Final = 20
_SKIP: Final = 'Skip them with on_bad_row="skip" (--skip-bad).'
_TELL_APART: Final = (
    'Say duplicates="first" (--duplicates first: one mail each), or "all" (every row is a mail), '
    'or row_key="COLUMN" (--row-key COLUMN, and running it again stays safe).'
)


class ListProblems:
    """`title` is the list's name ("" for rows from a program), `unit` what its rows are numbered by."""

    def __init__(self, title: str, unit: Unit, row_key: str | None = None) -> None:
        self.bad = 0
        self.conflicts = 0
        self._title = title
        self._unit = unit
        self._row_key = row_key
        self._shown: list[str] = []

    def add(self, bad: BadRow) -> None:
        self.bad += 1
        self._show(f"{self._unit} {bad.line}: {bad.problem}")

    def add_conflict(self, row: ListRow, verdict: Verdict) -> None:
        """The same receiver in an earlier row, with other values."""
        self.conflicts += 1
        key = "" if self._row_key is None else f" with {self._row_key} {shown(str(row.values[self._row_key]))}"
        self._show(
            f"{shown(row.recipient)[1:-1]}{key} stands in {self._unit}s {verdict.first_line} and {row.line} "
            "with different values"
        )

    def refusal(self, total: int, *, skip_bad: bool) -> InputError | None:
        """None if the list may be queued. `total` is every row that was read. Conflicts are never skipped."""
        all_bad = skip_bad and 0 < total == self.bad
        if not self.conflicts and (not self.bad or (skip_bad and not all_bad)):
            return None
        hints = [_TELL_APART] if self.conflicts else []
        if self.bad and not skip_bad:
            hints.insert(0, _SKIP)
        more = self.bad + self.conflicts - len(self._shown)
        lines = [self._summary(total, all_bad=all_bad), *self._shown]
        if more:
            lines.append(f"and {more:,} more")
        hint = " ".join(hints)
        return InputError("\n".join([*lines, *hints]), problems=self._shown, hint=hint, code="bad_rows")

    def _summary(self, total: int, *, all_bad: bool) -> str:
        parts = []
        if all_bad:
            parts.append(f"all {total:,} rows are bad")
        elif self.bad:
            parts.append(f"{self.bad:,} of {total:,} rows {'is' if self.bad == 1 else 'are'} bad")
        if self.conflicts:
            verb = "row contradicts an earlier one" if self.conflicts == 1 else "rows contradict earlier ones"
            parts.append(f"{self.conflicts:,} {verb}")
        return f"{self._title}: {', '.join(parts)}; nothing was queued."[0 if self._title else 2 :]

    def _show(self, problem: str) -> None:
        if len(self._shown) < PROBLEMS_SHOWN:
            self._shown.append(problem)


def empty_list(title: str) -> InputError:
    """For the command line, where an empty list is refused unless --allow-empty."""
    return InputError(f"{title} holds no rows; nothing was queued.", hint="--allow-empty", code="empty_list")
