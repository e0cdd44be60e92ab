"""Outcomes that Redis could not take when this process had to stop: kept in a file, replayed by the next worker.

A worker makes its file in `data_dir` at its start and fills it with zeros, so that a full disk cannot keep it from
being written; it removes it at its end unless it holds something. While a worker lives it holds a lock on its file;
`replay` takes those whose owner is gone, of the same Redis, and removes them once Redis has their outcomes. `sent` is a
fact and is stored whoever brings it, all others as `record` allows; replayed twice, a file changes nothing.
The file: a head of HEAD_BYTES (one frame) and then the frames that it counts, each with its length and CRC-32. The head
is written last, so that a write that was cut off reads as nothing.
Raises nothing: without a folder of our own there is a warning at the start, and no journal. A file that is torn or not
ours is renamed to `*.aside` with a warning; what can be read of a torn one is replayed.
Known limits: a process killed with -9 keeps none (a crash's promise); on Windows there is no journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
from redis.exceptions import ResponseError

from mailspool.contract.moves import Recorded
from mailspool.errors import MailspoolError
from mailspool.redis_server.address import RedisAddress
from mailspool_worker.events import Events

if TYPE_CHECKING:
    from mailspool.redis_server.locks import Lock

ROOM_BYTES: Final = 256 * 1024
"""Some two thousand outcomes: what a hundred sessions and a few chunks of refused rows leave, several times over."""
HEAD_BYTES: Final = 512
_LARGEST_BYTES: Final = 16 * 1024 * 1024
"""A file that claims more is none of ours."""
_AT_ONCE: Final = 100
_TRIES: Final = 5
_FRAME: Final = struct.Struct(">II")
_ASIDE: Final = ".aside"


class Unrecorded(msgspec.Struct, frozen=True, array_like=True):
    """One outcome that Redis does not have."""

    batch: str
    k: int
    token: str
    index: int
    value: bytes


class _Head(msgspec.Struct, frozen=True):
    spool: str
    worker: str
    count: int


class Found(NamedTuple):
    """What a file holds. `torn`: frames that its head counts are missing or damaged."""

    outcomes: list[Unrecorded]
    torn: bool


class NotOurs(ValueError):  # noqa: N818 - caught by name in one place
    """No journal, or another spool's. Says why."""


class Record(Protocol):
    """`Moves.record`."""

    async def record(
        self, groups: Sequence[tuple[str, int, str, Sequence[tuple[int, bytes]]]]
    ) -> Sequence[Recorded]: ...


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Unrecorded).decode
_unpack_head = msgspec.msgpack.Decoder(_Head).decode


def spool_identity(where: RedisAddress, prefix: str, *, embedded: bool) -> str:
    """Which Redis a file belongs to, for its name: without credentials. The embedded server's is its folder's."""
    place = "embedded" if embedded else f"{where.path or f'{where.host}:{where.port}'}/{where.db}"
    return hashlib.sha256(f"{place} {prefix}".encode()).hexdigest()[:12]


def encode(spool: str, worker: str, outcomes: Sequence[Unrecorded]) -> tuple[bytes, bytes]:
    """Head and frames."""
    head = _frame(_pack(_Head(spool, worker, len(outcomes))))
    return head.ljust(HEAD_BYTES, b"\0"), b"".join(_frame(_pack(outcome)) for outcome in outcomes)


def decode(data: bytes, spool: str) -> Found:
    """What a file holds; an empty one holds nothing. Raises NotOurs."""
    if not any(data[:HEAD_BYTES]):
        return Found([], torn=False)
    try:
        head = _unpack_head(next(_frames(data[:HEAD_BYTES]), b""))
    except msgspec.DecodeError as error:
        raise NotOurs("its head cannot be read") from error
    if head.spool != spool:
        raise NotOurs("it belongs to another Redis")
    outcomes: list[Unrecorded] = []
    with contextlib.suppress(msgspec.DecodeError):
        outcomes.extend(_unpack(payload) for payload in islice(_frames(data[HEAD_BYTES:]), head.count))
    return Found(outcomes, torn=len(outcomes) < head.count)


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frames(data: bytes) -> Iterator[bytes]:
    """Up to the first one that is not whole."""
    start = 0
    while start + _FRAME.size <= len(data):
        size, check = _FRAME.unpack_from(data, start)
        payload = data[start + _FRAME.size : start + _FRAME.size + size]
        if not size or len(payload) < size or zlib.crc32(payload) != check:
            return
        yield payload
        start += _FRAME.size + size


class Journal:
    """This worker's file, and those that dead workers of the same spool left in the same folder."""

    def __init__(self, data_dir: Path, spool: str, worker: str, events: Events) -> None:
        self._data_dir = data_dir
        self._spool = spool
        self._worker = worker
        self._events = events
        self._folder: Path | None = None
        self._path = Path()
        self._lock: Lock | None = None
        self._holds = 0
        self._seen: set[str] = set()

    # -- our own

    def open(self) -> None:
        """Makes the file; without one this worker works, too."""
        if sys.platform == "win32":
            return  # neither flock nor owners
        from mailspool.redis_server.folder import prepare

        try:
            self._folder = prepare(self._data_dir)
            self._path = self._folder / f"journal-{self._spool}-{self._worker}"
            self._lock = _own(self._path)
            if self._lock is not None:
                os.fchmod(self._lock.fd, 0o600)
                _write(self._lock.fd, bytes(ROOM_BYTES), 0)
        except (MailspoolError, OSError) as error:
            self._events.warning("no_journal", why=str(error))
            self.close()

    def keep(self, outcomes: Sequence[Unrecorded]) -> None:
        """On the disk when it returns; takes the place of what was kept before. Facts first, should room be short."""
        lock = self._lock
        if lock is None or not outcomes:
            return
        chosen = sorted(outcomes, key=lambda outcome: outcome.value[:1] != b"s")  # stable: a message's order stays
        try:
            while True:
                head, frames = encode(self._spool, self._worker, chosen)
                try:
                    _write(lock.fd, bytes(HEAD_BYTES), 0)
                    _write(lock.fd, frames, HEAD_BYTES)
                    break
                except OSError:
                    if len(frames) <= ROOM_BYTES - HEAD_BYTES:
                        raise
                    chosen = chosen[: len(chosen) * (ROOM_BYTES - HEAD_BYTES) // len(frames)]
            os.fsync(lock.fd)
            _write(lock.fd, head, 0)
            os.fsync(lock.fd)
            _sync_folder(self._path.parent)
        except OSError as error:
            self._events.warning("journal_failed", why=str(error), outcomes=len(outcomes))
            return
        self._holds = len(chosen)
        self._events.journal_kept(len(chosen), len(outcomes) - len(chosen))

    def close(self, *, recorded: bool = True) -> None:
        """`recorded`: Redis has everything, so the file goes."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if recorded or not self._holds:
            self._path.unlink(missing_ok=True)
        lock.close()

    # -- what others left

    async def replay(self, moves: Record) -> None:
        """Every journal of this spool whose worker is gone: to Redis, then removed. Waits for Redis as `moves` do."""
        if self._folder is None:
            return
        for path in sorted(self._folder.glob("journal-*")):
            if path == self._path or path.name.endswith(_ASIDE):
                continue
            try:
                await self._replay_one(path, moves)
            except NotOurs as error:
                self._set_aside(path, str(error))
            except OSError as error:
                self._events.warning("journal_unreadable", file=str(path), why=str(error))

    async def _replay_one(self, path: Path, moves: Record) -> None:
        facts = os.lstat(path)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise NotOurs("it is no file of this user")
        lock = _lock(path)
        if lock is None:
            return  # its worker lives
        with lock:
            data = _read(lock.fd)
            if not path.name.startswith(f"journal-{self._spool}-"):
                self._tell_of_another(path.name, data)
                return
            if os.fstat(lock.fd).st_nlink == 0:
                return  # another worker has replayed it meanwhile
            found = decode(data, self._spool)
            taken, trouble = await _record(moves, found.outcomes)
            if found.outcomes:
                self._events.journal_replayed(path.name, len(found.outcomes), taken)
            if trouble:
                raise NotOurs(f"Redis refuses a part of it: {trouble[:100]}")
            if found.torn:
                raise NotOurs("it is torn: a part of it cannot be read")
            os.unlink(path)

    def _tell_of_another(self, name: str, data: bytes) -> None:
        """Its own workers come for it; but perhaps it is this Redis under its former name."""
        if any(data[:HEAD_BYTES]) and name not in self._seen:
            self._seen.add(name)
            self._events.warning("journal_of_another_redis", file=name)

    def _set_aside(self, path: Path, why: str) -> None:
        try:
            path.rename(path.with_name(path.name + _ASIDE))
        except OSError as error:
            why = f"{why}; and it cannot be renamed: {error.strerror}"
        self._events.warning("journal_set_aside", file=str(path), why=why)


async def _record(moves: Record, outcomes: Iterable[Unrecorded]) -> tuple[int, str]:
    """How many Redis has now; what it says about those that it does not take at all."""
    taken, trouble = 0, ""
    runs = groupby(outcomes, key=lambda outcome: (outcome.batch, outcome.k, outcome.token))
    for (batch, k, token), of_run in runs:
        while some := [(outcome.index, outcome.value) for outcome in islice(of_run, _AT_ONCE)]:
            try:
                (answer,) = await moves.record([(batch, k, token, some)])
            except ResponseError as error:
                trouble = str(error)  # this batch's records are broken; the others' are not
            else:
                if answer.kind == "BROKEN":
                    trouble = answer.state
                elif answer.kind != "GONE":
                    taken += len(some) - len(answer.refused)
    return taken, trouble


def _own(path: Path) -> Lock | None:
    """A new file. A worker that looks for journals in this very moment may take it for a dead one's and remove it."""
    from mailspool.redis_server.locks import wait_for_lock

    for _ in range(_TRIES):
        lock = wait_for_lock(path, limit_s=1.0)
        if lock is None or os.fstat(lock.fd).st_nlink:
            return lock
        lock.close()
    return None


def _lock(path: Path) -> Lock | None:
    from mailspool.redis_server.locks import try_lock  # it needs fcntl, which not every system has

    return try_lock(path)


def _write(fd: int, data: bytes, at: int) -> None:
    """All of it."""
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written


def _read(fd: int) -> bytes:
    """The whole file. Raises NotOurs."""
    size = os.fstat(fd).st_size
    if size > _LARGEST_BYTES:
        raise NotOurs("it is larger than any journal")
    return os.pread(fd, size, 0)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
