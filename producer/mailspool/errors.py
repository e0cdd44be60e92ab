"""Every error that Mailspool raises on purpose, flat, named by what it spoils.

Each has `.code` (stable, for programs), `.hint` (what to do next) and `.exit_code` (sysexits.h, used by the command
line). No message holds a body, a secret or a template value, except the offending cell of a bad row, cut to 60
characters. Delivery failures are never exceptions: they are states of a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MailspoolError(Exception):
    """The root of all errors below. `str(error)` is one or more whole sentences."""

    default_code: ClassVar[str] = "error"
    default_exit: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.exit_code = self.default_exit if exit_code is None else exit_code


class InputError(MailspoolError, ValueError):
    """This call's input is bad; nothing was queued. `.problems` lists what was found, one sentence each."""

    default_code = "bad_input"
    default_exit = 65

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[str] = (),
        hint: str = "",
        code: str | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code, exit_code=exit_code)
        self.problems = tuple(problems)


class KeyConflict(MailspoolError, ValueError):  # noqa: N818 - the public name is fixed
    """The key belongs to a batch that this call may not extend; nothing was queued."""

    default_code = "key_conflict"
    default_exit = 65


class NotFound(MailspoolError, LookupError):  # noqa: N818
    """No such batch, message or file."""

    default_code = "not_found"
    default_exit = 66


class WaitTimeout(MailspoolError, TimeoutError):  # noqa: N818
    """`wait(timeout=...)` ran out; the mail goes on. `.status` is the last `BatchStatus`."""

    default_code = "timeout"
    default_exit = 75

    def __init__(self, message: str, *, status: object, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class SpoolUnavailable(MailspoolError, ConnectionError):  # noqa: N818
    """Redis does not answer. `.acknowledged` is False (nothing queued) or None (lost in the middle of a commit)."""

    default_code = "spool_unavailable"
    default_exit = 69

    def __init__(self, message: str, *, acknowledged: bool | None = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.acknowledged = acknowledged


class SpoolFull(MailspoolError):  # noqa: N818
    """Redis or the disk has no room for this batch; nothing was queued."""

    default_code = "spool_full"
    default_exit = 73


class SpoolUnsafe(MailspoolError):  # noqa: N818
    """This Redis would lose mail (it evicts, forgets, is a cluster or too old), or something else writes there."""

    default_code = "spool_unsafe"
    default_exit = 78


class ConfigError(MailspoolError, ValueError):
    """A setting is wrong; this process cannot go on."""

    default_code = "bad_setting"
    default_exit = 78


def with_article(value: object) -> str:
    """`a tuple`, `an int`, `None`: what somebody gave instead."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
