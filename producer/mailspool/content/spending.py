"""What one rendering may spend, and how large things are: the arithmetic behind bounded.py.

Raises TooMuchError, which is a SecurityError.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

from jinja2 import Environment, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import Namespace

STEPS = 20_000_000
"""Of one rendering, about one a character: as long as a mail may be, some tenths of a second."""
SHORT = 200
_AN_ITEM = 50
"""Steps: to look at an item costs what copying so many characters does, and more."""
LONGEST = 1_000_000
"""Characters that a width, a product or a replacement may add: a ruler, an indent; more is a mistake or an attack."""
_DECIMAL_DIGITS = 10_000
_COPIED_A_STEP = 16
_LOOKED_A_STEP = 50
_TEXT = frozenset((str,))
_SPEC = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?")


class TooMuchError(SecurityError):
    """The rendering asks for too much memory or time; `what` names the filter or method that did, if one did."""

    def __init__(self, what: str = "") -> None:
        super().__init__(what)
        self.what = what


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Who wrote the template is told what was too much."""
    try:
        yield
    except TooMuchError as error:
        raise TooMuchError(error.what or what) from None


class BoundedContext(Context):
    """`left`: steps; a rendering that spends none has no number of its own. No blocks, so it is made quickly."""

    left: int = STEPS

    def __init__(
        self,
        environment: Environment,
        parent: dict[str, Any],
        name: str | None,
        blocks: object,
        globals_: object = None,
    ) -> None:
        self.parent = parent
        self.vars = {}
        self.environment = environment
        self.eval_ctx = nodes.EvalContext(environment, name)
        self.exported_vars = set()
        self.name = name
        self.globals_keys = set()
        self.blocks = {}


def spend(context: BoundedContext, steps: int) -> None:
    left = context.left - steps
    if left < 0:
        raise TooMuchError
    context.left = left


def refuse_above(limit: int, size: int) -> None:
    if size > limit:
        raise TooMuchError


def spend_copied(context: BoundedContext, value: object) -> None:
    """For what is made by copying what is there (`+`, `~`): quick for its size, but it may not grow for ever."""
    if isinstance(value, str):
        if len(value) > SHORT:
            refuse_above(STEPS, len(value))
            spend(context, len(value) // _COPIED_A_STEP)
    elif isinstance(value, bytes | list | tuple):
        spend(context, len(value))


def spend_looked(context: BoundedContext, value: object) -> None:
    """For what is looked through by C code: searched, counted, measured."""
    if isinstance(value, str | bytes | list | tuple | Mapping) and len(value) > SHORT:
        spend(context, len(value) // _LOOKED_A_STEP)


def spend_long(context: BoundedContext, value: object) -> None:
    """What is short goes free: whatever makes much of it, a loop or a call, is counted itself."""
    if isinstance(value, str):
        if len(value) > SHORT:
            spend(context, len(value))
    elif isinstance(value, bytes | list | tuple | Mapping):
        spend(context, size_of(value))


def size_of(value: object) -> int:
    """Characters and items, those of inner lists too, each as often as it would be printed. Stops soon above STEPS."""
    if isinstance(value, str):
        return len(value)
    total, stack = 0, [value]
    while stack and total <= STEPS:
        item = stack.pop()
        if isinstance(item, str | bytes):
            total += len(item) + 1
        elif isinstance(item, Mapping):
            total += 2 * _AN_ITEM * len(item) + 1
            if total <= STEPS:
                stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            total += _AN_ITEM * len(item) + 1
            if total <= STEPS:
                stack += item
        elif isinstance(item, Namespace):
            stack.append(item._Namespace__attrs)  # printed with the list that holds it
            total += 1
        else:
            total += 1
    return total


def sizes_of(items: Sequence[object]) -> int:
    """Of all together; quick if all are texts."""
    if {*map(type, items)} <= _TEXT:
        return sum(map(len, cast("Sequence[str]", items))) + len(items)
    return sum(map(size_of, items))


def concat(pieces: Iterable[str]) -> str:
    """Instead of `"".join`: for loops, macros and blocks."""
    texts = list(pieces)
    refuse_above(STEPS, sum(map(len, texts)))
    return "".join(texts)


# -- numbers and widths


def refuse_huge(*values: object) -> None:
    for value in values:
        if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) > _DECIMAL_DIGITS:
            raise TooMuchError


def refuse_wide(values: Iterable[object], times: int = 1) -> None:
    for value in values:
        if isinstance(value, int):
            refuse_above(LONGEST, value * times)


@lru_cache(maxsize=256)
def _spec_widths(form: str) -> tuple[int, int, bool]:
    """Of a printf format: all widths together, how many fields, and whether an argument gives a width."""
    found = [width for pair in _SPEC.findall(form) for width in pair if width]
    numbers = [min(int(width[-12:]), 10**12) if len(width) <= 12 else 10**12 for width in found if width != "*"]
    return sum(numbers), form.count("%"), "*" in found


@lru_cache(maxsize=256)
def is_short_format(form: str) -> bool:
    """One field of a usual width: with a number it gives a short text."""
    widths, fields, starred = _spec_widths(form)
    return fields == 1 and not starred and widths + len(form) <= SHORT


def check_printf(form: str, given: object) -> None:
    widths, fields, starred = _spec_widths(form)
    refuse_above(LONGEST, widths)
    values = given if isinstance(given, tuple) else tuple(given.values()) if isinstance(given, Mapping) else (given,)
    for value in values:
        if isinstance(value, Decimal):
            refuse_huge(value)
        elif isinstance(value, str) and len(value) * fields > LONGEST:
            refuse_above(STEPS, fields * size_of(given))
    if starred:
        refuse_wide(values, fields)


def check_replace(text: str | bytes, old: object, new: object) -> None:
    if isinstance(old, type(text) if isinstance(text, bytes) else str) and isinstance(new, str | bytes):
        grown = len(new) - len(cast("str", old))
        if grown > 0 and grown * (len(text) + 1) > LONGEST:
            refuse_above(LONGEST, grown * cast("str", text).count(cast("str", old)))
