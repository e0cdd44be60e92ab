"""A run (this process working on one fed chunk, under a lease) and its items (one message each).

job.py makes them, routes hand items to sessions, the recorder reports back. All state is plain attributes changed
between awaits of one loop; nothing here does I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum

from mailspool.content.mime import Compiled, Rendered
from mailspool.content.render import RenderError
from mailspool.contract.records import Outcome, Row
from mailspool.contract.states import LEASE_MARGIN_S, LEASE_MS, Class


class Place(Enum):
    """Where an item is."""

    QUEUED = "queued"
    """In a route, or nowhere yet: nothing was sent for it."""
    ENVELOPE = "envelope"
    """Its MAIL, RCPT, DATA are out; no byte of the body is."""
    WIRE = "wire"
    """The first byte of its body was written."""
    DONE = "done"
    """Its outcome is recorded, or it was given back unattempted."""


class Item:
    """One message of a run."""

    __slots__ = (
        "claim_asked",
        "claimed",
        "commands",
        "index",
        "place",
        "plain",
        "previous",
        "rendered",
        "requeued",
        "row",
        "run",
    )

    def __init__(self, run: Run, index: int, row: Row, previous: Outcome | None) -> None:
        self.run = run
        self.index = index
        self.row = row
        self.previous = previous
        self.rendered: Rendered | None = None
        self.place = Place.QUEUED
        self.claimed = False
        self.claim_asked = False
        self.commands: tuple[bytes, bytes] | None = None
        """MAIL and RCPT, as the session that pulled it made and checked them."""
        self.plain = False
        self.requeued = 0

    def render(self) -> Rendered:
        """The bytes; made once an attempt. Raises RenderError."""
        if self.rendered is None:
            self.rendered = self.run.content.render(self.row, self.run.first_number + self.index)
        return self.rendered

    def from_domain(self) -> str:
        """The domain of the return path, which is what a relay is chosen by; empty if it cannot be rendered."""
        try:
            return self.render().mail_from.rpartition("@")[2]
        except (RenderError, ValueError):
            return ""  # the session that pulls it finds the same and refuses it


class Run:
    """One worker on one fed chunk. `token` is the whole `<gen>:<worker>.<random>`."""

    def __init__(
        self,
        batch: str,
        k: int,
        token: str,
        class_: Class,
        content: Compiled,
        *,
        first_number: int,
        claiming: bool,
        holds_doubts: bool,
        expires_ms: int,
        boot_s: Callable[[], float],
    ) -> None:
        self.batch = batch
        self.k = k
        self.token = token
        self.class_ = class_
        self.content = content
        self.first_number = first_number
        self.claiming = claiming
        """Every message is claimed before its body (on_uncertain="hold", or a suspect chunk)."""
        self.holds_doubts = holds_doubts
        """on_uncertain="hold": a lost final reply rests as uncertain at once."""
        self.expires_ms = expires_ms
        self.expires_boot_s = float("inf")
        self.relay = ""
        """The relay that the batch is pinned to, or empty."""
        self.stop = ""
        """Why nothing more may start: LOST, held, closing, expired, stopping. Empty while the batch is live."""
        self.detached = False
        self._boot_s = boot_s
        self._lease_ends_s = boot_s() + LEASE_MS / 1000
        self._out: list[Item] = []
        self._pending = 0
        self._given_back: list[Item] = []
        self._quiet: asyncio.Event = asyncio.Event()
        self._quiet.set()

    @property
    def ref(self) -> tuple[str, int, str]:
        return (self.batch, self.k, self.token)

    def renewed(self, asked_at_s: float) -> None:
        """The lease runs from when the renewal was asked for, not from when it was answered."""
        self._lease_ends_s = asked_at_s + LEASE_MS / 1000

    def take_state(self, state: str) -> None:
        """What record or renew said about the batch. A run that was lost stays lost; a hold may end."""
        if self.stop not in ("LOST", "stopping") and state != (self.stop or "live"):
            self.stop = "" if state == "live" else state
            if self.stop:
                self.withdraw()

    def may_start_body(self) -> bool:
        """Checked directly before the first byte of each body."""
        now = self._boot_s()
        return not self.stop and now + LEASE_MARGIN_S < self._lease_ends_s and now < self.expires_boot_s

    # -- counting items in and out

    @property
    def pending(self) -> int:
        return self._pending

    def hand_out(self, items: Sequence[Item]) -> None:
        self._out = [item for item in self._out if item.place is not Place.DONE]
        self._out += items
        self._pending += len(items)
        if items:
            self._quiet.clear()

    def withdraw(self) -> None:
        """Gives back what is not on the wire. A session that holds a 354 for such an item aborts when it comes to it.

        Not what is claimed, or about to be: its session takes the claim back first.
        """
        for item in self._out:
            if item.place in (Place.QUEUED, Place.ENVELOPE) and not item.claimed and not item.claim_asked:
                self.give_back(item)

    def finished(self, item: Item) -> None:
        """Its outcome is recorded."""
        item.place = Place.DONE
        item.rendered = None
        self._one_less()

    def give_back(self, item: Item) -> None:
        """It was not attempted."""
        if item.place is Place.DONE:
            return
        item.place = Place.DONE
        item.rendered = None
        self._given_back.append(item)
        self._one_less()

    def _one_less(self) -> None:
        self._pending -= 1
        if self._pending == 0:
            self._quiet.set()

    def take_given_back(self) -> list[Item]:
        back, self._given_back = self._given_back, []
        for item in back:
            item.place = Place.QUEUED
        return back

    async def quiet(self) -> None:
        """Until every item that was handed out is finished or given back."""
        await self._quiet.wait()
