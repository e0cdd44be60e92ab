"""Two ways to talk to the sandbox in tests: over a real socket (`Wire`), and to a Dialogue without any (`converse`).

`Wire` is a client that knows no SMTP: it sends the bytes that it is given and reads whole replies.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailspool.sandbox.dialogue import Dialogue
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.policy import Policy
from mailspool.sandbox.records import Event, ReceivedMail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mailspool.sandbox import Receiver

DEADLINE_S = 10.0
"""No reply on loopback takes this long; a test that reaches it has failed."""


class Wire:
    """A connection to a receiver."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> str:
        """All lines of one reply, joined with LF; "" when the receiver closed the connection instead."""
        lines: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while True:
                line = (await self.reader.readline()).decode("ascii")
                if not line:
                    return "\n".join(lines)
                assert line.endswith("\r\n")
                assert len(line) <= 512
                lines.append(line[:-2])
                if line[3:4] == " ":
                    return "\n".join(lines)

    async def replies(self, count: int) -> list[str]:
        return [await self.reply() for _ in range(count)]

    async def ask(self, command: str) -> str:
        await self.send(command.encode() + b"\r\n")
        return await self.reply()

    async def hello(self) -> str:
        assert (await self.reply()).startswith("220 ")
        return await self.ask("EHLO client.test")

    async def envelope(self, recipient: str, sender: str = "sender@client.test") -> str:
        """MAIL and RCPT; the reply to RCPT."""
        assert (await self.ask(f"MAIL FROM:<{sender}>")).startswith("250 ")
        return await self.ask(f"RCPT TO:<{recipient}>")

    async def mail(self, recipient: str, content: bytes = b"Subject: x\r\n\r\nhello\r\n") -> str:
        """A whole mail step by step; the first reply that is not positive, or the reply to the dot."""
        reply = await self.envelope(recipient)
        if reply.startswith("2"):
            reply = await self.ask("DATA")
            if reply.startswith("354"):
                await self.send(stuffed(content))
                reply = await self.reply()
        return reply

    async def closed(self) -> bool:
        """Does the receiver close the connection, without another word?"""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def wire_to(receiver: Receiver, context: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Connects; cuts the connection at the end."""
    name = "localhost" if context is not None else None
    reader, writer = await asyncio.open_connection(receiver.host, receiver.port, ssl=context, server_hostname=name)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        wire.close()


def stuffed(content: bytes) -> bytes:
    """Dot-stuffed line by line, as the RFC describes it, and ended; not the way that anything of ours does it."""
    lines = content.split(b"\r\n")
    assert lines[-1] == b"", "content ends with CR LF"
    return b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines[:-1]) + b".\r\n"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass
class Outcome:
    """What a Dialogue said, logged, took, and wants to do next."""

    replies: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    mails: list[ReceivedMail] = field(default_factory=list)
    then: str = ""

    @property
    def codes(self) -> list[str]:
        return [reply[:3] for reply in self.replies if reply[3] == " "]


def converse(pieces: Iterable[bytes], options: ReceiverOptions | None = None) -> Outcome:
    """Feeds the pieces to a Dialogue; a wait is over once the last piece has come; then all is lost."""
    outcome = Outcome()
    taken: list[ReceivedMail] = []
    dialogue = Dialogue(Policy(options or ReceiverOptions()), 1, taken.append, tls=False)
    dialogue.greet(full=False)
    for piece in pieces:
        dialogue.receive(piece, 1_000)
    while dialogue.talk.then.value == "wait":
        dialogue.resume(1_000)
    outcome.then = dialogue.talk.then.value
    dialogue.lost()
    outcome.replies, outcome.events, outcome.mails = dialogue.talk.out, dialogue.talk.events, dialogue.talk.mails
    assert taken == outcome.mails
    return outcome


def say(*lines: str, hello: bool = True) -> bytes:
    """Command lines as one string of bytes, after an EHLO."""
    start = ["EHLO client.test"] if hello else []
    return b"".join(line.encode() + b"\r\n" for line in [*start, *lines])
