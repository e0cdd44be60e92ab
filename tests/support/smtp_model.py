"""A receiver as a state machine, strict where Postfix is: it asserts what a sender must never do.

`read` takes what a session wrote and queues a reply to each command; `replies` are sent when a test says so. Which code
each command gets is the test's choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Choose = Callable[[str], int]
"""Verb (MAIL, RCPT, DATA, DOT) -> reply code."""


class SmtpModel:
    """One connection. `accepted`: recipients of mails whose dot got a 2xx, whether or not that reply went out."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._rest = ""
        self._recipient: str | None = None
        self._in_mail = False
        self._in_data = False
        self._rcpt_ok = False
        self._mail_ok = False
        self.replies: deque[str] = deque()
        self.accepted: list[str] = []
        self.gone = False

    def read(self, data: str) -> None:
        self._rest += data
        while self._rest and not self.gone:
            before = self._rest
            if self._in_data:
                self._body()
            else:
                self._command()
            if self._rest == before:
                return

    def _body(self) -> None:
        if self._rest.startswith(".\r\n"):
            text, self._rest = "", self._rest[3:]
        else:
            text, dot, rest = self._rest.partition("\r\n.\r\n")
            if not dot:
                return
            self._rest = rest
        assert text or not self._rcpt_ok, "a lone dot with an accepted recipient delivers an empty mail"
        self._in_data = False
        if not self._rcpt_ok:
            self._reply(554, "no valid recipients")
        else:
            assert text.startswith("From:"), f"not a mail: {text[:60]!r}"
            code = self._choose("DOT")
            if 200 <= code < 300:
                assert self._recipient is not None
                self.accepted.append(self._recipient)
            self._reply(code, "dot")
        self._in_mail = self._mail_ok = self._rcpt_ok = False

    def _command(self) -> None:
        line, end, rest = self._rest.partition("\r\n")
        if not end:
            return
        self._rest = rest
        verb = line.partition(" ")[0]
        if verb == "MAIL":
            assert not self._in_mail, "nested MAIL: RSET is missing"
            code = self._choose("MAIL")
            self._in_mail = self._mail_ok = code == 250
            self._reply(code, "mail")
        elif verb == "RCPT":
            code = self._choose("RCPT") if self._mail_ok else 503
            self._rcpt_ok = code == 250
            self._recipient = line.removeprefix("RCPT TO:<").rstrip(">")
            self._reply(code, "rcpt")
        elif verb == "DATA":
            code = self._choose("DATA")
            if code == 354 and not self._mail_ok:
                code = 503
            self._in_data = code == 354
            self._reply(code, "data")
        elif verb == "RSET":
            self._in_mail = self._mail_ok = self._rcpt_ok = False
            self._reply(250, "reset")
        else:
            assert verb == "QUIT", f"no command: {line!r}"
            self._reply(221, "bye")
            self.gone = True

    def _reply(self, code: int, text: str) -> None:
        self.replies.append(f"{code} {text}")
        if code == 421:
            self.gone = True
