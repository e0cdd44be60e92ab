"""A message's bytes on their way: small ones in one write with what follows, large ones as fast as the peer takes them.

The terminator is handed over last: until then nothing can have been accepted, from then on a loss is uncertain. (What
lies in a buffer proves nothing about that, least of all under TLS.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from mailspool.content.mime import Rendered
from mailspool_worker.smtp.transaction import PIECE_LIMIT, bare_slices, dot_stuffed, stuffed_slices


class BodyWriter:
    """`send` starts one body; `tail` is asked for its terminator (and what goes behind it) when all else is written."""

    def __init__(self, transport: asyncio.Transport, tail: Callable[[], bytes]) -> None:
        self._transport = transport
        self._tail = tail
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._paused = False

    @property
    def is_writing(self) -> bool:
        """Part of a large body is still here."""
        return self._pieces is not None

    def send(self, rendered: Rendered) -> bool:
        """True when the terminator was handed over."""
        if rendered.size <= PIECE_LIMIT:
            pieces = dot_stuffed(rendered.pieces) if rendered.dots else list(rendered.pieces)
            pieces.append(self._tail())
            self._transport.write(b"".join(pieces))
            return True
        self._pieces = stuffed_slices(rendered.pieces) if rendered.dots else bare_slices(rendered.pieces)
        return self._pump()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> bool:
        """True when the terminator was handed over by this."""
        self._paused = False
        return self._pieces is not None and self._pump()

    def _pump(self) -> bool:
        for piece in self._pieces or ():
            self._transport.write(piece)
            if self._paused:
                return False
        self._pieces = None
        self._transport.write(self._tail())
        return True
