"""The decisions that need more than one session to make: how often a recipient was tried, which RCPT is the N-th.

One per receiver, used by every dialogue.py. No I/O, no clock. It outlives stop_listening and drop_sessions, so "the
first three tries" counts over reconnects. Known limit: it remembers every recipient whose order counts tries, and
every triplet.
"""

from __future__ import annotations

from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.orders import Order, orders


class Policy:
    """Server-wide counters and what follows from them."""

    def __init__(self, options: ReceiverOptions) -> None:
        self.options = options
        self._tries: dict[str, int] = {}
        self._rcpts = 0
        self._mails = 0
        self._accepted = 0
        self._triplets: dict[tuple[str, str, str], int] = {}

    def next_number(self) -> int:
        """The number of the next mail. A mail that cannot be kept leaves a gap."""
        self._mails += 1
        return self._mails

    def refused_by_count(self) -> bool:
        """Counts one more well-formed RCPT; is it an N-th one?"""
        self._rcpts += 1
        every = self.options.refuse_every
        return every is not None and every > 0 and self._rcpts % every == 0

    def accept(self) -> None:
        """One more mail was taken."""
        self._accepted += 1

    def over_quota(self) -> bool:
        """Were as many mails taken as may be?"""
        quota = self.options.quota
        return quota is not None and self._accepted >= quota

    def greylisted_for_s(self, client: str, sender: str, recipient: str, now_ms: int) -> float:
        """How long this triplet has to wait yet; 0 once it may pass."""
        if self.options.greylist_s is None:
            return 0.0
        first_ms = self._triplets.setdefault((client, sender.lower(), recipient.lower()), now_ms)
        return max(0.0, self.options.greylist_s - (now_ms - first_ms) / 1000)

    def order_for(self, recipient: str) -> Order | None:
        """What the recipient's local part orders, or the receiver's temper where it has one."""
        temper = self.options.temper
        return orders(recipient.rpartition("@")[0]) if temper is None else temper(recipient)

    def obeyed(self, order: Order, recipient: str, accepted_in_session: int) -> bool:
        """Is the order in force at this try? Counts the try where the order is about tries."""
        if accepted_in_session < order.after:
            return False
        if order.tries is None:
            return True
        address = recipient.lower()
        tries = self._tries.get(address, 0) + 1
        self._tries[address] = tries
        return tries <= order.tries
