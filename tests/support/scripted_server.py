"""A server on a loopback port whose every byte a test writes: for what no well-behaved receiver does.

`async with Scripted(dialogue) as server:` runs `dialogue(peer)` for each connection; `server.errors` holds what went
wrong in one, so that a test does not pass because its server died.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def line(self) -> str:
        """The next line without its end; "" when the client is gone."""
        return (await self.reader.readline()).decode().rstrip("\r\n")

    async def expect(self, start: str) -> str:
        line = await self.line()
        assert line.upper().startswith(start), f"expected {start}, got {line!r}"
        return line

    async def greet(self, *extensions: str) -> None:
        """Banner and EHLO."""
        self.say("220 scripted.test ESMTP")
        await self.expect("EHLO")
        self.say(*(f"250-{word}" for word in ("scripted.test", *extensions)), "250 ENHANCEDSTATUSCODES")

    async def body(self) -> list[str]:
        """Up to its dot."""
        lines = []
        while (line := await self.line()) != ".":
            assert not self.reader.at_eof(), "the body ended without its dot"
            lines.append(line)
        return lines

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context)

    async def gone(self) -> None:
        """Until the client has closed."""
        while await self.reader.read(4096):
            pass


Dialogue = Callable[[Peer], Awaitable[None]]


class Scripted:
    """Listens on 127.0.0.1."""

    def __init__(self, dialogue: Dialogue, tls: ssl.SSLContext | None = None) -> None:
        self._dialogue = dialogue
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.errors: list[BaseException] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._dialogue(Peer(reader, writer))
        except (OSError, EOFError, ssl.SSLError):
            return  # the client went: what it did until then is what the test looks at
        except asyncio.CancelledError:
            return  # the test is over; the streams of 3.11 log a task that ends cancelled
        except AssertionError as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if kind is None and self.errors:
            raise self.errors[0]
