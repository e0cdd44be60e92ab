"""A session without a socket: the test is the server, the recorder and the route.

`Talk(...)` makes the session with its items; `say` is what the server sends, `wrote` what the session has written since
the last look, `over` what it reported. Also `MemoryTransport` for whoever only wants to see bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mailspool.content.mime import Compiled
from mailspool.contract.talks import Line
from mailspool_worker.classify import Loss, Reply, Stage
from mailspool_worker.runs import Item, Place, Run
from mailspool_worker.smtp.owner import Limits
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.transaction import Features
from tests.support.worker_parts import Desk, TestClock, make_items, make_run, means

PIPELINED = Features(pipelining=True, eight_bit=True)
STEPS = Features(eight_bit=True)


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. With `takes` it pauses its protocol after so many bytes, until `take` makes room."""

    def __init__(self, takes: int | None = None) -> None:
        super().__init__()
        self.chunks: list[bytes] = []
        self.aborted = False
        self.protocol: asyncio.Protocol | None = None
        self._takes = takes
        self._held = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.aborted, "a write after abort"
        self.chunks.append(bytes(data))
        self._held += len(data)
        if self._takes is not None and self._held > self._takes and self.protocol is not None:
            self.protocol.pause_writing()

    def take(self) -> None:
        """The peer has read everything."""
        self._held = 0
        assert self.protocol is not None
        self.protocol.resume_writing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whoever makes the transport tells it its protocol."""

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


class Talk:
    """One session and everybody around it."""

    def __init__(
        self,
        addresses: list[str],
        *,
        features: Features = PIPELINED,
        content: Compiled | None = None,
        holds_doubts: bool = False,
        unrecorded: int = 1,
        messages: int = 100,
        age_s: float = 300.0,
        takes: int | None = None,
    ) -> None:
        self.clock = TestClock()
        self.desk = Desk()
        self.run: Run = make_run(
            self.clock, content=content, holds_doubts=holds_doubts, given=means(self.clock, self.desk)
        )
        self.items = make_items(self.run, addresses)
        self.queue: deque[Item] = deque(self.items)
        self.over: list[tuple[int, str, str]] = []
        self.said: list[list[Line]] = []
        """The conversation of each attempt in `over`."""
        self.again: list[int] = []
        self.local: list[tuple[int, str]] = []
        self.why_gone: str | None
        self.is_idle: bool
        self.on_over: Callable[[Item], None] | None = None
        self._features, self._limits, self._takes = features, Limits(messages, age_s, unrecorded), takes
        self.reconnect()

    def reconnect(self) -> None:
        """A new connection, with what waits."""
        self.transport = MemoryTransport(self._takes)
        self.session = Session(self, self._features, self._limits, self.clock)
        self.transport.protocol = self.session
        self._seen = 0
        self.why_gone, self.is_idle = None, False
        self.session.start(self.transport)

    # -- the server

    def say(self, *lines: str) -> None:
        """Whole replies, in one segment."""
        self.session.data_received("".join(f"{line}\r\n" for line in lines).encode())

    def wrote(self) -> list[str]:
        """The writes since the last look."""
        chunks, self._seen = self.transport.chunks[self._seen :], len(self.transport.chunks)
        return [chunk.decode() for chunk in chunks]

    def close(self) -> None:
        self.session.connection_lost(None)

    # -- the route (owner.Owner)

    def pull(self) -> Item | None:
        while self.queue:
            item = self.queue.popleft()
            if item.place is Place.QUEUED:
                return item
        return None

    def pull_behind(self) -> Item | None:
        return self.pull()

    def attempt_over(self, item: Item, stage: Stage, event: Reply | Loss, session: Session) -> None:
        told = event.text if isinstance(event, Reply) else event.value
        self.over.append((item.index, stage.name, told))
        self.said.append(list(session.conversation(stage, event)))
        self.desk.notes.append((item, b"", session))
        if self.on_over is not None:
            self.on_over(item)

    def refused_locally(self, item: Item, why: str) -> None:
        self.local.append((item.index, why))
        item.place = Place.DECIDED
        item.run.finished(item)

    def untouched(self, item: Item) -> None:
        self.again.append(item.index)
        item.place = Place.QUEUED
        item.drop()
        self.queue.appendleft(item)

    def claim(self, item: Item, session: Session) -> None:
        self.desk.notes.append((item, b"c", session))

    def idle(self, session: Session) -> None:
        self.is_idle = True

    def gone(self, session: Session, why: str) -> None:
        self.why_gone = why

    # -- the recorder

    def record(self, *, accepted: bool = True) -> None:
        self.desk.answer(accepted=accepted)

    def record_all(self) -> None:
        self.desk.answer_all()


def envelope(name: str, *, rset: bool = False) -> str:
    """The commands for one message, pipelined."""
    lead = "RSET\r\n" if rset else ""
    return f"{lead}MAIL FROM:<news@sender.test>\r\nRCPT TO:<{name}@x.test>\r\nDATA\r\n"
