"""One SMTP session without its connection: bytes in; replies, events and what to do next out.

session.py feeds it, hands over what it produced, and obeys `talk.then`; time is passed in. It cuts the stream into
lines and bodies (RFC 5321, 2920); commands.py and delivery.py give them meaning. The same bytes cut into any pieces
give the same replies and events (two exceptions, both about sending too early and so about time: pipelining where it
was not offered, and anything behind STARTTLS). A line that cannot be framed (bare LF, too long) ends the session:
nobody can know where the next command begins. Raises nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mailspool.sandbox import sasl
from mailspool.sandbox.body import BodyReader
from mailspool.sandbox.commands import obey
from mailspool.sandbox.conversation import Conversation, Then, Transaction
from mailspool.sandbox.delivery import finish
from mailspool.sandbox.policy import Policy
from mailspool.sandbox.records import Event, ReceivedMail

COMMAND_OCTETS: Final = 2048
"""With CR LF. RFC 5321 asks for 512 and its extensions for more; Postfix allows 2048."""
DROP_AFTER_OCTETS: Final = 256
"""Where `drop-in-data` closes: inside the header of any real mail."""


class Dialogue:
    """After every call: hand over `talk.out`, `talk.events` and `talk.mails`, clear them, then do `talk.then`."""

    __slots__ = ("_buffer", "_greeting", "talk")

    def __init__(
        self, policy: Policy, session: int, take: Callable[[ReceivedMail], None], *, tls: bool, client: str = ""
    ) -> None:
        self.talk = Conversation(policy, session, take, tls=tls, client=client)
        self._buffer = bytearray()
        self._greeting = False
        """The banner is still being waited for."""

    def greet(self, *, full: bool) -> None:
        """The banner, perhaps later. `full`: there are too many sessions."""
        options = self.talk.policy.options
        banner = options.banner or f"{options.hostname} ESMTP Mailspool sandbox"
        reply = banner if banner[:3].isdigit() and banner[3:4] == " " else f"220 {banner}"
        if full:
            reply = "421 4.7.0 too many connections"
        then = Then.READ if reply.startswith("220") else Then.CLOSE
        if options.banner_delay_s and not full:
            self._greeting = True
            self.talk.wait(options.banner_delay_s, reply, [Event("connect", reply)], then)
        else:
            self.talk.say(reply, "connect")
            self.talk.then = then

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the client."""
        then = self.talk.then
        if then is Then.READ:
            self._buffer += data
            self.talk.now_ms = now_ms
            self._work(now_ms)
        elif self._greeting and self.talk.policy.options.early_talker:
            self._greeting, self.talk.pending = False, None
            self.talk.end("554 5.5.1 you speak before your turn", "connect")
        elif then is Then.WAIT or then is Then.STARTTLS:
            # In STARTTLS these bytes are already TLS's: the connection reads nothing in clear after the 220.
            self._buffer += data

    def resume(self, now_ms: int) -> None:
        """The wait is over."""
        talk = self.talk
        self._greeting, talk.now_ms = False, now_ms
        if talk.drip:
            talk.raw, talk.drip = talk.drip[:1], talk.drip[1:]
            if talk.drip:
                return
        if talk.pending is not None:
            reply, events, talk.then = talk.pending
            talk.pending = None
            if reply:
                talk.out.append(reply)
            talk.events += events
            self._work(now_ms)

    def secured(self, now_ms: int) -> None:
        """TLS is up after STARTTLS: the session begins again, without what was said in clear (RFC 3207, 4.2)."""
        talk = self.talk
        talk.tls = True
        talk.greeted = talk.esmtp = False
        talk.transaction = None
        talk.user = None
        talk.then = Then.READ
        self._work(now_ms)

    def idle(self) -> None:
        """Nothing came for too long."""
        self.talk.end("421 4.4.2 nothing heard for too long, closing", "other")

    def lost(self) -> None:
        """The connection is gone, whoever closed it."""
        talk = self.talk
        if talk.pending is not None:
            talk.events += [msgspec.structs.replace(event, answered=False) for event in talk.pending[1]]
            talk.pending = None
        if talk.transaction is not None and talk.transaction.reader is not None:
            talk.body_lost(talk.transaction.reader.seen(self._buffer))
        self._buffer.clear()
        talk.events.append(Event("close", answered=False))

    @property
    def waiting_octets(self) -> int:
        """What has come and could not be looked at yet."""
        return len(self._buffer)

    def _work(self, now_ms: int) -> None:
        talk, buffer = self.talk, self._buffer
        pipelining = talk.policy.options.pipelining
        while talk.then is Then.READ:
            transaction = talk.transaction
            if transaction is not None and transaction.reader is not None:
                more = self._body(transaction, transaction.reader, now_ms)
            else:
                more = self._line()
            if not more:
                return
            if buffer and not pipelining and talk.then is Then.READ:
                talk.end("521 5.5.0 improper pipelining: it was not offered", "other")
        if talk.then in (Then.CLOSE, Then.STALL):
            buffer.clear()

    def _line(self) -> bool:
        """Handles one line, if a whole one is there."""
        buffer, talk = self._buffer, self.talk
        limit = COMMAND_OCTETS if talk.exchange is None else sasl.RESPONSE_OCTETS
        end = buffer.find(b"\n")
        if end >= limit or (end < 0 and len(buffer) > limit):
            talk.end("500 5.5.6 line too long", "other")
            return True
        if end < 0:
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        talk.behind = bool(buffer)
        if line.endswith(b"\r"):
            obey(talk, line[:-1])
        else:
            talk.end("521 5.5.2 bare LF in a command", "other")
        return True

    def _body(self, transaction: Transaction, reader: BodyReader, now_ms: int) -> bool:
        """Finishes or drops a mail, if enough of it is there."""
        if transaction.drop:
            octets = reader.reached(self._buffer, DROP_AFTER_OCTETS)
            if octets is None:
                return False
            self.talk.body_lost(octets)
            self.talk.then = Then.CLOSE
            return True
        body = reader.take(self._buffer)
        if body is None:
            return False
        finish(self.talk, transaction, reader, body, now_ms)
        return True
