"""`Worker`: the engine inside somebody's own program, `async with Spool() as spool, Worker(spool): ...`.

Serves the whole spool while it is open, transactional first. Raises ConfigError without a relay, and what opening a
Redis raises. Writes no log lines of its own unless a logger is given.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Protocol

import structlog

from mailspool.contract.states import CLASSES, Class
from mailspool.redis_server.link import Link
from mailspool.settings import Settings
from mailspool_worker.app import Engine
from mailspool_worker.events import Events


class HasSettings(Protocol):
    """A Spool, of whichever kind."""

    @property
    def settings(self) -> Settings: ...


class Worker:
    """`spool`: a Spool whose settings it takes, Settings, or nothing (then it reads them itself)."""

    def __init__(
        self,
        spool: HasSettings | Settings | None = None,
        /,
        *,
        classes: Sequence[Class] = CLASSES,
        tls: ssl.SSLContext | None = None,
        logger: structlog.typing.FilteringBoundLogger | None = None,
    ) -> None:
        if spool is None:
            self.settings = Settings()
        else:
            self.settings = spool if isinstance(spool, Settings) else spool.settings
        self._classes = classes
        self._tls = tls
        self._logger = logger
        self.link: Link | None = None
        self.engine: Engine | None = None

    async def open(self) -> None:
        """Returns when it works."""
        link = Link(self.settings)
        events = Events(self._logger)
        Engine.refuse_without_relay(self.settings)
        await link.open()
        engine = Engine(self.settings, link, events, classes=self._classes, tls=self._tls)
        try:
            await engine.open()
        except BaseException:
            await link.close()
            raise
        self.link, self.engine = link, engine

    async def close(self) -> None:
        """Finishes what is on the wire, within `stop_timeout`."""
        engine, self.engine = self.engine, None
        link, self.link = self.link, None
        if engine is not None:
            await engine.close()
        if link is not None:
            await link.close()

    async def __aenter__(self) -> Worker:
        await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()
