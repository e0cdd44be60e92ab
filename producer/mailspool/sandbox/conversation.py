"""The state of one SMTP session: who the client is, the open transaction, and what is to be said and done next.

Changed by commands.py and delivery.py, carried to and from the connection by dialogue.py. No I/O; raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from mailspool.sandbox.body import BodyReader
from mailspool.sandbox.grammar import MailCommand
from mailspool.sandbox.orders import DRIP_EVERY_S, Order
from mailspool.sandbox.policy import Policy
from mailspool.sandbox.records import Event, ReceivedMail, Stage
from mailspool.sandbox.sasl import Exchange

GARBAGE: Final = b"\x16\x03\xff what is this? \x00 2 50\r\n"
"""No code at its beginning, and octets that no terminal should see."""
FLOOD: Final = b"".join(b"250-%s\r\n" % (b"x" * 500) for _ in range(1000))


class Then(Enum):
    """What the connection does after the replies are out."""

    READ = "read"
    WAIT = "wait"
    """Resume after `delay_s`; what comes meanwhile is kept for later."""
    STALL = "stall"
    """Never answer again; what comes is thrown away."""
    STARTTLS = "starttls"
    CLOSE = "close"


class Transaction:
    """From an accepted MAIL to the reply to the dot, RSET or the end of the session."""

    __slots__ = ("command", "drop", "order", "orderer", "reader", "recipients")

    def __init__(self, command: MailCommand) -> None:
        self.command = command
        self.recipients: list[str] = []
        self.order: Order | None = None
        """The body or dot order of the first recipient that has one."""
        self.orderer = ""
        self.reader: BodyReader | None = None
        """Present once DATA was answered with 354."""
        self.drop = False
        """The connection is to be closed in the middle of this body."""

    def add(self, recipient: str, order: Order | None) -> None:
        """An accepted recipient."""
        self.recipients.append(recipient)
        if order is not None and order.stage != "rcpt" and self.order is None:
            self.order, self.orderer = order, recipient

    def events(
        self,
        stage: Stage,
        reply: str,
        *,
        answered: bool,
        message_id: str | None = None,
        sha256: str | None = None,
        size: int | None = None,
    ) -> list[Event]:
        """One event a recipient."""
        sender = self.command.address
        return [Event(stage, reply, sender, name, message_id, sha256, size, answered) for name in self.recipients]


class Conversation:
    """Everything that outlives one command."""

    __slots__ = (
        "accepted",
        "behind",
        "client",
        "delay_s",
        "drip",
        "esmtp",
        "events",
        "exchange",
        "greeted",
        "mails",
        "now_ms",
        "out",
        "pending",
        "policy",
        "raw",
        "session",
        "take",
        "then",
        "tls",
        "transaction",
        "user",
    )

    def __init__(
        self, policy: Policy, session: int, take: Callable[[ReceivedMail], None], *, tls: bool, client: str = ""
    ) -> None:
        self.policy = policy
        self.client = client
        """Its address, for greylisting."""
        self.session = session
        self.take = take
        """Returns once the mail is kept; OSError if it is not."""
        self.tls = tls
        self.greeted = False
        self.esmtp = False
        self.user: str | None = None
        self.exchange: Exchange | None = None
        self.transaction: Transaction | None = None
        self.accepted = 0
        """Mails taken in this session."""
        self.behind = False
        """More bytes than the command being obeyed have come already."""
        self.now_ms = 0
        """When what is being obeyed came."""
        self.out: list[str] = []
        """Reply lines, without CR LF."""
        self.raw = b""
        """What goes out behind them as it is: no reply, or a part of one."""
        self.drip = b""
        """The rest of a reply that comes octet by octet."""
        self.events: list[Event] = []
        self.mails: list[ReceivedMail] = []
        self.then = Then.READ
        self.delay_s = 0.0
        self.pending: tuple[str, list[Event], Then] | None = None
        """The reply that is being waited for, its events, and what comes after it."""

    def say(self, reply: str, stage: Stage | None = None) -> None:
        """A reply, with an event where `stage` is given."""
        self.out.append(reply)
        if stage is not None:
            sender = None if self.transaction is None else self.transaction.command.address
            self.events.append(Event(stage, reply, sender))

    def end(self, reply: str, stage: Stage) -> None:
        """The last reply of the session."""
        self.say(reply, stage)
        self.then = Then.CLOSE

    def wait(self, delay_s: float, reply: str, events: list[Event], then: Then) -> None:
        """Say nothing now; `dialogue.resume` says it."""
        self.pending = (reply, events, then)
        self.delay_s = delay_s
        self.then = Then.WAIT

    def answer(self, order: Order | None, reply: str, events: list[Event], then: Then, delay_s: float = 0.0) -> None:
        """A reply in the manner of the order, now or later. A flood and garbage are followed by silence."""
        manner = "plain" if order is None else order.manner
        if manner == "drip":
            self.drip = f"{reply}\r\n".encode("ascii")
            self.wait(DRIP_EVERY_S, "", events, then)
        elif manner != "plain":
            self.raw = GARBAGE if manner == "garbage" else FLOOD
            self.events += [msgspec.structs.replace(event, reply="") for event in events]
            self.then = Then.STALL
        elif delay_s:
            self.wait(delay_s, reply, events, then)
        else:
            if reply:
                self.out.append(reply)
            self.events += events
            self.then = then

    def in_force(self, transaction: Transaction, stage: Stage) -> Order | None:
        """The transaction's order if it is for this stage and for this try. Counts the try: ask once per stage."""
        order = transaction.order
        if order is None or order.stage != stage:
            return None
        return order if self.policy.obeyed(order, transaction.orderer, self.accepted) else None

    def body_lost(self, octets: int) -> None:
        """The connection ends while a body is awaited, of which `octets` were read."""
        transaction = self.transaction
        if transaction is not None and transaction.reader is not None:
            self.events += transaction.events("body", "", answered=False, size=octets)
            self.transaction = None
