"""Headers: which column holds the address, and what the others are called in a template. Pure.

`reader` asks once a file. Raises InputError with the file's name in every sentence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mailspool.errors import InputError
from mailspool.lists.rows import shown

EMAIL: Final = "email"
"""The variable under which the address always stands."""
ALIASES: Final = frozenset(
    ("email", "mail", "emailaddress", "recipient", "to", "ایمیل", "البريدالإلكتروني", "البريدالالكتروني")
)
"""Headers of an address column as `alias_key` makes them; the second Arabic one is the usual spelling by hand."""
LAST_RESORT: Final = "address"
"""Often a street, so it counts only if nothing else fits and the first row holds an @ there."""

HEADERS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """`names` are the variables, in the order of `headers`; `address` is the index of the address column."""

    headers: tuple[str, ...]
    names: tuple[str, ...]
    address: int

    @property
    def variables(self) -> tuple[str, ...]:
        """Every name that a template may use: the columns, and `email`."""
        return self.names if EMAIL in self.names else (*self.names, EMAIL)


def alias_key(header: str) -> str:
    """`E-Mail`, `e mail` and `EMAIL` are one word."""
    folded = unicodedata.normalize("NFKC", header).casefold()
    return "".join(c for c in folded if c not in "-_" and not c.isspace())


def variable_name(header: str) -> str:
    """`First Name` -> `first_name`: NFKC, lower case, letters of any script; runs of other characters become `_`."""
    lower = unicodedata.normalize("NFKC", header).lower()
    kept = "".join(c if ("a" + c).isidentifier() else " " for c in lower)
    name = "_".join(kept.split()).strip("_")
    return f"_{name}" if name and not name.isidentifier() else name


def variable_names(headers: Sequence[str]) -> tuple[str, ...]:
    """One name a column; a header of signs alone (`#`) becomes `column_3`."""
    return tuple(variable_name(header) or f"column_{number}" for number, header in enumerate(headers, 1))


def read_columns(title: str, line: int, cells: Sequence[str], first_row: Sequence[str], wanted: str | None) -> Columns:
    """The header's columns. `first_row` is the row below it, as far as it is known; `wanted` is --email-column."""
    headers = [cell.strip() for cell in cells]
    while headers and not headers[-1]:
        headers.pop()  # spreadsheets pad with empty columns
    if not headers:
        raise InputError(f"{title} has no column names; add a first line such as email,name.")
    if "" in headers:
        raise InputError(f"{title}: column {headers.index('') + 1} has no name in line {line}.")
    names = variable_names(headers)
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            one, two = shown(headers[first[name]]), shown(headers[number])
            raise InputError(f"{title}: the columns {one} and {two} are both {{{{ {name} }}}}. Rename one of them.")
    columns = Columns(tuple(headers), names, 0)
    if wanted is not None:
        return replace(columns, address=require_column(title, columns, wanted, "--email-column"))
    found = address_candidates(headers, names, first_row)
    if len(found) == 1:
        return replace(columns, address=found[0])
    if not found:
        raise InputError(
            f"{title} has no address column: line {line} has {listed(headers)}. "
            "Call one of them email, or say which it is: --email-column NAME."
        )
    candidates = " and ".join(shown(headers[number]) for number in found)
    raise InputError(
        f"{title} has {len(found)} columns that may hold the address: {candidates}. Say which: --email-column NAME."
    )


def find_column(headers: Sequence[str], names: Sequence[str], wanted: str) -> int | None:
    """A column by its exact header, its variable, or as people spell it."""
    for known, asked in ((headers, wanted), (names, variable_name(wanted))):
        if asked in known:
            return known.index(asked)
    keys = [alias_key(header) for header in headers]
    return keys.index(alias_key(wanted)) if alias_key(wanted) in keys else None


def require_column(title: str, columns: Columns, wanted: str, option: str) -> int:
    found = find_column(columns.headers, columns.names, wanted)
    if found is None:
        raise InputError(f"{title} has no column {shown(wanted)} ({option}); it has: {listed(columns.headers)}.")
    return found


def listed(headers: Sequence[str]) -> str:
    """Headers in a sentence; a hundred columns would bury it."""
    first = ", ".join(shown(header)[1:-1] for header in headers[:HEADERS_SHOWN])
    if not headers:
        return "nothing"
    return first if len(headers) <= HEADERS_SHOWN else f"{first} and {len(headers) - HEADERS_SHOWN} more"


def address_candidates(headers: Sequence[str], names: Sequence[str], first_row: Sequence[str]) -> list[int]:
    """Indexes of the columns that may hold the address: one is a find, none or several are for a person to settle."""
    keys = [alias_key(header) for header in headers]
    found = [number for number, key in enumerate(keys) if key in ALIASES]
    if len(found) > 1:
        called_email = [number for number in found if names[number] == EMAIL]
        found = called_email or [number for number in found if keys[number] == EMAIL] or found
    if found:
        return found
    return [n for n, key in enumerate(keys) if key == LAST_RESORT and n < len(first_row) and "@" in first_row[n]]
