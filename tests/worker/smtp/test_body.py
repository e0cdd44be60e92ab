"""The writer of one body: in one write or in slices, paused and resumed, and the tail asked for exactly once, last."""

from __future__ import annotations

import pytest

from mailspool.content.mime import Rendered
from mailspool_worker.smtp.body import BodyWriter
from mailspool_worker.smtp.transaction import PIECE_LIMIT
from tests.support.smtp_talk import MemoryTransport


class Writing:
    """A writer, and what it did."""

    def __init__(self) -> None:
        self.transport = MemoryTransport()
        self.tails = 0
        self.writer = BodyWriter(self.transport, self._tail)

    def _tail(self) -> bytes:
        self.tails += 1
        return b".\r\n"

    @property
    def data(self) -> bytes:
        return b"".join(self.transport.chunks)


def mail(*pieces: bytes) -> Rendered:
    return Rendered("a@x.test", pieces, sum(map(len, pieces)), False, False)


def test_a_small_mail_is_one_write() -> None:
    writing = Writing()
    assert writing.writer.send(mail(b"a\r\n", b".b\r\n"))
    assert writing.transport.chunks == [b"a\r\n..b\r\n.\r\n"]
    assert not writing.writer.is_writing


def test_a_mail_that_announces_no_dots_is_not_looked_through() -> None:
    writing = Writing()
    assert writing.writer.send(mail(b"a\r\n", b".b\r\n")._replace(dots=False))
    assert writing.transport.chunks == [b"a\r\n.b\r\n.\r\n"]


@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("size", [PIECE_LIMIT, PIECE_LIMIT + 2, 3 * PIECE_LIMIT])
def test_every_size_arrives_whole_with_the_dot_last(size: int, dots: bool) -> None:
    writing = Writing()
    data = b"x" * (size - 2) + b"\r\n"
    assert writing.writer.send(mail(data)._replace(dots=dots))
    assert writing.data == data + b".\r\n"
    assert writing.tails == 1
    assert len(writing.transport.chunks) == (1 if size <= PIECE_LIMIT else -(-size // PIECE_LIMIT) + 1)


def test_a_paused_writer_waits_and_goes_on_where_it_was() -> None:
    writing = Writing()
    data = b"".join(b"%07d\r\n" % i for i in range(30_000))
    writing.writer.pause()
    assert not writing.writer.send(mail(data))
    assert writing.data == data[:PIECE_LIMIT]
    assert writing.tails == 0
    writing.writer.resume()
    assert not writing.writer.is_writing
    assert writing.data == data + b".\r\n"
    assert not writing.writer.resume(), "a second resume writes nothing"
    assert writing.tails == 1
