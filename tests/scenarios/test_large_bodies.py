"""Bodies of 1 and 20 MiB over a line that is slow, that stops in the middle, or over which an answer comes too early.

`Line` stands between worker and receiver and moves small bites; the receiver's mail is compared octet by octet.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from random import Random

import pytest

from mailspool import Attachment, Batch, Message, State
from mailspool.sandbox import ReceivedMail, Receiver, ReceiverOptions
from mailspool_worker import Worker
from tests.support.edition import show
from tests.support.ground import Ground
from tests.support.mailing import letter, rows
from tests.support.waiting import until, until_async

MIB = 1024 * 1024
BITE = 16 * 1024
IN_THE_MIDDLE = 512 * 1024
"""Inside every body here that is large, and far behind the end of the small ones of a whole session."""
UNSENDABLE = 12 * MIB
"""More than the kernel's buffers hold, so the end of it cannot have been handed over when it stands still."""
SOCKET_BYTES = 512 * 1024
"""What may lie in a session's buffers when its peer does not read: asyncio's mark, and one piece."""
DOTS = "".join(f"{line}\n" for line in (".", "..", ". dot", "...", ".\t", "", "dot.", "." * 70))


class Line:
    """Carries bytes between a worker and a receiver; `port` is where the worker connects."""

    def __init__(self, receiver: Receiver, *, stops: bool = False, answer: str = "") -> None:
        self.answer = answer
        """Said in the middle of a large body, instead of carrying the rest of it."""
        self.goes_on = asyncio.Event()
        self.stopped = 0
        """How many connections stand still in the middle until `goes_on`."""
        self.port = 0
        self._receiver = receiver
        if not stops:
            self.goes_on.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Line]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BITE)
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=listener, limit=BITE)
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, onward = await asyncio.open_connection("127.0.0.1", self._receiver.port)
        back = asyncio.create_task(_copy(back_reader, writer))
        carried = 0
        try:
            while data := await reader.read(BITE):
                carried += len(data)
                if carried > IN_THE_MIDDLE and self.answer:
                    back.cancel()
                    onward.transport.abort()
                    writer.write(f"{self.answer}\r\n".encode())
                    while await reader.read(BITE):
                        continue
                    return
                if carried > IN_THE_MIDDLE and not self.goes_on.is_set():
                    self.stopped += 1
                    await self.goes_on.wait()
                onward.write(data)
                await onward.drain()
        except ConnectionError:
            pass
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            for end in (writer, onward):
                end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BITE):
        writer.write(data)
    writer.close()


def with_attachment(size: int) -> tuple[Message, bytes]:
    """A letter with this many random octets."""
    content = Random(size).randbytes(size)
    return letter().replace(attachments=[Attachment(content, name="large.bin")]), content


def attachment_of(mail: ReceivedMail) -> bytes:
    parsed = message_from_bytes(mail.data, policy=default)
    assert isinstance(parsed, EmailMessage)
    found = next(parsed.iter_attachments()).get_content()
    assert isinstance(found, bytes)
    return found


def buffered(worker: Worker) -> int:
    """Octets that lie in the buffer of the worker's fullest connection."""
    assert worker.engine is not None
    transports = [session._transport for route in worker.engine.routes for session in route.sessions]
    return max((transport.get_write_buffer_size() for transport in transports if transport is not None), default=0)


async def decided(batch: Batch) -> bool:
    return (await batch.status()).queued == 0


def roomy() -> ReceiverOptions:
    return ReceiverOptions(size_limit_bytes=64 * MIB)


@pytest.mark.parametrize(("size", "mails"), [(MIB, 5), (20 * MIB, 2)], ids=["1-MiB", "20-MiB"])
async def test_a_line_that_stops_holds_up_its_own_session_alone(ground: Ground, size: int, mails: int) -> None:
    message, content = with_attachment(size)
    ground.shared["max_message_bytes"] = 40 * MIB
    async with Receiver(options=roomy()) as receiver, Line(receiver, stops=True).run() as line:
        worker = Worker(ground.settings(relay_url=line.url))
        async with ground.spool() as spool, worker:
            large = await spool.send_batch(message, rows(mails, "large"))
            await until(lambda: line.stopped > 0, "a large body stands still in the middle")
            small = await (await spool.send_batch(letter(), rows(200), class_="transactional")).wait(30)
            meanwhile, lies = receiver.received, buffered(worker)
            line.goes_on.set()
            status = await large.wait(60)
        found = [attachment_of(mail) for mail in receiver.mails if mail.recipient.startswith("large")]
    show(
        f"{size // MIB} MiB over a line that stops",
        large=status.sent,
        small_ones_meanwhile=meanwhile,
        sessions_that_stood_still=line.stopped,
        octets_in_the_fullest_buffer=lies,
    )
    assert (small.sent, meanwhile) == (200, 200)
    assert lies <= SOCKET_BYTES
    assert status.sent == mails
    assert [octets == content for octets in found] == [True] * mails


@pytest.mark.parametrize(
    ("answer", "state", "reason", "attempts"),
    [
        ("552 5.3.4 message too big", "failed", "too_big", 1),
        ("452 4.3.1 no room now", "deferred", "receiver_busy", 1),
        ("250 2.0.0 taken before it was sent", "deferred", "protocol", 1),
        ("421 4.3.2 going down", "deferred", "rate", 0),
    ],
    ids=lambda value: value[:3] if isinstance(value, str) and value[:1].isdigit() else "",
)
async def test_an_answer_in_the_middle_of_a_body(
    ground: Ground, answer: str, state: State, reason: str, attempts: int
) -> None:
    """It decides only where it refuses; a session that got one is never used again, and nothing is lost behind it."""
    message, content = with_attachment(UNSENDABLE)
    async with Receiver(options=roomy()) as receiver, Line(receiver, answer=answer).run() as line:
        async with ground.spool() as spool, Worker(ground.settings(relay_url=line.url)):
            small = await spool.send_batch(letter(), rows(200))
            batch = await spool.send_batch(message, rows(1, "large"))
            behind = await spool.send_batch(letter(), rows(200, "behind"))
            others = [await other.wait(30) for other in (small, behind)]
            await until_async(lambda: decided(batch), "the large one has an outcome")
            first = await batch.message(1)
            line.answer = ""
            await batch.retry("failed" if state == "failed" else "deferred")
            status = await batch.wait(30)
        found = [attachment_of(mail) for mail in receiver.mails if mail.recipient.startswith("large")]
    show(answer[:3], state=first.state, reason=first.reason, reply=first.reply, sent_when_asked_again=status.sent)
    assert [other.sent for other in others] == [200, 200]
    assert (first.state, first.reason, first.attempts) == (state, reason, attempts)
    assert status.sent == 1
    assert [octets == content for octets in found] == [True]


async def test_dots_at_the_beginning_of_every_line(ground: Ground) -> None:
    """As a template's text, and as a finished mail that must arrive as it is; small, and larger than one piece."""
    small, large = DOTS, DOTS * (MIB // len(DOTS))
    head = (
        "From: news@sender.test\r\nTo: raw@y.test\r\nSubject: dots\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\n"
        "Message-ID: <dots@sender.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    )
    raws = [(head + text.replace("\n", "\r\n")).encode() for text in (small, large)]
    async with Receiver(options=roomy()) as receiver, Line(receiver).run() as line:
        async with ground.spool() as spool, Worker(ground.settings(relay_url=line.url)):
            batches = [await spool.send_batch(letter().replace(text=text), rows(2, "text")) for text in (small, large)]
            batches += [await spool.send(raw) for raw in raws]
            sent = [(await batch.wait(30)).sent for batch in batches]
        mails = list(receiver.mails)
    texts = [text_of(mail) for mail in mails if mail.recipient.startswith("text")]
    finished = {mail.data for mail in mails if mail.recipient == "raw@y.test"}
    show("leading dots", mails=len(mails), lines=large.count("\n"), octets=[mail.sha256[:6] for mail in mails])
    assert sent == [2, 2, 1, 1]
    assert sorted(texts, key=len) == [small, small, large, large]
    assert finished == set(raws)


def text_of(mail: ReceivedMail) -> str:
    parsed = message_from_bytes(mail.data, policy=default)
    assert isinstance(parsed, EmailMessage)
    return str(parsed.get_content()).replace("\r\n", "\n")
