"""A key of ours holds something else: which errors say so, and what people are told.

`broken(error, name, key)` answers a BrokenRecords to be raised, or None where the error is about something else.
Called by the client, by the worker and by the command line. It is redis-py's ResponseError, too: whoever reads many
records goes on with the next one.
"""

from __future__ import annotations

import re

from redis.exceptions import NoPermissionError, ResponseError

from mailspool.errors import SpoolUnsafe

_MARKS = ("WRONGTYPE", "is not an integer", "is not a valid float", "would overflow", "attempt to ", "bad argument")
"""Of the server's own words, and of Lua's where a script met what it cannot reckon with."""
_IN_PIPELINE = re.compile(r"Command # \d+ \(\w+ (?P<key>\S+).*\) of pipeline caused error: ", re.DOTALL)
_WORDS_CHARS = 120
_KEY_CHARS = 100


class BrokenRecords(SpoolUnsafe, ResponseError):  # noqa: N818 - as its public base
    """Something else writes where Mailspool keeps its records."""

    default_code = "broken_records"


def is_broken(error: Exception) -> bool:
    words = str(error)
    return (
        isinstance(error, ResponseError)
        and not isinstance(error, NoPermissionError)
        and any(mark in words for mark in _MARKS)
    )


def broken(error: Exception, name: str, key: str = "") -> BrokenRecords | None:
    """`name`: how people call this Redis. `key`: where it is known; a pipeline's error names it."""
    if isinstance(error, BrokenRecords):
        return error
    if not is_broken(error):
        return None
    words = str(error)
    if found := _IN_PIPELINE.match(words):
        key, words = found["key"], words[found.end() :].strip("()',\"")
    where = f"the key {key[:_KEY_CHARS]} of {name}" if key else f"a key of {name}"
    return BrokenRecords(
        f"{where} is broken: something else has written there ({words[:_WORDS_CHARS]}).",
        hint="`mailspool verify` names all that is broken; delete it there, then `mailspool verify --repair`",
    )
