"""Messages that never reach a session: failed or suppressed here, without an attempt on the wire.

Called by a route for what cannot be rendered, or what no receiver behind its relay can take; by bounces.py for
suppressed addresses.
"""

from __future__ import annotations

from mailspool.contract.codec import encode_outcome
from mailspool.contract.records import Outcome
from mailspool.contract.states import FAILED, SUPPRESSED
from mailspool_worker.clock import RedisClock
from mailspool_worker.events import Events
from mailspool_worker.recorder import Recorder
from mailspool_worker.runs import Item, Place


class Refusals:
    """Records an end, and hears when it is recorded."""

    def __init__(self, recorder: Recorder, clock: RedisClock, events: Events) -> None:
        self._recorder = recorder
        self._clock = clock
        self._events = events

    def refuse(self, item: Item, reason: str, words: str) -> None:
        """`reason` is our word (interface: render, too_big, smtputf8, eight_bit); `words` the sentence beside it."""
        self._end(item, FAILED, reason, words)

    def suppress(self, item: Item, words: str) -> None:
        """`words`: what became of the address, where and when."""
        self._end(item, SUPPRESSED, "suppressed", words)

    def _end(self, item: Item, state: str, reason: str, words: str) -> None:
        now_ms = self._clock.now_ms()
        previous = item.previous
        outcome = Outcome(
            state,
            now_ms,
            attempts=previous.attempts if previous else 0,
            doubts=previous.doubts if previous else 0,
            reply=words,
            reason=reason,
            first_ms=previous.first_ms if previous and previous.first_ms else now_ms,
            last_ms=now_ms,
        )
        item.place = Place.DECIDED
        self._recorder.add(item, encode_outcome(outcome), self)
        self._events.outcome(item, outcome)

    def recorded(self, item: Item, accepted: bool) -> None:
        item.run.finished(item)
