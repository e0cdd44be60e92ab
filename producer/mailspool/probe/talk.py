"""A connection to an SMTP server, and the record of what goes over it.

Called by converse.py. Raises: Stop with a verdict for every way in which a server can fail us, TlsFailed where TLS was
tried and did not come about.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from datetime import UTC, datetime
from typing import Final, Literal

from mailspool.probe.report import Direction, ProbeStep, ProbeTls, Reply, Stop, TlsFailed, harmless
from mailspool.settings import Relay

REPLY_BYTES: Final = 32 * 1024
REPLY_LINES: Final = 100
MASK: Final = "****"
_REPLY: Final = re.compile(r"([2-5][0-9][0-9])(?:([ -])(.*))?", re.ASCII | re.DOTALL)


class _Wire(asyncio.Protocol):
    """Bytes as they come. Not a StreamReader: what arrived in clear must be told from what arrived under TLS."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = False
        self.more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.more.set()


class Talk:
    """A connection, and the record of what went over it."""

    def __init__(self, relay: Relay, reply_timeout_s: float) -> None:
        self.relay = relay
        self.reply_timeout_s = reply_timeout_s
        self.loop = asyncio.get_running_loop()
        self.started_s = self.loop.time()
        self.steps: list[ProbeStep] = []
        self.transport: asyncio.Transport | None = None
        self.wire = _Wire()
        self._budget = REPLY_BYTES
        self.tls: ProbeTls | None = None
        self.auth: Literal["ok", "refused"] | None = None
        self.features: dict[str, str] = {}
        self.secrets: list[str] = []

    def add(self, direction: Direction, line: str) -> None:
        at_ms = round((self.loop.time() - self.started_s) * 1000)
        self.steps.append(ProbeStep(at_ms, direction, harmless(self.masked(line))))

    def masked(self, line: str) -> str:
        for secret in filter(None, self.secrets):
            line = line.replace(secret, MASK)
        return line

    @property
    def size_limit(self) -> int | None:
        """What SIZE says at EHLO; 0 and no number mean no limit (RFC 1870)."""
        text = self.features.get("SIZE", "")
        return int(text) if re.fullmatch(r"0*[1-9][0-9]{0,18}", text, re.ASCII) else None

    async def connect(self, timeout_s: float) -> None:
        host, port = self.relay.host, self.relay.port
        try:
            async with asyncio.timeout(timeout_s):
                found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                await self._connect_one([str(address[4][0]) for address in found])
        except TimeoutError:
            blocked = " Many networks block port 25: try 587 with a login." if port == 25 else ""
            raise Stop(f"{host}:{port} does not answer within {timeout_s:g} s.{blocked}") from None
        except socket.gaierror as error:
            raise Stop(f"the name {host} leads nowhere: {error.strerror}.") from None
        if self.relay.security == "tls":
            await self.start_tls(timeout_s)

    async def _connect_one(self, addresses: list[str]) -> None:
        port, last = self.relay.port, "no address"
        for address in dict.fromkeys(addresses):
            self.add("-", f"connect {f'[{address}]' if ':' in address else address}:{port}")
            self.wire = _Wire()
            try:
                self.transport, _ = await self.loop.create_connection(lambda: self.wire, address, port)
            except OSError as error:
                refused = isinstance(error, ConnectionRefusedError)
                last = "connection refused" if refused else str(error.strerror or error).lower()
                self.add("-", last)
            else:
                return
        raise Stop(f"{self.relay.host}:{port} cannot be reached: {last}.")

    async def start_tls(self, timeout_s: float) -> None:
        if self.transport is None:
            raise RuntimeError("connect() comes first")
        if self.wire.received:
            if self.relay.security == "tls":
                raise TlsFailed(_in_clear(self.relay))
            raise Stop("the server sent more before TLS than it was asked for: somebody may sit in between.")
        context = ssl.create_default_context()
        if not self.relay.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            transport = await self.loop.start_tls(
                self.transport,
                self.wire,
                context,
                server_hostname=self.relay.host,
                ssl_handshake_timeout=timeout_s,
            )
        except (OSError, TimeoutError) as error:
            raise TlsFailed(_tls_words(self.relay, error)) from None
        if transport is None:
            raise TlsFailed("the server hung up during the TLS handshake.")
        self.transport = transport
        self.tls = _tls_report(transport, self.relay.verify)
        expiry = f"ok until {self.tls.expires_at[:10]}" if self.tls.expires_at else "not verified"
        self.add("-", f"{self.tls.version}, certificate {expiry}")

    async def command(self, line: str, shown: str | None = None) -> Reply:
        self.add(">", line if shown is None else shown)
        self.write(line.encode() + b"\r\n")
        return await self.reply("the final dot" if line == "." else line.split()[0] if shown is None else "AUTH")

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def reply(self, to: str) -> Reply:
        """One whole reply, with one deadline."""
        lines: list[str] = []
        codes: set[int] = set()
        self._budget = REPLY_BYTES
        try:
            async with asyncio.timeout(self.reply_timeout_s):
                while True:
                    raw = await self._line(to)
                    self.add("<", raw)
                    match = _REPLY.fullmatch(raw)
                    if match is None:
                        raise Stop(f'this is no SMTP server: it says "{harmless(self.masked(raw))[:60]}".')
                    codes.add(int(match[1]))
                    lines.append(self.masked(match[3] or ""))
                    if len(codes) > 1:
                        raise Stop("one reply with two codes: this is no sane SMTP server.")
                    if match[2] != "-":
                        return Reply(codes.pop(), tuple(lines))
                    if len(lines) >= REPLY_LINES:
                        raise Stop(f"a reply of more than {REPLY_LINES} lines: this is no sane SMTP server.")
        except TimeoutError:
            hint = ""
            if to == "greeting" and self.relay.security != "tls":
                hint = " If it speaks TLS from the first byte, write smtps:// instead of smtp://."
            raise Stop(f"no answer to {to} within {self.reply_timeout_s:g} s.{hint}") from None

    async def _line(self, to: str) -> str:
        while (end := self.wire.received.find(b"\n")) < 0 and len(self.wire.received) <= self._budget:
            if self.wire.lost:
                raise Stop(f"the server hung up instead of answering {to}.")
            self.wire.more.clear()
            await self.wire.more.wait()
        self._budget -= end + 1
        if end < 0 or self._budget < 0:
            raise Stop(f"a reply of more than {REPLY_BYTES // 1024} KiB: this is no sane SMTP server.")
        raw = bytes(self.wire.received[:end]).removesuffix(b"\r")
        del self.wire.received[: end + 1]
        return raw.decode("utf-8", "backslashreplace")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _tls_report(transport: asyncio.Transport, verified: bool) -> ProbeTls:
    tunnel = transport.get_extra_info("ssl_object")
    version = str(tunnel.version() or "TLS") if tunnel else "TLS"
    not_after = (transport.get_extra_info("peercert") or {}).get("notAfter")
    expires_at = None
    if isinstance(not_after, str):
        expires_at = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ProbeTls(version.replace("TLSv", "TLS "), verified, expires_at)


def _in_clear(relay: Relay) -> str:
    other = ": write smtp:// instead of smtps://" if relay.security == "tls" else ""
    return f"{relay.host}:{relay.port} answers in clear where TLS was to begin{other}."


def _tls_words(relay: Relay, error: OSError | TimeoutError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"the certificate of {relay.host} is not valid: {error.verify_message.rstrip('.')}."
        return f"{words} Use the name that stands in it, or have it renewed."
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return _in_clear(relay)
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS fails: {error.reason.replace('_', ' ').lower()}."
    return "the server hung up during the TLS handshake, or was too slow."
