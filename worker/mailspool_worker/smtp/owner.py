"""The seam between deciding what to send and sending it: what a session asks of its route (routes/route.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mailspool_worker.classify import Loss, Stage
from mailspool_worker.runs import Item
from mailspool_worker.smtp.replies import Reply

if TYPE_CHECKING:
    from mailspool_worker.smtp.session import Session


class Owner(Protocol):
    """What a session asks of its route (routes/route.py)."""

    def pull(self) -> Item | None:
        """The next item in fair order, or None: no work, no rate left, or the route is closed."""

    def pull_behind(self) -> Item | None:
        """The same for one that shall wait behind a body: None also while a free session could take it at once."""

    def attempt_over(self, item: Item, stage: Stage, event: Reply | Loss, session: Session) -> None:
        """The attempt's verdict is due: classify and record; `session.recorded` follows."""

    def refused_locally(self, item: Item, why: str) -> None:
        """It cannot go to this receiver, or cannot be rendered; nothing was sent for it."""

    def untouched(self, item: Item) -> None:
        """Nothing was sent for it, or nothing that counts: another session may take it."""

    def claim(self, item: Item, session: Session) -> None:
        """Record a claim; `session.recorded` follows."""

    def idle(self, session: Session) -> None: ...

    def gone(self, session: Session, why: str) -> None: ...


REFUSED_IN_A_ROW: Final = 5
"""Postfix sleeps a second for each refused recipient from the tenth on, and closes at the twentieth."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session is done: for load balancers, as Postfix and KumoMTA do."""

    messages: int
    age_s: float
    unrecorded: int
