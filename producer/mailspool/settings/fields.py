"""The kinds of values that settings have: durations, counts, choices, sizes; from Python, TOML or an environment text.

Called by pydantic while it validates. Raises ValueError whose text says what to write; the caller shows the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from mailspool.settings.durations import DURATION_WORDS, LONGEST, parse_duration, parse_size

COUNT_LIMIT: Final = 1_000_000
"""No count of sessions, chunks or mails a session is meant to be larger; such a number is a slip."""


def no_bool(value: object) -> object:
    """Python takes True for 1; a person who wrote `true` meant something else."""
    if isinstance(value, bool):
        raise ValueError("write a number")
    return value


def lower_text(value: object) -> object:
    """Choices are read without regard to case: `INFO` is what people type into an environment."""
    return value.strip().lower() if isinstance(value, str) else value


def text_list(value: object) -> object:
    """`a.example, b.example` from an environment variable as well as a list from TOML."""
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split())
    return tuple(value) if isinstance(value, Iterable) else value


def duration(value: object) -> timedelta:
    """A timedelta, or a text such as 15m."""
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        if not timedelta(0) <= value <= LONGEST:
            raise ValueError("a duration lies between 0 and ten years")
        return value
    raise ValueError(DURATION_WORDS)


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("the duration must be longer than 0")
    return value


def size_bytes(value: object) -> object:
    """Bytes as a number, or a text such as 25 MiB."""
    return parse_size(value) if isinstance(value, str) else no_bool(value)


def sentence(check: Callable[[str], object]) -> Callable[[str], str]:
    """A checker that raises ValueError, as a validator that leaves the text as it is."""

    def validated(value: str) -> str:
        check(value)
        return value

    return validated


Duration = Annotated[timedelta, BeforeValidator(duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(lambda value: _above_zero(duration(value)))]
Count = Annotated[int, BeforeValidator(no_bool), Field(ge=1, le=COUNT_LIMIT)]
CountOrZero = Annotated[int, BeforeValidator(no_bool), Field(ge=0, le=COUNT_LIMIT)]
Size = Annotated[int, BeforeValidator(size_bytes), Field(ge=1)]
