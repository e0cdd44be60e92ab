"""Connections to one Redis: how each is opened, how many there may be, and for how long without work.

Called by link.py. Errors are redis-py's. Nothing is retried here: a command that may be sent twice is for its caller to
repeat.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Iterable

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)

from mailspool.redis_server.address import RedisAddress

MAX_CONNECTIONS = 64  # a web service with a thousand requests at once must not run out of descriptors
SOCKET_TIMEOUT_S = 10.0  # without one, a frozen Redis hangs the process for ever
CONNECT_TIMEOUT_S = 5.0
HEALTH_CHECK_S = 15  # an idle connection is asked before it is used again: firewalls drop silently
IDLE_S = 30.0  # what one burst needed is closed after it: small Redis plans allow 30 connections for everybody

# A peer that vanished is noticed after 30 + 3 * 10 s, also by a connection that only waits.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class _EndsAsLost(AbstractConnection):
    """uvloop raises RuntimeError for a write to a transport that was closed in the same turn. It is a lost connection
    like any other, and whoever waits out an outage must read it as one."""

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)
        except RuntimeError as error:
            raise BrokenPipeError(errno.EPIPE, "the connection was closed meanwhile") from error


class _Tcp(_EndsAsLost, Connection):
    pass


class _Tls(_EndsAsLost, SSLConnection):
    pass


class _Unix(_EndsAsLost, UnixDomainSocketConnection):
    pass


class BoundedPool(ConnectionPool):
    """A pool whose callers wait when all its connections are in use, and which closes those that nobody needs.

    redis-py's own BlockingConnectionPool loses a connection for good when its caller is cancelled while giving it back,
    and every pool of it keeps as many connections as it has ever needed at once.
    Known limit: a pool that is not used at all closes nothing.
    """

    def __init__(self, connection_class: type[AbstractConnection], max_connections: int, **options: object) -> None:
        super().__init__(connection_class, None, **options)
        self._free = asyncio.Semaphore(max_connections)
        self._granted: set[AbstractConnection] = set()
        self._given_back_s: dict[AbstractConnection, float] = {}
        self.now_s: Callable[[], float] = time.monotonic

    async def get_connection(self, command_name: object = None, *keys: object, **options: object) -> AbstractConnection:
        await self._free.acquire()
        try:
            connection: AbstractConnection = await super().get_connection()
        except BaseException:
            self._free.release()
            raise
        self._granted.add(connection)
        self._given_back_s.pop(connection, None)
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            self._given_back_s[connection] = self.now_s()
            if connection in self._granted:  # redis-py also gives back one that it could not connect
                self._granted.discard(connection)
                self._free.release()
        await self._close_idle()

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Whoever asks meanwhile gets a new one: redis-py hands out those that it is just closing, and a write to one
        fails with what is no error of Redis'."""
        idle, self._available_connections = self._available_connections, []
        self._given_back_s.clear()
        for connection in idle:
            await connection.disconnect(nowait=True)
        if inuse_connections:
            await super().disconnect()

    async def _close_idle(self) -> None:
        """redis-py takes the connection that was given back last: the first of the list has been idle for longest."""
        idle, given_back_s = self._available_connections, self._given_back_s
        while idle and self.now_s() - given_back_s[idle[0]] > IDLE_S:
            connection = idle.pop(0)
            del given_back_s[connection]
            await connection.disconnect(nowait=True)


def make_pool(
    where: RedisAddress, *, max_connections: int = MAX_CONNECTIONS, socket_timeout_s: float = SOCKET_TIMEOUT_S
) -> ConnectionPool:
    """A pool of its own: byte replies, timeouts, keepalive, health checks."""
    options: dict[str, object] = {
        "db": where.db,
        "username": where.username,
        "password": where.password,
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "health_check_interval": HEALTH_CHECK_S,
    }
    if where.path is not None:
        return BoundedPool(_Unix, max_connections, path=str(where.path), **options)
    options |= {
        "host": where.host,
        "port": where.port,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value for name, value in KEEPALIVE.items() if hasattr(socket, name)
        },
    }
    if not where.tls:
        return BoundedPool(_Tcp, max_connections, **options)
    options |= {
        "ssl_cert_reqs": where.tls_verify,
        "ssl_check_hostname": where.tls_check_host,  # redis-py's own default is False
        "ssl_ca_certs": where.tls_ca,
        "ssl_certfile": where.tls_certificate,
        "ssl_keyfile": where.tls_key,
    }
    return BoundedPool(_Tls, max_connections, **options)
