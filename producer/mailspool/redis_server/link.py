"""One process' way to its Redis: opened by settings, judged once, waited for when it is away.

Called by Spool, Worker and the command line. `open` starts or adopts the embedded server (nothing configured) or
connects to the user's own, and refuses one that would lose mail. After an error of redis-py's, callers `recover` and
repeat what may be repeated.

Raises ConfigError (settings, refused login), SpoolUnavailable (5 s without an answer; `hint` holds the last reason),
SpoolUnsafe, SpoolFull. A Link belongs to one event loop and one process: a forked child makes its own.

Known limit: `judge` is not repeated after an outage, for a worker must still record what it sent; `facts` is read
again, and `check_safety` may be called at any time.
"""

from __future__ import annotations

import asyncio
import errno
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
)

from mailspool.errors import ConfigError, MailspoolError, SpoolFull, SpoolUnavailable
from mailspool.redis_server import pool as pools
from mailspool.redis_server.address import RedisAddress, human_path, human_url, parse_redis_url
from mailspool.redis_server.safety import Asked, ServerFacts, check_disk, check_memory, inspect_server, judge, promise

if TYPE_CHECKING:
    from mailspool.redis_server.embedded import EmbeddedServer
    from mailspool.redis_server.process import Fsync

OPEN_LIMIT_S = 5.0  # a person waits
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

_FSYNC: dict[Asked, Fsync] = {"auto": "always", "fsync": "always", "everysec": "everysec", "none": "no"}


class Secret(Protocol):
    """pydantic's SecretStr."""

    def get_secret_value(self) -> str: ...


class RedisSettings(Protocol):
    """What a Link reads of `mailspool.settings.Settings`."""

    @property
    def redis_url(self) -> str | None: ...
    @property
    def redis_password(self) -> Secret | None: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def embedded_server(self) -> str: ...
    @property
    def durability(self) -> Asked: ...
    @property
    def redis_reserve(self) -> float: ...


class Link:
    """See the top of this file. No I/O before `open`."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._where: RedisAddress | None = None
        self._server: EmbeddedServer | None = None
        self._redis: Redis | None = None
        self._facts: ServerFacts | None = None
        self._ensuring: asyncio.Task[Path] | None = None
        self._one_recovers = asyncio.Lock()
        self._recoveries = 0
        self._last_reason: BaseException | None = None
        if settings.redis_url:
            secret = settings.redis_password
            self._url_address = parse_redis_url(settings.redis_url, secret.get_secret_value() if secret else None)
        elif settings.embedded_server == "off":
            raise ConfigError(
                'embedded_server is "off" and no redis_url is set: there is no Redis to use.'
                ' Set redis_url (MAILSPOOL_REDIS_URL), or embedded_server = "auto".'
            )

    @property
    def embedded(self) -> bool:
        return not self._settings.redis_url

    @property
    def name(self) -> str:
        """How people call it: the URL without credentials, or the folder."""
        if self._settings.redis_url:
            return human_url(self._settings.redis_url)
        return human_path(self._settings.data_dir)

    @property
    def redis(self) -> Redis:
        """Byte replies. For everything but the recorder's and arq's own connections."""
        if self._redis is None:
            raise RuntimeError("the link is not open")
        return self._redis

    @property
    def where(self) -> RedisAddress:
        """For parts that open a connection of their own."""
        if self._where is None:
            raise RuntimeError("the link is not open")
        return self._where

    @property
    def facts(self) -> ServerFacts:
        """As of `open` or the last outage."""
        if self._facts is None:
            raise RuntimeError("the link is not open")
        return self._facts

    @property
    def promise(self) -> str:
        """ "append-only, fsync always": what this server's settings give."""
        return promise(self.facts)

    def make_pool(
        self, *, max_connections: int = pools.MAX_CONNECTIONS, socket_timeout_s: float = pools.SOCKET_TIMEOUT_S
    ) -> ConnectionPool:
        """A pool for another client class (arq's). Whoever makes it disconnects it, before this link is closed."""
        return pools.make_pool(self.where, max_connections=max_connections, socket_timeout_s=socket_timeout_s)

    async def open(self) -> None:
        """Connect, inspect, judge. Nothing stays open if that fails. May be repeated."""
        if self._redis is not None:
            return
        self._where = await self._enter() if self.embedded else self._url_address
        self._redis = Redis.from_pool(pools.make_pool(self._where))
        try:
            await self._answer_within(OPEN_LIMIT_S)
            self.check_safety()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drop the connections; the last process out stops the embedded server. May be repeated."""
        redis, self._redis = self._redis, None
        server, self._server = self._server, None
        if redis is not None:
            await redis.aclose()
        if server is not None:
            if self._ensuring is not None and not self._ensuring.done():
                server.give_up()
            await asyncio.shield(asyncio.create_task(asyncio.to_thread(server.leave), name="mailspool-leave"))

    def check_safety(self) -> None:
        """Raise SpoolUnsafe if the server, as last inspected, would lose mail."""
        judge(self.facts, self._settings.durability, name=self.name, embedded=self.embedded)

    async def require_room(self, needed_bytes: int) -> None:
        """Raise SpoolFull unless a batch of this size fits now. Raises redis-py's errors, too."""
        self._facts = await inspect_server(self.redis)
        check_memory(needed_bytes, self._facts, self._settings.redis_reserve)
        if self._server is not None:
            from mailspool.redis_server.folder import disk_room

            room = await asyncio.to_thread(disk_room, self._server.folder)
            check_disk(needed_bytes, free_bytes=room.free_bytes, total_bytes=room.total_bytes, name=self.name)

    async def recover(self, limit_s: float | None) -> None:
        """Wait until Redis answers and can be written to; starts a dead embedded server again.

        With a limit: SpoolUnavailable (SpoolFull, ConfigError where that is the reason) when it is over. With None
        only a ConfigError about the folder ends it (moved, taken by another user). Many tasks may call it at once.
        """
        seen = self._recoveries
        try:
            async with asyncio.timeout(limit_s) as limit, self._one_recovers:
                if self._recoveries == seen:  # else somebody did it while we waited
                    await self._answer_within(None, around=limit)
                    self._recoveries += 1
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._unavailable(limit_s, self._last_reason) from None

    async def _answer_within(self, limit_s: float | None, *, around: asyncio.Timeout | None = None) -> None:
        """Try until the server answers and takes writes, and read its facts. `around`: a limit of the caller's."""
        self._last_reason = None
        passes = self._passes if limit_s is None else self._passes_at_open
        pause_s = FIRST_PAUSE_S
        try:
            async with asyncio.timeout(limit_s) as limit:
                while not await self._attempted(passes):
                    if limit.expired() or (around is not None and around.expired()):
                        raise TimeoutError  # Python 3.11's wait_for, inside redis-py, can swallow the cancellation
                    await asyncio.sleep(pause_s + random.uniform(0, FIRST_PAUSE_S))  # noqa: S311 - spreads, hides nothing
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._unavailable(limit_s, self._last_reason) from None
        except RedisError as exc:
            raise self._unavailable(limit_s, exc) from None

    async def _attempted(self, passes: Callable[[BaseException], bool]) -> bool:
        """Whether it answers; False for what may pass."""
        try:
            await self._attempt()
        except Exception as exc:
            if not passes(exc):
                raise
            return False
        return True

    async def _attempt(self) -> None:
        await self._ensure()
        facts = await inspect_server(self.redis)
        if facts.replica:
            # After a failover our connections may still lead to the old primary.
            await self.redis.connection_pool.disconnect(inuse_connections=False)
            raise ReadOnlyError("it is a read-only replica: give the primary's address")
        self._facts = facts

    def _passes(self, exc: BaseException) -> bool:
        """During an outage everything is waited out that a server may say or not say."""
        self._last_reason = exc
        return isinstance(exc, (RedisError, OSError, SpoolFull)) and not isinstance(exc, ConfigError)

    def _passes_at_open(self, exc: BaseException) -> bool:
        return self._passes(exc) and not isinstance(_root(exc), _REFUSED) and not isinstance(exc, MailspoolError)

    async def _enter(self) -> RedisAddress:
        if sys.platform == "win32":
            raise ConfigError("there is no embedded server on Windows: set redis_url to a Redis or Valkey of yours.")
        from mailspool.redis_server.embedded import EmbeddedServer

        server = EmbeddedServer(
            self._settings.data_dir,
            binary=self._settings.embedded_server,
            fsync=_FSYNC[self._settings.durability],
        )
        entering = asyncio.create_task(asyncio.to_thread(server.enter), name="mailspool-enter")
        try:
            socket = await asyncio.shield(entering)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: let it come to its end, then take it out again.
            server.give_up()
            await asyncio.wait([entering])
            if not entering.cancelled():
                entering.exception()
            await asyncio.to_thread(server.leave)
            raise
        self._server = server
        return RedisAddress(path=socket)

    async def _ensure(self) -> None:
        """One thread at a time; one that outlives its caller's limit is joined by the next caller."""
        if self._server is None:
            return
        if self._ensuring is None or self._ensuring.done():
            self._ensuring = asyncio.create_task(asyncio.to_thread(self._server.ensure), name="mailspool-ensure")
            self._ensuring.add_done_callback(_look_at)
        await asyncio.shield(self._ensuring)

    def _unavailable(self, limit_s: float | None, reason: BaseException | None) -> MailspoolError:
        """The last reason in words. redis-py's texts go into the hint only where they name no command."""
        root = _root(reason)
        if isinstance(reason, MailspoolError):
            return reason
        if isinstance(root, _REFUSED):
            return ConfigError(
                f"{self.name} refuses this user or password: {str(root)[:100].rstrip('.')}. Check redis_password"
                " (MAILSPOOL_REDIS_PASSWORD) and the user in redis_url.",
                code="redis_login",
            )
        tried = f" (tried {limit_s:g} s)" if limit_s is not None else ""
        if isinstance(root, ReadOnlyError):
            return SpoolUnavailable(f"{self.name} is a read-only replica{tried}: give the primary's address.")
        return SpoolUnavailable(f"{self.name} does not answer{tried}.", hint=_in_plain_words(root))


_REASON_CHARS = 200
_NO_CONNECTION = re.compile(r"Error (?P<why>.+) connecting to (?P<where>\S+?)\.(?: (?P<more>.+))?", re.DOTALL)
"""redis-py's words; asyncio's stand behind, or, where a name has several addresses, in front."""


def _in_plain_words(root: BaseException | None) -> str:
    """`cannot connect to 127.0.0.1:1: connection refused`."""
    words = str(root)[:_REASON_CHARS] if root else ""
    found = _NO_CONNECTION.fullmatch(words)
    if found is None:
        return words
    refused = found["why"] == str(errno.ECONNREFUSED) or f"[Errno {errno.ECONNREFUSED}]" in found["why"]
    why = "connection refused" if refused else (found["more"] or found["why"]).rstrip(".")
    return f"cannot connect to {found['where']}: {why}"


_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)


def _root(exc: BaseException | None) -> BaseException | None:
    """redis-py wraps what happens on a new unix connection into a ConnectionError."""
    while exc is not None and isinstance(exc.__cause__, RedisError):
        exc = exc.__cause__
    return exc


def _look_at(task: asyncio.Task[Path]) -> None:
    """Nobody may be waiting any more: its error is then known from the next attempt."""
    if not task.cancelled():
        task.exception()
