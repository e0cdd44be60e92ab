"""`mailspool show BATCH|MESSAGE`: the messages of a batch, as a table, as JSON lines or as a CSV file; or one message
with its history and the conversations of its failed attempts.

A CSV file written here is a list that `send --to` reads. Raises NotFound (66) and InputError (73, a file that cannot
be written). Known limit: a table is made of 50 messages unless `--limit` says otherwise; JSON and CSV hold all.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from mailspool.cli.failures import NO_ROOM, Usage
from mailspool.cli.options import Ask, DomainFilter, ReplyFilter, ToFilter
from mailspool.contract.states import STATES, State
from mailspool.errors import InputError, MailspoolError, NotFound

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.spool import Spool
    from mailspool.status import MessageStatus

_TABLE_ROWS: Final = 50
_AT_ONCE: Final = 500
"""Rows whose columns are lined up together: a long table is printed while it is read."""
_UNSENT: Final[tuple[State, ...]] = ("failed", "expired", "uncertain", "suppressed", "cancelled")
_FIELDS: Final = (
    "row", "recipient", "state", "attempts", "reply", "reason", "next_try", "relay", "remote_id", "first_try",
    "last_try", "size_bytes", "id", "batch", "message_id",
)  # fmt: skip


def _known(names: list[str] | None) -> list[str] | None:
    """For typer, which has no repeatable choices."""
    for name in names or ():
        if name not in STATES:
            raise typer.BadParameter(f'"{name[:40]}" is none of {", ".join(STATES)}.')
    return names


def show(
    ask: Ask,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="BATCH|MESSAGE", help="A batch, or a message: its batch and row, b7k2m9q4x-17 or key:KEY-17."
        ),
    ],
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", callback=_known, help="Only messages in this state; repeatable."),
    ] = None,
    to: ToFilter = None,
    domain: DomainFilter = None,
    reply: ReplyFilter = None,
    unsent: Annotated[
        bool, typer.Option("--unsent", help="Every final state but sent: failed, expired, uncertain, ...")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most so many (a table: 50 unless you say otherwise)."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write them to a CSV file; - is stdout.")
    ] = None,
) -> int:
    """Show the messages of a batch, or one and its conversations."""
    from mailspool.cli import interrupt

    if unsent and state:
        raise Usage("--unsent stands for several states: leave out --state, or --unsent.")
    states = _UNSENT if unsent else tuple(name for name in STATES if name in (state or ())) or None
    filters = _Filters(states, to, domain, reply, limit)

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            number = await _row_meant(spool, ref)
            if number is not None and (states or to or domain or reply or limit or file):
                raise Usage("one message needs no filter.")
            await (_messages(ask, spool, ref, filters, file) if number is None else _message(ask, spool, ref, number))
        return 0

    return interrupt.run(main)


class _Filters:
    """Which messages."""

    def __init__(
        self,
        states: tuple[State, ...] | None,
        recipient: str | None,
        domain: str | None,
        reply: str | None,
        limit: int | None,
    ) -> None:
        self.limit = limit
        self._states, self._recipient, self._domain, self._reply = states, recipient, domain, reply

    async def of(self, batch: Batch, limit: int | None) -> AsyncIterator[MessageStatus]:
        from mailspool.cli import interrupt

        number = 0
        found = batch.messages(self._states, recipient=self._recipient, domain=self._domain, reply=self._reply)
        async for message in found:
            if number == limit:
                return
            number += 1
            interrupt.obey()
            yield message


async def _row_meant(spool: Spool, ref: str) -> int | None:
    """The row of a message. A key may end in a number itself (`invoices-2026-11`): the longest that exists is meant."""
    number = _row_of(ref)
    if number is None or not ref.startswith("key:"):
        return number
    if await _is_there(spool, ref) or not await _is_there(spool, ref.rpartition("-")[0]):
        return None
    return number


async def _is_there(spool: Spool, ref: str) -> bool:
    try:
        await spool.batch(ref)
    except NotFound as error:
        if error.code != "no_such_batch":
            raise
        return False
    return True


def _row_of(ref: str) -> int | None:
    """17 of `b7k2m9q4x-17`."""
    batch, sign, row = ref.rpartition("-")
    if not sign or not batch or not (row.isascii() and row.isdigit()) or int(row) < 1:
        return None
    return int(row)


async def _message(ask: Ask, spool: Spool, ref: str, number: int) -> None:
    from mailspool.cli import story, tables
    from mailspool.cli.refs import known_batch
    from mailspool.conversation import history

    batch = await known_batch(spool, ref.rpartition("-")[0])
    message = await batch.message(number)
    talks = await batch.conversation(number)
    happened = history(message, talks)
    if ask.say.json:
        told = {"history": [entry.to_dict() for entry in happened], "conversation": [talk.to_dict() for talk in talks]}
        ask.say.object({**message.to_dict(), **told})
    else:
        lines = [*tables.message_screen(message, ask.say.columns), *story.history_lines(happened)]
        lines += story.conversation_lines(talks)
        ask.say.lines(lines)


async def _messages(ask: Ask, spool: Spool, ref: str, filters: _Filters, file: Path | None) -> None:
    from mailspool.cli.refs import known_batch

    batch = await known_batch(spool, ref)
    if file is not None:
        written = await _write_csv(batch, filters, file)
        if str(file) != "-":
            ask.say.note(f"{written:,} {'message' if written == 1 else 'messages'} written to {file}")
    elif ask.say.json:
        async for message in filters.of(batch, filters.limit):
            ask.say.object(message.to_dict())
    else:
        await _table(ask, batch, filters)


async def _table(ask: Ask, batch: Batch, filters: _Filters) -> None:
    from mailspool.cli import tables

    limit, columns = filters.limit or _TABLE_ROWS, ask.say.columns
    waiting: list[MessageStatus] = []
    shown = 0
    async for message in filters.of(batch, limit + 1):
        if shown + len(waiting) == limit:
            ask.say.note(f"the first {limit:,}; more with --limit {limit * 20}, all with --csv FILE or --json")
            break
        waiting.append(message)
        if len(waiting) == _AT_ONCE:
            ask.say.lines(tables.message_table(waiting, datetime.now(UTC), header=not shown, columns=columns))
            shown, waiting = shown + len(waiting), []
    if waiting:
        ask.say.lines(tables.message_table(waiting, datetime.now(UTC), header=not shown, columns=columns))
    elif not shown:
        ask.say.note(f"no such message in {batch.id}")


async def _write_csv(batch: Batch, filters: _Filters, file: Path) -> int:
    if str(file) == "-":
        return await _write_rows(batch, filters, sys.stdout)
    with _appearing(file) as stream:
        return await _write_rows(batch, filters, stream)


@contextmanager
def _appearing(file: Path) -> Iterator[TextIO]:
    """Whole or not at all: the file has its name once it is complete. Its owner alone may read it."""
    temporary = Path()
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        temporary = Path(name)
        # The BOM is for spreadsheets, which otherwise read UTF-8 in their own code page.
        with open(descriptor, "w", encoding="utf-8-sig", newline="") as stream:
            yield stream
        os.replace(temporary, file)
    except OSError as error:
        if isinstance(error, MailspoolError):  # an outage is one, too
            raise
        words = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {file}: {words}.", code="cannot_write", exit_code=NO_ROOM) from error
    finally:
        if temporary.name:
            temporary.unlink(missing_ok=True)


async def _write_rows(batch: Batch, filters: _Filters, stream: TextIO) -> int:
    from mailspool.lists.table import guarded

    writer = csv.writer(stream)
    writer.writerow(_FIELDS)
    written = 0
    async for message in filters.of(batch, filters.limit):
        fields = message.to_dict()
        cells = (fields[name] for name in _FIELDS)
        writer.writerow([guarded(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in cells])
        written += 1
    return written
