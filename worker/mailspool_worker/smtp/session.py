"""One SMTP connection's life after its opening: envelopes, bodies, replies, deadlines. Pulls its work from its route.

Where PIPELINING is offered, body + dot + the next message's MAIL RCPT DATA go out in one write (RFC 2920 3.1): one
round trip a mail. Where not, step by step. All of it is callbacks of the event loop: no task, no future a mail.

The rule that everything here serves: a message's first body byte is written only after the previous outcome of this
session is recorded (and its own claim, in a claiming run), with lease left, while its batch is live. So at most
`unrecorded_limit` messages a session are on the wire and unrecorded, whatever crashes.

After a protocol error, a timeout or a withdrawal while a 354 is held the connection is aborted, never reused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mailspool.contract.talks import Line
from mailspool_worker.classify import Loss, Stage
from mailspool_worker.runs import Item, Place
from mailspool_worker.smtp import transaction
from mailspool_worker.smtp.body import BodyWriter
from mailspool_worker.smtp.conversation import UNKNOWN, Ending, Opened, attempt_lines
from mailspool_worker.smtp.deadlines import DEADLINE_S, OVERDUE_S
from mailspool_worker.smtp.envelope import Envelope, why_not
from mailspool_worker.smtp.owner import REFUSED_IN_A_ROW, Limits, Owner
from mailspool_worker.smtp.replies import Reply, ReplyError, ReplyParser


class Session(asyncio.Protocol):
    """Idle; envelope out (`_next`); holding a 354; body on the wire (`_current`), maybe with `_next` behind it."""

    def __init__(
        self, owner: Owner, features: transaction.Features, limits: Limits, clock_s: Callable[[], float]
    ) -> None:
        self.features = features
        self.accepted = 0
        self.idle_since_s = self._opened_s = clock_s()
        self._owner = owner
        self._limits = limits
        self._clock_s = clock_s
        self._transport: asyncio.Transport | None = None
        self._body: BodyWriter | None = None
        self._parser = ReplyParser()
        self._expected: deque[Stage | None] = deque()
        self._deadline_s = float("inf")
        self._at_s = self._opened_s  # when the last bytes came or went: looked up once for all that happens then
        self._opening = UNKNOWN
        self._judged: Envelope | None = None
        self._why, self._noise = "", b""
        self._current: Envelope | None = None
        self._terminated = False
        self._next: Envelope | None = None
        self._follow: Item | None = None
        self._claiming: Item | None = None
        self._unrecorded = 0
        self._begun = self._refused_in_a_row = 0
        self._needs_rset = self._heard = False
        self._retiring = self._dead = False

    def __repr__(self) -> str:
        places = (("dead", self._dead), ("body", self._current), ("envelope", self._next), ("idle", True))
        place = next(name for name, holds in places if holds)
        return f"<Session {place} begun={self._begun} accepted={self.accepted} unrecorded={self._unrecorded}>"

    # -- life

    def start(self, transport: asyncio.Transport, opened: Opened = UNKNOWN) -> None:
        """Called by takeover.py in the same loop turn in which the transport became ours."""
        self._transport = transport
        self._opening = opened._replace(at_s=self._opened_s)
        self._body = BodyWriter(transport, self._tail)
        self._advance()

    @property
    def is_idle(self) -> bool:
        return not (self._dead or self._next or self._current or self._expected)

    @property
    def holds_body(self) -> bool:
        """A body is on the wire and its final reply is out."""
        return self._current is not None

    @property
    def is_stillborn(self) -> bool:
        """It never got a reply to anything: that says more about the relay than about a message."""
        return self._begun > 0 and not self._heard

    def nudge(self) -> None:
        """There is work, or something that was waited for has changed."""
        self._advance()

    def retire(self) -> None:
        """Finish what is on the wire, then QUIT."""
        self._retiring = True
        self._advance()

    def abort(self, why: str) -> None:
        """Drop the connection now, for no fault of its messages. Without its final reply a whole body is in doubt."""
        self._lose(Loss.CLOSED, why, innocent=True)

    def abort_waiting(self, why: str) -> None:
        """Drop it only if no body is on the wire (Redis is away, or the process stops): nothing is in doubt then."""
        if self._current is None:
            self.abort(why)

    def check_deadline(self, now_s: float, *, others_free: bool = False) -> None:
        """Once a second. An envelope that waits behind an overdue final reply goes to a session that is free."""
        if self._dead:
            return
        behind = self._next.item if self._next is not None and self._current is not None else None
        waits_for_dot = self._terminated and self._deadline_s - now_s < DEADLINE_S[Stage.DOT] - OVERDUE_S
        if behind is not None and others_free and waits_for_dot and behind.place is Place.ENVELOPE:
            self._owner.untouched(behind.run.swap(behind))  # the 354 that its old self may get ends this session
        if now_s > self._deadline_s:
            self._lose(Loss.TIMEOUT, "timeout")

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        self._at_s = self._clock_s()
        try:
            replies = self._parser.feed(data)
        except ReplyError as error:
            self._noise = error.line
            self._take(error.replies)  # what was complete before the noise counts
            self._lose(Loss.PROTOCOL, "malformed reply")
            return
        self._take(replies)
        if replies and not self._dead:  # a drip restarts no deadline
            self._watch()
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(Loss.CLOSED, "closed")

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._body is not None:
            self._body.pause()

    def resume_writing(self) -> None:
        if self._body is not None and not self._dead:
            self._at_s = self._clock_s()
            self._body.resume()
            self._watch()

    # -- replies

    def _take(self, replies: Iterable[Reply]) -> None:
        self._heard = True
        for reply in replies:
            if not self._expected:
                self._unsolicited(reply)
            else:
                self._on_reply(self._expected.popleft(), reply)
            if self._dead:
                return

    def _on_reply(self, stage: Stage | None, reply: Reply) -> None:
        if stage is Stage.DOT:
            current, self._current = self._current, None
            if current is not None:
                if 200 <= reply.code < 300:
                    self.accepted += 1
                    self._refused_in_a_row = 0
                elif self._next is None:
                    self._needs_rset = True
                self._over(current, Stage.DOT, reply)
        elif stage is Stage.QUIT:
            self._lose(Loss.CLOSED, "quit")
            return
        elif stage is not None and self._next is not None:
            self._on_envelope_reply(self._next, stage, reply)
        if reply.code == 421 and not self._dead:
            self._lose(Loss.CLOSED, "421", innocent=True)

    def _on_envelope_reply(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        envelope.take(stage, reply, self._at_s)
        if envelope.needs_lone_dot:
            self._write(b".\r\n")
            self._expected.append(None)
        if envelope.refusal is not None:
            if stage is Stage.DATA or not self.features.pipelining:
                self._refused(envelope, *envelope.refusal)
                if envelope.must_abort:
                    self._lose(Loss.PROTOCOL, "354 for a refused sender")
        elif not self.features.pipelining and stage is Stage.MAIL:
            self._write(transaction.rcpt_command(envelope.item.row.recipient))
            self._expected.append(Stage.RCPT)
        elif not self.features.pipelining and stage is Stage.RCPT:
            self._write(b"DATA\r\n")
            self._expected.append(Stage.DATA)

    def _refused(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        self._next = None
        self._needs_rset = True
        if stage is Stage.RCPT:
            self._refused_in_a_row += 1
        self._over(envelope, stage, reply)

    def _over(self, envelope: Envelope, stage: Stage, event: Reply | Loss) -> None:
        item = envelope.item
        if item.place is Place.DONE:
            return  # withdrawn meanwhile: whoever withdrew it has counted it
        item.place = Place.DECIDED
        self._unrecorded += 1
        self._judged = envelope
        self._owner.attempt_over(item, stage, event, self)
        self._judged = None

    def conversation(self, stage: Stage, event: Reply | Loss) -> Sequence[Line]:
        """What was said for the attempt that is being reported; nothing at any other time."""
        if self._judged is None:
            return ()
        ending = Ending(stage, event, self._clock_s(), self._why, self._noise)
        pipelining, is_young = self.features.pipelining, not self.accepted
        return attempt_lines(self._judged, ending, pipelining=pipelining, opened=self._opening, is_young=is_young)

    def _unsolicited(self, reply: Reply) -> None:
        if self._current is not None and not self._terminated:
            # An answer before the terminator was handed over decides nothing about acceptance: abort, later.
            current, self._current = self._current, None
            self._over(current, Stage.BODY, reply)
            self._lose(Loss.PROTOCOL, "answer in the middle of the body")
        else:
            self._lose(Loss.CLOSED if reply.code == 421 else Loss.PROTOCOL, f"unasked {reply.code}")

    # -- being told by the recorder

    def recorded(self, item: Item, accepted: bool) -> None:
        self._unrecorded -= 1
        if item is not self._claiming:
            item.run.finished(item)
            self._advance()
            return
        self._claiming = None
        if item.place is Place.ENVELOPE:  # else it was given back meanwhile, and its claim with it
            item.claim_asked = False
            item.claimed = accepted
            if not accepted:
                item.run.finished(item)  # the run still is ours, so something final is known of it
        self._advance()

    def not_recorded(self) -> None:
        """The attempt that was reported leaves no outcome (it goes again at once)."""
        self._unrecorded -= 1

    # -- deciding what to write

    def _advance(self) -> None:
        if self._dead or self._body is None or self._body.is_writing:
            return
        if self._next is not None:
            if self._next.holds_354:
                self._try_body(self._next)
        elif self._current is None and not self._expected:
            if not self._is_spent():
                self._begin()
            elif not self._unrecorded:  # else a crash could repeat more mails than there are open sessions
                self._write(b"QUIT\r\n")
                self._expected.append(Stage.QUIT)
                self._watch()

    def _begin(self) -> None:
        alone = self._needs_rset and not self.features.pipelining  # the envelope follows the answer to RSET
        item = None if alone else self._pull(self._owner.pull)
        if item is None and not alone:
            self.idle_since_s = self._at_s
            self._deadline_s = float("inf")
            self._owner.idle(self)
            return
        lead = b"RSET\r\n" if self._needs_rset else b""
        if lead:
            self._expected.append(None)
        self._needs_rset = False
        self._write(lead + self._open_envelope(item) if item else lead)
        self._watch()

    def _pull(self, pull: Callable[[], Item | None]) -> Item | None:
        """The next item that can go to this receiver, rendered."""
        while not self._is_spent() and (item := pull()) is not None:
            if (why := why_not(item, self.features)) is None:
                self._begun += 1
                return item
            self._owner.refused_locally(item, why)
        return None

    def _is_spent(self) -> bool:
        self._at_s = self._clock_s()
        return (
            self._retiring
            or self._begun >= self._limits.messages
            or self._refused_in_a_row >= REFUSED_IN_A_ROW
            or self._at_s - self._opened_s > self._limits.age_s
        )

    def _open_envelope(self, item: Item) -> bytes:
        """The bytes of its envelope (all of it, or its first step), which from here on is what is expected."""
        item.place = Place.ENVELOPE
        self._next = Envelope(item, self._at_s)
        mail, rcpt = item.commands or (b"", b"")
        self._expected.append(Stage.MAIL)
        if not self.features.pipelining:
            return mail
        self._expected += (Stage.RCPT, Stage.DATA)
        return mail + rcpt + b"DATA\r\n"

    def _try_body(self, envelope: Envelope) -> None:
        item = envelope.item
        if item.place is not Place.ENVELOPE or not item.run.may_start_body():
            # A 354 cannot be taken back: the transaction dies with the connection, and nothing was sent.
            self._next = None
            if item.place is Place.ENVELOPE:
                item.run.give_back(item)
            self._lose(Loss.CLOSED, "withdrawn")
            return
        if self._follow is None and self.features.pipelining:
            self._follow = self._pull(self._owner.pull_behind)
        if item.run.claiming and not item.claimed:
            if self._claiming is None:
                self._claiming = item
                item.claim_asked = True
                self._unrecorded += 1
                self._owner.claim(item, self)
            return
        if self._unrecorded >= (1 if item.run.claiming else self._limits.unrecorded):
            return
        self._current, self._next = envelope, None
        self._terminated = False
        item.place = Place.WIRE
        self._at_s = envelope.body_at_s = self._clock_s()
        if self._body is not None:
            self._body.send(item.render())
        self._watch()

    def _tail(self) -> bytes:
        """The terminator, and behind it the next envelope if one is ready."""
        self._terminated = True
        self._expected.append(Stage.DOT)
        follow, self._follow = self._follow, None
        if follow is None or follow.place is not Place.QUEUED:
            return b".\r\n"
        return b".\r\n" + self._open_envelope(follow)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _watch(self) -> None:
        if self._expected:
            self._deadline_s = self._at_s + DEADLINE_S[self._expected[0]]
        elif self._body is not None and self._body.is_writing:
            self._deadline_s = self._at_s + DEADLINE_S[Stage.BODY]
        else:
            self._deadline_s = float("inf")

    # -- the end

    def _lose(self, loss: Loss, why: str, *, innocent: bool = False) -> None:
        """The connection is over: every item on it comes to its end, once. `innocent`: none of them is the reason."""
        if self._dead:
            return
        self._dead, self._why = True, why
        if self._transport is not None:
            self._transport.abort()
        current, self._current = self._current, None
        waiting, self._next = self._next, None
        follow, self._follow = self._follow, None
        if current is not None:
            if self._terminated or not innocent:
                self._over(current, Stage.DOT if self._terminated else Stage.BODY, loss)
            else:
                current.item.run.give_back(current.item)
        if waiting is not None and waiting.item.place is Place.ENVELOPE:
            self._lose_envelope(waiting, loss, innocent=innocent or current is not None)
        if follow is not None and follow.place is Place.QUEUED:
            self._owner.untouched(follow)
        self._owner.gone(self, why)

    def _lose_envelope(self, envelope: Envelope, loss: Loss, *, innocent: bool) -> None:
        item = envelope.item
        if envelope.refusal is not None:
            self._over(envelope, *envelope.refusal)  # what was read before the loss stands
        elif item.claimed or item.claim_asked:
            item.run.give_back(item)
        elif innocent:
            self._owner.untouched(item)
        elif loss is Loss.CLOSED and envelope.is_innocent:
            item.requeued += 1
            self._owner.untouched(item)
        else:
            self._over(envelope, envelope.awaited, loss)
