"""The client's errors in the words of somebody who types flags. Pure.

The client speaks to Python programmers (`on_bad_row="skip"`); on a command line only `--skip-bad` can be typed.
Whatever is not known here stays as it is.
"""

from __future__ import annotations

from typing import Final

from mailspool.errors import InputError

_PHRASES: Final = (
    ('on_bad_row="skip" (--skip-bad)', "--skip-bad"),
    ('Say duplicates="first" (--duplicates first: one mail each), or "all" (every row is a mail), ',
     "Say --duplicates first (one mail each), or --duplicates all (every row is a mail), "),
    ('row_key="COLUMN" (--row-key COLUMN, and running it again stays safe)',
     "--row-key COLUMN (and running it again stays safe)"),
    ("For text that is no template, send() takes it literally; in a template write",
     "To say {{ or {% itself, write"),
)  # fmt: skip
_NAMES: Final = {"send_at": "--at", "expires_at": "--expires", "expires_after": "--expires"}
_ALONE: Final = "an address alone has no other columns: give a list with --to FILE"


def in_flags(error: InputError) -> InputError:
    """The same error, its arguments called as the flags are."""
    message, hint = _in_flags(error.message), _in_flags(error.hint)
    if (message, hint) == (error.message, error.hint):
        return error
    return InputError(message, problems=error.problems, hint=hint, code=error.code, exit_code=error.exit_code)


def of_addresses(error: InputError) -> InputError:
    """For addresses on the command line, which are no rows to their writer."""
    if error.code != "bad_rows" or not error.problems:
        return in_flags(error)
    row, colon, rest = error.problems[0].partition(": ")
    problem = (rest if colon else row).rstrip(".")
    return InputError(f"{problem}. Nothing was queued.", problems=[problem], hint=_ALONE, code=error.code)


def _in_flags(text: str) -> str:
    for theirs, ours in _PHRASES:
        text = text.replace(theirs, ours)
    for name, flag in _NAMES.items():
        if text.startswith(f"{name} "):
            text = flag + text.removeprefix(name)
    return text
