"""What people and other workers have written that this worker must know, read once a second in one round trip.

Is any address suppressed? Which relays did somebody pause (`relay:<name>` in `ms:paused`)? Which shall look again at
once (field `resumed` of `ms:route:<name>` changed)? Which senders does a relay not take, and was it asked for less
(routes/shared.py)? What this worker knows of that and the others do not is written (`write`), which costs nothing while
there is no news. app.py calls `read` before the first job and then both once a second, and gives batches that waited
for a route their chance when `read` answers True. Raises what redis-py raises; nothing is changed then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from redis.exceptions import ResponseError

from mailspool.contract.keys import Keys
from mailspool.redis_server.broken import broken
from mailspool.redis_server.link import Link
from mailspool_worker.bounces import Bounces
from mailspool_worker.clock import RedisClock
from mailspool_worker.routes.choice import Routes
from mailspool_worker.routes.shared import Shared

_RELAY: Final = b"relay:"


class Orders:
    """Belongs to one worker; `routes` and `bounces` are told what was read."""

    def __init__(self, link: Link, keys: Keys, routes: Routes, bounces: Bounces, clock: RedisClock) -> None:
        self._link = link
        self._keys = keys
        self._routes = tuple(routes)
        self._bounces = bounces
        self._shared = [Shared(route, clock) for route in self._routes]
        self._resumed: dict[str, str | None] = {}

    async def read(self) -> bool:
        """True: a route that was closed may be tried again, by somebody's wish."""
        pipeline = self._link.redis.pipeline(transaction=False)
        pipeline.hlen(self._keys.suppressed)
        pipeline.hgetall(self._keys.paused)
        for route in self._routes:
            pipeline.hgetall(self._keys.route(route.relay.name))
        suppressed, paused, *told = await pipeline.execute(raise_on_error=False)
        for key, answer in (
            (self._keys.suppressed, suppressed),
            (self._keys.paused, paused),
            *(("", one) for one in told if not isinstance(one, ResponseError)),
        ):
            if isinstance(answer, Exception):
                raise broken(answer, self._link.name, key) or answer
        self._bounces.any_suppressed = bool(suppressed)
        woken = False
        for route, shared, fields in zip(self._routes, self._shared, map(_texts, told), strict=True):
            name = route.relay.name
            shared.learn(fields)
            if route.pause_by_hand(on=_RELAY + name.encode() in paused):
                woken = True
            count = fields.get("resumed")
            if self._resumed.setdefault(name, count) != count:
                self._resumed[name] = count
                route.probe_now()
                woken = True
        return woken

    async def write(self) -> None:
        """What the other workers do not know yet; if that fails, the next second tries again."""
        for route, shared in zip(self._routes, self._shared, strict=True):
            news, key = shared.news(), self._keys.route(route.relay.name)
            if not any(news):
                continue
            pipeline = self._link.redis.pipeline(transaction=False)
            if news.fields():
                pipeline.hset(key, mapping=news.fields())
            if news.gone:
                pipeline.hdel(key, *news.names())
            await pipeline.execute()
            shared.written(news)


def _texts(fields: object) -> dict[str, str]:
    """Nothing for a relay whose record somebody else has spoiled: mail goes on."""
    found = {} if isinstance(fields, Exception) else cast("Mapping[bytes, bytes]", fields)
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in found.items()}
