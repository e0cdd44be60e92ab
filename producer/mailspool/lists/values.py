"""Values that rows bring along with their type (Python rows, JSON lines): may they travel?

Called once a row, so text-only rows take a short way. Pure; answers in words instead of raising.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from mailspool.errors import with_article
from mailspool.lists.rows import shown

_TEXT: Final = frozenset((str,))
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
"""What a msgpack integer holds."""
DEEPEST: Final = 20
"""Levels of lists and dicts: far more than a template can use, far less than Python's stack."""
ALLOWED: Final = "str, int, float, bool, None, Decimal, date, datetime, list or dict"


def check_values(values: Mapping[str, object]) -> tuple[bool, str]:
    """(all values are plain, "") or (_, the problem): `"when" is a time; a value may be str, int, ...`."""
    if not set(map(type, values)) <= _TEXT:
        return False, _strange_key(values)
    kinds = set(map(type, values.values()))
    if kinds <= _PLAIN:
        texts = [value for value in values.values() if isinstance(value, str)]
        problem = _why_no_text((*values, *texts))
        return True, problem or (_check_each(values) if int in kinds else "")
    return False, _why_no_text(values) or _check_each(values)


def _why_no_text(texts: Iterable[str]) -> str:
    """NUL separates the parts of a rendered mail, and lone surrogates have no UTF-8."""
    text = "".join(texts)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "text that is no Unicode (a lone surrogate)"
    return "a NUL character" if "\0" in text else ""


def _strange_key(values: Mapping[str, object] | dict[object, object]) -> str:
    strange = [name for name in values if type(name) is not str]
    return f"the key {shown(str(strange[0]))} is {with_article(strange[0])}, not a str"


def _check_each(values: Mapping[str, object]) -> str:
    for name, value in values.items():
        if why := _why_not(value, 0):
            return f"{shown(name)} {why}"
    return ""


def _why_not(value: object, depth: int) -> str:
    if isinstance(value, str):
        return f"holds {why}" if (why := _why_no_text((value,))) else ""
    if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
        return "is an int of more than 64 bits; make it a str"
    if type(value) in _PLAIN or isinstance(value, Decimal | date):
        return ""
    if isinstance(value, list | dict):
        return _why_not_inside(value, depth + 1)
    return f"is {with_article(value)}; a value may be {ALLOWED}"


def _why_not_inside(value: list[object] | dict[object, object], depth: int) -> str:
    if depth > DEEPEST:
        return f"is nested more than {DEEPEST} levels deep"
    items: Iterable[object] = value
    if isinstance(value, dict):
        if not set(map(type, value)) <= _TEXT:
            return f"holds a dict in which {_strange_key(value)}"
        items = (*value, *value.values())
    why = next((why for item in items if (why := _why_not(item, depth))), "")
    return "holds " + why.removeprefix("is ") if why.startswith("is a") else why
