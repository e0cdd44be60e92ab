"""`Batch`: the handle of what one call queued. Live counts, waiting, what went wrong, and what to do about it.

Keeps nothing but ids: any process can get the same handle by `spool.batch(id)`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, NoReturn

from mailspool.client import browse
from mailspool.client.connection import Connection, Opener
from mailspool.client.patience import REPLIES_READ, Patience, reply_code, waits_for_later_tries, words
from mailspool.client.receipt import Receipt
from mailspool.content.address import AddressError, identity, normalise
from mailspool.contract.states import CHUNK_SIZE, DEFERRED, FAILED, SENT, STATES, UNCERTAIN, State
from mailspool.conversation import Conversation, conversations
from mailspool.errors import InputError, NotFound, WaitTimeout
from mailspool.status import BatchStatus, MessageStatus, Sample, batch_status, handled

_log = logging.getLogger("mailspool")
_UNSENT: tuple[State, ...] = ("failed", "expired", "uncertain", "suppressed", "cancelled")
_LETTERS = {"deferred": DEFERRED, "failed": FAILED, "uncertain": UNCERTAIN}
_RESOLVED = {"sent": SENT, "failed": FAILED}
_LOOK_FIRST_S, _LOOK_MOST_S = 0.02, 0.5
_SAMPLE_MS = 1000
"""The speed is measured over at least this, however often somebody looks."""

Retryable = Literal["deferred", "failed", "uncertain"]
Resolved = Literal["sent", "failed"]


class Batch:
    """Made by Spool. Attributes without I/O: id, name, key, class_, and what the call that made it did."""

    def __init__(self, spool: Opener, receipt: Receipt) -> None:
        self.id = receipt.batch
        self.name = receipt.name
        self.key = receipt.key
        self.class_ = receipt.class_
        self.created = receipt.created
        self.added = receipt.added
        self.skipped_known = receipt.skipped_known
        self.skipped_bad = receipt.skipped_bad
        self.duplicates = receipt.duplicates
        self.rejects = receipt.rejects
        self.notices = receipt.notices
        """Terms that the existing batch of this key has otherwise than this call asked for: the first call's stand."""
        self._spool = spool
        self._sample: Sample | None = None

    def __repr__(self) -> str:
        return f"<Batch {self.id}{' ' if self.name else ''}{self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Batch cannot be pickled: pass batch.id, then spool.batch(id)")

    # -- looking

    async def status(self) -> BatchStatus:
        """One round trip. `rate_per_s` is the speed since this handle's last look."""
        connection = await self._connection()
        with browse.reading(connection, self.id):
            seen = await connection.moves.status(self.id)
            if seen is None:
                raise browse.forgotten(connection, self.id)
            status = batch_status(self.id, seen, self._sample)
        if self._sample is None or seen.now_ms - self._sample.at_ms >= _SAMPLE_MS:
            self._sample = Sample(seen.now_ms, handled(status))
        return status

    async def wait(self, timeout: float | None = None) -> BatchStatus:
        """Until the batch has come to rest. Raises WaitTimeout (it goes on).

        A deferred mail may wait for days: what it waits for is logged as a warning after 10 s, and whenever it changes.
        """
        started_s, pause_s = time.monotonic(), _LOOK_FIRST_S
        patience = Patience(started_s)
        while True:
            status = await self.status()
            if status.done:
                return status
            waited_s = time.monotonic() - started_s
            if timeout is not None and waited_s >= timeout:
                raise self._timed_out(status, timeout)
            if patience.due(status, started_s + waited_s):
                _log.warning("%s waits: %s", self.id, words(status, await self._replies_so_far(status)))
            left_s = float("inf") if timeout is None else timeout - waited_s
            await asyncio.sleep(min(pause_s, max(0.0, left_s)))
            pause_s = min(_LOOK_MOST_S, pause_s * 1.5)

    async def _replies_so_far(self, status: BatchStatus) -> Counter[str]:
        """Of mails that wait for later tries."""
        found: Counter[str] = Counter()
        if waits_for_later_tries(status):
            async for message in self.messages("deferred"):
                found[reply_code(message)] += 1
                if found.total() == REPLIES_READ:
                    break
        return found

    def _timed_out(self, status: BatchStatus, timeout_s: float) -> WaitTimeout:
        why = f" ({status.waiting_for})" if status.waiting_for else ""
        told = f"{self.id}: {handled(status):,} of {status.total:,} after {timeout_s:g} s, still going{why}"
        return WaitTimeout(told, status=status)

    async def progress(self, every: float = 1.0) -> AsyncIterator[BatchStatus]:
        """A status now, then one every so many seconds; ends with the one that is done."""
        while True:
            status = await self.status()
            yield status
            if status.done:
                return
            await asyncio.sleep(every)

    async def messages(
        self,
        state: State | tuple[State, ...] | None = None,
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> AsyncIterator[MessageStatus]:
        """Streams by chunk, in row order. `reply`: part of the last server reply, case ignored."""
        wanted = Wanted.of(state, recipient, domain, reply)
        async for chunk in browse.chunks(await self._connection(), self.id, wanted.only_odd):
            for message in chunk.messages:
                if wanted.fits(message):
                    yield message

    async def message(self, row: int) -> MessageStatus:
        """One message by its number."""
        connection = await self._connection()
        async for chunk in browse.chunks(connection, self.id, only_odd=False, row=row):
            for message in chunk.messages:
                if message.row == row:
                    return message
        total = (await self.status()).total
        raise NotFound(f'no message "{self.id}-{row}": its rows are 1 to {total:,}.', code="no_such_message")

    async def conversation(self, row: int) -> tuple[Conversation, ...]:
        """What was said in a message's failed attempts, the oldest first; may be missing (`keep_conversations`)."""
        connection = await self._connection()
        (stored,) = await connection.commands([("HGET", connection.keys.talk(self.id), row)], broken=True)
        return conversations(stored if isinstance(stored, bytes) else None)

    def failed(self) -> AsyncIterator[MessageStatus]:
        """Exactly those that the counter `failed` counts."""
        return self.messages("failed")

    def unsent(self) -> AsyncIterator[MessageStatus]:
        """Every final state but sent."""
        return self.messages(_UNSENT)

    # -- changing

    async def retry(
        self,
        state: Retryable = "deferred",
        *,
        recipient: str | None = None,
        domain: str | None = None,
        reply: str | None = None,
    ) -> int:
        """deferred: try now. failed, uncertain: back to deferred, due now, attempts from 0. Answers how many moved."""
        if state not in _LETTERS:
            raise InputError(f'messages that are "{state}" cannot be tried again; deferred, failed and uncertain can.')
        wanted = Wanted.of(state, recipient, domain, reply)
        connection = await self._connection()
        moved = 0
        async for chunk in browse.chunks(connection, self.id, only_odd=True):
            indexes = [(message.row - 1) % CHUNK_SIZE for message in chunk.messages if wanted.fits(message)]
            if not indexes:
                continue
            answer = await connection.moves.reopen(
                self.id, chunk.k, _LETTERS[state], indexes if wanted.is_filter else ()
            )
            if answer < 0:
                raise self._closed(await self.status())
            moved += answer
        if moved:
            connection.feed(self.class_)
            return moved
        status = await self.status()
        if status.state == "cancelled" or status.expired:
            raise self._closed(status)
        return 0

    async def resolve(
        self, as_: Resolved, *, recipient: str | None = None, domain: str | None = None, reply: str | None = None
    ) -> int:
        """A person decides about uncertain messages: they were sent, or they failed. Answers how many moved."""
        if as_ not in _RESOLVED:
            raise InputError(f'uncertain messages become "sent" or "failed", not "{str(as_)[:40]}".')
        wanted = Wanted.of("uncertain", recipient, domain, reply)
        connection = await self._connection()
        moved = 0
        async for chunk in browse.chunks(connection, self.id, only_odd=True):
            indexes = [(message.row - 1) % CHUNK_SIZE for message in chunk.messages if wanted.fits(message)]
            if indexes:
                moved += await connection.moves.resolve(self.id, chunk.k, _RESOLVED[as_], indexes)
        return moved

    async def hold(self) -> int:
        """Nothing more leaves until release; what is on the wire finishes. Answers how many messages that touches."""
        return await (await self._connection()).moves.hold(self.id)

    async def release(self) -> int:
        """The end of a hold. Answers how many messages may go again."""
        connection = await self._connection()
        touched = await connection.moves.release(self.id)
        connection.feed(self.class_)
        return touched

    async def cancel(self) -> int:
        """Leaves sent ones alone. Answers how many will not be sent."""
        return await (await self._connection()).moves.close(self.id, "cancelled")

    # -- inside

    async def _connection(self) -> Connection:
        return await self._spool.connection()

    def _closed(self, status: BatchStatus) -> InputError:
        """Nobody can send what was cancelled, or what is past its deadline."""
        why = "cancelled" if status.state == "cancelled" else "past its deadline"
        return InputError(f"batch {self.id} is {why}: nothing of it can be tried again.")


class Wanted(NamedTuple):
    """Which messages of a batch somebody asks for."""

    states: tuple[State, ...] | None
    recipient: str | None
    domain: str | None
    reply: str | None

    @classmethod
    def of(
        cls, state: State | tuple[State, ...] | None, recipient: str | None, domain: str | None, reply: str | None
    ) -> Wanted:
        """Raises InputError for a state that there is not. Addresses are compared as they are stored."""
        states = (state,) if isinstance(state, str) else state
        for name in states or ():
            if name not in STATES:
                raise InputError(f'no state "{name}": {", ".join(STATES)}.')
        return cls(
            tuple(states) if states is not None else None,
            None if recipient is None else _stored_form(recipient),
            None if domain is None else _stored_form(f"x@{domain}").rpartition("@")[2],
            None if reply is None else reply.casefold(),
        )

    @property
    def only_odd(self) -> bool:
        """All of them have an outcome other than sent."""
        return self.states is not None and not set(self.states) & {"queued", "sent"}

    @property
    def is_filter(self) -> bool:
        """Something beside the state decides."""
        return not (self.recipient is None and self.domain is None and self.reply is None)

    def fits(self, message: MessageStatus) -> bool:
        if self.states is not None and message.state not in self.states:
            return False
        if self.recipient is not None and identity(message.recipient) != self.recipient:
            return False
        if self.domain is not None and message.recipient.rpartition("@")[2] != self.domain:
            return False
        return self.reply is None or self.reply in (message.reply or "").casefold()


def _stored_form(address: str) -> str:
    """As it is compared; a text that is no address fits nobody."""
    try:
        return identity(normalise(address.strip()))
    except AddressError:
        return identity(address.strip())
