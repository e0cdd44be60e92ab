"""Connections to one Redis: how each is opened, and how many there may be.

Called by link.py. Errors are redis-py's. Nothing is retried here: a command that may be sent twice is for its caller to
repeat.
"""

from __future__ import annotations

import asyncio
import socket

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

# A peer that vanished is noticed after 30 + 3 * 10 s, also by a connection that only waits.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class BoundedPool(ConnectionPool):
    """A pool whose callers wait when all its connections are in use.

    redis-py's own BlockingConnectionPool loses a connection for good when its caller is cancelled while giving it back.
    """

    def __init__(self, connection_class: type[AbstractConnection], max_connections: int, **options: object) -> None:
        super().__init__(connection_class, None, **options)
        self._free = asyncio.Semaphore(max_connections)
        self._granted: set[AbstractConnection] = set()

    async def get_connection(self, command_name: object = None, *keys: object, **options: object) -> AbstractConnection:
        await self._free.acquire()
        try:
            connection: AbstractConnection = await super().get_connection()
        except BaseException:
            self._free.release()
            raise
        self._granted.add(connection)
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            if connection in self._granted:  # redis-py also gives back one that it could not connect
                self._granted.discard(connection)
                self._free.release()


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
        return BoundedPool(UnixDomainSocketConnection, max_connections, path=str(where.path), **options)
    options |= {
        "host": where.host,
        "port": where.port,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value for name, value in KEEPALIVE.items() if hasattr(socket, name)
        },
    }
    if not where.tls:
        return BoundedPool(Connection, max_connections, **options)
    options |= {
        "ssl_cert_reqs": where.tls_verify,
        "ssl_check_hostname": where.tls_check_host,  # redis-py's own default is False
        "ssl_ca_certs": where.tls_ca,
        "ssl_certfile": where.tls_certificate,
        "ssl_keyfile": where.tls_key,
    }
    return BoundedPool(SSLConnection, max_connections, **options)
