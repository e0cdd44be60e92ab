"""One worker process: what it is made of, how it starts, when it ends, in which order it stops.

`Engine` is used by the command line (a process of its own) and by `Worker` (inline, in somebody's program).
Stopping: nothing new is picked or fed; what is on the wire finishes, or is aborted at `stop_timeout`; outcomes are
recorded; chunks are given back; then the connections go. Raises ConfigError (no relay) and what `Link.open` raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

import hiredis
from redis.exceptions import RedisError

from mailspool.contract.keys import Keys
from mailspool.contract.moves import Arg, Moves, RedisCaller
from mailspool.contract.scripts import scripts
from mailspool.contract.states import CLASSES, VERSIONS_SERVED, Class
from mailspool.contract.talks import Line, Talk, talk_text
from mailspool.errors import ConfigError
from mailspool.redis_server.broken import is_broken
from mailspool.redis_server.link import Link
from mailspool.redis_server.tasks import end
from mailspool.settings import Settings
from mailspool.wake import Waker, arq_redis
from mailspool_worker.arq_side import ArqSide
from mailspool_worker.bounces import Bounces
from mailspool_worker.burial import bury_dead, identity
from mailspool_worker.chores import chores
from mailspool_worker.clock import RedisClock
from mailspool_worker.contents import Contents
from mailspool_worker.conversations import Conversations
from mailspool_worker.events import MAY_NOT, Events
from mailspool_worker.feeder import Feeder
from mailspool_worker.job import Delivery, Parts
from mailspool_worker.journal import Journal, spool_identity
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.orders import Orders
from mailspool_worker.recorder import Recorder
from mailspool_worker.redis_wire import RedisRefusesError, RedisWire, open_wire
from mailspool_worker.refusals import Refusals
from mailspool_worker.rewinding import rewind, was_set_back
from mailspool_worker.routes.choice import Routes
from mailspool_worker.routes.openings import RouteSettings
from mailspool_worker.routes.route import Route, RouteParts
from mailspool_worker.schedule import Schedule
from mailspool_worker.steady import SteadyCaller, is_away
from mailspool_worker.upkeep import resume_blocked, upkeep

_LEAST_SLOTS = 10
"""arq takes jobs only when it polls: slots x 100 / 0.05 s is the most mails a second of a class."""
_SLOTS_A_RELAY = 2
"""One that sends and one that follows: a relay that holds its slots for long must not keep them from the others."""
_AWAY_S = 5.0
"""An answer that Redis owes for longer: sessions that hold a 354 are let go, nothing new starts."""
_DIAL_AGAIN_S = 0.1
_JOURNALS_EVERY_S = 5
"""Sooner than the leases of a worker that stopped while Redis was away can end (15 s): else others repeat its mail."""
_Shown = tuple[str, str, float, tuple[Line, ...]]
_WELL: _Shown = ("ok", "", 0.0, ())
_LAST_WORDS_S = 2.0
"""What a stop may take beyond `stop_timeout`, twice: to record what it cut off, and to take leave."""


class Engine:
    """Everything of one worker process. Belongs to the loop that opens it."""

    def __init__(
        self,
        settings: Settings,
        link: Link,
        events: Events,
        *,
        classes: Sequence[Class] = CLASSES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.refuse_without_relay(settings)
        self.settings = settings
        self.link = link
        self.events = events
        self.clock = RedisClock()
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}".replace(".", "-").replace(":", "-")
        self.ticked = asyncio.Event()
        self._relays = settings.relay_table()
        self._tls = tls
        each = max(_LEAST_SLOTS, _SLOTS_A_RELAY * len(self._relays), settings.max_chunks // 2)
        self._slots: dict[Class, int] = dict.fromkeys(classes, each)
        self._stopping = False
        self._identity = identity()
        self._background: list[asyncio.Task[None]] = []
        self._published: dict[str, _Shown] = {}
        self._same_url: dict[str, bool] = {}

    @staticmethod
    def refuse_without_relay(settings: Settings) -> None:
        """Raises ConfigError: to be asked before anything is started or queued."""
        if not settings.relay_table():
            raise ConfigError(settings.no_relay_words(), code="no_relay")

    # -- start

    async def open(self) -> None:
        """The link must be open. Returns when this worker is known to the others; nothing stays open if that fails."""
        self._make()
        try:
            await self._open_recorder()
            self.journal.open()
            await self.journal.replay(self.moves)
            await self.feeder.beat(self.fields())
            await bury_dead(self.link, self.moves, self.events)
            if await was_set_back(self.link, self.moves.keys, self.clock.now_ms()):
                await self._rewind()
            await self._orders.read()
            await resume_blocked(self.link, self.moves, tuple(self._slots))
        except BaseException:
            await self._close_all()
            raise
        self.arq_side.start()
        self._background = [
            asyncio.create_task(self.feeder.run(self.fields, self.delivery.renew, self.ticked), name="tick"),
            asyncio.create_task(self.feeder.run_renewals(self.delivery.renew), name="renewals"),
            asyncio.create_task(self._watch_routes(), name="routes"),
            asyncio.create_task(self._write_down(), name="write down"),
        ]
        for task in self._background:
            task.add_done_callback(self._background_ended)

    def _make(self) -> None:
        """All parts; no I/O."""
        keys = Keys(self.settings.key_prefix)
        self.moves = Moves(SteadyCaller(self.link, self.events), keys)
        identity = spool_identity(self.link.where, keys.prefix, embedded=self.link.embedded)
        self.journal = Journal(self.settings.data_dir, identity, self.name, self.events)
        self.recorder = Recorder(self._connect_recorder, scripts(keys.prefix)["record"], self.clock.boot_s, self.events)
        memory = RenderedMemory(self.settings.max_message_bytes)
        hasty = Moves(RedisCaller(self.link.redis), keys)
        self.conversations = Conversations(hasty, self.settings.keep_conversations, self.events)
        refusals = Refusals(self.recorder, self.clock, self.events)
        self.bounces = Bounces(self.link, hasty, refusals, self.events, suppress=self.settings.suppress_bounces)
        shared = RouteParts(
            self._route_settings(), self.recorder, refusals, memory,
            self.clock, self.events, self.conversations, self.bounces,
        )  # fmt: skip
        self.routes = Routes({name: Route(relay, shared) for name, relay in self._relays.items()})
        self._orders = Orders(self.link, keys, self.routes, self.bounces, self.clock)
        memory.on_room = self._stir_routes
        self._arq = arq_redis(self.link.make_pool())
        self.feeder = Feeder(
            self.moves, Waker(self._arq, keys), self.link, self.clock, self.events,
            worker=self.name, classes=tuple(self._slots), rewind=self._rewind,
        )  # fmt: skip
        self.recorder.on_lost = self.feeder.doubt
        self.recorder.on_failed = self._fail
        contents = Contents(self.link, keys, self.events)
        self.delivery = Delivery(
            Parts(
                self.moves, contents, self.routes, self.recorder, memory,
                self.clock, self.events, self.feeder, self.name, self.bounces,
            )
        )  # fmt: skip
        self.arq_side = ArqSide(
            self.link, keys, self.events, slots=self._slots, deliver=self.delivery.deliver, upkeep=self._upkeep
        )

    def _stir_routes(self) -> None:
        """In a turn of its own: whoever made room is in the middle of something."""
        for route in self.routes:
            asyncio.get_running_loop().call_soon(route.stir)

    def fields(self) -> Mapping[str, Arg]:
        """What this worker offers; the feeder gives it nothing else."""
        return {
            "host": socket.gethostname(),
            **self._identity,
            "versions": ",".join(str(version) for version in VERSIONS_SERVED),
            "relays": ",".join(self._relays),
            "sessions": sum(len(route.sessions) for route in self.routes),
            **{f"sessions:{route.relay.name}": len(route.sessions) for route in self.routes},
            **{f"slots:{class_}": slots for class_, slots in self._slots.items()},
        }

    def _route_settings(self) -> RouteSettings:
        settings = self.settings
        steps, repeat = settings.schedule_steps_s()
        return RouteSettings(
            ehlo_name=settings.ehlo(),
            connect_timeout_s=settings.connect_timeout.total_seconds(),
            session_age_s=settings.session_age.total_seconds(),
            session_idle_s=settings.session_idle.total_seconds(),
            unrecorded=settings.unrecorded_per_session,
            schedule=Schedule(steps, repeat),
            jitter=settings.retry_jitter,
            tls=self._tls,
        )

    async def _open_recorder(self) -> None:
        try:
            await self.recorder.open()
        except RedisRefusesError as error:
            words = f"{self.link.name} refuses what a worker must do: {error}"
            raise ConfigError(words, hint=f"{MAY_NOT[:1].upper()}{MAY_NOT[1:]}.", code="redis_login") from None

    async def _connect_recorder(self, on_lost: Callable[[], None]) -> RedisWire:
        while True:
            try:
                return await open_wire(self.link.where, on_lost)
            except (OSError, hiredis.HiredisError) as error:
                self.events.redis_away(type(error).__name__, "recorder")
                await asyncio.sleep(_DIAL_AGAIN_S)
                await self.link.recover(None)

    # -- while it runs

    async def _watch_routes(self) -> None:
        """Once a second: deadlines and idle sessions; what people should know of the routes goes to Redis."""
        while True:
            self.recorder.check()
            away = self.recorder.unanswered_s > _AWAY_S
            for route in self.routes:
                route.tick(redis_away=away)
            if not away:
                await self._publish_routes()
            await asyncio.sleep(1.0)

    async def _rewind(self) -> None:
        await rewind(self.link, self.moves, self.events)

    async def _read_orders(self) -> None:
        try:
            if await self._orders.read():
                await resume_blocked(self.link, self.moves, tuple(self._slots))
            await self._orders.write()
        except (RedisError, OSError) as error:
            if not is_away(error):
                self._not_away("orders", error)

    async def _write_down(self) -> None:
        """What may be late: orders, conversations, what bounced, journals of workers that ended without Redis."""
        while True:
            for _ in range(_JOURNALS_EVERY_S):
                await asyncio.sleep(1.0)
                await self._read_orders()
                await self.conversations.write()
                await self.bounces.write()
            await self.journal.replay(self.moves)

    async def _publish_routes(self) -> None:
        hset = cast("Callable[..., Awaitable[int]]", self.link.redis.hset)
        for route in self.routes:
            name, health = route.relay.name, route.health
            said = route.failed_opening
            shown = (health.state, health.why, health.until_s, said)
            known = self._published.get(name)
            if known == shown:
                continue
            until_ms = self.clock.now_ms() + int(route.closed_for_s() * 1000)
            told = {"state": health.state, "why": health.why, "until": until_ms}
            if said:
                told["talk"] = talk_text(Talk(self.clock.now_ms(), name, "", said))
            try:
                if known is None and shown == _WELL and not route.sessions and await self._stands(route):
                    continue
                mapping = {**told, "worker": self.name, "url": route.relay.url_shown}
                await hset(self.moves.keys.route(name), mapping=mapping)
            except (RedisError, OSError) as error:
                if not is_away(error):
                    self._not_away("publish routes", error)
                return
            self._published[name] = shown

    async def _stands(self, route: Route) -> bool:
        """The trouble that a dead worker told of stands until a session proves that it is over, or the URL changes."""
        name = route.relay.name
        if name not in self._same_url:
            hget = cast("Callable[..., Awaitable[bytes | None]]", self.link.redis.hget)
            stored = await hget(self.moves.keys.route(name), "url")
            self._same_url[name] = stored is None or stored == route.relay.url_shown.encode()
        return self._same_url[name]

    def _not_away(self, where: str, error: Exception) -> None:
        """The next second tries again."""
        (self.events.records_broken if is_broken(error) else self.events.bug)(where, error)

    async def _upkeep(self) -> None:
        await upkeep(self.link, self.moves, self.clock, lambda: self._stopping, self.events)
        await chores(self.link, self.moves, self.clock, lambda: self._stopping, self.events)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.bug(task.get_name(), error)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failed = error

    failed: BaseException | None = None
    """A background task died of something nobody expected; the process had better end."""

    # -- stop

    async def close(self) -> None:
        """In order; takes at most `stop_timeout` and a little."""
        limit_s = self.settings.stop_timeout.total_seconds()
        self._stopping = True
        self.arq_side.stop_picking()
        await end(self._background[:1])  # the tick: no feed, no sweep
        self.delivery.stop_starting()
        for route in self.routes:
            route.stop_starting()
        try:
            async with asyncio.timeout(limit_s):
                await self._all_given_back()
        except TimeoutError:
            for route in self.routes:
                await route.close()
            self.events.warning("stopped_in_doubt", unrecorded=self.recorder.unrecorded)
            self.keep_journal()  # now: whoever sent the signal may not wait for our last words
            try:
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._all_given_back()
            except TimeoutError:
                self.events.warning("stopped_unrecorded", unrecorded=self.recorder.unrecorded)
                self.keep_journal()
        await self._close_all()

    def keep_journal(self) -> None:
        """What Redis has not confirmed goes to the disk, for the next worker. Returns when it is there."""
        self.journal.keep(self.recorder.left())

    async def _all_given_back(self) -> None:
        """Nothing is on the wire, all is recorded, and no chunk is ours."""
        await self.delivery.finished()
        await self.arq_side.jobs_done()
        await self.recorder.flushed()

    async def _close_all(self) -> None:
        await end(self._background)
        # arq takes leave of Redis for each job that it cancels, which takes long while Redis is away.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.conversations.write()
                await self.bounces.write()
                await self.arq_side.close()
                await self.delivery.finished()
                await self.moves.leave(self.name)
        await self.arq_side.close()
        await self.feeder.close()
        await self.delivery.close()
        for route in self.routes:
            await route.close()
        await self.recorder.close()
        self.journal.close(recorded=not self.recorder.left())
        await self._arq.aclose()
