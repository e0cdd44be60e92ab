"""Rows from a program: an iterable or async iterable of addresses (str) and mappings.

The address stands under `email`; values keep their type. Rows are numbered from 1. A row is copied when it is read,
so a generator may fill the same dict again and again. Errors of the caller's own iterator pass through untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from itertools import islice

from mailspool.content.address import AddressError, clean_cell, normalise
from mailspool.errors import InputError, with_article
from mailspool.lists.columns import EMAIL, listed
from mailspool.lists.rows import BATCH_ROWS, BadRow, Item, ListRow, PythonRow, cell_problem, shown
from mailspool.lists.values import check_values


def program_rows(rows: object) -> Iterable[PythonRow] | AsyncIterable[PythonRow]:
    """What may be iterated for rows. One address or one mapping may be, too, but into letters and keys."""
    if isinstance(rows, str | bytes):
        raise InputError(
            f"rows is {with_article(rows)}: give Path('customers.csv') for a file, or a list of addresses."
        )
    if isinstance(rows, Mapping):
        raise InputError("rows is one mapping: give a list of rows, [row].")
    if not isinstance(rows, Iterable | AsyncIterable):
        raise InputError(f"rows is {with_article(rows)}: give a Path, or an iterable of addresses or mappings.")
    return rows


async def python_batches(
    rows: Iterable[PythonRow] | AsyncIterable[PythonRow], row_key: str | None
) -> AsyncIterator[list[Item]]:
    """Batches of at most BATCH_ROWS checked rows."""
    number = 0
    if isinstance(rows, AsyncIterable):
        batch: list[Item] = []
        async for row in rows:
            number += 1
            batch.append(check_row(number, row, row_key))
            if len(batch) == BATCH_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    source = iter(rows)
    while batch := [check_row(n, row, row_key) for n, row in enumerate(islice(source, BATCH_ROWS), number + 1)]:
        number += len(batch)
        yield batch
        await asyncio.sleep(0)  # a long list must not hold the loop, whatever its reader does in between


def check_row(number: int, row: object, row_key: str | None) -> Item:
    """One row, checked; whatever is wrong with it is a BadRow."""
    if isinstance(row, str):
        values: dict[str, object] = {EMAIL: row}
    elif isinstance(row, Mapping):
        values = dict(row)
    else:
        return BadRow(number, f"{with_article(row)}, neither an address nor a mapping")
    cell = values.get(EMAIL)
    if not isinstance(cell, str):
        if EMAIL in values:
            return BadRow(number, f'"{EMAIL}" is {with_article(cell)}, not an address')
        return BadRow(number, f'no "{EMAIL}"; it has: {listed([str(key) for key in values])}')
    name = ""
    try:
        recipient = normalise(cell)
    except AddressError:
        try:
            name, recipient = clean_cell(cell)
        except AddressError as error:
            return BadRow(number, cell_problem(cell, str(error), EMAIL))
    values[EMAIL] = recipient
    plain, problem = check_values(values)
    if problem:
        return BadRow(number, problem)
    if row_key is not None and row_key not in values:
        return BadRow(number, f"no {shown(row_key)} (row_key); it has: {listed(list(values))}")
    return ListRow(recipient, values, number, name, plain)
