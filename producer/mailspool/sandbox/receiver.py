"""A receiving SMTP server that keeps what it gets, misbehaves on command, and can prove what happened.

    async with Receiver(options=ReceiverOptions(refuse_every=10)) as receiver:
        ...                                   # send to receiver.url
        await receiver.wait_for(100)          # an event, no polling
        receiver.mails, receiver.log          # what was taken; every event (records.py says which)

Used by `mailspool sandbox`, by the demo (through `serve`) and by tests in the same loop. Local parts give orders
(orders.py), options the rest (options.py). Raises ConfigError when it cannot be made or cannot listen. Known limits:
one event loop; with `remember_mails` or `remember_log` it grows with each mail.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from types import TracebackType

from mailspool.errors import ConfigError
from mailspool.sandbox.desk import Desk, OnMail
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.records import LogRecord, ReceivedMail
from mailspool.sandbox.session import HANDSHAKE_TIMEOUT_S, Session

_BACKLOG = 1024
"""More than any test's burst of connections; the kernel's own limit (net.core.somaxconn) is lower anyway."""
_CLOSE_TIMEOUT_S = 10.0
"""Aborted transports report their loss in the next turns of the loop."""


class Receiver:
    """Listens from `async with` (or `listen()`) on. With port 0 the first `listen()` chooses the port for good."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        options: ReceiverOptions | None = None,
        *,
        on_mail: OnMail | None = None,
    ) -> None:
        self.options = options or ReceiverOptions()
        self._host = host
        self._port = port
        self._desk = Desk(self.options, on_mail)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Receiver:
        try:
            await self.listen()
        except BaseException:
            self._desk.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self) -> None:
        """Begin to accept connections, at first or again, always on the same port."""
        if self._server is not None:
            return
        try:
            listener = _bound(self._host, self._port)
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise ConfigError(f"cannot listen on {where}: {error.strerror}. Choose another address or port.") from error
        self._port = int(listener.getsockname()[1])
        implicit = self._desk.tls_context if self.options.implicit_tls else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Session(self._desk),
            sock=listener,
            backlog=_BACKLOG,
            ssl=implicit,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if implicit is not None else None,
        )

    async def stop_listening(self) -> None:
        """Refuse new connections from now on; open sessions go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            # uvloop lets go of the descriptor in the next turn; a listen() after this must find the port free.
            await asyncio.sleep(0)

    def drop_sessions(self) -> None:
        """Cut all open connections, without a reply."""
        for session in list(self._desk.sessions):
            session.abort()

    async def close(self) -> None:
        """Stop, cut, and wait until every session has written its last event."""
        await self.stop_listening()
        self.drop_sessions()
        try:
            await self._desk.wait_until(lambda: not self._desk.sessions, "all sessions to end", _CLOSE_TIMEOUT_S)
        finally:
            self._desk.close()

    @property
    def host(self) -> str:
        """As given."""
        return self._host

    @property
    def port(self) -> int:
        """0 before the first `listen()` unless it was given."""
        return self._port

    @property
    def url(self) -> str:
        """What a sender needs, without credentials."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'smtps' if self.options.implicit_tls else 'smtp'}://{host}:{self._port}"

    @property
    def mails(self) -> list[ReceivedMail]:
        """Every mail taken, in order; empty unless `remember_mails`."""
        return self._desk.mails

    @property
    def log(self) -> list[LogRecord]:
        """Every event, in order; empty unless `remember_log`."""
        return self._desk.journal.records

    @property
    def received(self) -> int:
        """How many mails were taken, kept or not."""
        return self._desk.received

    @property
    def sessions(self) -> int:
        """How many connections are open."""
        return len(self._desk.sessions)

    async def wait_for(self, n: int, timeout_s: float = 30.0) -> Sequence[ReceivedMail]:
        """Returns `mails` once `n` were taken in all; TimeoutError says how far it came."""
        await self._desk.wait_until(lambda: self._desk.received >= n, f"{n} mails", timeout_s)
        return self.mails

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Returns once the condition holds. It is asked after every event of this receiver: it must be about those."""
        await self._desk.wait_until(condition, "a condition", timeout_s)

    def __repr__(self) -> str:
        state = "listening" if self._server is not None else "not listening"
        return f"<Receiver {self.url} {state} {self._desk!r}>"


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # Sessions of the last round may still hold the port; without this it could not be bound again for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    options: ReceiverOptions,
    on_mail: OnMail | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 2525,
    on_ready: Callable[[Receiver], None] | None = None,
) -> None:
    """Receive until cancelled. Prints nothing: `on_ready` is called once it listens, `on_mail` after each mail."""
    async with Receiver(host, port, options, on_mail=on_mail) as receiver:
        if on_ready is not None:
            on_ready(receiver)
        await asyncio.get_running_loop().create_future()
