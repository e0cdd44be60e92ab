"""What happened to one message, told in order: its history, and what was said in its failed attempts. Public, frozen.

Made by `Batch.conversation` and the command line from what the workers stored (contract/talks.py). `history` is pure.
Known limit: a batch keeps the conversations of `keep_conversations` messages, of each the last ten attempts; attempts
that ended in `sent` have none, and a worker that dies loses those of its last second. Of other attempts the history
knows the first and the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mailspool.contract.codec import DecodeError
from mailspool.contract.states import NAME_OF
from mailspool.contract.talks import Direction, Talk, decode_talks, parse_talk
from mailspool.status import MessageStatus, _Snapshot, utc

_FIRST, _LAST = "first_try", "last_try"
_ENDS_OF_AN_ATTEMPT = frozenset(("sent", "deferred", "failed", "uncertain"))


@dataclass(frozen=True)
class ConversationLine(_Snapshot):
    """`dir`: > what we wrote, < what came back, - what happened otherwise; `at_ms` since the first line."""

    at_ms: int
    dir: Direction
    line: str


@dataclass(frozen=True)
class Conversation(_Snapshot):
    """One failed attempt over `relay`. `state`: what it came to, None for a session that could not be opened; `reply`:
    the one that decided, None where none came."""

    at: datetime | None
    relay: str
    state: str | None
    reply: str | None
    lines: tuple[ConversationLine, ...]


@dataclass(frozen=True)
class Happened(_Snapshot):
    """One entry of a history. `what`: the state that an attempt came to, else first_try or last_try."""

    at: datetime
    what: str
    relay: str | None
    reply: str | None


def conversations(stored: bytes | None) -> tuple[Conversation, ...]:
    """The attempts of one message, the oldest first; none for nothing, and for what cannot be read."""
    try:
        return tuple(map(_conversation, decode_talks(stored))) if stored is not None else ()
    except DecodeError:
        return ()


def failed_opening(stored: str | None) -> Conversation | None:
    """From the field `talk` of what the workers know of a relay: the last session that could not be opened."""
    try:
        return _conversation(parse_talk(stored)) if stored else None
    except DecodeError:
        return None


def _conversation(talk: Talk) -> Conversation:
    lines = tuple(ConversationLine(line.at_ms, line.dir, line.text) for line in talk.lines)
    return Conversation(_when(talk.at_ms), talk.relay, NAME_OF.get(talk.state), talk.reply or None, lines)


def _when(at_ms: int) -> datetime | None:
    try:
        return utc(at_ms)
    except (ValueError, OverflowError, OSError):
        return None  # somebody else has written there


def history(message: MessageStatus, talks: Sequence[Conversation]) -> tuple[Happened, ...]:
    """In order of time: the first try, the attempts whose conversation is kept, and the last one."""
    found = [Happened(talk.at, talk.state or "", talk.relay, talk.reply) for talk in talks if talk.at]
    known = {entry.at for entry in found}
    if message.last_try is not None and message.last_try not in known:
        what = message.state if message.state in _ENDS_OF_AN_ATTEMPT else _LAST
        found.append(Happened(message.last_try, what, message.relay, message.reply))
        known.add(message.last_try)
    if message.first_try is not None and message.first_try not in known:
        found.append(Happened(message.first_try, _FIRST, None, None))
    return tuple(sorted(found, key=lambda entry: entry.at))
