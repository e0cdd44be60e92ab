"""The content flags of `send` (--from --subject --text ... or --eml) -> a Message, or the bytes of a finished mail.

Raises Usage for flags that contradict each other, NotFound (66) for a file that is not there, InputError (65) for
what no mail may hold. What it says names flags, for those who typed it; `mailspool.message` has the checks themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailspool.cli.failures import Usage
from mailspool.cli.recipients import STDIN, exists, near_file
from mailspool.errors import InputError, NotFound

if TYPE_CHECKING:
    from mailspool.message import Message

_SHOWN: Final = 60


@dataclass(frozen=True)
class Content:
    """The content flags as they were typed."""

    from_: str | None
    subject: str | None
    text: str | None
    html: str | None
    body: str | None
    eml: str | None
    attach: tuple[str, ...]
    headers: tuple[str, ...]
    reply_to: str | None

    @property
    def lacks_subject(self) -> bool:
        """A finished mail has headers of its own."""
        return self.eml is None and not (self.subject or "").strip()

    def check(self, *, stdin_is_list: bool) -> None:
        """Usage, before anything is opened."""
        if self.text is not None and self.body is not None:
            raise Usage("--text names a file, --body is the text itself: give one of them.")
        own = (self.from_, self.subject, self.text, self.html, self.body, self.reply_to)
        if self.eml is not None and (any(part is not None for part in own) or self.attach or self.headers):
            raise Usage("--eml is a finished mail and goes as it is: no other content flags beside it.")
        if self.eml is None and self.text is None and self.html is None and self.body is None:
            raise Usage(
                'nothing to say: give --body "text", --text FILE, --html FILE, or a finished mail with --eml FILE.'
            )
        if [self.text, self.html, self.eml].count(STDIN) + stdin_is_list > 1:
            raise Usage("stdin (-) can be read once: one of --to, --text, --html, --eml.")

    def message(self, default_from: str | None) -> Message | bytes:
        """Reads the files."""
        if self.eml is not None:
            return _bytes("--eml", self.eml)
        if self.from_ is None and default_from is None:
            raise InputError(
                'no sender: give --from "You <you@example.org>", or set default_from (MAILSPOOL_DEFAULT_FROM). '
                "Nothing was queued.",
                code="no_from",
            )
        from mailspool.message import Attachment, Message

        return Message(
            from_=self.from_ if self.from_ is not None else default_from,
            reply_to=self.reply_to,
            subject=self.subject or "",
            text=self.body if self.body is not None else _text("--text", self.text),
            html=_text("--html", self.html),
            attachments=[Attachment(_attached(name)) for name in self.attach],
            headers=_headers(self.headers),
        )


def _text(flag: str, name: str | None) -> str | None:
    """The file's text, which must be UTF-8."""
    if name is None:
        return None
    data = _bytes(flag, name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        shown = "stdin" if name == STDIN else name
        raise InputError(f"{flag}: {shown} is not UTF-8 (line {line}). Save it as UTF-8.", code="not_utf8") from None


def _bytes(flag: str, name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    if not exists(name):
        raise _missing(flag, name)
    try:
        return Path(name).read_bytes()
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise InputError(f"{flag}: {name} cannot be read: {words}.", code="unreadable", exit_code=66) from error


def _missing(flag: str, name: str) -> NotFound:
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    prose = flag in ("--text", "--html") and (any(sign.isspace() for sign in name) or not set(name) & set("./\\"))
    if prose and (near := near_file(name)) == "":
        itself = "--body" if flag == "--text" else "a file for --html, or --body for plain text:"
        return NotFound(f'no file "{shown}". For the text itself use {itself} "{shown}"', code="no_such_file")
    near = near_file(name)
    return NotFound(f'{flag}: no file "{shown}".{near}', code="no_such_file")


def _attached(name: str) -> Path:
    if not exists(name) and "{{" not in name:
        raise _missing("--attach", name)
    return Path(name)


def _headers(given: Sequence[str]) -> dict[str, str]:
    """`--header 'List-Id: <news.acme.example>'`."""
    found: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise Usage(f"--header \"{text[:_SHOWN]}\": write --header 'Name: value'.")
        if name.strip().lower() in (known.lower() for known in found):
            raise InputError(f"--header: {name.strip()} is given twice.", code="bad_message")
        found[name.strip(" ")] = value.strip(" \t")
    return found
