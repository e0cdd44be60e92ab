"""One connection to Redis without redis-py: hiredis packs and parses, replies by order, one callback a reply.

Used by recorder.py alone: a future and a task a mail would cost 25 µs of the 100 that a mail has.
Raises ConnectionError when the connection cannot be had, RedisRefusesError where waiting cures nothing; calls `on_lost`
once when an open one goes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import hiredis

from mailspool.contract.moves import Answer, Arg
from mailspool.redis_server.address import RedisAddress

_CONNECT_TIMEOUT_S = 5.0

Then = Callable[[Answer], None]
# hiredis' stub takes a tuple of one element only.
_pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)


_REFUSALS = ("NOPERM", "WRONGPASS", "NOAUTH", "ERR invalid password", "ERR AUTH", "ERR Client sent AUTH")
_IN_A_SCRIPT = "ACL failure in script"
_WORDS = 200


class RedisRefusesError(Exception):
    """This user or password may not do what the recorder does; the text is the server's."""


def refuse(error: object) -> None:
    """Raises RedisRefusesError if it is a reply that only a person can do something about."""
    words = str(error)[:_WORDS]
    if isinstance(error, Exception) and (words.startswith(_REFUSALS) or _IN_A_SCRIPT in words):
        raise RedisRefusesError(words)


class _Reader(Protocol):
    def feed(self, data: bytes) -> None: ...
    def gets(self) -> object: ...


class RedisWire(asyncio.Protocol):
    """Commands out, answers to their callbacks in the same order. An error reply comes as an Exception object."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._reader = cast("_Reader", hiredis.Reader())
        self._waiting: deque[Then] = deque()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            if not self._waiting:
                self.abort()  # an answer that nobody asked for: from here on none could be told from another
                return
            self._waiting.popleft()(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._on_lost()

    def send(self, command: Sequence[Arg], then: Then) -> None:
        if self._transport is None:
            raise ConnectionError("the recorder's connection to Redis is gone")
        self._waiting.append(then)
        self._transport.write(_pack(tuple(command)))

    async def ask(self, *command: Arg) -> Answer:
        """One command, waited for; for the few at the start. Error replies are raised."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def then(reply: Answer) -> None:
            if answer.done():
                return
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

        self.send(command, then)
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            return await answer

    @property
    def is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def open_wire(address: RedisAddress, on_lost: Callable[[], None]) -> RedisWire:
    """Connects, authenticates, selects. Raises OSError, TimeoutError, hiredis' error reply, RedisRefusesError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        if address.path is not None:
            _, wire = await loop.create_unix_connection(lambda: RedisWire(on_lost), str(address.path))
        else:
            tls = address.ssl_context() if address.tls else None
            _, wire = await loop.create_connection(
                lambda: RedisWire(on_lost),
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls else None,
            )
    try:
        if address.password:
            await wire.ask("AUTH", *((address.username,) if address.username else ()), address.password)
        if address.db:
            await wire.ask("SELECT", address.db)
    except BaseException as error:
        wire.abort()
        refuse(error)
        raise
    return wire
