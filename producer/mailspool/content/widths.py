"""Numbers, widths, products and printf formats: what makes much out of little, looked at before it is made. Pure.

Called by bounded.py, filters.py and pricing.py. Raises TooMuchError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache

from mailspool.content.spending import (
    LONGEST,
    PLAIN,
    SHORT,
    BoundedContext,
    TooMuchError,
    refuse_above,
    refuse_huge,
    size_of,
    spend,
)

_INTEGER_BITS = 1_000
_LARGEST = 1 << _INTEGER_BITS
"""As large as a float: arithmetic with longer numbers, and printing them, takes time that grows with the square."""
_CACHED_FORMAT = 1_000
_A_FIELD = 20
_WIDTHS = re.compile(r"[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?")
_BRACKETS = re.compile(r"[()]")


def refuse_wide(values: Iterable[object], times: int = 1) -> None:
    for value in values:
        if isinstance(value, int):
            refuse_above(LONGEST, value * times)


def refuse_long_integer(value: object) -> None:
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        raise TooMuchError


def refuse_power(left: object, right: object) -> None:
    """Of whole numbers; floats overflow by themselves."""
    if isinstance(left, int) and isinstance(right, int):
        refuse_above(_INTEGER_BITS, left.bit_length() * right)


def refuse_product(left: object, right: object) -> None:
    """`text * number`."""
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(times, int):
            refuse_above(LONGEST, (len(one) if isinstance(one, str | bytes) else size_of(one)) * times)


def refuse_growth(text: str | bytes, old: object, new: object) -> None:
    """`replace`."""
    if not isinstance(new, str | bytes) or len(new) < 2:
        return
    if isinstance(text, str):
        found = text.count(old) if isinstance(old, str) else 0
    else:
        found = text.count(old) if isinstance(old, bytes) else 0
    refuse_above(LONGEST, found * len(new) - len(text))


# -- printf formats


def _fields(form: str) -> Iterator[tuple[str, str]]:
    """Width and precision of each field. Keys may hold brackets, in pairs."""
    at = form.find("%")
    while at >= 0:
        at += 1
        if form[at : at + 1] == "(":
            depth = 0
            for bracket in _BRACKETS.finditer(form, at):
                depth += 1 if bracket.group() == "(" else -1
                if not depth:
                    at = bracket.end()
                    break
            if depth:
                return
        if found := _WIDTHS.match(form, at):
            yield found.group(1), found.group(2) or ""
            at = found.end()
        at = form.find("%", at + 1)


def _read(form: str) -> tuple[int, int, bool]:
    """Of a printf format: all widths together, how many fields, and whether an argument gives a width."""
    total, count, starred = 0, 0, False
    for field in _fields(form):
        count += 1
        for width in field:
            if width == "*":
                starred = True
            elif width:
                total += int(width) if len(width) <= 12 else 10**12
    return total, count, starred


_read_once = lru_cache(maxsize=256)(_read)


@lru_cache(maxsize=256)
def is_short_format(form: str) -> bool:
    """One field of a usual width: with a number it gives a short text. Of short formats only."""
    widths, fields, starred = _read_once(form)
    return fields == 1 and not starred and widths + len(form) <= SHORT


def check_printf(context: BoundedContext, form: str | bytes, given: object) -> None:
    text = form if isinstance(form, str) else form.decode("latin-1")
    widths, fields, starred = (_read_once if len(text) <= _CACHED_FORMAT else _read)(text)
    refuse_above(LONGEST, widths)
    values = given if isinstance(given, tuple) else tuple(given.values()) if isinstance(given, Mapping) else (given,)
    if starred:
        refuse_wide(values, fields)
    if fields > _A_FIELD or len(text) > SHORT:
        spend(context, len(text) + _A_FIELD * fields)
    times = fields if isinstance(given, Mapping) else 1
    for value in values:
        if isinstance(value, Decimal):
            refuse_huge(value)
        elif type(value) not in PLAIN and (not isinstance(value, str) or len(value) * times > SHORT):
            spend(context, times * size_of(value))
