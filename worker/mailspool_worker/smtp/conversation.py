"""What was said on a connection, for people: how it was opened, and the lines of one attempt. Formatted when one fails.

A session only keeps references while it works (the replies it has read anyway, and when); nothing here runs for mail
that is sent. Bodies are told by their size, a login by its mechanism; where a reply repeats the relay's secrets, they
are masked.
Known limit: a line is cut at 200 characters, a reply at 8 lines; RSET and a lone dot are not told.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from mailspool.contract.talks import Direction, Line
from mailspool.settings import Relay
from mailspool_worker.classify import Loss, Stage
from mailspool_worker.smtp.envelope import Envelope
from mailspool_worker.smtp.replies import Reply

_LINE_CHARS: Final = 200
_REPLY_LINES: Final = 8
_LOST: Final[dict[Loss, str]] = {
    Loss.CLOSED: "the connection ended",
    Loss.TIMEOUT: "no answer in time",
    Loss.PROTOCOL: "not what SMTP allows here",
}
_OWN_WORDS: Final = frozenset(("closed", "timeout"))
"""What a session says of an end that the loss tells already."""


def shown(text: str | bytes, secrets: Secrets) -> str:
    """One harmless line: what does not print is written out. Masked before it is cut, or half a secret might stay."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = secrets.masked(text.rstrip("\r\n"))
    cut = text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS - 3] + "..."
    return cut if cut.isprintable() else "".join([sign if sign.isprintable() else _written_out(sign) for sign in cut])


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class Secrets:
    """What a relay is told to log in. A server may repeat it, and these lines are stored."""

    def __init__(self, relay: Relay | None = None) -> None:
        password = relay.password.get_secret_value() if relay and relay.password else ""
        told = (password.encode(), f"\0{relay.user if relay else ''}\0{password}".encode())
        coded = [base64.b64encode(secret).decode().rstrip("=") for secret in told]
        self._words = (password, *coded) if password else ()

    def masked(self, words: str) -> str:
        for secret in self._words:
            words = words.replace(secret, "****")
        return words


class Opening:
    """A session's beginning in short, while it happens. It is never told a login's words."""

    def __init__(self, clock_s: Callable[[], float], secrets: Secrets) -> None:
        self.lines: list[Line] = []
        self.secrets = secrets
        self._clock_s = clock_s
        self._begun_s = clock_s()

    @property
    def age_s(self) -> float:
        return self._clock_s() - self._begun_s

    def note(self, direction: Direction, text: str) -> None:
        self.lines.append(Line(round(self.age_s * 1000), direction, shown(text, self.secrets)))

    def reply(self, reply: Reply) -> None:
        self.note("<", f"{reply.code} {reply.body}".rstrip())

    def done(self) -> Opened:
        return Opened(self.lines, self.age_s, secrets=self.secrets)


class Opened(NamedTuple):
    """How a session was opened, and how long that took."""

    lines: Sequence[Line] = ()
    took_s: float = 0.0
    at_s: float = 0.0
    """When it was over, by the session's clock."""
    secrets: Secrets = Secrets()


UNKNOWN: Final = Opened()


class _Lines:
    """Lines with their time since the first one."""

    def __init__(self, begun_s: float, secrets: Secrets) -> None:
        self.lines: list[Line] = []
        self._begun_s = begun_s
        self._secrets = secrets

    def add(self, at_s: float, direction: Direction, text: str | bytes) -> None:
        self.lines.append(Line(max(0, round((at_s - self._begun_s) * 1000)), direction, shown(text, self._secrets)))

    def reply(self, at_s: float, reply: Reply) -> None:
        last = len(reply.lines) - 1
        for number, text in enumerate(reply.lines[:_REPLY_LINES]):
            self.add(at_s, "<", b"%d%s%s" % (reply.code, b" " if number == last else b"-", text))
        if last >= _REPLY_LINES:
            self.add(at_s, "-", f"({last + 1 - _REPLY_LINES} lines more)")


class Ending(NamedTuple):
    """How an attempt ended: at which stage, when, and what the session says about a loss."""

    stage: Stage
    event: Reply | Loss
    at_s: float
    why: str = ""
    noise: bytes = b""
    """The line that is no reply."""


def attempt_lines(
    envelope: Envelope, ending: Ending, *, pipelining: bool, opened: Opened, is_young: bool
) -> list[Line]:
    """From MAIL to the final reply or the loss; of a young session with its opening, which may be the cause."""
    told = _Lines(opened.at_s - opened.took_s if is_young else envelope.opened_at_s, opened.secrets)
    told.lines += opened.lines if is_young else ()
    for at_s, direction, text in _commands(envelope, pipelining=pipelining):
        if isinstance(text, Reply):
            told.reply(at_s, text)
        else:
            told.add(at_s, direction, text)
    rendered = envelope.item.rendered
    if envelope.body_at_s is not None:
        size = f"{rendered.size:,} bytes of body" if rendered is not None else "body"
        whole = ending.stage is Stage.DOT
        told.add(envelope.body_at_s, ">", f"<{size}>" if whole else f"<a part of {size}>")
        if whole:
            told.add(envelope.body_at_s, ">", ".")
    if isinstance(ending.event, Loss):
        if ending.noise:
            told.add(ending.at_s, "<", ending.noise)
        words = _LOST.get(ending.event, ending.event.value)
        more = f" ({ending.why})" if ending.why and ending.why not in _OWN_WORDS else ""
        told.add(ending.at_s, "-", words + more)
    elif ending.stage in (Stage.DOT, Stage.BODY):
        told.reply(ending.at_s, ending.event)
    return told.lines


def _commands(envelope: Envelope, *, pipelining: bool) -> Iterator[tuple[float, Direction, bytes | Reply]]:
    """The envelope's commands and replies in the order in which they went over the wire."""
    commands = (*(envelope.item.commands or ()), b"DATA")
    heard = envelope.heard
    if pipelining:
        yield from ((envelope.opened_at_s, ">", command) for command in commands)
        yield from ((at_s, "<", reply) for at_s, reply in heard)
        return
    at_s = envelope.opened_at_s
    for number, command in enumerate(commands):
        yield at_s, ">", command
        if number >= len(heard):
            return
        at_s, reply = heard[number]
        yield at_s, "<", reply
        if reply.code >= 300:
            return
