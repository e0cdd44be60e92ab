"""One message's MAIL, RCPT and DATA as they are answered: the first refusal decides, the rest is only counted.

It also is the bounded record of what was said for this message: the replies and their times, by reference; what was
written stands in the item. `conversation.py` makes lines of it where an attempt fails.
"""

from __future__ import annotations

from typing import Final

from mailspool.content.render import RenderError
from mailspool_worker.classify import Stage
from mailspool_worker.runs import Item
from mailspool_worker.smtp import transaction
from mailspool_worker.smtp.replies import Reply

_REQUEUES: Final = 2
"""How often a message whose envelope died with its connection is taken as innocent."""
_STAGES: Final = (Stage.MAIL, Stage.RCPT, Stage.DATA)


class Envelope:
    """`item` is on its way to a 354, or beyond. Replies come in the order of the commands (RFC 2920)."""

    __slots__ = (
        "_unwanted",
        "accepted",
        "body_at_s",
        "heard",
        "holds_354",
        "item",
        "must_abort",
        "needs_lone_dot",
        "opened_at_s",
        "refusal",
    )

    def __init__(self, item: Item, opened_at_s: float = 0.0) -> None:
        self.item = item
        self.opened_at_s = opened_at_s
        self.body_at_s: float | None = None
        """When the first byte of its body was written."""
        self.heard: list[tuple[float, Reply]] = []
        """What answered MAIL, RCPT and DATA, and when."""
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

    @property
    def awaited(self) -> Stage:
        """The command whose reply is the next one."""
        return _STAGES[min(len(self.heard), 2)]

    @property
    def is_innocent(self) -> bool:
        """The connection was closed between messages, or while it waited for us."""
        return self.item.requeued < _REQUEUES and (self.holds_354 or not self.heard)

    def take(self, stage: Stage, reply: Reply, at_s: float = 0.0) -> None:
        self.heard.append((at_s, reply))
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


def why_not(item: Item, features: transaction.Features) -> str | None:
    """Renders the item and makes its commands. Why this receiver cannot take it: None, or words (owner.py)."""
    try:
        rendered = item.render()
        mail = transaction.mail_command(rendered, features, plain=item.plain)
        item.commands = (mail, transaction.rcpt_command(item.row.recipient))
    except (RenderError, ValueError) as error:
        return f"render: {error}"
    return transaction.why_not(rendered, features)
