"""Jinja's filters and tests with their prices: each says what it costs by the size of what it is given, then runs.

Called by bounded.py, which puts `filters()` and `tests()` into its environment. A short text goes through the common
ones without a price. Raises TooMuchError. Known limits: `pprint` and `urlize` take little, as their time grows with the
square of nesting and of the longest word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from mailspool.content.pricing import forward, spend_markup, spend_search
from mailspool.content.spending import (
    LONGEST,
    PLAIN,
    SHORT,
    STEPS,
    BoundedContext,
    TooMuchError,
    count_of,
    held,
    refuse_above,
    refuse_huge,
    size_of,
    sizes_of,
    spend,
    spend_long,
    weigh,
)
from mailspool.content.widths import (
    check_printf,
    is_short_format,
    refuse_growth,
    refuse_long_integer,
    refuse_wide,
)

_NUMBERS = frozenset((int, float))
_A_CALL = 100
_A_WRAPPING = 300
_ROUND_DIGITS = 300
_JSON_INDENT = 16
_AN_ITEM = 40
_PRINTED_PRETTY = 20_000
"""Each level of nesting prints all below it anew."""
_LONGEST_NUMBER = 5_000
"""Characters that `int` and `float` read; the time grows with the square."""

Check = Callable[[BoundedContext, object, Sequence[object], Mapping[str, object]], object]
Function = Callable[..., object]
_DASHES = re.compile("-{2,}")


def _spend_given(context: BoundedContext, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    for value in (*args, *kwargs.values()):
        if type(value) not in PLAIN and not (type(value) is str and len(value) <= SHORT):
            spend(context, weigh(value))


def _each(characters: int) -> Check:
    """Goes once through a text, or prints what is none."""

    def check(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        refuse_huge(value)
        size = size_of(value)
        texts = sum(len(text) for text in (*args, *kwargs.values()) if isinstance(text, str))
        spend(context, size * characters + size * texts // 50)
        return value

    return check


def _items(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Sorts, groups or gathers: an item at a time, as often as there are items."""
    if isinstance(value, Iterator):
        return held(context, value)
    _spend_given(context, args, kwargs)
    path = sum(len(text) for text in (*args, *kwargs.values()) if isinstance(text, str))
    spend(context, count_of(value) * (_AN_ITEM + path))
    if not isinstance(value, str):
        spend(context, size_of(value))
    return value


def _stream(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Of `map` and `select`: what their filter or test costs is counted by itself."""
    path = sum(len(text) for text in (*args, *kwargs.values()) if isinstance(text, str))
    if isinstance(value, Undefined) or not isinstance(value, Iterable):
        return value
    return _counted(context, value, _AN_ITEM + path)


def _counted(context: BoundedContext, values: Iterable[object], steps: int) -> Iterator[object]:
    for value in values:
        spend(context, steps)
        yield value


def _wide(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    value = held(context, value)
    given = (*args, *kwargs.values())
    refuse_wide(given)
    texts = sum(len(text) for text in given if isinstance(text, str))
    if isinstance(value, str) and texts > 1:
        refuse_above(STEPS, texts * len(value))
    spend(context, 4 * size_of(value) + count_of(value))
    return value


def _links(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    value = _wide(context, value, args, kwargs)
    text = str(value)
    spend(context, _A_WRAPPING + 50 * len(text))
    spend(context, sum(len(word) ** 2 for word in text.split()))
    return value


def _lines(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    spend(context, 4 * size_of(value))
    lines = str(value).count("\n") + 1
    for width in (*args, *kwargs.values()):
        refuse_above(
            LONGEST, lines * (len(width) if isinstance(width, str) else width if isinstance(width, int) else 0)
        )
    return value


def _wrapped(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """A long word is cut by copying its rest; at each dash of a row of dashes the rest of the row is looked at."""
    value = _wide(context, value, args, kwargs)
    text = str(value)
    widths = [width for width in (*args, *kwargs.values()) if isinstance(width, int) and not isinstance(width, bool)]
    dashes = [len(row) for row in _DASHES.findall(text)]
    cuts = len(text) // max(1, min(widths, default=79))
    spend(context, _A_WRAPPING + 20 * len(text) + cuts * (50 + max(map(len, text.split()), default=0) // 200))
    spend(context, sum(row * row for row in dashes))
    return value


def _markup(context: BoundedContext, value: object, _args: Sequence[object], _kwargs: Mapping[str, object]) -> object:
    spend(context, size_of(value))
    spend_markup(context, str(value))
    return value


def _number(_context: BoundedContext, value: object, *_given: object) -> object:
    refuse_huge(value)
    if isinstance(value, str | bytes):
        refuse_above(_LONGEST_NUMBER, len(value))
    return value


def _digits(_context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    for digits in (*args, *kwargs.values()):
        if isinstance(digits, int):
            refuse_above(_ROUND_DIGITS, abs(digits))
    refuse_huge(value)
    return value


def _json(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    for indent in (*args, *kwargs.values()):
        refuse_above(_JSON_INDENT, len(indent) if isinstance(indent, str) else indent if isinstance(indent, int) else 0)
    spend(context, 20 * size_of(value))
    return value


def _pretty(context: BoundedContext, value: object, *_given: object) -> object:
    size = size_of(value)
    if not isinstance(value, str):
        refuse_above(_PRINTED_PRETTY, size)
    spend(context, 100 * size)
    return value


def _summed(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Lists are added one by one, each time all anew."""
    value = _items(context, value, args, kwargs)
    if isinstance((*args, *kwargs.values(), 0)[-2 if args or kwargs else -1], list | tuple):
        spend(context, size_of(value) * max(1, count_of(value)))
    return value


def _replaced(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    old, new = (*args, *kwargs.values(), "", "")[:2]
    text = str(value)
    spend(context, size_of(value) + forward(len(text), max(len(str(old)), 1)))
    refuse_growth(text, str(old), str(new))
    return value


_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(("list", "sort", "groupby", "dictsort", "min", "max", "reverse", "last", "unique"), _items),
    **dict.fromkeys(("map", "select", "reject", "selectattr", "rejectattr"), _stream),
    **dict.fromkeys(("center", "batch", "slice"), _wide),
    **dict.fromkeys(("safe", "truncate", "trim", "upper", "lower", "capitalize", "string"), _each(1)),
    **dict.fromkeys(("e", "escape", "forceescape"), _each(2)),
    **dict.fromkeys(("wordcount", "xmlattr"), _each(6)),
    **dict.fromkeys(("title", "urlencode"), _each(10)),
    **dict.fromkeys(("int", "float", "filesizeformat"), _number),
    "urlize": _links,
    "wordwrap": _wrapped,
    "striptags": _markup,
    "round": _digits,
    "tojson": _json,
    "pprint": _pretty,
    "indent": _lines,
    "sum": _summed,
    "replace": _replaced,
}
"""All of Jinja's but those that take as long for much as for little: attr, default, first, items, length, abs."""
_QUICK: Mapping[str, Function] = {
    **{name: FILTERS[name] for name in ("title", "e", "escape", "int", "float", "wordcount", "string")},
    "upper": str.upper,
    "lower": str.lower,
    "capitalize": str.capitalize,
    "trim": str.strip,
}
"""Straight away with a short text and nothing else."""
_plain = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def _bounded(name: str, check: Check) -> Function:
    def run(context: BoundedContext, value: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        try:
            spend(context, _A_CALL)
            value = check(context, value, args, kwargs)
            result = _plain.call_filter(name, value, args, kwargs, context, context.eval_ctx)
            refuse_long_integer(result)
            if check is not _items:  # no more than went in
                spend(context, size_of(result))
        except TooMuchError as error:
            raise TooMuchError(error.what or f"the filter {name}") from None
        return result

    quick = _QUICK.get(name)
    if quick is None:

        @pass_context
        def filter_(context: BoundedContext, value: object, *args: object, **kwargs: object) -> object:
            return run(context, value, args, kwargs)

        return filter_

    @pass_context
    def common(context: BoundedContext, value: object, *args: object, **kwargs: object) -> object:
        if type(value) is str and len(value) <= SHORT and not args and not kwargs:
            return quick(value)
        return run(context, value, args, kwargs)

    return common


@pass_context
def _join(context: BoundedContext, value: object, d: str = "", attribute: str | int | None = None) -> object:
    items = held(context, value)
    path = len(attribute) if isinstance(attribute, str) else 0
    spend(
        context,
        count_of(items) * (len(str(d)) + 12 + 10 * path)
        + (0 if items is not value else sizes_of(value) if isinstance(value, list) else size_of(value)),
    )
    result = FILTERS["join"](context.eval_ctx, items, d, attribute)
    spend_long(context, result)
    return result


@pass_context
def _format(context: BoundedContext, value: object, *args: object, **kwargs: object) -> object:
    if (
        type(value) is str
        and len(value) <= SHORT
        and len(args) == 1
        and type(args[0]) in _NUMBERS
        and not kwargs
        and is_short_format(value)
    ):
        return value % args
    form = value if isinstance(value, str) else str(value)
    check_printf(context, form, kwargs or args)
    result = FILTERS["format"](form, *args, **kwargs)
    if len(result) > SHORT:
        spend(context, len(result))
    return result


def filters() -> dict[str, Function]:
    return {**{name: _bounded(name, check) for name, check in _CHECKS.items()}, "format": _format, "join": _join}


# -- tests

_COMPARING = (
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    ">=",
    "ge",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
)
_READING = ("lower", "upper")


def _compared(name: str) -> Function:
    test = cast("Function", TESTS[name])

    @pass_context
    def compare(context: BoundedContext, value: object, *args: object) -> object:
        if not (type(value) in PLAIN or (type(value) is str and len(value) <= SHORT)):
            spend(context, weigh(value) * (50 if name in _READING else 1))
        return test(value, *args)

    return compare


@pass_context
def contained(context: BoundedContext, value: object, place: object) -> object:
    """`value in place`."""
    place = held(context, place)
    if type(place) is not str or len(place) > SHORT:
        spend_search(context, value, place)
    return value in place  # type: ignore[operator]  # what holds nothing raises TypeError


def tests() -> dict[str, Function]:
    return {**{name: _compared(name) for name in (*_COMPARING, *_READING)}, "in": contained}
