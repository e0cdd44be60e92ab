"""The nearest known name to a misspelt one. Called wherever a name that a person typed is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

NEAR: Final = 0.6
"""Share of equal letters from which a name counts as meant: `relay_uri` is 0.78 of `relay_url`."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None when none is near."""
    found = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=NEAR)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean "relay_url"?`, ready to follow a sentence, or nothing."""
    found = nearest(name, known)
    return f' Did you mean "{found}"?' if found else ""
