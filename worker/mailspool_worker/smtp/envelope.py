"""One message's MAIL, RCPT and DATA as they are answered: the first refusal decides, the rest is only counted."""

from __future__ import annotations

from mailspool_worker.classify import Stage
from mailspool_worker.runs import Item
from mailspool_worker.smtp.replies import Reply


class Envelope:
    """`item` is on its way to a 354. Replies come in the order of the commands (RFC 2920)."""

    __slots__ = ("_unwanted", "accepted", "holds_354", "item", "must_abort", "needs_lone_dot", "refusal", "replies")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.replies = 0
        self.refusal: tuple[Stage, Reply] | None = None
        self.accepted = False
        """The recipient is; the sender may not be."""
        self._unwanted = False
        """The recipient was refused in so many words (4xx, 5xx)."""
        self.holds_354 = False
        self.needs_lone_dot = False
        """A 354 although the recipient was refused: a lone dot ends it (RFC 2920 3.1). With one it would deliver."""
        self.must_abort = False
        """A 354 for a recipient that was, or may have been, accepted: a dot might deliver an empty mail."""

    def take(self, stage: Stage, reply: Reply) -> None:
        self.replies += 1
        if stage is Stage.DATA:
            positive = 300 <= reply.code < 400
            self.holds_354 = positive and self.accepted and self.refusal is None
            self.needs_lone_dot = positive and self._unwanted
            self.must_abort = positive and not self._unwanted and self.refusal is not None
            if 200 <= reply.code < 300:
                # Nothing answers DATA with a 2xx: it is another command's reply, one too many came before it, and so
                # the refusal that was read may be about another message.
                self.refusal = (stage, reply)
        else:
            positive = 200 <= reply.code < 300
            if stage is Stage.RCPT:
                self.accepted, self._unwanted = positive, reply.code >= 400
        if not positive and self.refusal is None:
            self.refusal = (stage, reply)
