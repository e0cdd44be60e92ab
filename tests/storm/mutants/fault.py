"""A fault put into one script by hand: a name, where, what is replaced, by what.

`scripts_with(fault)` answers the scripts that differ, for `storm(seed, link, others)`. Called by test_mutants.py and by
`python -m tests.storm.mutants`. Raises FaultError when the text it wants to replace is not there (any more).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from mailspool.contract.scripts import Script, scripts
from tests.storm.snapshot import PREFIX, VERSIONS

PRELUDE: Final = "prelude"


class FaultError(Exception):
    """The scripts have changed under a fault: write it anew."""


class Fault(NamedTuple):
    """`where` is a move, or "prelude": the part that all scripts begin with."""

    name: str
    where: str
    old: str
    new: str


def scripts_with(fault: Fault) -> Mapping[str, Script]:
    """The scripts with this fault, by name; the others stay as they are."""
    found = {}
    for name, script in scripts(PREFIX, VERSIONS).items():
        if fault.where in {PRELUDE, name}:
            prelude, start, body = script.text.partition(f"\n-- {name} ")
            if not start:
                raise FaultError(f"{name}.lua does not begin with its name")
            if fault.where == PRELUDE and fault.old not in prelude:
                continue  # erasure.lua does not stand in every script
            prelude, body = _replaced(fault, prelude, body)
            text = prelude + start + body
            found[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    if not found:
        what = f"no prelude holds {fault.old!r}" if fault.where == PRELUDE else f"there is no script {fault.where}"
        raise FaultError(f"{fault.name}: {what}")
    return found


def _replaced(fault: Fault, prelude: str, body: str) -> tuple[str, str]:
    text = prelude if fault.where == PRELUDE else body
    if fault.old not in text:
        raise FaultError(f"{fault.name}: {fault.where}.lua does not hold {fault.old!r}")
    text = text.replace(fault.old, fault.new)
    return (text, body) if fault.where == PRELUDE else (prelude, text)
