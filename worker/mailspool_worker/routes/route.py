"""One relay's route: what waits for it, its sessions, its health. The I/O around `plan.py`.

job.py puts items in; sessions pull them, and report; verdicts become outcomes (attempts.py) and go to the recorder.
What the route cannot do it gives back to the run: `run.give_back`, never silently.
Logs: session_opened, session_failed, route_closed, route_open, one line per outcome (events.py).
Known limit: pace and width are this process' own; a fleet shares a relay's limits only through the relay's replies.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from mailspool.contract.codec import encode_outcome
from mailspool.contract.states import CLAIMED
from mailspool.settings import Relay
from mailspool_worker.attempts import Attempt, Policy, accepted, next_outcome
from mailspool_worker.classify import Context, Loss, Stage, Verdict, classify
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.recorder import Recorder
from mailspool_worker.refusals import Refusals
from mailspool_worker.routes import plan
from mailspool_worker.routes.lanes import Lanes
from mailspool_worker.runs import Item, Place
from mailspool_worker.schedule import Schedule
from mailspool_worker.smtp.owner import Limits
from mailspool_worker.smtp.replies import Reply
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.takeover import OpenFailed, open_session
from mailspool_worker.smtp.transaction import Features

_OPEN_TRIES = 3
"""Failed openings in a row that trip the breaker: one may be chance, two a restart."""
_PIPELINING_OFF_S = 86_400.0


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What all routes of a process share."""

    ehlo_name: str
    connect_timeout_s: float
    session_age_s: float
    session_idle_s: float
    unrecorded: int
    schedule: Schedule
    jitter: float
    tls: ssl.SSLContext | None = None
    """Another trust than the system's (tests)."""


class Route:
    """`relay` and what this process knows of it."""

    def __init__(
        self,
        relay: Relay,
        settings: RouteSettings,
        recorder: Recorder,
        refusals: Refusals,
        clock: RedisClock,
        events: Events,
    ) -> None:
        self.relay = relay
        self.health = plan.Health()
        self.lanes = Lanes()
        self.sessions: set[Session] = set()
        self._settings = settings
        self._recorder = recorder
        self._refusals = refusals
        self._clock = clock
        self._events = events
        self._width = plan.Width(relay.max_sessions, relay.max_sessions)
        self._pace = plan.Pace(relay.rate_per_s)
        self._idle: list[Session] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pipelining_off_until_s = 0.0
        self._clear = False
        self._stopping = False
        self._away = False

    def __repr__(self) -> str:
        return f"<Route {self.relay.name} {self.health.state} sessions={len(self.sessions)} waiting={len(self.lanes)}>"

    # -- work in

    def is_closed(self) -> bool:
        return self._stopping or self.health.is_closed(self._clock.boot_s())

    def closed_for_s(self) -> float:
        return max(0.0, self.health.until_s - self._clock.boot_s())

    def grant(self, item: Item, asked: int, budget_s: float) -> int:
        """How many of this item's batch it takes on within `budget_s`; 0 while it is closed."""
        if self.is_closed():
            return 0
        waiting = self.lanes.waiting_of(item.run.class_, item.run.batch)
        batches = self.lanes.batches + (waiting == 0)
        return plan.grant(self._pace, budget_s, asked=asked, batches=batches, waiting_of_batch=waiting)

    def put(self, items: Iterable[Item]) -> None:
        self.lanes.put(items)
        self.stir()

    def stir(self) -> None:
        """Wake idle sessions, open new ones: called whenever something has changed."""
        idle, self._idle = self._idle, []
        for session in idle:  # one round: a session that gets nothing (rate, withdrawn items) is idle again
            if len(self.lanes):
                session.nudge()
            else:
                self._idle.append(session)
        now_s = self._clock.boot_s()
        self._width = self._width.grown(now_s)
        wanted = plan.to_open(
            self.health,
            self._width,
            now_s,
            waiting=0 if self._stopping or self._away else len(self.lanes),
            idle=len(self._idle),
            sessions=len(self.sessions),
            opening=len(self._opening),
        )
        for _ in range(wanted):
            task = asyncio.get_running_loop().create_task(self._open(), name=f"open a session to {self.relay.name}")
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def tick(self, *, redis_away: bool) -> None:
        """Once a second: deadlines, idle sessions, sleeping routes that may wake."""
        now_s = self._clock.boot_s()
        self._away = redis_away
        for session in tuple(self.sessions):
            session.check_deadline(now_s)
            if redis_away:
                session.abort_waiting("redis is away")
            elif session.is_idle and now_s - session.idle_since_s > self._settings.session_idle_s:
                session.retire()
        self.stir()

    # -- sessions ask (smtp.session.Owner)

    def pull(self) -> Item | None:
        if self._stopping or self._away or self.health.is_closed(self._clock.boot_s()):
            return None
        while len(self.lanes):
            now_s = self._clock.boot_s()
            if not self._pace.take(now_s):
                self._wake_in(self._pace.wait_s(now_s))
                return None
            item = self.lanes.pull()
            if item is None:
                self._pace.put_back()
                return None
            if not item.run.stop:
                return item
            self._pace.put_back()
            item.run.give_back(item)
        return None

    def attempt_over(self, item: Item, stage: Stage, event: Reply | Loss, session: Session) -> None:
        if stage is Stage.DOT and isinstance(event, Reply) and 200 <= event.code < 300:
            self._accepted(item, event, session)
            return
        verdict = classify(stage, event, self._context(item, session))
        reply = event.text if isinstance(event, Reply) else ""
        size = item.rendered.size if item.rendered else 0
        attempt = Attempt(self._clock.now_ms(), self.relay.name, size, reply)
        outcome = next_outcome(item.previous, verdict, attempt, self._policy(item))
        if outcome is None:
            self._again(item, verdict, session)
        else:
            self._recorder.add(item, encode_outcome(outcome), session)
            self._events.outcome(item, outcome)
        self._learn(verdict, reply, stage)
        if not verdict.session_usable:
            session.abort(verdict.reason)

    def _accepted(self, item: Item, reply: Reply, session: Session) -> None:
        size = item.rendered.size if item.rendered else 0
        outcome = accepted(item.previous, Attempt(self._clock.now_ms(), self.relay.name, size, reply.text))
        self._recorder.add(item, encode_outcome(outcome), session)
        self._events.outcome(item, outcome)
        if self.health.failures:
            self.health = plan.well(self.health, self._clock.boot_s())

    def _again(self, item: Item, verdict: Verdict, session: Session) -> None:
        """Nothing is recorded: the same message goes at once, on this route or, if that closes, on another."""
        if verdict.action == "plain":
            item.plain = True
        session.not_recorded()
        if verdict.action == "next-host" or item.requeued > _OPEN_TRIES:
            item.run.give_back(item)
        else:
            item.requeued += 1
            self.untouched(item)

    def refused_locally(self, item: Item, why: str) -> None:
        self._pace.put_back()
        reason, _, words = why.partition(": ")
        self._refusals.refuse(item, reason, words)

    def untouched(self, item: Item) -> None:
        item.place = Place.QUEUED
        if self.is_closed() or item.run.stop:
            item.run.give_back(item)
        else:
            self.lanes.put_first(item)
            self.stir()

    def claim(self, item: Item, session: Session, take_back: bool) -> None:
        if take_back:
            self._recorder.add(item, b"", _TAKEN_BACK)
            return
        verdict = Verdict(action="uncertain", scope="message", reason="lost_reply", counts_attempt=True)
        attempt = Attempt(self._clock.now_ms(), self.relay.name, item.rendered.size if item.rendered else 0, "")
        outcome = next_outcome(item.previous, verdict, attempt, self._policy(item, holds_doubts=True))
        if outcome is None:
            raise AssertionError("a claim is an outcome")
        outcome.state = CLAIMED
        if not item.run.holds_doubts:
            outcome.reason = "worker_crash"  # a suspect chunk: what becomes of the claim if this process dies with it
        self._recorder.add(item, encode_outcome(outcome), session)

    def idle(self, session: Session) -> None:
        if session not in self._idle:
            self._idle.append(session)

    def gone(self, session: Session, why: str) -> None:
        self.sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        self._events.session_closed(self.relay.name, why, session.accepted)
        self.stir()

    # -- learning

    def _context(self, item: Item, session: Session) -> Context:
        return Context(
            tls="opportunistic" if self.relay.security == "opportunistic" else "required",
            credentials=self.relay.user is not None,
            pipelined=session.features.pipelining,
            plain=item.plain,
            reused=session.accepted > 0,
            uncounted=item.previous.strikes if item.previous else 0,
            first_step_s=self._settings.schedule.steps_s[0],
        )

    def _policy(self, item: Item, *, holds_doubts: bool | None = None) -> Policy:
        holds = item.run.holds_doubts if holds_doubts is None else holds_doubts
        return Policy(self._settings.schedule, self._settings.jitter, item.run.expires_ms, holds)

    def _learn(self, verdict: Verdict, reply: str, stage: Stage) -> None:
        """What a verdict says about the route; nothing for an ordinary one."""
        now_s = self._clock.boot_s()
        if verdict.disable == "pipelining":
            self._pipelining_off_until_s = now_s + _PIPELINING_OFF_S
        if verdict.slow_route and stage >= Stage.MAIL:
            self._width = self._width.slower(now_s, one=verdict.one_session)
            self._events.route_slowed(self.relay.name, self._width.allowed, reply)
        if verdict.action in ("pause-route", "hold-sender", "blocked") or (verdict.one_session and verdict.pause_s):
            self._close(verdict, reply)

    def _close(self, verdict: Verdict, why: str) -> None:
        now_s = self._clock.boot_s()
        was = self.health
        paused = verdict.action != "next-host"
        self.health = plan.trouble(
            self.health,
            now_s,
            why,
            pause_s=verdict.pause_s or plan.BREAKER_S,
            limit_s=verdict.pause_limit_s or (verdict.pause_s or plan.BREAKER_LIMIT_S),
            paused=paused,
        )
        if self.health is was:
            return
        self._events.route_closed(self.relay.name, self.health.state, why, self.health.until_s - now_s)
        for item in self.lanes.take_all():
            item.run.give_back(item)

    # -- opening

    async def _open(self) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, OpenFailed) and error.may_be_chance),
            wait=wait_random_exponential(0.1, max=1.0),
            stop=stop_after_attempt(_OPEN_TRIES),
            reraise=True,
        )
        try:
            async for attempt in tries:
                with attempt:
                    await open_session(
                        self.relay,
                        self._session,
                        ehlo_name=self._settings.ehlo_name,
                        timeout_s=self._settings.connect_timeout_s,
                        clear=self._clear,
                        tls=self._settings.tls,
                    )
        except OpenFailed as failed:
            self._open_failed(failed)

    def _session(self, features: Features) -> Session:
        now_s = self._clock.boot_s()
        if now_s < self._pipelining_off_until_s:
            features = features.without_pipelining()
        limits = Limits(self.relay.session_messages, self._settings.session_age_s, self._settings.unrecorded)
        session = Session(self, features, limits, self._clock.boot_s)
        self.sessions.add(session)
        if self.health.state != "ok":
            self._events.route_open(self.relay.name)
        self.health = plan.well(self.health, now_s)
        self._events.session_opened(self.relay.name, len(self.sessions))
        return session

    def _open_failed(self, failed: OpenFailed) -> None:
        verdict = classify(failed.stage, failed.event, Context(
            tls="opportunistic" if self.relay.security == "opportunistic" else "required",
            credentials=self.relay.user is not None,
        ))  # fmt: skip
        self._events.session_failed(self.relay.name, failed.stage.name, failed.words)
        if verdict.action == "clear" and not self._clear:
            self._clear = True
            return
        self._close(verdict, failed.words)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.bug("opening a session", error)
        self.stir()

    def _wake_in(self, wait_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.stir()

    # -- stopping

    def stop_starting(self) -> None:
        """Nothing new; what is on the wire finishes."""
        self._stopping = True
        for item in self.lanes.take_all():
            item.run.give_back(item)
        for task in self._opening:
            task.cancel()
        for session in tuple(self.sessions):
            if session.holds_body:
                session.retire()
            else:
                session.abort_waiting("stopping")

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for session in tuple(self.sessions):
            session.abort("stopping")


class _TakenBack:
    """Provably not sent: the run may settle only when its claim is gone, else that would read as uncertain."""

    def recorded(self, item: Item, accepted: bool) -> None:
        item.claimed = False
        item.run.give_back(item)


_TAKEN_BACK = _TakenBack()
