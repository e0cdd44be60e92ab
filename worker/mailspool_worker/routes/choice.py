"""Which route a message takes: by weight at its first attempt, then the one that gave the 4xx.

Greylisting remembers who came first. Another relay is tried only when that one is closed (connect, handshake, login or
quota trouble) or cannot take the message at all (SIZE, SMTPUTF8), never because of a verdict on the message. `backup`
relays are used only while no other is open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from mailspool_worker.routes.route import Route
from mailspool_worker.runs import Item, Run

_LEAST_LATER_MS = 1_000
_LEAST_BEHIND_A_PROBE_MS = 5_000
"""A sender's probe is under way: its other messages need not come back every second."""
_WORDS = 300
_RATE_LATER_LIMIT_S = 15.0
"""A chunk that found no room in a rate looks again this soon at the latest: a batch may have ended meanwhile."""


class Blocked(NamedTuple):
    """Why messages of a run were not handed out, and when to look again: the last arguments of settle."""

    later_ms: int
    why: Literal["rate", "closed"]
    scope: Literal["chunk", "batch"]
    words: str = ""
    """Who keeps it closed, where that is not a whole relay: a sender that sleeps."""


class Assigned(NamedTuple):
    """Who takes what, what nobody took, and why."""

    placed: list[tuple[Route, list[Item]]]
    stay: list[Item]
    blocked: Blocked | None


class Routes:
    """All routes of a process, by relay name."""

    def __init__(self, routes: Mapping[str, Route], rand: random.Random | None = None) -> None:
        self.by_name = dict(routes)
        self._rand = rand or random.Random()  # noqa: S311 - a choice of relay is no secret
        for route in routes.values():
            route.has_another = self.has_another

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.by_name)

    def __iter__(self) -> Iterator[Route]:
        return iter(list(self.by_name.values()))

    def assign(self, run: Run, items: Sequence[Item], left_s: float) -> Assigned:
        """Chooses routes and asks each how many it takes within `left_s`; puts nothing into them."""
        wanted: dict[Route, list[Item]] = {}
        stay: list[Item] = []
        only = self._only(run)
        for item in items:
            route = self.choose(item) if only is None or item.unfit else only
            if route is None:
                stay.append(item)
            else:
                wanted.setdefault(route, []).append(item)
        blocked = self._closed_for(stay[0]) if stay else None
        placed: list[tuple[Route, list[Item]]] = []
        for route, group in wanted.items():
            room = route.grant(group[0], len(group), left_s)
            if room < len(group):
                stay += group[room:]
                blocked = Blocked(self._later_ms(route), "rate", "batch")
            taken = group[:room]
            if route.senders.by_name and (kept := route.behind_a_probe(taken)):
                taken = [item for item in taken if item not in kept]
                stay += kept
                blocked = self._closed_for(kept[0])
            if taken:
                placed.append((route, taken))
        if blocked is not None and placed:
            blocked = blocked._replace(scope="chunk")
        return Assigned(placed, stay, blocked)

    def forget(self, run: Run) -> None:
        for route in self.by_name.values():
            route.lanes.forget(run)

    def choose(self, item: Item) -> Route | None:
        fit = [route for route in self.by_name.values() if self._fits(route, item)]
        if item.previous is not None and item.previous.relay:
            for route in fit:
                if route.relay.name == item.previous.relay and not route.is_closed_for(item):
                    return route
        usable = [route for route in fit if not route.is_closed_for(item)]
        usable = [route for route in usable if not route.relay.backup] or usable
        if not usable:
            return None
        if len(usable) == 1:
            return usable[0]
        return self._rand.choices(usable, weights=[route.relay.weight for route in usable])[0]

    def _only(self, run: Run) -> Route | None:
        """The one route that there is, if it takes whatever this run has: then nobody need ask mail by mail."""
        if len(self.by_name) != 1:
            return None
        (route,) = self.by_name.values()
        if route.relay.from_domains or run.relay not in ("", route.relay.name) or route.senders.by_name:
            return None
        return None if route.is_closed() else route

    def has_another(self, item: Item) -> bool:
        """Is there a route for this message that does not say it cannot take it?"""
        return any(self._fits(route, item) for route in self.by_name.values())

    def _fits(self, route: Route, item: Item) -> bool:
        if route.relay.name in item.unfit:
            return False
        if item.run.relay:
            return route.relay.name == item.run.relay
        domains = route.relay.from_domains
        return not domains or item.from_domain() in domains

    def _closed_for(self, item: Item) -> Blocked:
        fit = [route for route in self.by_name.values() if self._fits(route, item)]
        later_ms = int(min((route.closed_for_s(item) for route in fit), default=60.0) * 1000)
        words = "; ".join(why for route in fit if not route.is_closed() and (why := route.why_not(item)))
        if not words:
            return Blocked(max(_LEAST_LATER_MS, later_ms), "closed", "batch")
        scope: Literal["chunk", "batch"] = "batch" if item.shares_sender else "chunk"
        return Blocked(max(_LEAST_BEHIND_A_PROBE_MS, later_ms), "closed", scope, words[:_WORDS])

    @staticmethod
    def _later_ms(route: Route) -> int:
        rate = route.rate_per_s or 1.0
        return max(_LEAST_LATER_MS, int(min(_RATE_LATER_LIMIT_S, len(route.lanes) / rate / 2) * 1000))
