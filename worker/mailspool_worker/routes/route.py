"""One relay's route: what waits for it, its sessions, its health. The I/O around `plan.py`.

job.py puts items in; sessions pull them, and report; verdicts become outcomes (attempts.py) and go to the recorder.
What the route cannot do it gives back to the run: `run.give_back`, never silently.
Logs: session_opened, session_failed, route_closed, route_open, one line per outcome (events.py).
Known limit: each worker has its own rate and sessions; they share that the relay has asked for less (shared.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from mailspool.contract.codec import encode_outcome
from mailspool.contract.records import Outcome
from mailspool.contract.routenotes import Slowed
from mailspool.contract.talks import Line
from mailspool.settings import Relay
from mailspool_worker.attempts import AT_ONCE, Attempt, Policy, accepted, claim, next_outcome
from mailspool_worker.bounces import Bounces
from mailspool_worker.classify import DISABLE_S, Context, Loss, Stage, Verdict, classify
from mailspool_worker.clock import RedisClock
from mailspool_worker.conversations import Conversations
from mailspool_worker.events import Events
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.recorder import Recorder
from mailspool_worker.refusals import Refusals
from mailspool_worker.routes import plan
from mailspool_worker.routes.condition import PAUSES, Condition
from mailspool_worker.routes.openings import Openings, RouteSettings
from mailspool_worker.runs import Item, Place
from mailspool_worker.smtp.owner import Limits
from mailspool_worker.smtp.replies import Reply
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.transaction import WHY_NOT, Features

_AT_ONCE_LIMIT = 3
"""A message that goes again at once for the fourth time is the reason itself: its attempt counts."""


class RouteParts(NamedTuple):
    """What all routes of a process work with; made by app.py."""

    settings: RouteSettings
    recorder: Recorder
    refusals: Refusals
    memory: RenderedMemory
    clock: RedisClock
    events: Events
    conversations: Conversations
    bounces: Bounces


class Route(Condition):
    """`relay` and what this process knows of it."""

    def __init__(self, relay: Relay, parts: RouteParts) -> None:
        super().__init__(relay, parts.clock, parts.events)
        self.sessions: set[Session] = set()
        self.has_another: Callable[[Item], bool] = _no_other
        """May another route take what this one cannot? (choice.py)"""
        self._settings, self._recorder, self._refusals, self._memory = parts[:4]
        self._conversations, self._bounces = parts.conversations, parts.bounces
        self._idle: list[Session] = []
        self._openings = Openings(
            relay, self._settings, self._clock.boot_s, self._events,
            make=self._session, failed=self._open_failed, changed=self.stir,
        )  # fmt: skip
        self._timer: asyncio.TimerHandle | None = None
        self._pipelining_off_until_s = 0.0
        self._open_from_s = float("-inf")
        self._stillborn = 0
        self._away = False

    def __repr__(self) -> str:
        return f"<Route {self.relay.name} {self.health.state} sessions={len(self.sessions)} waiting={len(self.lanes)}>"

    @property
    def failed_opening(self) -> tuple[Line, ...]:
        """What was said in the last opening that came to nothing."""
        return self._openings.last_failed

    # -- work in

    def grant(self, item: Item, asked: int, budget_s: float) -> int:
        """How many of this item's batch it takes on within `budget_s`; 0 while it is closed."""
        if self.is_closed():
            return 0
        waiting = self.lanes.waiting_of(item.run.class_, item.run.batch)
        batches = self.lanes.batches + (waiting == 0)
        return plan.grant(self._pace, budget_s, asked=asked, batches=batches, waiting_of_batch=waiting)

    def put(self, items: Iterable[Item]) -> None:
        if self.is_closed():
            for item in items:
                item.run.give_back(item)
            return
        self.lanes.put(items)
        self.stir()

    def stir(self) -> None:
        """Wake idle sessions, open new ones: called whenever something has changed."""
        idle, self._idle = self._idle, []
        for session in idle:  # one round: a session that gets nothing (rate, withdrawn items) is idle again
            if len(self.lanes):
                session.nudge()
            elif session in self.sessions:
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
            opening=len(self._openings),
        )
        if wanted and (now_s >= self._open_from_s or not self.sessions):
            self._openings.start(wanted)

    def tick(self, *, redis_away: bool) -> None:
        """Once a second: deadlines, idle sessions, sleeping routes that may wake."""
        now_s = self._clock.boot_s()
        self._away = redis_away
        self._pace.grow(now_s)
        room = self._width.allowed - len(self.sessions) - len(self._openings)
        others_free = bool(self._idle) or (room > 0 and now_s >= self._open_from_s)
        for session in tuple(self.sessions):
            session.check_deadline(now_s, others_free=others_free)
            if redis_away:
                session.abort_waiting("redis is away")
            elif session.is_idle and now_s - session.idle_since_s > self._settings.session_idle_s:
                session.retire()
        self.stir()

    # -- sessions ask (smtp.session.Owner)

    def pull(self) -> Item | None:
        now_s = self._clock.boot_s()
        if self._stopping or self._away or self.health.is_closed(now_s) or not self._memory.has_room():
            return None
        while len(self.lanes):
            if not self._pace.take(now_s):
                self._wake_in(self._pace.wait_s(now_s))
                return None
            item = self.lanes.pull()
            if item is not None and item.run.may_start_body():
                return item
            self._pace.put_back()
            if item is not None:
                item.run.give_back(item)
        return None

    def pull_behind(self) -> Item | None:
        if len(self.lanes) <= len(self._idle) + len(self._openings):
            return None
        return self.pull()

    def attempt_over(self, item: Item, stage: Stage, event: Reply | Loss, session: Session) -> None:
        if stage is Stage.DOT and isinstance(event, Reply) and 200 <= event.code < 300:
            self._accepted(item, event, session)
            return
        verdict = classify(stage, event, self._context(item, session))
        if verdict.action in AT_ONCE and item.requeued >= _AT_ONCE_LIMIT:
            verdict = msgspec.structs.replace(verdict, action="later", counts_attempt=True)
        reply = event.text if isinstance(event, Reply) else ""
        policy = Policy(self._settings.schedule, self._settings.jitter, item.run.expires_ms, item.run.holds_doubts)
        outcome = next_outcome(item.previous, verdict, self._attempt(item, reply), policy)
        self._learn(verdict, reply, stage)
        if verdict.action == "hold-sender":
            self._hold_sender(item, verdict, reply)
        if outcome is None:
            self._again(item, verdict, session)
        else:
            self._conversations.keep(item, outcome, lambda: session.conversation(stage, event))
            self._record(item, outcome, session)
            if verdict.alarming:
                self._bounces.note(item, verdict, outcome)
        if not verdict.session_usable:
            session.abort(verdict.reason)

    def _accepted(self, item: Item, reply: Reply, session: Session) -> None:
        self._record(item, accepted(item.previous, self._attempt(item, reply.text)), session)
        if self.health.failures:
            self._well("mail")
        if self.senders.by_name and (awake := self.senders.accepted(item.sender())):
            self._events.sender_awake(self.relay.name, awake)

    def _attempt(self, item: Item, reply: str) -> Attempt:
        size = item.rendered.size if item.rendered is not None else 0
        return Attempt(self._clock.now_ms(), self.relay.name, size, reply)

    def _record(self, item: Item, outcome: Outcome, session: Session) -> None:
        self._recorder.add(item, encode_outcome(outcome), session)
        self._events.outcome(item, outcome)

    def _again(self, item: Item, verdict: Verdict, session: Session) -> None:
        """Nothing is recorded: the same message goes at once, on this route or, if that closes, on another."""
        item.plain = item.plain or verdict.action == "plain"
        item.requeued += 1
        session.not_recorded()
        self.untouched(item)

    def refused_locally(self, item: Item, why: str) -> None:
        self._pace.put_back()
        reason, _, words = why.partition(": ")
        if reason in WHY_NOT:
            item.unfit |= {self.relay.name}
            if self.has_another(item):
                item.run.give_back(item)
                return
            words = WHY_NOT[reason]
        self._refusals.refuse(item, reason, words)

    def untouched(self, item: Item) -> None:
        if self.is_closed() or item.run.stop:
            item.run.give_back(item)
        else:
            item.place = Place.QUEUED
            item.drop()  # what waits holds no memory, or those who wait for memory would wait for ever
            self.lanes.put_first(item)
            self.stir()

    def claim(self, item: Item, session: Session) -> None:
        note = claim(item.previous, self._attempt(item, ""), suspect=item.run.suspect)
        self._recorder.add(item, encode_outcome(note), session)

    def idle(self, session: Session) -> None:
        if session not in self._idle:
            self._idle.append(session)

    def gone(self, session: Session, why: str) -> None:
        self.sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        self._events.session_closed(self.relay.name, why, session.accepted)
        if session.is_stillborn and not self._stopping and not self._away:
            self._stillborn += 1
            if self._stillborn >= plan.STILLBORN_LIMIT:
                self._stillborn = 0
                self._open_failed(classify(Stage.EHLO, Loss.CLOSED), "sessions are closed before their first reply")
        elif not session.is_stillborn:
            self._stillborn = 0
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

    def _learn(self, verdict: Verdict, reply: str, stage: Stage) -> None:
        """What a verdict says about the route; nothing for an ordinary one."""
        if verdict.disable == "pipelining":
            self._pipelining_off_until_s = self._clock.boot_s() + DISABLE_S
        if verdict.action in PAUSES or (verdict.one_session and verdict.pause_s):
            self._close(verdict, reply, "mail")
        if verdict.slow_route and stage >= Stage.MAIL:
            self._slow_down(reply, one=verdict.one_session)

    def _slow_down(self, why: str, *, one: bool) -> None:
        """Fewer sessions: those that are too many finish what they hold."""
        if self._slower(why, one=one):
            self._narrow()

    def learn_slow(self, told: Slowed) -> None:
        super().learn_slow(told)
        self._narrow()

    def _narrow(self) -> None:
        for session in tuple(self.sessions)[self._width.allowed :]:
            session.retire()

    # -- opening

    def _session(self, features: Features) -> Session:
        if self._clock.boot_s() < self._pipelining_off_until_s:
            features = features.without_pipelining()
        limits = Limits(self.relay.session_messages, self._settings.session_age_s, self._settings.unrecorded)
        session = Session(self, features, limits, self._clock.boot_s)
        self.sessions.add(session)
        self._well("session")
        self._events.session_opened(self.relay.name, len(self.sessions))
        return session

    def _open_failed(self, verdict: Verdict, words: str) -> None:
        if verdict.action in PAUSES or not self.sessions:
            self._close(verdict, words, "session")
        else:
            # The others work: perhaps the receiver takes no more than these, and to leave them idle helps nobody.
            self._open_from_s = self._clock.boot_s() + plan.BREAKER_S

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
        self._give_back_all()
        self._openings.cancel()
        for session in tuple(self.sessions):
            if session.holds_body or session.is_idle:
                session.retire()
            else:
                session.abort_waiting("stopping")

    async def close(self) -> None:
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self._openings.close()
        for session in tuple(self.sessions):
            session.abort("stopping")


def _no_other(_item: Item) -> bool:
    return False
