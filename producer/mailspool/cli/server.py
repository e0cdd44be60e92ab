"""`mailspool server status|stop`: the embedded Valkey of the data folder.

It starts and stops by itself: the first command that needs it starts it, the last one out stops it. `stop` is for one
whose users were killed. Exit: 0, 75 where others still use it, 77 the folder of another user, 78 `redis_url` is set.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mailspool.cli.failures import TRY_LATER
from mailspool.cli.options import Ask
from mailspool.errors import ConfigError, MailspoolError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the embedded server, without starting it."""

    folder: str
    running: bool
    in_use: bool
    pid: int | None
    socket: str | None
    fsync: str | None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def server(
    ask: Ask,
    action: Annotated[
        Literal["status", "stop"], typer.Argument(metavar="status|stop", help="What to do.", show_default=False)
    ],
) -> int:
    """Look at the embedded server, or stop one that was left behind."""
    settings = ask.settings()
    if settings.redis_url is not None:
        raise ConfigError(
            "redis_url is set, so there is no embedded server: that Redis is yours to start and stop.", code="no_server"
        )
    if sys.platform == "win32":
        raise ConfigError("there is no embedded server on Windows.", code="no_server")
    found = look(settings.data_dir)
    if action == "stop" and found.running:
        found = _stop(settings.data_dir, settings.embedded_server, found)
    if ask.say.json:
        ask.say.object(found.to_dict())
    else:
        ask.say.text(_words(found))
    return 0


def look(data_dir: Path) -> ServerStatus:
    """Neither starts nor adopts it, nor makes the folder."""
    from mailspool.redis_server import folder as folders
    from mailspool.redis_server import process
    from mailspool.redis_server.address import human_path
    from mailspool.redis_server.locks import try_lock

    shown = human_path(data_dir)
    if not (data_dir.expanduser() / folders.DOOR).exists():
        return ServerStatus(shown, False, False, None, None, None)
    folder = folders.prepare(data_dir)
    socket = folders.socket_path(folder)
    state = process.health(socket, timeout_s=2.0)
    if state is process.Health.GONE:
        return ServerStatus(shown, False, False, None, None, None)
    alone = try_lock(folder / folders.USERS)
    if alone is not None:
        alone.close()
    record = process.read_record(folder)
    pid, fsync = (record.pid, record.fsync) if record is not None else (None, None)
    return ServerStatus(shown, True, alone is None, pid, str(socket), fsync)


def _stop(data_dir: Path, binary: str, found: ServerStatus) -> ServerStatus:
    """Enter it and leave it: the ordinary way, with all its locks."""
    from mailspool.redis_server.embedded import EmbeddedServer

    if not found.in_use:
        embedded = EmbeddedServer(data_dir, binary=binary)
        embedded.enter()
        embedded.leave()
        found = look(data_dir)
    if found.running:
        raise MailspoolError(
            f"the server of {found.folder} is in use: it stops when the last command or worker that uses it ends.",
            code="in_use",
            exit_code=TRY_LATER,
        )
    return found


def _words(found: ServerStatus) -> str:
    if not found.running:
        return f"{found.folder}: not running (the next command starts it)"
    use = "in use" if found.in_use else "used by nobody: mailspool server stop"
    return f"{found.folder}: running, pid {found.pid}, fsync {found.fsync}, {use}\n  {found.socket}"
