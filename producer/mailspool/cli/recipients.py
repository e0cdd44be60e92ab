"""Whom `--to` means: addresses, or one list in a file, a pipe or stdin. Everything that blocks happens here.

Used by send.py, before any event loop runs: Ctrl-C while stdin is read ends the command at once. A pipe is read once,
into a temporary file without a name, because its whole content decides the key of the list. Raises Usage, NotFound
(66), InputError (65) and OSError (no room for the temporary file).
Known limit: a list file that is edited while it is sent is taken as it is at each look.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from mailspool.cli.content_key import list_digest
from mailspool.cli.failures import Usage
from mailspool.cli.say import Say
from mailspool.errors import InputError, NotFound

STDIN: Final = "-"
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Addresses:
    """What stood on the command line itself: one cell each, checked."""

    cells: tuple[str, ...]


@dataclass(frozen=True)
class ListSource:
    """A list that may be read again and again. `digest`: of all its bytes."""

    rows: Path | BinaryIO
    title: str
    digest: str

    def again(self) -> Path | BinaryIO:
        """From its beginning."""
        if not isinstance(self.rows, Path):
            self.rows.seek(0)
        return self.rows


@contextlib.contextmanager
def recipients(values: Sequence[str], say: Say) -> Iterator[Addresses | ListSource]:
    """What the values of all `--to` mean together."""
    lists = [value for value in values if value == STDIN or exists(value)]
    if lists and len(values) > 1:
        raise Usage("--to takes one list, or addresses (as often as you like), but not both.")
    if not lists:
        yield Addresses(_cells(values))
        return
    with contextlib.ExitStack() as stack:
        yield _opened(lists[0], say, stack)


def exists(name: str) -> bool:
    """Prose is too long for a path, or holds a NUL; the operating system then refuses to look."""
    try:
        return bool(name) and os.path.exists(name)
    except (OSError, ValueError):
        return False


def _opened(name: str, say: Say, stack: contextlib.ExitStack) -> ListSource:
    if name == STDIN:
        if sys.stdin.isatty():
            say.note("type addresses or CSV, one line each; end with Ctrl-D")
        return _kept(sys.stdin.buffer, "stdin", stack)
    path = Path(name)
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with path.open("rb") as file:
                return ListSource(path, path.name, list_digest(_blocks(file)))
        if stat.S_ISDIR(kind):
            raise InputError(f"{path} is a folder; give a file.", code="unreadable", exit_code=66)
        with path.open("rb") as file:
            return _kept(file, "pipe", stack)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise InputError(f"{path} cannot be read: {words}.", code="unreadable", exit_code=66) from error


def _kept(stream: BinaryIO, title: str, stack: contextlib.ExitStack) -> ListSource:
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - open until the send is over

    def copied() -> Iterator[bytes]:
        for block in _blocks(stream):
            copy.write(block)
            yield block

    digest = list_digest(copied())
    copy.seek(0)
    return ListSource(copy, title, digest)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    # read() would ask a terminal once more after its Ctrl-D.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while block := read(_BLOCK_BYTES):
        yield block


def _cells(values: Sequence[str]) -> tuple[str, ...]:
    """The mailboxes of all `--to`, each once, as a cell of a list would hold them."""
    from mailspool.content.address import AddressError, identity, parse_mailboxes

    found: dict[str, str] = {}
    for value in values:
        if not value.strip():
            raise NotFound('no file "": --to is empty (is a variable of the shell not set?).', code="no_such_file")
        if "@" not in value:
            raise NotFound(f'no file "{value[:60]}", and it is no address.{near_file(value)}', code="no_such_file")
        try:
            boxes = parse_mailboxes(value)
        except AddressError as error:
            raise InputError(
                f'--to "{value[:60]}": {error}. Nothing was queued.', problems=[str(error)], code="bad_address"
            ) from None
        for box in boxes:
            cell = f"{_quoted(box.name)} <{box.address}>" if box.name else box.address
            found.setdefault(identity(box.address), cell)
    return tuple(found.values())


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def near_file(name: str) -> str:
    """` Did you mean customers.csv?`: a file beside it whose name is nearly the same, or nothing."""
    import difflib

    path = Path(name)
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    except (OSError, ValueError):
        return ""
    found = difflib.get_close_matches(path.name, beside, n=1)
    return f" Did you mean {path.with_name(found[0])}?" if found else ""
