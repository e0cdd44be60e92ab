"""What one rendering may spend, and how large things are: the arithmetic behind bounded.py.

A step stands for at most 25 ns and for at most 4 bytes that are kept: every price below and in pricing.py, filters.py
and counting.py is at least that, so that STEPS bound both. Raises TooMuchError, which is a SecurityError.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, Sized, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from sys import getsizeof
from types import NoneType
from typing import Any, cast

from jinja2 import Environment, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.utils import Namespace

STEPS = 20_000_000
"""Of one rendering, about one a character: as long as a mail may be, some tenths of a second."""
SHORT = 200
_AN_ITEM = 50
"""Steps: to look at an item costs what copying so many characters does, and more."""
LONGEST = 1_000_000
"""Characters that a width, a product or a replacement may add: a ruler, an indent; more is a mistake or an attack."""
_COPIED_A_STEP = 4
_LOOKED_A_STEP = 50
_AT_ONCE = 64
_DECIMAL_DIGITS = 1_000
_DECIMAL_BYTES = 600
"""Of a thousand digits: those behind the point count, too."""
_TEXT = frozenset((str,))
PLAIN = frozenset((int, float, bool, NoneType, date, datetime, time, timedelta))


class TooMuchError(SecurityError):
    """The rendering asks for too much memory or time; `what` names the filter or method that did, if one did."""

    def __init__(self, what: str = "") -> None:
        super().__init__(what)
        self.what = what


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
    """For what is made by copying what is there (`+`, `~`, slices): quick for its size, but all of it may be kept."""
    if isinstance(value, str):
        if len(value) > SHORT:
            refuse_above(STEPS, len(value))
            spend(context, getsizeof(value) // _COPIED_A_STEP)
    elif isinstance(value, bytes | list | tuple):
        spend(context, 4 * len(value))


def spend_long(context: BoundedContext, value: object) -> None:
    """What is short goes free: whatever makes much of it, a loop or a call, is counted itself."""
    if isinstance(value, str):
        if len(value) > SHORT:
            spend(context, len(value))
    elif type(value) in PLAIN:
        spend(context, _AN_ITEM)
    elif isinstance(value, bytes | list | tuple | Mapping):
        spend(context, size_of(value))
    elif isinstance(value, Decimal):
        spend(context, getsizeof(value))


def weigh(value: object) -> int:
    """Steps to look all through it: to compare or to hash it. Numbers are bounded where they are made."""
    kind = type(value)
    if kind in PLAIN:
        return 0
    if isinstance(value, str | bytes):
        return len(value) // _LOOKED_A_STEP
    if isinstance(value, Decimal):
        refuse_huge(value)
        return 2
    return size_of(value)


def count_of(value: object) -> int:
    """Items of what has a length; else 0."""
    return len(value) if isinstance(value, Sized) and not isinstance(value, Undefined) else 0


def held(context: BoundedContext, value: object) -> object:
    """What somebody would gather out of a stream, gathered here, where it is counted."""
    if not isinstance(value, Iterator):
        return value
    gathered: list[object] = []
    while some := list(islice(value, _AT_ONCE)):
        gathered += some
        spend(context, sizes_of(some))
    return gathered


def size_of(value: object) -> int:
    """Characters and items, those of inner lists too, each as often as it would be printed. Stops soon above STEPS."""
    if isinstance(value, str):
        return len(value)
    total, stack = 0, [value]
    while stack and total <= STEPS:
        item = stack.pop()
        if type(item) in PLAIN:
            total += 1
        elif isinstance(item, str | bytes):
            total += len(item) + 1
        elif isinstance(item, Mapping):
            total += 2 * _AN_ITEM * len(item) + 1
            if total <= STEPS:
                stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            total += _AN_ITEM * len(item) + 1
            if total <= STEPS:
                stack += item
        elif isinstance(item, KeysView | ValuesView | ItemsView):
            total += 2 * _AN_ITEM * len(item) + 1
            if total <= STEPS:
                stack += item
        elif isinstance(item, Decimal):
            total += getsizeof(item)
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


def refuse_huge(*values: object) -> None:
    """Decimals only: their digits may be many, before the point or behind it."""
    for value in values:
        if isinstance(value, Decimal) and (
            getsizeof(value) > _DECIMAL_BYTES or (value.is_finite() and abs(value.adjusted()) > _DECIMAL_DIGITS)
        ):
            raise TooMuchError
