"""Lists of receivers, from files and programs, as checked rows: streamed, told apart, refused in words.

`upload` opens a list (`open_rows`), shows every good row to `Duplicates`, every bad one to `ListProblems` and, when
bad rows are skipped, to `Rejects`. Nothing in here knows Redis or templates.
"""

from __future__ import annotations

from mailspool.lists.duplicates import NEW, REPEAT, Duplicates, Policy, Verdict
from mailspool.lists.problems import ListProblems, empty_list
from mailspool.lists.reader import Rows, RowSource, open_rows
from mailspool.lists.rejects import RejectForm, Rejects
from mailspool.lists.rows import BadRow, Format, Item, ListOptions, ListRow

__all__ = [
    "NEW",
    "REPEAT",
    "BadRow",
    "Duplicates",
    "Format",
    "Item",
    "ListOptions",
    "ListProblems",
    "ListRow",
    "Policy",
    "RejectForm",
    "Rejects",
    "RowSource",
    "Rows",
    "Verdict",
    "empty_list",
    "open_rows",
]
