"""Lists of receivers, from files and programs, as checked rows: streamed, told apart, refused in words.

`upload` opens a list (`open_rows`), shows every good row to `Duplicates`, every bad one to `ListProblems` and, when
bad rows are skipped, to `Rejects`. Nothing in here knows Redis or templates. Names are loaded at first use, as those of
`mailspool` are: to name ListOptions in a signature loads no reader of spreadsheets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailspool.lists.duplicates import NEW, REPEAT, Duplicates, Policy, Verdict
    from mailspool.lists.problems import ListProblems, empty_list
    from mailspool.lists.reader import RowSource, open_rows
    from mailspool.lists.rejects import RejectForm, Rejects
    from mailspool.lists.rows import BadRow, Format, Item, ListOptions, ListRow, Rows

_HOMES = {
    "NEW": "duplicates",
    "REPEAT": "duplicates",
    "BadRow": "rows",
    "Duplicates": "duplicates",
    "Format": "rows",
    "Item": "rows",
    "ListOptions": "rows",
    "ListProblems": "problems",
    "ListRow": "rows",
    "Policy": "duplicates",
    "RejectForm": "rejects",
    "Rejects": "rejects",
    "RowSource": "reader",
    "Rows": "rows",
    "Verdict": "duplicates",
    "empty_list": "problems",
    "open_rows": "reader",
}
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mailspool.lists' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mailspool.lists.{home}"), name)
    globals()[name] = value
    return value
