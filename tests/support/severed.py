"""A line to Redis that can be cut at a chosen command: before the server sees it, or after it has done it.

    async with Line(server_socket, folder / "line.sock") as line:
        Settings(redis_url=line.url)
        line.cut("commit", after=True)        # once; `for_good=True`: nobody gets through any more

A proxy on a unix socket in the test's own loop. Commands are recognised by the SHA of their script.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from mailspool.contract.scripts import scripts

_BLOCK = 65_536


class Line:
    """Bytes both ways."""

    def __init__(self, server: Path, listen: Path) -> None:
        self._server_socket = server
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._mark = b""
        self._after = False
        self._for_good = False
        self._silent = asyncio.Event()
        self._silent.set()
        self.away = False
        """Connections are taken and dropped at once."""
        self.cuts = 0
        self.seen: list[str] = []
        """Every script that passed, by name."""
        self._names = {script.sha.encode(): name for name, script in scripts("ms").items()}

    @property
    def url(self) -> str:
        return f"unix://{self._listen}"

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_unix_server(self._accept, self._listen)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self, script: str, *, after: bool, for_good: bool = False) -> None:
        """At the next call of this script."""
        self._mark = scripts("ms")[script].sha.encode()
        self._after, self._for_good = after, for_good

    def freeze(self) -> None:
        """Nothing passes, nothing is dropped."""
        self._silent.clear()

    def thaw(self) -> None:
        self._silent.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        if self.away:
            writer.transport.abort()
            return
        there, back = await asyncio.open_unix_connection(self._server_socket)
        answers = asyncio.create_task(self._carry(there, writer), name="line: answers")
        self._pipes.add(answers)
        answers.add_done_callback(self._pipes.discard)
        try:
            await self._commands(reader, back, answers)
        finally:
            answers.cancel()
            for end in (writer, back):
                end.transport.abort()

    async def _commands(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, answers: asyncio.Task[None]
    ) -> None:
        while data := await reader.read(_BLOCK):
            await self._silent.wait()
            self.seen += [name for sha, name in self._names.items() if sha in data]
            if self._mark and self._mark in data:
                self._mark = b""
                self.cuts += 1
                self.away = self.away or self._for_good
                if self._after:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    await self._carry_out(data)
                return
            server.write(data)
            await server.drain()

    async def _carry_out(self, data: bytes) -> None:
        """The server does it and answers; the answer goes nowhere."""
        there, back = await asyncio.open_unix_connection(self._server_socket)
        back.write(data)
        await there.read(1)
        back.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_BLOCK):
                await self._silent.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
