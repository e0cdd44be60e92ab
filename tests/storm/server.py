"""A real server for the storm, and one plain synchronous connection to it.

Called by world.py, by `python -m tests.storm` and by the tests of the moves. The server keeps nothing on disk: what is
tested is what the scripts do, not what survives. No redis-py in between: a storm is some hundred thousand calls.
Raises ScriptError with the server's words.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import hiredis

from mailspool.contract.moves import Answer, Arg
from mailspool.contract.scripts import Script
from mailspool.redis_server.process import find_binary

A = TypeVar("A")
READY = b"Ready to accept connections"


class ScriptError(Exception):
    """The server refused a command, or a script broke in the middle."""


class Server:
    """`with Server() as server:` one Valkey on a unix socket in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="storm-"))
        self.socket = self.folder / "valkey.sock"
        binary = find_binary("auto")
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
    """One connection. `ask` sends several commands in one write, which is what makes a storm fast."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader(encoding="latin-1", notEnoughData=self)
        self._known: set[str] = set()

    def close(self) -> None:
        self._socket.close()

    def command(self, *words: Arg) -> Answer:
        return self.ask(words)[0]

    def ask(self, *commands: Sequence[Arg], texts: bool = False) -> list[Answer]:
        """An answer each: bytes, or with `texts` str (latin-1, so that every byte comes back)."""
        self._socket.sendall(b"".join(_packed(words) for words in commands))
        answers = [self._next(texts) for _ in commands]
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                raise ScriptError(str(answer))
        return answers

    def _next(self, texts: bool) -> Answer:
        while (answer := self._reader.gets(texts)) is self:
            received = self._socket.recv(1 << 20)
            if not received:
                raise ScriptError("the server closed the connection")
            self._reader.feed(received)
        return cast("Answer", answer)

    def script(self, script: Script, args: Sequence[Arg]) -> tuple[Arg, ...]:
        """The command that runs a script, which the server knows from now on."""
        if script.sha not in self._known:
            self.command("SCRIPT", "LOAD", script.text)
            self._known.add(script.sha)
        return ("EVALSHA", script.sha, 0, *args)


def _packed(words: Sequence[Arg]) -> bytes:
    # hiredis declares its argument as a tuple of one word, and no answer.
    return cast("bytes", hiredis.pack_command(cast("tuple[str]", tuple(words))))


_WRITES = ("INFO", "persistence")
_COUNT = re.compile(rb"rdb_changes_since_last_save:(\d+)")


def _count(info: Answer) -> int:
    found = _COUNT.search(cast("bytes", info))
    assert found
    return int(found[1])


class LinkCaller:
    """A Caller for `Moves` that never suspends, so that `drive` can run a move without an event loop.

    `others` replaces scripts by name: a storm with a fault put in runs the same Python over another text. `waiting`
    are plain commands that go out in front of the next move. `wrote` tells whether the last move wrote anything, by the
    server's own count of writes.
    """

    def __init__(self, link: Link, others: Mapping[str, Script] | None = None) -> None:
        self.link = link
        self.others = others or {}
        self.waiting: list[Sequence[Arg]] = []
        self.wrote = False

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        command = self.link.script(self.others.get(script.name, script), args)
        waiting, self.waiting = self.waiting, []
        *_, before, answer, after = self.link.ask(*waiting, _WRITES, command, _WRITES)
        self.wrote = _count(before) != _count(after)
        return answer


def drive(move: Coroutine[object, None, A]) -> A:
    """Run a coroutine that waits for nothing."""
    try:
        move.send(None)
    except StopIteration as done:
        return cast("A", done.value)
    raise ScriptError("a move waited for something else than its script")
