"""Bytes from a file or a pipe, and the thread that waits for a slow one.

`reader` opens a Tap over every list: the head is kept for sniffing and read again, NULs are noticed while the bytes
pass by (so that no row has to be searched for them), and a pipe that says nothing can be given up at once.
`Puller` runs the reading of a list: in the caller's thread for files on disk, in a thread of its own for everything
that may be slow, so that the event loop stays alive while stdin is silent.

Raises Stopped in that thread after `stop()`. Known limit: where `select` does not work on pipes (Windows), a silent
pipe is given up only when it says something or ends.
"""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

HEAD_BYTES: Final = 65_536
"""Enough for the header and the first row of any list a person made, and one pipe's buffer."""
BLOCK_BYTES: Final = 262_144


class Stopped(Exception):  # noqa: N818 - not an error: somebody else gave up
    """The reader was told to stop while it waited for bytes."""


class Tap(io.RawIOBase):
    """`stream`'s bytes from where it stands. The stream itself is closed only if `owned`."""

    def __init__(self, stream: BinaryIO, *, owned: bool) -> None:
        super().__init__()
        self.saw_nul = False
        self._stream = stream
        self._owned = owned
        self._read = getattr(stream, "read1", stream.read)
        self._head = b""
        self._waits_on = pipe_of(stream)
        self._stop_read, self._stop_write = os.pipe() if self.slow else (-1, -1)

    @property
    def slow(self) -> bool:
        """May reading take longer than a disk does?"""
        return self._waits_on is not None

    def head(self) -> bytes:
        """The first bytes, without consuming them; call it before anything is read."""
        while len(self._head) < HEAD_BYTES and (block := self._next(HEAD_BYTES - len(self._head))):
            self._head += block
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        view = memoryview(target).cast("B")
        block = self._head[: len(view)] or self._next(len(view))
        self._head = self._head[len(block) :]
        view[: len(block)] = block
        return len(block)

    def stop(self) -> None:
        """From another thread: whoever waits for bytes here gets Stopped, now and from now on."""
        if self._stop_write >= 0:
            os.write(self._stop_write, b"x")

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        for fd in (self._stop_read, self._stop_write):
            if fd >= 0:
                os.close(fd)
        if self._owned:
            self._stream.close()

    def _next(self, size: int) -> bytes:
        if self._waits_on is not None:
            self._wait(self._waits_on)
        block = self._read(size)
        if b"\0" in block:
            self.saw_nul = True
        return block

    def _wait(self, fd: int) -> None:
        try:
            ready, _, _ = select.select([fd, self._stop_read], [], [])
        except (OSError, ValueError):  # Windows, or more than 1,024 descriptors: a plain blocking read
            return
        if self._stop_read in ready:
            raise Stopped


def pipe_of(stream: BinaryIO) -> int | None:
    """The descriptor to wait on; None for what is on disk or in memory."""
    try:
        fd = stream.fileno()
        return None if stat.S_ISREG(os.fstat(fd).st_mode) else fd
    except (OSError, AttributeError, ValueError):
        return None


class Puller:
    """Runs blocking reads one after the other; in a thread of its own once `threaded`."""

    def __init__(self, *, threaded: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "mailspool-list") if threaded else None

    async def run(self, work: Callable[[], T]) -> T:
        if self._pool is None:
            await asyncio.sleep(0)
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def finish(self, last: Callable[[], None]) -> None:
        """`last` runs after the read that is under way, in the same thread, so that nothing is closed under it."""
        if self._pool is None:
            last()
            return
        self._pool.submit(last)
        self._pool.shutdown(wait=False)
