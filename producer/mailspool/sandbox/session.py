"""One connection of the sandbox: an asyncio.Protocol that carries bytes between the transport and a Dialogue.

Made by receiver.py per connection. No task and no future per mail: everything that one read completes is logged,
then answered in one write. Only STARTTLS needs a task, once
a session. Raises nothing; an exception from the log or from `on_mail` ends the connection through the loop's
exception handler.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

from mailspool.sandbox.conversation import Then
from mailspool.sandbox.desk import Desk
from mailspool.sandbox.dialogue import Dialogue

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""A handshake on a loopback or a local network takes milliseconds; a client that never begins one must not stay."""
_BUFFER_OCTETS: Final = 1024 * 1024
"""What may come while a reply is being delayed, before reading stops and TCP holds the sender back."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Session(asyncio.Protocol):
    """From connection_made to connection_lost, over an upgrade to TLS."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._dialogue: Dialogue | None = None
        self._heard_s = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._upgrade: asyncio.Task[None] | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transports in all but their base class.
        self._transport = cast("asyncio.Transport", transport)
        number, full = self._desk.enter(self)
        tls = transport.get_extra_info("ssl_object") is not None
        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if peer else ""
        self._dialogue = Dialogue(self._desk.policy, number, self._desk.take, tls=tls, client=client)
        self._heard_s = self._loop.time()
        self._idle_timer = self._loop.call_later(self._desk.options.idle_timeout_s, self._look_at_the_clock)
        self._dialogue.greet(full=full)
        self._settle(self._dialogue, self._transport)

    def data_received(self, data: bytes) -> None:
        dialogue, transport = self._dialogue, self._transport
        if dialogue is None or transport is None:
            return
        self._heard_s = self._loop.time()
        dialogue.receive(data, _now_ms())
        self._settle(dialogue, transport)
        if dialogue.talk.then is Then.WAIT and dialogue.waiting_octets > _BUFFER_OCTETS:
            transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        dialogue, self._dialogue, self._transport = self._dialogue, None, None
        if dialogue is None:
            return
        for timer in (self._idle_timer, self._wait_timer):
            if timer is not None:
                timer.cancel()
        dialogue.lost()
        try:
            self._desk.report(dialogue.talk, _now_ms(), flushed=False)
        finally:
            self._desk.leave(self)

    def pause_writing(self) -> None:
        """A client that sends and never reads its replies gets no more of our memory."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the desk calls.

    def abort(self) -> None:
        """Cut the connection now, without a reply."""
        if self._upgrade is not None:
            self._upgrade.cancel()
        if self._transport is not None:
            self._transport.abort()

    # What follows from the dialogue.

    def _settle(self, dialogue: Dialogue, transport: asyncio.Transport) -> None:
        """Events into the log, replies out, then whatever comes next: a receiver that is killed in between has told
        nobody of a mail that its log does not know."""
        talk = dialogue.talk
        if talk.events or talk.mails:
            self._desk.report(talk, _now_ms(), flushed=not transport.is_closing())
        if talk.out:
            transport.write(("\r\n".join(talk.out) + "\r\n").encode("ascii"))
            talk.out.clear()
        if talk.raw:
            transport.write(talk.raw)
            talk.raw = b""
        if talk.then is Then.READ or talk.then is Then.STALL:
            return
        if talk.then is Then.CLOSE:
            transport.close()
        elif talk.then is Then.WAIT and self._wait_timer is None:
            self._wait_timer = self._loop.call_later(talk.delay_s, self._resume)
        elif talk.then is Then.STARTTLS and self._upgrade is None:
            # Stop reading before the loop turns: what comes next is for TLS, not for the dialogue.
            transport.pause_reading()
            self._upgrade = self._loop.create_task(self._start_tls(dialogue, transport), name="sandbox-starttls")

    def _resume(self) -> None:
        self._wait_timer = None
        dialogue, transport = self._dialogue, self._transport
        if dialogue is None or transport is None:
            return
        dialogue.resume(_now_ms())
        self._settle(dialogue, transport)
        if not transport.is_closing():
            transport.resume_reading()

    async def _start_tls(self, dialogue: Dialogue, transport: asyncio.Transport) -> None:
        context = self._desk.tls_context
        try:
            if context is None:
                raise ConnectionError("no certificate")
            secured = await self._loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except OSError as error:  # ssl.SSLError is one too; the loop does not report it to the protocol
            transport.abort()
            self.connection_lost(error)
            return
        except asyncio.CancelledError:
            # uvloop never ends a handshake whose transport was aborted, so `abort` cancels it.
            transport.abort()
            self.connection_lost(None)
            raise
        if secured is None:
            # Lost during the handshake, without an error: asyncio then tells nobody but us.
            self.connection_lost(None)
            return
        if self._dialogue is None:
            secured.abort()
            return
        self._transport = secured
        self._upgrade = None
        dialogue.secured(_now_ms())
        self._settle(dialogue, secured)

    def _look_at_the_clock(self) -> None:
        """One timer a session, set again only when it fires: cheaper than one a read."""
        dialogue, transport = self._dialogue, self._transport
        if dialogue is None or transport is None:
            return
        timeout_s = self._desk.options.idle_timeout_s
        silent_s = self._loop.time() - self._heard_s
        ordered = dialogue.talk.then in (Then.WAIT, Then.STALL)
        if silent_s >= timeout_s and not ordered:
            dialogue.idle()
            self._settle(dialogue, transport)
            return
        self._idle_timer = self._loop.call_later(
            timeout_s if ordered else timeout_s - silent_s, self._look_at_the_clock
        )
