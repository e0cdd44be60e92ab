"""A client's way to its spool: the link, the moves, arq's wake-ups; opened once, on first use.

Made by Spool, used by Batch and Upload. A producer waits for Redis 5 s and then says so; every move may be sent twice,
so a short outage is not seen at all. What redis-py raises becomes SpoolUnavailable (`acknowledged` is None if the move
that queues mail may have been carried out), SpoolFull (no memory, a full disk), ConfigError (this user may not) or
BrokenRecords (something else has written there), which is a ResponseError, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from redis.exceptions import BusyLoadingError, NoPermissionError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Answer, Arg, Moves, RedisCaller
from mailspool.contract.scripts import Script
from mailspool.contract.states import FEED_GRACE_MS, Class
from mailspool.errors import ConfigError, MailspoolError, SpoolFull, SpoolUnavailable
from mailspool.redis_server.broken import broken
from mailspool.redis_server.link import Link
from mailspool.settings import Settings

if TYPE_CHECKING:
    from mailspool.wake import Waker

T = TypeVar("T")

PATIENCE_S = 5.0
"""How long one command may take, and how long an outage is waited out: somebody waits for this program."""
_ATTEMPTS = 5
"""A server that answers a PING and drops the same command again and again will not take the sixth either."""
_ROOM_GOOD_FOR_S = 1.0
"""A single mail does not ask for the room again within this: what a second of them takes, the reserve holds."""
_QUEUING = frozenset(("commit", "send1"))
"""The moves from whose answer on mail is queued."""
_FORBIDDEN_IN_A_SCRIPT = ("ACL failure in script", "can't run this command", "can't access at least one of the keys")
"""A server's words, which redis-py takes for any error: Valkey's, and those of older ones."""
_AWAY = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError)


async def patiently(link: Link, work: Callable[[], Awaitable[T]], *, queues: bool = False, key: str = "") -> T:
    """`work` once more after each outage of at most PATIENCE_S. It must be something that may be done twice."""
    may_be_done = False
    for attempt in range(_ATTEMPTS):
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await work()
        except MailspoolError:  # one of its classes is an OSError, too
            raise
        except _AWAY as error:
            may_be_done = may_be_done or not _never_sent(error)
            cause: Exception = error
        except ResponseError as error:
            refusal = _in_words(error, link.name)
            if refusal is not None:
                raise refusal from None
            if not _is_away(error):
                raise broken(error, link.name, key) or error from None
            cause = error
        try:
            await link.recover(PATIENCE_S)
        except MailspoolError as error:
            if queues and may_be_done:
                raise _in_doubt(link.name) from error
            raise
        if attempt + 1 == _ATTEMPTS:
            break
    if queues and may_be_done:
        raise _in_doubt(link.name) from cause
    raise SpoolUnavailable(f"{link.name} answers, but drops this command each time.", hint=type(cause).__name__)


def _never_sent(error: Exception) -> bool:
    """redis-py's words for a connection that did not come about."""
    words = str(error)
    return (words.startswith("Error") and " connecting to " in words) or words == "Timeout connecting to server"


def _is_away(error: ResponseError) -> bool:
    """What an old server wraps into a script's error; a script of somebody else that holds the server."""
    words = str(error)
    return words.startswith("BUSY") or "READONLY" in words


def _in_words(error: ResponseError, name: str) -> MailspoolError | None:
    words = str(error)
    if "OOM command not allowed" in words or "used memory > 'maxmemory'" in words:
        return SpoolFull(f"{name} has no memory left (maxmemory).")
    if "MISCONF" in words:
        return SpoolFull(f"{name} cannot write to its disk and takes nothing more.")
    if isinstance(error, NoPermissionError) or any(mark in words for mark in _FORBIDDEN_IN_A_SCRIPT):
        return ConfigError(
            f"{name} does not allow this user what Mailspool needs: {words[:100]}.",
            hint="give the user in redis_url all commands on the keys of key_prefix",
            code="redis_login",
        )
    return None


def _in_doubt(name: str) -> SpoolUnavailable:
    return SpoolUnavailable(
        f"the connection to {name} was lost during the commit; the mail may be queued or not.", acknowledged=None
    )


class BriefCaller:
    """A Caller that waits out an outage of at most PATIENCE_S, then raises SpoolUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._plain = RedisCaller(link.redis)

    async def __call__(self, script: Script, args: Sequence[Arg]) -> Answer:
        return await patiently(self._link, lambda: self._plain(script, args), queues=script.name in _QUEUING)


class Opener(Protocol):
    """A Spool, as far as its batches need it."""

    async def connection(self) -> Connection: ...


class Connection:
    """Open until closed. `settings` are the spool's."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self.settings = settings
        self.link = link
        self.keys = Keys(settings.key_prefix)
        self.moves = Moves(BriefCaller(link), self.keys)
        self.hasty_moves = Moves(RedisCaller(link.redis), self.keys)
        """One attempt, redis-py's errors: for what may be left undone."""
        self._waker: Waker | None = None
        self._waking: set[asyncio.Task[None]] = set()
        self._room_seen_s = -_ROOM_GOOD_FOR_S

    @classmethod
    async def open(cls, settings: Settings) -> Connection:
        link = Link(settings)
        await link.open()
        return cls(settings, link)

    async def command(self, *words: Arg) -> object:
        """One plain Redis command, sent again over a short outage: for reads, and for writes that may be doubled.

        Answers come as redis-py shapes them (HGETALL a dict, SMEMBERS a set, TIME a tuple).
        """
        execute = cast("Callable[..., Awaitable[object]]", self.link.redis.execute_command)
        return await patiently(self.link, lambda: execute(*words), key=_text(words[1]) if len(words) > 1 else "")

    async def commands(self, many: Sequence[Sequence[Arg]], *, broken: bool = False) -> list[object]:
        """Several reads in one round trip. `broken`: a key that holds something else answers None, not for all."""

        async def work() -> list[object]:
            pipeline = self.link.redis.pipeline(transaction=False)
            for words in many:
                pipeline.execute_command(*words)
            answers = cast("list[object]", await pipeline.execute(raise_on_error=not broken))
            for answer in answers:
                if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
                    raise answer
            return [None if isinstance(answer, Exception) else answer for answer in answers]

        return await patiently(self.link, work) if many else []

    async def strings(self, *words: Arg) -> list[str]:
        """The same as `command` for answers that are lists of names."""
        return [_text(name) for name in cast("Iterable[bytes]", await self.command(*words))]

    async def fields(self, key: str) -> dict[str, str]:
        """A whole hash of names and words."""
        return as_fields(await self.command("HGETALL", key))

    async def require_room(self, needed_bytes: int) -> None:
        """Raises SpoolFull unless so much fits now."""
        await patiently(self.link, lambda: self.link.require_room(needed_bytes))
        self._room_seen_s = time.monotonic()

    async def require_room_for_one(self, needed_bytes: int) -> None:
        """The same for a single mail, at most once a second."""
        if time.monotonic() - self._room_seen_s >= _ROOM_GOOD_FOR_S:
            await self.require_room(needed_bytes)

    def wake(self, class_: Class, ids: Sequence[str], now_ms: int) -> None:
        """arq's enqueue follows in a task that `close` awaits; if this process dies first, the sweep heals it."""
        if ids:
            self._later(self._awake().wake(class_, ids, now_ms))

    def feed(self, class_: Class) -> None:
        """Give arq what may go now (after a commit, a release, a retry)."""
        self._later(self._feed(class_))

    async def _feed(self, class_: Class) -> None:
        fed = await self.moves.feed(class_, FEED_GRACE_MS)
        await self._awake().wake(class_, fed.ids, fed.now_ms)

    def _awake(self) -> Waker:
        if self._waker is None:
            from mailspool.wake import Waker, arq_redis  # here: it loads arq, and who only looks wakes nobody

            self._waker = Waker(arq_redis(self.link.make_pool()), self.keys)
        return self._waker

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._waking.add(task)
        task.add_done_callback(self._woken)

    def _woken(self, task: asyncio.Task[None]) -> None:
        self._waking.discard(task)
        if not task.cancelled():
            task.exception()  # an outage: the workers' tick feeds what this could not

    async def close(self) -> None:
        """Lets wake-ups that are under way finish; gives them up after PATIENCE_S."""
        waking = tuple(self._waking)
        if waking:
            _, late = await asyncio.wait(waking, timeout=PATIENCE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._waker is not None:
            await self._waker.close()
        await self.link.close()


def _text(word: Arg) -> str:
    return word.decode("utf-8", "backslashreplace") if isinstance(word, bytes) else str(word)


def as_fields(answer: object) -> dict[str, str]:
    """redis-py's answer of HGETALL as names and words."""
    flat = cast("dict[bytes, bytes]", answer)
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in flat.items()}
