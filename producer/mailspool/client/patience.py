"""What `Batch.wait` logs while nothing seems to happen. Pure but for the log: statuses and the time come in.

One warning when a batch has waited for the same thing for 10 s, another when that changes, at most one a minute. Mails
that wait for later tries are told with the codes of their last replies: never a whole reply, which may name receivers.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from mailspool.status import NO_WORKER, BatchStatus, MessageStatus

WAITED_S: Final = 10.0
"""What is over sooner is not worth a line."""
TOLD_EVERY_S: Final = 60.0
REPLIES_READ: Final = 1_000
"""Enough to know what most of them were answered."""
_CODES: Final = re.compile(r"[45][0-9]{2}(?:[ -]+[45]\.[0-9]{1,3}\.[0-9]{1,3})?", re.ASCII)


def waits_for_later_tries(status: BatchStatus) -> bool:
    """Everything else has come to its end, and nothing but the schedule keeps these."""
    later = not status.done and status.queued == 0 and status.deferred > 0
    return later and (not status.waiting_for or status.waiting_for.startswith("a later try at "))


def _later_words(status: BatchStatus, why: str) -> str:
    """`3 wait for a later try (450 4.7.1 greylisted), next at 14:02`."""
    verb = "waits" if status.deferred == 1 else "wait"
    at = f", next at {status.next_try.astimezone():%H:%M}" if status.next_try else ""
    return f"{status.deferred:,} {verb} for a later try{f' ({why})' if why else ''}{at}"


def _most_common(found: Counter[str]) -> str:
    first = "".join(reply for reply, _ in found.most_common(1))
    return f"{first} and others" if len(found) > 1 else first


def reply_code(message: MessageStatus) -> str:
    """The codes of its last reply and our word for it."""
    codes = _CODES.match(message.reply or "")
    words = [codes[0] if codes else "", (message.reason or "").replace("_", " ")]
    return " ".join(word for word in words if word) or "no reply"


class Patience:
    """One `wait`. `due` answers whether something is to be told now."""

    def __init__(self, now_s: float, *, waited_s: float = WAITED_S, told_every_s: float = TOLD_EVERY_S) -> None:
        self._waited_s, self._told_every_s = waited_s, told_every_s
        self._reason, self._since_s = "", now_s
        self._told, self._told_s = "", float("-inf")

    def due(self, status: BatchStatus, now_s: float) -> bool:
        """Mark it as told, if it is."""
        kind, reason = _reason_of(status)
        if kind != self._reason:
            self._reason, self._since_s = kind, now_s
        if not reason or reason == self._told or now_s - self._since_s < self._waited_s:
            return False
        if now_s - self._told_s < self._told_every_s:
            return False
        self._told, self._told_s = reason, now_s
        return True


def _reason_of(status: BatchStatus) -> tuple[str, str]:
    """What must last, and what must differ to be told again: a next try may come and go within the same waiting."""
    if waits_for_later_tries(status):
        return "later", f"later {status.next_try:%H:%M}" if status.next_try else "later"
    return status.waiting_for or "", status.waiting_for or ""


def words(status: BatchStatus, replies: Counter[str]) -> str:
    """The warning, without the batch. `replies`: of mails that wait for later tries, if only those are left."""
    if waits_for_later_tries(status):
        return _later_words(status, _most_common(replies))
    return f"{NO_WORKER}. Start one: mailspool worker" if status.waiting_for == NO_WORKER else status.waiting_for or ""
