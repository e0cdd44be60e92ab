"""What all sessions of one receiver share: policy, mails, log, the open sessions, and whoever waits for news.

Made by receiver.py, used by session.py. `wait_until` is woken by events, it never polls. Raises TimeoutError in words;
ConfigError from the log or the folder when it is made. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailspool.sandbox.conversation import Conversation
from mailspool.sandbox.folder import FolderStore
from mailspool.sandbox.journal import Journal
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.policy import Policy
from mailspool.sandbox.records import ReceivedMail

OnMail = Callable[[ReceivedMail], None]


class Member(Protocol):
    """An open session, as the desk sees it."""

    def abort(self) -> None:
        """Cut the connection now."""


@dataclass(slots=True, eq=False)
class _Waiter:
    condition: Callable[[], bool]
    future: asyncio.Future[None]


class Desk:
    """One per receiver."""

    def __init__(self, options: ReceiverOptions, on_mail: OnMail | None) -> None:
        self.options = options
        self.policy = Policy(options)
        self.tls_context = options.tls_context()
        self.journal = Journal(options.log, remember=options.remember_log)
        try:
            self._folder = None if options.keep is None else FolderStore(options.keep)
        except BaseException:
            self.journal.close()
            raise
        self.mails: list[ReceivedMail] = []
        self.received = 0
        self.sessions: set[Member] = set()
        self._on_mail = on_mail
        self._last_session = 0
        self._waiters: list[_Waiter] = []

    def enter(self, session: Member) -> tuple[int, bool]:
        """A new connection: its number, and whether there are too many now."""
        limit = self.options.max_sessions
        full = limit is not None and 0 < limit <= len(self.sessions)
        self.sessions.add(session)
        self._last_session += 1
        return self._last_session, full

    def leave(self, session: Member) -> None:
        """Its connection is gone."""
        self.sessions.discard(session)
        self._tell()

    def take(self, mail: ReceivedMail) -> None:
        """Keep a mail; OSError if that fails, and then it does not count."""
        if self._folder is not None:
            self._folder.keep(mail)
        if self.options.remember_mails:
            self.mails.append(mail)
        self.received += 1

    def report(self, talk: Conversation, now_ms: int, *, flushed: bool) -> None:
        """Log a session's new events and show its new mails, before their replies are handed over."""
        if talk.events:
            events, talk.events = talk.events, []
            self.journal.add(talk.session, now_ms, events, flushed=flushed)
        if talk.mails:
            mails, talk.mails = talk.mails, []
            if self._on_mail is not None:
                for mail in mails:
                    self._on_mail(mail)
        if self._waiters:
            self._tell()

    async def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Returns once the condition holds; it is asked after each event."""
        if condition():
            return
        waiter = _Waiter(condition, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.future
        except TimeoutError:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; {self!r}") from None
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """Everybody has left. The mails and the log in memory stay readable; a second call does nothing."""
        self.journal.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _tell(self) -> None:
        for waiter in self._waiters:
            if not waiter.future.done() and waiter.condition():
                waiter.future.set_result(None)

    def __repr__(self) -> str:
        return f"<received {self.received}, sessions {len(self.sessions)} open of {self._last_session}>"
