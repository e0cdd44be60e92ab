"""What the writer of a broken template probably meant. Pure; called by render.py while it words an error.

`not_closed` looks at the source alone, for Jinja2's own words about a forgotten }} name whatever stands after it.
Known limit: a {{ inside a string of a tag counts as one; only sources that Jinja2 refuses are looked at.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NO_TAGS: Final = re.compile(r"\{#.*?#\}|\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}", re.DOTALL)
_SIGNS: Final = re.compile(r"\{\{|\}\}|\{%|%\}")
_CLOSES: Final = {"{{": "}}", "{%": "%}"}
_KEY_SHOWN: Final = 60


class Opened(NamedTuple):
    """A tag without an end."""

    line: int
    sign: str
    missing: str


def is_template(source: str) -> bool:
    """Whether Jinja could change this text at all."""
    return "{{" in source or "{%" in source or "{#" in source


def not_closed(source: str, line: int) -> Opened | None:
    """The first tag that has no end before the next one begins; None if it stands after `line`, where parsing ended."""
    bare = _NO_TAGS.sub(lambda found: "\n" * found[0].count("\n"), source)
    opened: re.Match[str] | None = None
    for sign in _SIGNS.finditer(bare):
        if sign[0] in _CLOSES and opened is not None:
            break
        if sign[0] in _CLOSES:
            opened = sign
        elif opened is not None and sign[0] == _CLOSES[opened[0]]:
            opened = None
    if opened is None:
        return None
    at = bare.count("\n", 0, opened.start()) + 1
    return Opened(at, opened[0], _CLOSES[opened[0]]) if at <= line else None


def suggestion(name: str, key: str) -> str:
    """For a template that needs `name`, and rows that have `key`: a sentence with a space before it.

    Columns of files are one word already; a program's rows may have a key that no template can say, `First Name`.
    """
    if key.isidentifier():
        return f" Did you mean {{{{ {key} }}}}?"
    shown = key if len(key) <= _KEY_SHOWN else f"{key[:_KEY_SHOWN]}..."
    return f' A name in a template is one word: rename the key "{shown}" to "{name}".'
