"""What went wrong, as the words and the exit code that a person or a program is given.

Called by main.py for every exception that leaves a command. The codes are those of sysexits.h:

    1  a waiting command came to its end, and not all is well      2  usage
    65 bad rows, template, key    66 no such file, batch, message  69 Redis or receiver unreachable
    70 a bug of ours (its traceback is kept in a file)             73 no room
    75 the time is over, mail still going                          77 login refused, folder of somebody else
    78 settings                                                    130 Ctrl-C (143 SIGTERM, 129 the terminal is gone)
"""

from __future__ import annotations

import errno
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer

from mailspool.errors import MailspoolError, SpoolUnavailable

NOT_OK: Final = 1
USAGE: Final = 2
BAD_DATA: Final = 65
NO_INPUT: Final = 66
UNAVAILABLE: Final = 69
BUG: Final = 70
NO_ROOM: Final = 73
TRY_LATER: Final = 75
SETTINGS: Final = 78
INTERRUPTED: Final = 130
_BARE: Final = re.compile(r"unexpected extra argument(?:s|\(s\))? \(([^()\s]+)\)$")
"""Of `mailspool send people.csv`."""


class Usage(Exception):  # noqa: N818 - click's word; its own class belongs to typer's inside
    """The flags contradict each other or one is missing: exit 2."""


class Interrupted(Exception):  # noqa: N818 - not an error: somebody wants it to end
    """A signal ended the command. `words`: what became of what was asked, and how to go on."""

    def __init__(self, words: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(words)
        self.words = words
        self.exit_code = exit_code


@dataclass(frozen=True)
class Failure:
    """What is told."""

    code: str
    message: str
    hint: str
    exit_code: int


def failure_of(error: BaseException, data_dir: Path | None = None) -> Failure:
    """`data_dir`: where a bug's traceback goes, if it is there."""
    if isinstance(error, MailspoolError):
        return Failure(error.code, error.message, _what_to_do(error), error.exit_code)
    if isinstance(error, Interrupted):
        return Failure("interrupted", error.words, "", error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "Interrupted.", "", INTERRUPTED)
    if isinstance(error, Usage):
        return Failure("usage", str(error), "", USAGE)
    if isinstance(error, typer.TyperException):
        return Failure(
            "usage", _full_stop(_one_line(error).replace("Value error, ", "")), _help_of(error), error.exit_code
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("no_room", f"there is no room left: {_named(error)}.", "", NO_ROOM)
    if _is_outage(error):
        return Failure("spool_unavailable", "the connection to Redis was lost.", "", UNAVAILABLE)
    if (broken := _broken(error, data_dir)) is not None:
        return Failure(broken.code, broken.message, broken.hint, broken.exit_code)
    return _bug(error, data_dir)


def _what_to_do(error: MailspoolError) -> str:
    """That nobody listens there is a reason, and no advice yet."""
    if isinstance(error, SpoolUnavailable) and error.hint.startswith("cannot connect to "):
        return f"{error.hint}. Start it, or correct redis_url (mailspool settings shows it)"
    return error.hint


def _one_line(error: typer.TyperException) -> str:
    """typer lists choices on lines of their own."""
    return " ".join(error.format_message().split())


def _full_stop(text: str) -> str:
    return text if text.endswith((".", "?", "!", ")")) else f"{text}."


def _help_of(error: typer.TyperException) -> str:
    path = str(getattr(getattr(error, "ctx", None), "command_path", "mailspool"))
    if path.endswith(" send") and (bare := _BARE.search(error.format_message())):
        return f"whom it goes to stands after a flag: --to {bare[1]}"
    return f"{path} --help"


def _named(error: OSError) -> str:
    words = (error.strerror or str(error)).lower()
    return f"{error.filename}: {words}" if error.filename else words


def _is_outage(error: BaseException) -> bool:
    """redis-py's own errors, for the few calls that are made once."""
    if "redis" not in sys.modules:
        return False
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    return isinstance(error, RedisConnectionError | RedisTimeoutError)


def _broken(error: BaseException, data_dir: Path | None) -> MailspoolError | None:
    """redis-py's words for a key that holds something else, out of a worker's start."""
    if "redis" not in sys.modules or not isinstance(error, Exception):
        return None
    from mailspool.redis_server.broken import broken

    return broken(error, "this spool")


def _bug(error: BaseException, data_dir: Path | None) -> Failure:
    text = "".join(traceback.format_exception(error))
    path = _keep(text, data_dir)
    where = f"Its traceback is in {path}" if path else f"Its traceback could not be kept:\n{text}"
    name = type(error).__name__
    return Failure("bug", f"a bug of Mailspool's, not of yours ({name}). {where}", "please report it", BUG)


def _keep(text: str, data_dir: Path | None) -> Path | None:
    """In the data folder if it is there and ours, else among the temporary files; readable by its owner alone."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for folder in (data_dir, Path(tempfile.gettempdir())):
        if folder is None or not folder.is_dir():
            continue
        try:
            descriptor, name = tempfile.mkstemp(prefix=f"mailspool-bug-{stamp}-", suffix=".txt", dir=folder)
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"mailspool {_version()}, Python {sys.version.split()[0]}, {sys.platform}\n\n{text}")
        except OSError:
            continue
        return Path(name)
    return None


def _version() -> str:
    from mailspool import __version__

    return __version__
