"""Routes for tests: real ones, with a recorder by hand and a clock to turn."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import cast

from mailspool.contract.moves import Moves
from mailspool.redis_server.link import Link
from mailspool.settings import Relay
from mailspool_worker.bounces import Bounces
from mailspool_worker.clock import RedisClock
from mailspool_worker.conversations import Conversations
from mailspool_worker.events import Events
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.refusals import Refusals
from mailspool_worker.routes.openings import RouteSettings
from mailspool_worker.routes.route import Route, RouteParts
from mailspool_worker.schedule import Schedule
from tests.support.worker_parts import Desk, TestClock

NOW_MS = 1_700_000_000_000


def make_relay(name: str = "main", port: int = 25, changes: Mapping[str, object] | None = None) -> Relay:
    known: dict[str, object] = {"name": name, "host": "127.0.0.1", "port": port, "security": "opportunistic"}
    return Relay(**(known | {"verify": False} | dict(changes or {})))  # type: ignore[arg-type]  # a test's fields


class TalkMoves:
    """Stands for the one move that conversations make."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, list[tuple[int, bytes]]]] = []
        self.answer: int | Exception = 0

    async def talk(self, b: str, most: int, tries: int, talks: list[tuple[int, bytes]]) -> int:
        self.calls.append((b, most, tries, list(talks)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Yard:
    """What routes of one process share."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, largest_bytes: int = 1 << 20) -> None:
        self.boot = TestClock()
        self.clock = RedisClock(self.boot)
        self.clock.observe(NOW_MS)
        self.desk = Desk()
        self.events = Events(None)
        self.memory = RenderedMemory(largest_bytes)
        self.talks = TalkMoves()
        settings = RouteSettings("sender.test", 5.0, 300.0, 15.0, 1, Schedule((300.0, 900.0)), 0.0, tls)
        recorder = self.desk.as_recorder
        refusals = Refusals(recorder, self.clock, self.events)
        self.bounces = Bounces(cast("Link", None), cast("Moves", None), refusals, self.events, suppress=True)
        self.parts = RouteParts(
            settings, recorder, refusals, self.memory, self.clock, self.events,
            Conversations(cast("Moves", self.talks), 1_000, self.events), self.bounces,
        )  # fmt: skip

    def route(self, name: str = "main", port: int = 25, changes: Mapping[str, object] | None = None) -> Route:
        return Route(make_relay(name, port, changes), self.parts)
