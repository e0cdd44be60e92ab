"""What a route knows of its receiver, and whether it is open: health, width, pace, sleeping senders, a person's pause.

The base of `Route` (route.py), which brings sessions to it. Decisions are plan.py's and senders.py's; here they are
kept, told in the log, and what waits in the lanes is given back when they close something. Raises nothing.
Sleeping senders, and that it was asked for less, come from other workers, too (shared.py).
Known limit: health is this process' own, and so is each worker's share of rate and sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mailspool.contract.routenotes import Slowed
from mailspool.settings import Relay
from mailspool_worker.classify import Verdict
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.routes import plan
from mailspool_worker.routes.lanes import Lanes
from mailspool_worker.routes.senders import Senders
from mailspool_worker.runs import Item

PAUSES: Final = frozenset(("pause-route", "blocked"))
_BY_HAND_S: Final = 60.0
"""How soon a chunk looks again at a relay that somebody has paused; `resume` does not wait for it."""


class Condition:
    """`relay` and its state."""

    def __init__(self, relay: Relay, clock: RedisClock, events: Events) -> None:
        self.relay = relay
        self.health = plan.Health()
        self.lanes = Lanes()
        self.senders = Senders()
        self._clock = clock
        self._events = events
        self._width = plan.Width(relay.max_sessions, relay.max_sessions)
        self._pace = plan.Pace(relay.rate_per_s)
        self.slowed: Slowed | None = None
        """When it was last asked for less, by this worker or another one."""
        self._by_hand = False
        self._stopping = False

    @property
    def rate_per_s(self) -> float | None:
        """What it keeps to now: as configured, or less."""
        return self._pace.rate_per_s

    def is_closed(self) -> bool:
        return self._stopping or self._by_hand or self.health.is_closed(self._clock.boot_s())

    def is_closed_for(self, item: Item) -> bool:
        """Closed, or its sender sleeps here."""
        now_s = self._clock.boot_s()
        if self._stopping or self._by_hand or self.health.is_closed(now_s):
            return True
        return bool(self.senders.by_name) and self.senders.sleeps(item, now_s)

    def closed_for_s(self, item: Item | None = None) -> float:
        now_s = self._clock.boot_s()
        sender_s = self.senders.left_s(item, now_s) if item is not None else 0.0
        return max(self.health.until_s - now_s, sender_s, _BY_HAND_S if self._by_hand else 0.0)

    def why_not(self, item: Item) -> str:
        """Why an open route does not take it, for people; empty if its sender does not sleep."""
        why = self.senders.why(item)
        return f"relay {self.relay.name} does not take the sender {why}" if why else ""

    def behind_a_probe(self, items: Sequence[Item]) -> list[Item]:
        """Those that wait for their sender's probe; one message of each sender whose sleep is over goes."""
        now_s = self._clock.boot_s()
        return [item for item in items if not self.senders.admit(item, now_s)]

    # -- learning

    def _slower(self, why: str, *, one: bool) -> bool:
        """Half the sessions, and half the rate where there is one. False: it was asked to a moment ago."""
        now_s = self._clock.boot_s()
        was, self._width = self._width, self._width.slower(now_s, one=one)
        halved = self._pace.slower(now_s)
        changed = self._width is not was or halved
        if changed:
            self._events.route_slowed(self.relay.name, self._width.allowed, self._pace.rate_per_s, why)
            whole_s = max(self._width.whole_at_s(), self._pace.whole_at_s()) - now_s
            at_ms = self._clock.now_ms()
            until_ms = at_ms + int(whole_s * 1000)
            self.slowed = Slowed(at_ms, until_ms, self._width.allowed, self._pace.rate_per_s, why)
        return changed

    def learn_slow(self, told: Slowed) -> None:
        """Another worker, or this one before its restart, was asked for less; what has grown back since is kept."""
        self.slowed = told
        now_s = self._clock.boot_s()
        at_s = min(now_s, self._clock.to_boot_s(told.at_ms))
        self._width = self._width.told(told.sessions, at_s).grown(now_s)
        self._pace.told(told.rate_per_s, at_s)
        self._pace.grow(now_s)

    def _close(self, verdict: Verdict, why: str, cure: plan.Cure) -> None:
        now_s = self._clock.boot_s()
        was = self.health
        self.health = plan.trouble(
            self.health,
            now_s,
            why,
            pause_s=verdict.pause_s or plan.BREAKER_S,
            limit_s=verdict.pause_limit_s or (verdict.pause_s or plan.BREAKER_LIMIT_S),
            paused=verdict.action in PAUSES,
            cure=cure,
        )
        if self.health is was:
            return
        self._events.route_closed(self.relay.name, self.health.state, why, self.health.until_s - now_s)
        self._give_back_all()

    def _give_back_all(self) -> None:
        for item in self.lanes.take_all():
            item.run.give_back(item)

    def _hold_sender(self, item: Item, verdict: Verdict, why: str) -> None:
        now_s, sleep_s = self._clock.boot_s(), verdict.pause_s or plan.BREAKER_S
        whole = verdict.reason == "sender_check"
        name = self.senders.refused(item.sender(), now_s, why, sleep_s=sleep_s, whole_domain=whole)
        if not name:
            return
        self._events.sender_held(self.relay.name, name, why, sleep_s)
        self.give_back_sleeping()

    def give_back_sleeping(self) -> None:
        """What waits in the lanes though its sender sleeps now."""
        now_s = self._clock.boot_s()
        for waiting in self.lanes.take_all():
            if self.senders.sleeps(waiting, now_s):
                waiting.run.give_back(waiting)
            else:
                self.lanes.put((waiting,))

    def pause_by_hand(self, *, on: bool) -> bool:
        """Somebody's pause: what is on the wire finishes. True: it was paused, and is no more.

        `ms:paused` is where people see it, also when no worker lives; the route's own health stays what it is.
        """
        was, self._by_hand = self._by_hand, on
        if on and not was:
            why = f"by a person; to go on: mailspool relay resume {self.relay.name}"
            self._events.route_paused(self.relay.name, why)
            self._give_back_all()
        elif was and not on:
            self._events.route_open(self.relay.name)
        return was and not on

    def probe_now(self) -> None:
        """Somebody says that it is worth a try: neither the route nor its senders sleep on."""
        now_s = self._clock.boot_s()
        self.senders.probe_now(now_s)
        self.health = plan.awake(self.health, now_s)

    def _well(self, sign: plan.Cure) -> None:
        was, self.health = self.health, plan.well(self.health, self._clock.boot_s(), sign)
        if self.health is not was:
            self._events.route_open(self.relay.name)
