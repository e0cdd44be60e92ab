"""Senders that a receiver does not take: each sleeps for itself, the others go on over the same route. Pure.

A sender is an address; what fails a check of a domain (SPF, DKIM, DMARC) is that domain, and so is one of which
`_OF_A_DOMAIN` addresses sleep (return paths that are made for each row). After the sleep one message probes; only an
accepted one shows that it is over. Time (boot clock seconds) is passed in.
What is known here is told to the other workers, and to this one after a restart (shared.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailspool_worker.runs import Item, Place

_OF_A_DOMAIN: Final = 3
_MOST: Final = 1_000
"""Sleepers remembered: a list of so many refused senders is somebody's mistake; the oldest is asked again."""
_PROBE_LIMIT_S: Final = 900.0
"""Longer than the slowest reply may take: a probe that nobody has heard of since does not keep its sender for ever."""


@dataclass(slots=True)
class _Sleeper:
    """`name`: an address, or a domain with its `@`."""

    name: str
    until_s: float
    why: str
    probe: Item | None = None
    probed_s: float = 0.0

    def is_free(self, now_s: float) -> bool:
        """May one message go now?"""
        if now_s < self.until_s:
            return False
        return self.probe is None or self.probe.place is Place.DONE or now_s - self.probed_s > _PROBE_LIMIT_S


class Senders:
    """Those of one route."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Sleeper] = {}
        """Empty while all are taken: whoever has many messages at hand looks here first."""

    def refused(self, sender: str, now_s: float, why: str, *, sleep_s: float, whole_domain: bool) -> str:
        """Answers who sleeps now; nothing if that one slept already, or is the empty sender."""
        known = self._of(sender)
        if not sender or (known is not None and now_s < known.until_s):
            return ""  # others of it were under way
        domain = _domain(sender)
        of_domain = [one for one in self.by_name if one != sender and _domain(one) == domain]
        if whole_domain or len(of_domain) >= _OF_A_DOMAIN - 1:
            name = domain
            for one in (*of_domain, sender):
                self.by_name.pop(one, None)
        else:
            name = sender if known is None else known.name
            self.by_name.pop(name, None)
        self.by_name[name] = _Sleeper(name, now_s + sleep_s, why)
        if len(self.by_name) > _MOST:
            del self.by_name[next(iter(self.by_name))]
        return name

    def accepted(self, sender: str) -> str:
        """One was accepted: who is awake again, or nothing."""
        known = self._of(sender)
        if known is None:
            return ""
        del self.by_name[known.name]
        return known.name

    def sleeps(self, item: Item, now_s: float) -> bool:
        known = self._of(item.sender())
        return known is not None and known.probe is not item and not known.is_free(now_s)

    def admit(self, item: Item, now_s: float) -> bool:
        """As `not sleeps`, and the first after a sleep is its sender's probe."""
        known = self._of(item.sender())
        if known is None or known.probe is item:
            return True
        if not known.is_free(now_s):
            return False
        known.probe, known.probed_s = item, now_s
        return True

    def left_s(self, item: Item, now_s: float) -> float:
        known = self._of(item.sender())
        return 0.0 if known is None else max(0.0, known.until_s - now_s)

    def why(self, item: Item) -> str:
        known = self._of(item.sender())
        return "" if known is None else f"{known.name.removeprefix('@')}: {known.why}"

    def probe_now(self, now_s: float) -> None:
        for known in self.by_name.values():
            known.until_s = min(known.until_s, now_s)

    def learn(self, name: str, until_s: float, why: str) -> None:
        """Another worker tells of one that sleeps, or sleeps longer, or less long."""
        known = self.by_name.get(name)
        if known is not None:
            known.until_s, known.why = until_s, why
        elif len(self.by_name) < _MOST:
            self.by_name[name] = _Sleeper(name, until_s, why)

    def forget(self, name: str) -> None:
        """Another worker knows that it is awake."""
        self.by_name.pop(name, None)

    def _of(self, sender: str) -> _Sleeper | None:
        return self.by_name.get(sender) or self.by_name.get(_domain(sender))


def _domain(sender: str) -> str:
    return sender[sender.rfind("@") :] if "@" in sender else "@"
