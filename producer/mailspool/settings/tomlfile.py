"""Which `mailspool.toml` counts, what stands in it, and on which line.

Called by sources.py. One file is read, the first that is there; files are never merged, so that one look at one file
says what is set. `./mailspool.toml` counts only if it belongs to you or to root: a command run inside somebody else's
folder must not take orders from there.
Raises: ConfigError for a file that was named and is not there, and for one that is no regular file of at most 1 MiB,
cannot be read, or is no TOML.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailspool.errors import ConfigError

FILE_NAME: Final = "mailspool.toml"
CONFIG_VARIABLE: Final = "MAILSPOOL_CONFIG"
MACHINE_WIDE: Final = Path("/etc/mailspool/mailspool.toml")
NO_SUCH_FILE: Final = 66
"""EX_NOINPUT: the exit code for a file that the person named and that does not exist."""

_LIMIT_BYTES: Final = 1 << 20
"""Thousands of relays; what is larger is something else."""

_PART: Final = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED: Final = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER: Final = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]", re.ASCII)
_KEY: Final = re.compile(rf"\s*({_DOTTED})\s*=", re.ASCII)
_TRIPLE: Final = re.compile(r'"""|\'\'\'')

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A settings file that was read. `shown` is its name in sentences; `mode` its permission bits."""

    path: Path
    shown: str
    text: str
    values: Mapping[str, object]
    mode: int

    def where(self, key: KeyPath) -> str:
        """`mailspool.toml line 4`, for the line that sets `key` or the table around it."""
        line = line_of(self.text, key)
        return self.shown if line is None else f"{self.shown} line {line}"

    @property
    def others_can_read(self) -> bool:
        return os.name == "posix" and bool(self.mode & (stat.S_IRGRP | stat.S_IROTH))


def find_toml(config: Path | None, environ: Mapping[str, str]) -> tuple[TomlFile | None, list[str]]:
    """The settings file that counts, and warnings about one that was passed over."""
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        shown = str(named)
        try:
            return read_toml(named.expanduser(), shown), []
        except FileNotFoundError:
            by = "--config" if config else CONFIG_VARIABLE
            raise ConfigError(f'there is no settings file "{shown}" ({by}).', exit_code=NO_SUCH_FILE) from None
    warnings: list[str] = []
    for path in _candidates(environ):
        try:
            if path == Path(FILE_NAME) and not _ours(path.stat().st_uid):
                warnings.append(f"./{FILE_NAME} is not read: it belongs neither to you nor to root.")
                continue
            return read_toml(path, str(path)), warnings
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None, warnings


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path(FILE_NAME)
    home = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(home):
        yield Path(home, "mailspool", FILE_NAME)
    elif environ.get("HOME"):
        yield Path(environ["HOME"], ".config", "mailspool", FILE_NAME)
    yield MACHINE_WIDE


def _ours(uid: int) -> bool:
    return os.name != "posix" or uid in (0, os.geteuid())


def read_toml(path: Path, shown: str) -> TomlFile:
    """The file's values; FileNotFoundError where there is none, ConfigError where it cannot be used."""
    try:
        kind = path.stat().st_mode
        # Before it is opened: a pipe would keep us for ever. /dev/null is how people say "no settings file".
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind) and path != Path(os.devnull):
            raise ConfigError(f"{shown} is no regular file.")
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(_LIMIT_BYTES + 1)
        if len(raw) > _LIMIT_BYTES:
            raise ConfigError(f"{shown} is larger than 1 MiB, so it cannot be the right file.")
        text = raw.decode("utf-8-sig")
        values = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        # Passed over in silence, it would lead to another spool, and mail would wait where nobody looks.
        raise ConfigError(f"{shown} cannot be read: {(error.strerror or 'error').lower()}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown} is not UTF-8: save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_no_toml(shown, str(error))) from None
    return TomlFile(path.absolute(), shown, text, values, mode)


def _no_toml(shown: str, words: str) -> str:
    place = re.search(r" \(at line ([0-9]+), column ([0-9]+)\)$", words)
    if place is None:
        return f"{shown} is no TOML: {words}."
    words = words[: place.start()].lower()
    hint = ' Text stands in quotes: relay_url = "smtp://..."' if "invalid value" in words else ""
    return f"{shown} line {place[1]} is no TOML: {words}, column {place[2]}.{hint}"


def line_of(text: str, key: KeyPath) -> int | None:
    """The line that sets `key`, else the line of the table or value that holds it."""
    best: tuple[int, int] | None = None
    for number, found in _keys(text):
        if key[: len(found)] == found and (best is None or len(found) > best[0]):
            best = (len(found), number)
    return None if best is None else best[1]


def _keys(text: str) -> Iterator[tuple[int, KeyPath]]:
    """Every key with its line. Lines inside a multi-line text are skipped; tomllib itself tells no lines."""
    table: KeyPath = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if inside is None:
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = _parts(header[1])
                yield number, table
            elif key:
                yield number, table + _parts(key[1])
        for quotes in _TRIPLE.findall(line):
            if inside is None:
                inside = quotes
            elif inside == quotes:
                inside = None


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
