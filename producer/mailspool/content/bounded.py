"""Jinja's sandbox with limits to memory and time: no template, and no value in a row, may stop a worker.

Called by render.py, for trees that went through counting.py. Each rendering has STEPS to spend; what could make much
out of little, or look at much (loops, calls, comparisons, products, widths, joins, slices, filters), spends by the size
of what it is given, before it runs where the size is known beforehand: filters.py and pricing.py have the prices. Plain
`{{ name }}` outside loops passes nothing of this. Raises TooMuchError.
Known limit: a template of megabytes without a loop takes as long as its length asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinMethodType, MethodType
from typing import cast

from jinja2 import pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from mailspool.content.counting import CONTAINED, COPIED, ENTERED, PRINTED, ROUNDS, USED
from mailspool.content.filters import contained, filters, tests
from mailspool.content.pricing import A_DECIMAL_S, checked_call
from mailspool.content.spending import (
    PLAIN,
    SHORT,
    BoundedContext,
    concat,
    refuse_above,
    refuse_huge,
    size_of,
    spend,
    spend_copied,
    spend_long,
    weigh,
)
from mailspool.content.widths import (
    check_printf,
    refuse_long_integer,
    refuse_power,
    refuse_product,
    refuse_wide,
)

_A_ROUND = 25
_A_CALL = 500
"""Forty thousand calls of macros spend all."""
_AN_ARGUMENT = 4
_A_FIELD = 200
_LONGEST_SPEC = 1_000
_REPR = 10
_NUMBERS = frozenset((int, float))


# -- formats


class _Limits(SandboxedFormatter):
    """`str.format`: widths stand in its fields."""

    context: BoundedContext

    def format_field(self, value: object, format_spec: str) -> str:
        refuse_above(_LONGEST_SPEC, len(format_spec))
        refuse_wide(int(width) if len(width) < 12 else 10**12 for width in re.findall(r"\d+", format_spec))
        refuse_huge(value)
        spend(self.context, _A_FIELD)
        if not isinstance(value, str):
            spend_long(self.context, value)
        text = super().format_field(value, format_spec)
        spend_long(self.context, text)
        return cast("str", text)

    def convert_field(self, value: object, conversion: str | None) -> object:
        if conversion is not None:
            spend(self.context, _REPR * size_of(value))
        return super().convert_field(value, cast("str", conversion))


class _Formatter(_Limits): ...


class _EscapeFormatter(_Limits, SandboxedEscapeFormatter): ...


class _Format:
    """`text.format` or `text.format_map`, to be called."""

    __slots__ = ("_by_map", "_formatter", "_text")

    def __init__(self, formatter: _Limits, text: str, *, by_map: bool) -> None:
        self._formatter, self._text, self._by_map = formatter, text, by_map

    def pay(self, context: BoundedContext) -> None:
        self._formatter.context = context
        spend(context, len(self._text))

    def __call__(self, *args: object, **kwargs: object) -> str:
        names = cast("Mapping[str, object]", args[0]) if self._by_map else kwargs
        return type(self._text)(self._formatter.vformat(self._text, () if self._by_map else args, names))


# -- what counting.py puts into a tree


@pass_context
def _rounds(context: BoundedContext, value: object, cost: int) -> object:
    """What a loop goes over, and the price of its body."""
    try:
        rounds = len(value)  # type: ignore[arg-type]  # what has no length raises TypeError
    except TypeError:
        return _counted_rounds(context, cast("Iterable[object]", value), cost)
    spend(context, (_A_ROUND + cost) * (rounds + 1))
    return value


def _counted_rounds(context: BoundedContext, values: Iterable[object], cost: int) -> Iterator[object]:
    for value in values:
        spend(context, _A_ROUND + cost)
        yield value


@pass_context
def _entered(context: BoundedContext, cost: int) -> None:
    """The body of a macro or of a recursive loop runs."""
    spend(context, cost)


@pass_context
def _printed(context: BoundedContext, value: object) -> object:
    if isinstance(value, str):
        spend_copied(context, value)
    else:
        spend_long(context, value)
    return value


@pass_context
def _copied(context: BoundedContext, value: object) -> object:
    if type(value) is not str or len(value) > SHORT:
        spend_copied(context, value)
    return value


@pass_context
def _used(context: BoundedContext, value: object) -> object:
    """What is compared or looked up in a loop."""
    if type(value) not in PLAIN and (type(value) is not str or len(value) > SHORT):
        spend(context, weigh(value))
    return value


# -- the environment


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with limits. Only for templates whose trees went through `counted`."""

    context_class = BoundedContext
    concat = staticmethod(concat)
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def limit(self) -> None:
        """To be called once, when nobody changes the filters any more."""
        self.filters |= {name: filter_ for name, filter_ in filters().items() if name in self.filters}
        self.tests |= tests()
        self.filters |= {ROUNDS: _rounds, ENTERED: _entered, PRINTED: _printed, COPIED: _copied, USED: _used}
        self.filters[CONTAINED] = contained

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            if operator == "**":
                refuse_power(left, right)
            result = self.binop_table[operator](left, right)
            if type(result) is int:
                refuse_long_integer(result)
            return result
        bounded = cast("BoundedContext", context)
        refuse_huge(left, right)
        if operator == "*":
            refuse_product(left, right)
        elif operator == "%" and isinstance(left, str | bytes):
            check_printf(bounded, left, right)
        elif operator == "**":
            refuse_power(left, right)
            spend(bounded, A_DECIMAL_S)
        elif operator != "+":
            spend(bounded, weigh(left) + weigh(right))
        result = self.binop_table[operator](left, right)
        refuse_long_integer(result)
        (spend_copied if operator == "+" else spend_long)(bounded, result)
        return result

    def call(self, context: Context, obj: object, /, *args: object, **kwargs: object) -> object:
        bounded = cast("BoundedContext", context)
        if isinstance(obj, BuiltinMethodType) or (isinstance(obj, MethodType) and isinstance(obj.__self__, str)):
            args = checked_call(bounded, obj.__name__, obj.__self__, args, kwargs)
        else:
            spend(bounded, _A_CALL)
            if args or kwargs:
                _spend_given(bounded, args, kwargs)
            if isinstance(obj, LoopContext) and args:
                args = (_rounds(bounded, args[0], 0), *args[1:])
            elif isinstance(obj, _Format):
                obj.pay(bounded)
        result = super().call(context, obj, *args, **kwargs)
        if type(result) is not str or len(result) > SHORT:
            refuse_long_integer(result)
            spend_long(bounded, result)
        return result

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """Jinja's own, with widths looked at."""
        if not isinstance(value, MethodType | BuiltinMethodType) or value.__name__ not in ("format", "format_map"):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None
        formatter = _EscapeFormatter(self, escape=text.escape) if isinstance(text, Markup) else _Formatter(self)
        return _Format(formatter, text, by_map=value.__name__ == "format_map")


def _spend_given(context: BoundedContext, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    """What a macro is given is not looked at; what jinja's own are given (`dict`, `cycler`) is gone through."""
    spend(context, _AN_ARGUMENT * (len(args) + len(kwargs)))
