"""A way to Redis that breaks: a TCP proxy before its socket that drops, delays, falls silent, or cuts inside a reply.

    async with Proxy(server_socket) as proxy:
        Settings(redis_url=proxy.url)
        proxy.drop()              # every connection is cut, new ones too, until `mend()`
        proxy.silence()           # nothing passes and nothing is cut, until `mend()`
        proxy.delay_s = 0.2       # each piece, both ways
        proxy.cut_after(1_000)    # once: so many more octets of replies pass, then that connection is cut

In the loop of whoever uses it. `cuts` counts connections that were cut on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

_BLOCK = 65_536


class Proxy:
    def __init__(self, server: Path) -> None:
        self._server_socket = server
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._dropping = False
        self._left: int | None = None
        self.delay_s = 0.0
        self.cuts = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.mend()
        self.drop()
        # Not cancelled: asyncio's streams would complain about each one.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        self._dropping = True
        self.cuts += len(self._open)
        for writer in list(self._open):
            writer.transport.abort()

    def silence(self) -> None:
        self._passing.clear()

    def cut_after(self, octets: int) -> None:
        self._left = octets

    def mend(self) -> None:
        self._dropping, self._left, self.delay_s = False, None, 0.0
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._dropping:
            writer.transport.abort()
            return
        self._open.add(writer)
        answers, server = await asyncio.open_unix_connection(self._server_socket)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, server, [writer, server], replies=False))
                group.create_task(self._carry(answers, writer, [writer, server], replies=True))
        finally:
            self._open.discard(writer)
            for end in (writer, server):
                end.transport.abort()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: list[asyncio.StreamWriter],
        *,
        replies: bool,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_BLOCK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._passing.wait()
                if replies and self._left is not None:
                    data, last = data[: self._left], len(data) >= self._left
                    self._left = None if last else self._left - len(data)
                    sink.write(data)
                    if last:
                        self.cuts += 1
                        await sink.drain()
                        # A close, not an abort: what was written before it arrives, and ends inside a reply.
                        sink.close()
                        break
                    continue
                sink.write(data)
                await sink.drain()
        for end in ends:
            if end is not sink:
                end.transport.abort()
        sink.close()
