"""A run (this process working on one fed chunk, under a lease) and its items (one message each).

job.py makes them, routes hand items to sessions, the recorder reports back. All state is plain attributes changed
between awaits of one loop; nothing here does I/O.

What keeps the accounts: an item that was handed out comes to exactly one end, `finished` or `give_back`; what comes
second changes nothing. An item that came back is handed out again as a new object, so that whoever still holds the old
one (a session with its envelope out) can do no harm with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from mailspool.content.mime import Compiled, Rendered
from mailspool.content.render import RenderError
from mailspool.contract.records import Outcome, Row
from mailspool.contract.states import LEASE_MARGIN_S, LEASE_MS, Class
from mailspool_worker.memory import RenderedMemory


class Place(Enum):
    """Where an item is."""

    QUEUED = "queued"
    """In a route, or nowhere yet: nothing was sent for it."""
    ENVELOPE = "envelope"
    """Its MAIL, RCPT, DATA are out; no byte of the body is."""
    WIRE = "wire"
    """The first byte of its body was written."""
    DECIDED = "decided"
    """What became of it is on its way to the recorder: nobody takes it back any more."""
    DONE = "done"
    """Its outcome is recorded, or it was given back unattempted."""


class Item:
    """One message of a run."""

    __slots__ = (
        "_counted",
        "_domain",
        "_sender",
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
        "unfit",
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
        """A claim is on its way to the recorder."""
        self.commands: tuple[bytes, bytes] | None = None
        """MAIL and RCPT, as the session that pulled it made and checked them."""
        self.plain = False
        self.requeued = 0
        self.unfit: frozenset[str] = frozenset()
        """Relays whose EHLO says that they cannot take it (SIZE, SMTPUTF8)."""
        self._counted = 0
        self._domain: str | None = None
        self._sender: str | None = None

    def once_more(self) -> Item:
        """The same message, to be handed out again."""
        item = Item(self.run, self.index, self.row, self.previous)
        item.plain, item.requeued, item.unfit = self.plain, self.requeued, self.unfit
        return item

    def render(self) -> Rendered:
        """The bytes, kept until `drop`. Raises RenderError."""
        rendered = self.rendered
        if rendered is None:
            run = self.run
            rendered = self.rendered = run.content.render(self.row, run.first_number + self.index)
            self._counted = rendered.size - run.content.shared_bytes(self.row)
            run.means.memory.took(self._counted)
        return rendered

    def drop(self) -> None:
        """The bytes are not needed any more; rendered again they would be the same."""
        if self.rendered is not None:
            self.rendered = None
            self.run.means.memory.gave(self._counted)

    def from_domain(self) -> str:
        """The domain of the return path, which is what a relay is chosen by; empty if it cannot be rendered."""
        if self._domain is None:
            try:
                mail = self.run.content.render(self.row, self.run.first_number + self.index)
                self._domain = mail.mail_from.rpartition("@")[2]
            except (RenderError, ValueError):
                self._domain = ""  # the session that pulls it finds the same and refuses it
        return self._domain

    def sender(self) -> str:
        """The address that a receiver takes or refuses as the sender; empty if it cannot be rendered."""
        if self._sender is None:
            try:
                self._sender = self.run.content.sender(self.row).lower()
            except (RenderError, ValueError):
                self._sender = ""
        return self._sender

    @property
    def shares_sender(self) -> bool:
        """Is its sender that of all messages of the batch?"""
        return self.row.mail_from is None and self.row.raw is None and not self.run.content.from_varies


class Means(NamedTuple):
    """What all runs of a process share. `take_back` records that a claim is void, then calls `run.came_back`; `spread`
    tells the batch's other runs what this one has heard of the batch."""

    boot_s: Callable[[], float]
    memory: RenderedMemory
    take_back: Callable[[Item], None]
    spread: Callable[[Run, str], None]


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
        holds_doubts: bool,
        suspect: bool,
        expires_ms: int,
        means: Means,
    ) -> None:
        self.batch = batch
        self.k = k
        self.token = token
        self.class_ = class_
        self.content = content
        self.first_number = first_number
        self.holds_doubts = holds_doubts
        """on_uncertain="hold": a lost final reply rests as uncertain at once."""
        self.suspect = suspect
        """Its runs were lost three times: one message at a time, claimed before it is rendered."""
        self.claiming = holds_doubts or suspect
        """Every message is claimed before its body."""
        self.expires_ms = expires_ms
        self.expires_boot_s = float("inf")
        self.relay = ""
        """The relay that the batch is pinned to, or empty."""
        self.stop = ""
        """Why nothing more may start: LOST, held, closing, expired, stopping. Empty while the batch is live."""
        self.withdrawn = False
        """Something was taken back from the routes: their lanes may hold what is no longer theirs."""
        self.means = means
        self._boot_s = means.boot_s
        self._lease_ends_s = means.boot_s() + LEASE_MS / 1000
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
        """What record or renew said about the batch. A hold may end; a stop of the process or a lost run does not."""
        if self._learn(state) and self.stop not in ("LOST", "stopping"):
            self.means.spread(self, state)

    def learn_from(self, other: Run, state: str) -> None:
        """Another run of the batch was told so; this one may have nothing under way that would tell it."""
        if other is not self and other.batch == self.batch:
            self._learn(state)

    def _learn(self, state: str) -> bool:
        if state == (self.stop or "live") or self.stop == "LOST" or (self.stop == "stopping" and state != "LOST"):
            return False
        self.stop = "" if state == "live" else state
        if self.stop:
            self.withdraw()
        return True

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
        """Gives back what is not on the wire. A session that holds a 354 for it aborts when it comes to it."""
        for item in self._out:
            if item.place in (Place.QUEUED, Place.ENVELOPE):
                self.withdrawn = True
                self.give_back(item)

    def swap(self, item: Item) -> Item:
        """The same message for another session; the old object is dead, and nothing is counted twice."""
        fresh = item.once_more()
        fresh.claimed, item.claimed = item.claimed, False  # a suspect's claim, made before it went out, goes along
        item.place = Place.DONE
        item.drop()
        self._out.append(fresh)
        return fresh

    def finished(self, item: Item) -> None:
        """Its outcome is recorded."""
        if item.place is not Place.DONE:
            item.place = Place.DONE
            item.drop()
            self._one_less()

    def give_back(self, item: Item) -> None:
        """It was not attempted. With a claim it is back only when that is void, else it would read as uncertain."""
        if item.place is Place.DONE:
            return
        item.place = Place.DONE
        item.drop()
        if item.claimed or item.claim_asked:
            self.means.take_back(item)
        else:
            self.came_back(item)

    def came_back(self, item: Item) -> None:
        self._given_back.append(item)
        self._one_less()

    def _one_less(self) -> None:
        self._pending -= 1
        if self._pending == 0:
            self._out = []  # else run and items refer to each other, and lie in memory until Python looks for circles
            self._quiet.set()

    def take_given_back(self) -> list[Item]:
        back, self._given_back = self._given_back, []
        return [item.once_more() for item in back]

    async def quiet(self) -> None:
        """Until every item that was handed out is finished or given back."""
        await self._quiet.wait()
