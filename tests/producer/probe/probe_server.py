"""A small SMTP server that answers as it is told, and the questions that the tests put to it."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from mailspool.probe import ProbeReport, probe
from mailspool.settings import Relay

PASSWORD = "hunter2 pass"
PLAIN = b64encode(f"\0billing\0{PASSWORD}".encode()).decode()


@dataclass
class Server:
    """Answers by the first word of each command; a list is used up from the front, its last entry stays."""

    greeting: bytes = b"220 mail.acme.example ESMTP\r\n"
    ehlo: list[str] = field(default_factory=lambda: ["PIPELINING", "SIZE 35882577", "AUTH PLAIN LOGIN"])
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    tls_at_once: bool = False
    behind_starttls: bytes = b""
    heard: list[str] = field(default_factory=list)
    mail: bytes = b""
    port: int = 0
    secured: bool = False

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Server]:
        at_once = self.context if self.tls_at_once else None
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=at_once)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self.greeting)
            while line := await reader.readline():
                text = line.decode().rstrip("\r\n")
                self.heard.append(text)
                word = text.split(":")[0].split()[0].upper() if text.strip() else ""
                writer.write(self._answer(word))
                if word == "DATA":
                    self.mail = await reader.readuntil(b"\r\n.\r\n")
                    writer.write(self._answer("."))
                if word == "STARTTLS" and self.context and not self.answers.get("STARTTLS"):
                    await writer.start_tls(self.context)
                    self.secured = True
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, word: str) -> bytes:
        own = self.answers.get(word)
        if own:
            return own.pop(0) if len(own) > 1 else own[0]
        if word == "EHLO":
            lines = ["mail.acme.example", *self.ehlo]
            if self.context and not self.secured and not self.tls_at_once:
                lines.append("STARTTLS")
            marks = ["-"] * (len(lines) - 1) + [" "]
            return "".join(f"250{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode()
        usual = {"STARTTLS": b"220 2.0.0 go ahead\r\n", "AUTH": b"235 2.7.0 welcome\r\n", "DATA": b"354 go on\r\n"}
        usual |= {"QUIT": b"221 bye\r\n", ".": b"250 2.0.0 queued as 4FzX\r\n"}
        return usual.get(word, b"250 2.1.0 ok\r\n") + (self.behind_starttls if word == "STARTTLS" else b"")


def clear(server: Server, *, user: bool = False) -> Relay:
    relay = Relay("main", "127.0.0.1", server.port, "none", True)
    return replace(relay, user="billing", password=SecretStr(PASSWORD)) if user else relay


async def ask(relay: Relay, **more: Any) -> ProbeReport:
    return await probe(relay, ehlo_name="laptop.acme.example", **{"reply_timeout_s": 20.0} | more)


def lines(report: ProbeReport) -> list[str]:
    return [f"{step.dir} {step.line}" for step in report.steps]
