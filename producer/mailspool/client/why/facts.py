"""What was read to answer "why": plain data, so that the deciding is a pure function of it and of Redis' clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from mailspool.client.relays import RelayStatus
from mailspool.contract.moves import Snapshot
from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED, FAILED
from mailspool.status import BatchStatus, MessageStatus, PauseStatus

_CODE: Final = 3
_REPLY_SHOWN: Final = 100


@dataclass(frozen=True)
class WorkerFact:
    """A live worker: what it says of itself."""

    name: str
    relays: tuple[str, ...]
    versions: tuple[str, ...]
    slots: Mapping[str, int]


class RunFact(NamedTuple):
    """A chunk that was given out. `until_ms`: when the sweep looks (the end of the lease); `silent_since_ms`: the last
    heartbeat of its worker, None while that one lives."""

    k: int
    kind: Literal["fed", "running"]
    until_ms: int | None
    worker: str
    alive: bool
    silent_since_ms: int | None


@dataclass
class ReplyGroup:
    """Messages whose last reply is of one kind."""

    letter: str
    kind: str
    relay: str
    batch: str
    mails: int = 0
    next_ms: int = 0
    replies: set[str] = field(default_factory=set)

    @property
    def reply(self) -> str:
        """As it was said, where all were told the same; else codes and our word."""
        return next(iter(self.replies)) if len(self.replies) == 1 else self.kind


class Groups:
    """Outcomes become groups."""

    def __init__(self, letters: Iterable[str] = (DEFERRED,)) -> None:
        self._letters = frozenset(letters)
        self._groups: dict[tuple[str, str, str, str], ReplyGroup] = {}

    def add(self, batch: str, outcome: Outcome, due_ms: int | None = None) -> None:
        """`due_ms`: of its chunk, which goes as a whole: no message of it goes before."""
        if outcome.state not in self._letters:
            return
        kind = reply_kind(outcome.reply, outcome.reason)
        key = (outcome.state, kind, outcome.relay, batch)
        group = self._groups.setdefault(key, ReplyGroup(outcome.state, kind, outcome.relay, batch))
        next_ms = max(outcome.at_ms, due_ms or 0)
        group.next_ms = min(group.next_ms, next_ms) if group.mails else next_ms
        group.mails += 1
        if len(group.replies) < 2:
            group.replies.add(outcome.reply[:_REPLY_SHOWN] or kind)

    def found(self) -> tuple[ReplyGroup, ...]:
        """Those that come to an end last stand last; failed ones after all."""
        return tuple(sorted(self._groups.values(), key=lambda group: (group.letter == FAILED, -group.mails)))


def reply_kind(reply: str, reason: str) -> str:
    """`450 4.2.0 greylisted`: codes and our word, so that thousands of replies make few kinds."""
    words = reply.split()
    codes = [word for word in words[:2] if word[:1] in "245" and (word.isdecimal() or word.count(".") == 2)]
    if not codes or len(codes[0]) != _CODE or not codes[0].isdecimal():
        return (reason.replace("_", " ") or reply or "no reply")[:_REPLY_SHOWN]
    rest = reason.replace("_", " ") or " ".join(words[len(codes) :])
    return " ".join([*codes, rest]).strip()[:_REPLY_SHOWN]


@dataclass(frozen=True)
class QueueFact:
    """Where a batch stands among those of its class. `ahead`: batches that are served before it, None if it has no
    turn now; chunks: given out of the class, as many as the workers get at once, of this batch due and waiting."""

    ahead: int | None = None
    given_out: int = 0
    window: int = 0
    due_chunks: int = 0
    waiting_chunks: int = 0


@dataclass(frozen=True)
class BatchFacts:
    """One batch. `looked` of `odd` chunks with something other than sent were read for the groups."""

    seen: Snapshot
    status: BatchStatus
    workers: tuple[WorkerFact, ...] = ()
    relays: tuple[RelayStatus, ...] = ()
    held_senders: tuple[HeldSender, ...] = ()
    runs: tuple[RunFact, ...] = ()
    groups: tuple[ReplyGroup, ...] = ()
    queue: QueueFact = QueueFact()
    looked: int = 0
    odd: int = 0


class HeldSender(NamedTuple):
    """A relay that takes nothing from this sender (an address or a domain) for now."""

    relay: str
    sender: str
    why: str
    until_ms: int


@dataclass(frozen=True)
class MessageFacts:
    """One message and its batch. `run`: of its chunk; `due_ms`, `ahead`: of its chunk while that waits."""

    message: MessageStatus
    batch: BatchFacts
    run: RunFact | None = None
    due_ms: int | None = None
    ahead: int | None = None


@dataclass(frozen=True)
class DomainFacts:
    """Mail to one domain (or one address) in live batches, as far as it was looked at."""

    now_ms: int
    wanted: str
    groups: tuple[ReplyGroup, ...]
    batches: int
    of_batches: int
    looked: int
    of_chunks: int
    blocked: Mapping[str, str] = field(default_factory=dict)
    """Batch -> what keeps it as a whole."""
    untried: int = 0
    """Mails of the whole spool that were never tried: nobody looks through those."""


@dataclass(frozen=True)
class SpoolFacts:
    """The whole spool; `batches`: live ones, with what each waits for."""

    now_ms: int
    pauses: tuple[PauseStatus, ...]
    workers: int
    relays: tuple[RelayStatus, ...]
    batches: tuple[BatchStatus, ...]
    live: int
    queued: int
    deferred: int
    uncertain: int
    unserved: Mapping[str, int] = field(default_factory=dict)
    """Class -> its mails that wait, where workers run and none of them serves it."""
    rated: frozenset[str] = frozenset()
    """Of those batches: whose relay's rate is used up."""
    doubtful: tuple[str, ...] = ()
    """Batches with uncertain messages, also finished ones, the latest first; as far as they were looked for."""
