"""What people and other workers have written that this worker must know, read once a second in one round trip.

Is any address suppressed? Which relays did somebody pause (`relay:<name>` in `ms:paused`)? Which shall look again at
once (field `resumed` of `ms:route:<name>` changed)? app.py calls `read` before the first job and then once a second,
and gives batches that waited for a route their chance when it answers True.
Raises what redis-py raises; nothing is changed then.
"""

from __future__ import annotations

from typing import Final, cast

from mailspool.contract.keys import Keys
from mailspool.redis_server.link import Link
from mailspool_worker.bounces import Bounces
from mailspool_worker.routes.choice import Routes

_RELAY: Final = b"relay:"


class Orders:
    """Belongs to one worker; `routes` and `bounces` are told what was read."""

    def __init__(self, link: Link, keys: Keys, routes: Routes, bounces: Bounces) -> None:
        self._link = link
        self._keys = keys
        self._routes = routes
        self._bounces = bounces
        self._resumed: dict[str, bytes | None] = {}

    async def read(self) -> bool:
        """True: a route that was closed may be tried again, by somebody's wish."""
        pipeline = self._link.redis.pipeline(transaction=False)
        pipeline.hlen(self._keys.suppressed)
        pipeline.hgetall(self._keys.paused)
        routes = tuple(self._routes)
        for route in routes:
            pipeline.hget(self._keys.route(route.relay.name), "resumed")
        suppressed, paused, *resumed = await pipeline.execute()
        self._bounces.any_suppressed = bool(suppressed)
        woken = False
        for route, count in zip(routes, cast("list[bytes | None]", resumed), strict=True):
            name = route.relay.name
            if route.pause_by_hand(on=_RELAY + name.encode() in paused):
                woken = True
            if self._resumed.setdefault(name, count) != count:
                self._resumed[name] = count
                route.probe_now()
                woken = True
        return woken
