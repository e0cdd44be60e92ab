"""Opening sessions of one route: which are under way, tries in a row, and when to go without TLS.

`failed` is told what an opening that came to nothing means (a verdict), `changed` that one has ended, either way.
Raises nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    wait_random_exponential,
)

from mailspool.contract.talks import Line
from mailspool.redis_server.tasks import end
from mailspool.settings import Relay
from mailspool_worker.classify import Context, Loss, Stage, Verdict, classify
from mailspool_worker.events import Events
from mailspool_worker.schedule import Schedule
from mailspool_worker.smtp.deadlines import Waits
from mailspool_worker.smtp.session import Session
from mailspool_worker.smtp.takeover import OpenFailed, open_session
from mailspool_worker.smtp.transaction import Features

_TRIES = 3
"""Failed openings in a row that trip the breaker: one may be chance, two a restart."""
_TRYING_S = 40.0
"""Three connections that nobody takes; a relay that takes them and then says nothing is not asked for minutes more."""
_CLEAR_S = 3_600.0
"""For so long a relay whose STARTTLS failed, and that does not need it, is spoken to in clear."""


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


class Openings:
    """`make` turns what EHLO offered into the session that takes the connection over."""

    def __init__(
        self,
        relay: Relay,
        settings: RouteSettings,
        boot_s: Callable[[], float],
        events: Events,
        *,
        make: Callable[[Features], Session],
        failed: Callable[[Verdict, str], None],
        changed: Callable[[], None],
    ) -> None:
        self._relay = relay
        self._settings = settings
        self._boot_s = boot_s
        self._events = events
        self._make = make
        self._failed = failed
        self._changed = changed
        self.last_failed: tuple[Line, ...] = ()
        """What was said in the last opening that came to nothing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._clear_until_s = float("-inf")

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, number: int) -> None:
        for _ in range(number):
            task = asyncio.get_running_loop().create_task(self._open(), name=f"open a session to {self._relay.name}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def close(self) -> None:
        await end(tuple(self._tasks))

    async def _open(self) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, OpenFailed) and error.may_be_chance),
            wait=wait_random_exponential(0.1, max=1.0),
            stop=stop_any(stop_after_attempt(_TRIES), stop_after_delay(_TRYING_S)),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            async for attempt in tries:
                with attempt:
                    await open_session(
                        self._relay,
                        self._make,
                        ehlo_name=self._settings.ehlo_name,
                        waits=Waits(connect_s=self._settings.connect_timeout_s),
                        clear=self._boot_s() < self._clear_until_s,
                        tls=self._settings.tls,
                    )
        except OpenFailed as failure:
            self._judge(failure)

    def _tell(self, state: RetryCallState) -> None:
        """Each try, not only the last: whoever reads the log need not wait for it."""
        if state.outcome is not None and isinstance(failure := state.outcome.exception(), OpenFailed):
            self._events.session_failed(self._relay.name, failure.stage.name, failure.words)

    def _judge(self, failure: OpenFailed) -> None:
        context = Context(
            tls="opportunistic" if self._relay.security == "opportunistic" else "required",
            credentials=self._relay.user is not None,
            helo_tried=True,  # by open_session
        )
        self.last_failed = failure.lines
        verdict = classify(failure.stage, failure.event, context)
        self._events.session_failed(self._relay.name, failure.stage.name, failure.words)
        if verdict.action == "clear":
            self._clear_until_s = self._boot_s() + _CLEAR_S
        else:
            self._failed(verdict, failure.words)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.bug("opening a session", error)
            self._failed(classify(Stage.CONNECT, Loss.RESET), "an error of ours while opening a session")
        self._changed()
