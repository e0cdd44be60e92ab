"""What the workers of a spool tell each other of one relay: senders that sleep, and that it was asked for less. Pure.

Belongs to orders.py, which reads the relay's hash once a second (`learn`) and writes what is new here (`news`,
`written`). The last who wrote about a sender is believed; a sender who is no longer in the hash was accepted by
somebody. Raises nothing.
Known limit: the first hundred sleeping senders of a relay are told; a worker learns the others by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from mailspool.contract.routenotes import FORGOTTEN_MS, SENDER, SLOW, Asleep, sleeping_in, slowed_in
from mailspool_worker.clock import RedisClock
from mailspool_worker.routes.condition import Condition

_MOST: Final = 100
_SAME_MS: Final = 1_000
"""The estimate of Redis' clock moves a little; a sleep that ends so much later is the same."""


class News(NamedTuple):
    """Senders to write, senders to take away, and the field `slow` unless it stands."""

    new: dict[str, Asleep]
    gone: set[str]
    slow: str

    def fields(self) -> dict[str, str]:
        """To be written."""
        told = {f"{SENDER}{who}": asleep.encode() for who, asleep in self.new.items()}
        return {**told, SLOW: self.slow} if self.slow else told

    def names(self) -> list[str]:
        """Of fields to be taken away."""
        return [f"{SENDER}{who}" for who in sorted(self.gone)]


class Shared:
    """Of one route."""

    def __init__(self, route: Condition, clock: RedisClock) -> None:
        self._route = route
        self._clock = clock
        self._there: dict[str, Asleep] = {}
        """What the hash holds, as far as is known here."""
        self._over: set[str] = set()
        self._slow_there = ""

    def learn(self, fields: Mapping[str, str]) -> None:
        """`fields`: the relay's hash."""
        now_ms = self._clock.now_ms()
        found = sleeping_in(fields)
        self._over = {who for who, asleep in found.items() if asleep.until_ms + FORGOTTEN_MS < now_ms}
        found = {who: asleep for who, asleep in found.items() if who not in self._over}
        senders = self._route.senders
        for who, known in self._there.items():
            if who not in found and self._is(who, known):
                senders.forget(who)
        fresh = {who: asleep for who, asleep in found.items() if self._there.get(who) != asleep}
        for who, asleep in fresh.items():
            senders.learn(who, self._clock.to_boot_s(asleep.until_ms), asleep.why)
        self._there = found
        if fresh:
            self._route.give_back_sleeping()
        self._slow_there = fields.get(SLOW, "")
        told = slowed_in(fields)
        if told is not None and (self._route.slowed is None or told.at_ms > self._route.slowed.at_ms):
            self._route.learn_slow(told)

    def news(self) -> News:
        here = self._here()
        new = {who: asleep for who, asleep in here.items() if not self._is(who, self._there.get(who))}
        gone = {*(self._there.keys() - self._route.senders.by_name.keys()), *self._over}
        slowed = self._route.slowed
        slow = "" if slowed is None or slowed.encode() == self._slow_there else slowed.encode()
        return News(new, gone, slow)

    def written(self, news: News) -> None:
        """Redis has it."""
        self._there = {who: asleep for who, asleep in (self._there | news.new).items() if who not in news.gone}
        self._over = set()
        self._slow_there = news.slow or self._slow_there

    def _here(self) -> dict[str, Asleep]:
        now_ms, now_s = self._clock.now_ms(), self._clock.boot_s()
        first = list(self._route.senders.by_name.values())[:_MOST]
        return {one.name: Asleep(now_ms + int((one.until_s - now_s) * 1000), one.why) for one in first}

    def _is(self, who: str, known: Asleep | None) -> bool:
        """Is that what is known here, too?"""
        one = self._route.senders.by_name.get(who)
        if one is None or known is None:
            return one is None and known is None
        until_ms = self._clock.now_ms() + int((one.until_s - self._clock.boot_s()) * 1000)
        return abs(until_ms - known.until_ms) <= _SAME_MS
