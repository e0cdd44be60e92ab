"""Jinja's sandbox with limits to memory and time: no template, and no value in a row, may stop a worker.

Called by render.py, for trees that went through counting.py. Each rendering has STEPS to spend; what could make much
out of little (loops, calls, products, widths, joins, lists inside lists) spends some, and asks first where the size is
known beforehand. Plain `{{ name }}` outside loops passes nothing of this. Raises TooMuchError.
Known limits: comparisons, slices and tests inside a loop are not counted, nor is what one value from a row costs that
is large by itself: a loop of a hundred thousand rounds over a text of megabytes may take seconds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from types import BuiltinMethodType, MethodType
from typing import cast

from jinja2 import pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from mailspool.content.counting import PRINTED, ROUNDS, USED
from mailspool.content.spending import (
    LONGEST,
    SHORT,
    STEPS,
    BoundedContext,
    TooMuchError,
    check_printf,
    check_replace,
    concat,
    is_short_format,
    named,
    refuse_above,
    refuse_huge,
    refuse_wide,
    size_of,
    sizes_of,
    spend,
    spend_copied,
    spend_long,
    spend_looked,
)

_AT_ONCE = 64
_A_ROUND = 50
_A_CALL = 500
"""Four hundred thousand rounds, or forty thousand calls of macros, spend all."""
_LARGEST_POWER_BITS = 10_000
_LARGEST_PRODUCT_BITS = 20_000
_COPIED = 4_000_000_000
"""Bytes moved by filters that copy the rest of a text at each step: half a second."""
_ROUND_DIGITS = 300
_JSON_INDENT = 16
_NUMBERS = frozenset((int, float))
_WIDE_METHODS = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"))
_RISKY_METHODS = _WIDE_METHODS | {"replace", "join", "translate", "encode", "decode"}
_SLOW_ENCODINGS = frozenset(("punycode", "idna"))
"""Their time grows with the square of the length."""


# -- formats


class _Limits(SandboxedFormatter):
    """`str.format`: widths stand in its fields."""

    def format_field(self, value: object, format_spec: str) -> str:
        refuse_wide(int(width) if len(width) < 12 else 10**12 for width in re.findall(r"\d+", format_spec))
        refuse_huge(value)
        text = super().format_field(value, format_spec)
        self.made = getattr(self, "made", 0) + len(text)
        refuse_above(STEPS, self.made)
        return cast("str", text)


class _Formatter(_Limits): ...


class _EscapeFormatter(_Limits, SandboxedEscapeFormatter): ...


# -- filters


Check = Callable[[BoundedContext, object, Sequence[object], Mapping[str, object]], object]


def _held(context: BoundedContext, value: object, *_given: object) -> object:
    """What a filter would gather out of a stream, gathered here, where it is counted."""
    if not isinstance(value, Iterator):
        return value
    held: list[object] = []
    while some := list(islice(value, _AT_ONCE)):
        held += some
        spend(context, sizes_of(some))
    return held


def _wide(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    value = _held(context, value)
    given = (*args, *kwargs.values())
    refuse_wide(given)
    texts = sum(len(text) for text in given if isinstance(text, str))
    if isinstance(value, str) and texts > 1:
        refuse_above(STEPS, texts * len(value))
    return value


def _lines(_context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    lines = str(value).count("\n") + 1
    for width in (*args, *kwargs.values()):
        refuse_above(
            LONGEST, lines * (len(width) if isinstance(width, str) else width if isinstance(width, int) else 0)
        )
    return value


def _copying(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    value = _wide(context, value, args, kwargs)
    widths = [width for width in (*args, *kwargs.values()) if isinstance(width, int) and not isinstance(width, bool)]
    steps = len(str(value)) // max(1, min(widths)) if widths else str(value).count("<")
    refuse_above(_COPIED, steps * len(str(value)))
    return value


def _huge(_context: BoundedContext, value: object, *_given: object) -> object:
    refuse_huge(value)
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


def _summed(context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Lists are added one by one, each time all anew."""
    value = _held(context, value)
    if isinstance((*args, *kwargs.values(), 0)[-2 if args or kwargs else -1], list | tuple):
        spend(context, size_of(value) * (len(value) if isinstance(value, list | tuple) else 1))
    return value


def _replaced(_context: BoundedContext, value: object, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    old, new = (*args, *kwargs.values(), "", "")[:2]
    check_replace(str(value), str(old), str(new))
    return value


@pass_context
def _join(context: BoundedContext, value: object, d: str = "", attribute: str | int | None = None) -> object:
    held = _held(context, value)
    items = len(held) if isinstance(held, list | tuple | str | Mapping) else 0
    spend(
        context,
        items * len(str(d))
        + (0 if held is not value else sizes_of(value) if isinstance(value, list) else size_of(value)),
    )
    result = FILTERS["join"](context.eval_ctx, held, d, attribute)
    spend_long(context, result)
    return result


_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(("list", "sort", "groupby", "min", "max", "reverse", "last", "unique"), _held),
    **dict.fromkeys(("center", "batch", "slice", "urlize"), _wide),
    **dict.fromkeys(("wordwrap", "striptags"), _copying),
    "round": _digits,
    "int": _huge,
    **dict.fromkeys(("tojson", "pprint"), _json),
    "indent": _lines,
    "sum": _summed,
    "replace": _replaced,
}
_plain = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def _bounded(name: str, check: Check) -> Callable[..., object]:
    @pass_context
    def filter_(context: BoundedContext, value: object, *args: object, **kwargs: object) -> object:
        with named(f"the filter {name}"):
            value = check(context, value, args, kwargs)
            result = _plain.call_filter(name, value, args, kwargs, context, context.eval_ctx)
            spend(context, size_of(result))
        return result

    return filter_


@pass_context
def _format(context: BoundedContext, value: object, *args: object, **kwargs: object) -> object:
    if type(value) is str and len(args) == 1 and type(args[0]) in _NUMBERS and not kwargs and is_short_format(value):
        return value % args
    form = value if isinstance(value, str) else str(value)
    check_printf(form, kwargs or args)
    result = FILTERS["format"](form, *args, **kwargs)
    if len(result) > SHORT:
        spend(context, len(result))
    return result


@pass_context
def _rounds(context: BoundedContext, value: object) -> object:
    """What a loop goes over."""
    try:
        rounds = len(value)  # type: ignore[arg-type]  # what has no length raises TypeError
    except TypeError:
        return _counted_rounds(context, cast("Iterable[object]", value))
    spend(context, _A_ROUND * (rounds + 1))
    return value


def _counted_rounds(context: BoundedContext, values: Iterable[object]) -> Iterator[object]:
    for value in values:
        spend(context, _A_ROUND)
        yield value


@pass_context
def _printed(context: BoundedContext, value: object) -> object:
    if isinstance(value, str):
        spend_copied(context, value)
    else:
        spend_long(context, value)
    return value


@pass_context
def _used(context: BoundedContext, value: object) -> object:
    """What a filter or `in` works on in a loop."""
    spend_looked(context, value)
    return value


# -- the environment


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with limits. Only for templates whose trees went through `counted`."""

    context_class = BoundedContext
    concat = staticmethod(concat)
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def limit(self) -> None:
        """To be called once, when nobody changes the filters any more."""
        for name, check in _CHECKS.items():
            self.filters[name] = _bounded(name, check)
        self.filters |= {"format": _format, "join": _join, ROUNDS: _rounds, PRINTED: _printed, USED: _used}

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "+":
            pass  # no longer than both together
        elif operator == "*":
            refuse_above(LONGEST, _product_size(left, right))
        elif operator == "**":
            refuse_above(_LARGEST_POWER_BITS, _power_bits(left, right))
        elif operator == "%" and isinstance(left, str):
            check_printf(left, right)
        result = self.binop_table[operator](left, right)
        if type(result) is not int and type(result) is not float:
            (spend_copied if operator == "+" else spend_long)(cast("BoundedContext", context), result)
        return result

    def call(self, context: Context, obj: object, /, *args: object, **kwargs: object) -> object:
        if isinstance(obj, BuiltinMethodType):
            spend_looked(cast("BoundedContext", context), obj.__self__)
            if obj.__name__ in _RISKY_METHODS or isinstance(obj.__self__, Decimal):
                args = _checked_call(
                    cast("BoundedContext", context), obj.__name__, obj.__self__, args, (*args, *kwargs.values())
                )
        else:
            spend(cast("BoundedContext", context), _A_CALL)
            if isinstance(obj, LoopContext) and args:
                args = (_rounds(cast("BoundedContext", context), args[0]), *args[1:])
        result = super().call(context, obj, *args, **kwargs)
        if type(result) is not str or len(result) > SHORT:
            spend_long(cast("BoundedContext", context), result)
        return result

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """Jinja's own, with widths looked at."""
        if not isinstance(value, MethodType | BuiltinMethodType) or value.__name__ not in ("format", "format_map"):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None
        by_map = value.__name__ == "format_map"
        formatter = _EscapeFormatter(self, escape=text.escape) if isinstance(text, Markup) else _Formatter(self)

        def formatted(*args: object, **kwargs: object) -> str:
            names = cast("Mapping[str, object]", args[0]) if by_map else kwargs
            return type(text)(formatter.vformat(text, () if by_map else args, names))

        return formatted


def _checked_call(
    context: BoundedContext, name: str, owner: object, args: tuple[object, ...], given: Sequence[object]
) -> tuple[object, ...]:
    """Methods that make much out of little."""
    with named(f"{name}()"):
        return _checked(context, name, owner, args, given)


def _checked(
    context: BoundedContext, name: str, owner: object, args: tuple[object, ...], given: Sequence[object]
) -> tuple[object, ...]:
    refuse_huge(owner, *given)
    if name in _WIDE_METHODS:
        refuse_wide(given, owner.count("\t") if name == "expandtabs" and isinstance(owner, str) else 1)
    elif not isinstance(owner, str | bytes):
        return args
    elif name == "replace" and len(args) > 1:
        check_replace(owner, args[0], args[1])
    elif name == "join" and args:
        held = _held(context, args[0])
        items = len(held) if isinstance(held, list | tuple | str | Mapping) else 0
        spend(context, size_of(held) + items * len(owner))
        return (held, *args[1:])
    elif name == "translate" and given:
        longest = max((len(new) for new in _values(given[0]) if isinstance(new, str)), default=1)
        refuse_above(STEPS, longest * len(owner))
    elif name in ("encode", "decode") and len(owner) > SHORT and _is_slow(given):
        raise TooMuchError
    return args


def _values(table: object) -> Iterable[object]:
    return table.values() if isinstance(table, Mapping) else ()


def _is_slow(given: Sequence[object]) -> bool:
    for word in given:
        try:
            if codecs.lookup(str(word)).name in _SLOW_ENCODINGS:
                return True
        except LookupError:
            continue  # the word for what is to be done about errors, or a mistake that the call itself tells
    return False


def _product_size(left: object, right: object) -> int:
    """Characters or items of `text * number`; of two whole numbers as many as they have bits, if that is too much."""
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(times, int):
            return (len(one) if isinstance(one, str) else size_of(one)) * times
    if isinstance(left, int) and isinstance(right, int):
        return LONGEST * (left.bit_length() + right.bit_length() > _LARGEST_PRODUCT_BITS) * 2
    return 0


def _power_bits(left: object, right: object) -> int:
    """How long a power of whole numbers becomes; 0 for other powers: floats overflow by themselves."""
    return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) else 0
