"""One function per event: the only place that formats a log line or moves a counter. Event names are stable.

Message ids and domains are logged, never a recipient, a body or a secret; addresses inside replies are masked.
An outcome's line is built only if somebody reads it (`log_level` info or lower), and has a way of its own (logs.py).
"""

from __future__ import annotations

import logging
import re

import msgspec

from mailspool.contract.records import Outcome
from mailspool.contract.states import NAME_OF, Class
from mailspool_worker.clock import boot_s
from mailspool_worker.logs import Logger, OutcomeLine, OutcomeLines
from mailspool_worker.runs import Item
from mailspool_worker.smtp.replies import MASK, mask_addresses

_CODE = 4
"""Characters of the reply code and its space: never masked."""
_ASIDE_KNOWN = 1_000
"""Batches that were told to be broken: once each, as long as they are so few."""
_AGAIN_S = 60.0
_TOLD_BY = 3
"""A shorter local part is also a piece of other words, and tells nobody."""

MAY_NOT = "check the user in redis_url and redis_password; deploy/users.acl has what a worker's user needs"
"""What to do where Redis refuses this user or password."""


def _masked(reply: str, recipient: str) -> str:
    """Without addresses, and without the recipient's local part: the domain stands in the same line."""
    text, local = mask_addresses(reply), recipient.rpartition("@")[0]
    if len(local) < _TOLD_BY or local.lower() not in text.lower():
        return text
    return text[:_CODE] + re.sub(rf"(?<!\w){re.escape(local)}(?!\w)", MASK, text[_CODE:], flags=re.IGNORECASE)


class Counters(msgspec.Struct):
    """What this process has done since it started."""

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    uncertain: int = 0
    suppressed: int = 0
    sessions_opened: int = 0


class Events:
    """`logger` None: nothing is written, only counted (an inline worker of somebody's program)."""

    def __init__(self, logger: Logger | None, lines: OutcomeLines | None = None) -> None:
        self.counters = Counters()
        self._log = logger
        self._lines = lines
        self._away: set[str] = set()
        self._aside: set[str] = set()
        self._told_again_s: dict[str, float] = {}
        self._away_since_s = 0.0
        self._reads_outcomes = logger is not None and logger.is_enabled_for(logging.INFO)

    # -- messages

    def outcome(self, item: Item, outcome: Outcome) -> None:
        name = NAME_OF[outcome.state]
        if name == "sent":
            self.counters.sent += 1
        elif name == "deferred":
            self.counters.deferred += 1
        elif name == "failed":
            self.counters.failed += 1
        elif name == "suppressed":
            self.counters.suppressed += 1
        else:
            self.counters.uncertain += 1
        if self._reads_outcomes:
            self._tell_outcome(name, item, outcome)

    def _tell_outcome(self, name: str, item: Item, outcome: Outcome) -> None:
        run, recipient = item.run, item.row.recipient
        line = OutcomeLine(
            "" if self._lines is None else self._lines.now(),
            "info",
            name,
            f"{run.batch}-{run.first_number + item.index}",
            recipient[recipient.rfind("@") + 1 :],
            outcome.relay,
            outcome.attempts,
            _masked(outcome.reply, recipient),
            outcome.reason,
            round((outcome.at_ms - outcome.last_ms) / 1000) if name == "deferred" else None,
        )
        if self._lines is not None:
            self._lines.add(line)
        elif self._log is not None:
            fields = msgspec.to_builtins(line)
            for known in ("timestamp", "level", "event"):
                del fields[known]
            self._log.info(name, **fields)

    # -- batches and runs

    def chunk_leased(self, batch: str, k: int, messages: int) -> None:
        if self._log is not None:
            self._log.debug("chunk_leased", batch=batch, chunk=k, messages=messages)

    def chunk_settled(self, batch: str, k: int, answer: str) -> None:
        if self._log is not None:
            self._log.debug("chunk_settled", batch=batch, chunk=k, answer=answer)

    def run_lost(self, batch: str, k: int) -> None:
        if self._log is not None:
            self._log.warning("run_lost", batch=batch, chunk=k)

    def chunk_suspect(self, batch: str, k: int, lost_runs: int) -> None:
        if self._log is not None:
            self._log.warning("chunk_suspect", batch=batch, chunk=k, lost_runs=lost_runs)

    def chunk_unreadable(self, batch: str, k: int, why: str) -> None:
        if self._log is not None:
            self._log.error("chunk_unreadable", batch=batch, chunk=k, why=why)

    def set_aside(self, name: str, why: str) -> None:
        """A batch, or one of its chunks, whose records cannot be read."""
        batch = name.partition(":")[0]
        if self._log is not None and batch not in self._aside:
            self._log.error("batch_set_aside", batch=batch, why=why[:200], fix="mailspool verify")
        if len(self._aside) >= _ASIDE_KNOWN:
            self._aside.clear()
        self._aside.add(batch)

    def batch_expired(self, batch: str, messages: int) -> None:
        if self._log is not None:
            self._log.info("batch_expired", batch=batch, messages=messages)

    def breaker(self, batch: str, why: str) -> None:
        if self._log is not None:
            self._log.error("batch_held_by_breaker", batch=batch, why=mask_addresses(why))

    # -- routes

    def session_opened(self, relay: str, sessions: int) -> None:
        self.counters.sessions_opened += 1
        if self._log is not None:
            self._log.debug("session_opened", relay=relay, sessions=sessions)

    def session_closed(self, relay: str, why: str, accepted: int) -> None:
        if self._log is not None:
            self._log.debug("session_closed", relay=relay, why=why, accepted=accepted)

    def session_failed(self, relay: str, stage: str, why: str) -> None:
        if self._log is not None:
            self._log.warning("session_failed", relay=relay, stage=stage, why=mask_addresses(why))

    def route_slowed(self, relay: str, sessions: int, rate_per_s: float | None, why: str) -> None:
        if self._log is not None:
            rate = None if rate_per_s is None else round(rate_per_s, 3)
            self._log.info("route_slowed", relay=relay, sessions=sessions, rate_per_s=rate, why=mask_addresses(why))

    def sender_held(self, relay: str, sender: str, why: str, for_s: float) -> None:
        """The domain alone: an address is a person."""
        if self._log is not None:
            domain = sender.rpartition("@")[2]
            self._log.error("sender_held", relay=relay, domain=domain, why=mask_addresses(why), for_s=round(for_s))

    def sender_awake(self, relay: str, sender: str) -> None:
        if self._log is not None:
            self._log.info("sender_awake", relay=relay, domain=sender.rpartition("@")[2])

    def route_closed(self, relay: str, state: str, why: str, for_s: float) -> None:
        if self._log is not None:
            self._log.error("route_closed", relay=relay, state=state, why=mask_addresses(why), for_s=round(for_s))

    def route_paused(self, relay: str, why: str) -> None:
        """Somebody wanted it: no error."""
        if self._log is not None:
            self._log.warning("route_closed", relay=relay, state="paused", why=why, for_s=0)

    def route_open(self, relay: str) -> None:
        if self._log is not None:
            self._log.info("route_open", relay=relay)

    # -- the process

    def started(self, **facts: object) -> None:
        if self._log is not None:
            self._log.info("worker_started", **facts)

    def stopped(self, **facts: object) -> None:
        if self._log is not None:
            self._log.info("worker_stopped", **facts)

    def drained(self, **stays: object) -> None:
        """`--drain` ends: what a batch that is not done waits for."""
        if self._log is not None:
            self._log.info("drained", **stays)

    def warning(self, what: str, **facts: object) -> None:
        if self._log is not None:
            self._log.warning(what, **facts)

    def journal_kept(self, outcomes: int, left_out: int) -> None:
        if self._log is not None:
            self._log.warning("journal_kept", outcomes=outcomes, left_out=left_out)

    def journal_replayed(self, file: str, outcomes: int, taken: int) -> None:
        if self._log is not None:
            self._log.info("journal_replayed", file=file, outcomes=outcomes, taken=taken)

    def redis_away(self, why: str, part: str = "") -> None:
        """`part` of the worker: each has connections of its own, and they do not come back at once. Without one, Redis
        answers, but not as it should."""
        if part:
            self._away_since_s = self._away_since_s if self._away else boot_s()
            self._away.add(part)
        if self._log is not None:
            self._log.warning("redis_away", why=why)

    def redis_answers(self, part: str) -> None:
        """A command of this part was answered. Called often."""
        if part not in self._away:
            return
        self._away.remove(part)
        if not self._away and self._log is not None:
            self._log.info("redis_back", after_s=round(boot_s() - self._away_since_s, 1))

    def redis_refused(self, why: str, unrecorded: int) -> None:
        if self._log is not None:
            self._log.error("redis_refused", why=why, unrecorded=unrecorded, fix=MAY_NOT)

    def arq_restarted(self, class_: Class, why: str) -> None:
        if self._log is not None:
            self._log.warning("arq_restarted", queue=class_, why=why)

    def went_on(self, after_s: float) -> None:
        """The tick goes on after a gap: Redis was away, or this process was frozen."""
        if self._log is not None:
            self._log.warning("went_on", after_s=round(after_s, 1))

    def clock_jumped(self) -> None:
        if self._log is not None:
            self._log.warning("clock_jumped")

    def records_broken(self, where: str, error: BaseException) -> None:
        """A key that all batches share holds something else; tried again each second, and told once a minute."""
        if self._log is None or boot_s() < self._told_again_s.get(where, 0.0):
            return
        self._told_again_s[where] = boot_s() + _AGAIN_S
        self._log.error("records_broken", where=where, why=str(error)[:200], fix="mailspool verify")

    def bug(self, where: str, error: BaseException) -> None:
        """An exception that nobody expected: its type and place, not its text (which may hold a body)."""
        if self._log is not None:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            at = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
            self._log.error("bug", where=where, error=type(error).__name__, at=at)
