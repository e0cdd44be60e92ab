"""What methods and searches cost, said before they run: a step at most 25 ns, by the sizes of all that they look at.

Called by bounded.py and filters.py. `find` and its like take the product of both lengths at worst for short texts,
the sum for long ones; those that search from the end take the product always. Raises TooMuchError.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from mailspool.content.spending import (
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
    spend,
    weigh,
)
from mailspool.content.widths import refuse_growth, refuse_wide

_COMPARED_A_STEP = 50
_SQUARE_BELOW = 2_500
"""Python compares at each place in texts shorter than this, and in all texts for what has less than 100 characters."""
_WORST_NEEDLE = 100
_AN_ITEM = 4
"""To compare with one item of a list."""
A_DECIMAL_S = 500
_AN_ITEM_JOINED = 12
_LONGEST_DATE_FORMAT = 1_000
_A_DATE_FORMAT = 2_000
_WIDE = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"))
_FORWARD = frozenset(("find", "index", "count", "split", "partition", "replace"))
_BACKWARD = frozenset(("rfind", "rindex", "rsplit", "rpartition"))
_STRIPS = frozenset(("strip", "lstrip", "rstrip"))
_ENDS = frozenset(("startswith", "endswith", "removeprefix", "removesuffix"))
_DATES = frozenset(("strftime", "strptime"))
_A_CHARACTER = {"translate": 8, "encode": 4, "decode": 4, "title": 2, "splitlines": 2, "unescape": 50, "format": 1}
_A_CODEC = 200
_A_HANDLED_ERROR = 60
_SLOW_HANDLERS = frozenset(("backslashreplace", "namereplace", "surrogateescape", "surrogatepass", "xmlcharrefreplace"))
_SLOW_ENCODINGS = frozenset(("punycode", "idna"))
"""Their time grows with the square of the length."""


def forward(length: int, needle: int) -> int:
    """Steps to search a text of so many characters for one of so many."""
    if needle > length:
        return 0
    return length * (needle if length < _SQUARE_BELOW else min(needle, _WORST_NEEDLE)) // _COMPARED_A_STEP


def backward(length: int, needle: int) -> int:
    return max(0, length - needle + 1) * needle // _COMPARED_A_STEP


def spend_search(context: BoundedContext, needle: object, place: object) -> None:
    """`needle in place`."""
    if isinstance(place, str | bytes):
        spend(context, forward(len(place), len(needle) if isinstance(needle, str | bytes) else 1))
    elif isinstance(place, Mapping):
        spend(context, weigh(needle))
    else:
        spend(context, count_of(place) * (_AN_ITEM + weigh(needle)))


def spend_markup(context: BoundedContext, text: str) -> None:
    """`striptags`: each comment and each tag copies what is left of the text."""
    spend(context, len(text) * 4 + text.count("<") * len(text) // 200 + text.count("&") * 50)


def checked_call(
    context: BoundedContext, name: str, owner: object, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[object, ...]:
    """Spends what a method of a value costs. Answers its arguments, streams among them gathered."""
    try:
        return _checked(context, name, owner, args, (*args, *kwargs.values()) if kwargs else args)
    except TooMuchError as error:
        raise TooMuchError(error.what or f"{name}()") from None


def _checked(
    context: BoundedContext, name: str, owner: object, args: tuple[object, ...], given: Sequence[object]
) -> tuple[object, ...]:
    if isinstance(owner, str | bytes):
        return _text_method(context, name, owner, args, given)
    if isinstance(owner, Decimal):
        spend(context, A_DECIMAL_S)
        refuse_huge(owner)
    refuse_huge(*given)
    if name == "to_bytes":
        refuse_wide(given)
    elif name in _DATES:
        refuse_above(_LONGEST_DATE_FORMAT, sum(len(text) for text in given if isinstance(text, str)))
        spend(context, _A_DATE_FORMAT)
    elif given:
        args = tuple(held(context, arg) for arg in args)
        weight = _AN_ITEM * len(given) + sum(map(weigh, given))
        spend(context, weight * (len(owner) if isinstance(owner, list | tuple) else 1))
    return args


def _text_method(
    context: BoundedContext, name: str, owner: str | bytes, args: tuple[object, ...], given: Sequence[object]
) -> tuple[object, ...]:
    length = len(owner)
    needle = 0
    for value in given:
        if isinstance(value, str | bytes):
            needle = max(needle, len(value))
        elif type(value) not in PLAIN and name != "join":
            spend(context, weigh(value))
    if name in _FORWARD:
        spend(context, forward(length, max(needle, 1)))
        if name == "replace" and len(args) > 1:
            refuse_growth(owner, args[0], args[1])
    elif name in _BACKWARD:
        spend(context, backward(length, max(needle, 1)))
    elif name in _STRIPS:
        spend(context, length * (needle + 1) // _COMPARED_A_STEP)
    elif name == "join" and args:
        items = held(context, args[0])
        spend(context, size_of(items) + count_of(items) * (length + _AN_ITEM_JOINED))
        return (items, *args[1:])
    elif name not in _ENDS:
        _other(context, name, owner, given, length)
    return args


def _other(context: BoundedContext, name: str, owner: str | bytes, given: Sequence[object], length: int) -> None:
    if name in _WIDE:
        refuse_wide(given, length if name == "expandtabs" else 1)
    elif name == "translate" and given:
        table = given[0].values() if isinstance(given[0], Mapping) else ()
        longest = max((len(new) for new in table if isinstance(new, str)), default=1)
        refuse_above(STEPS, longest * length)
    elif name in ("encode", "decode"):
        spend(context, _A_CODEC)
        if length > SHORT and _is_slow(given):
            raise TooMuchError
        if not _SLOW_HANDLERS.isdisjoint(map(str, given)):
            spend(context, length * _A_HANDLED_ERROR)
    elif name == "striptags":
        spend_markup(context, str(owner))
    if length > SHORT:
        spend(context, length * _A_CHARACTER.get(name, 1))


def _is_slow(given: Iterable[object]) -> bool:
    for word in given:
        try:
            if codecs.lookup(str(word)).name in _SLOW_ENCODINGS:
                return True
        except LookupError:
            continue  # the word for what is to be done about errors, or a mistake that the call itself tells
    return False
