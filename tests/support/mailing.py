"""The ordinary mailing of a scenario: a personal letter, numbered recipients over fifty domains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mailspool import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE = "It was a bright cold day in April, and the clocks were striking thirteen all over again.\n"


def letter(lines: int = 12) -> Message:
    """About a hundred bytes a line."""
    return Message(
        from_="News <news@sender.test>",
        subject="News for {{ name }}",
        text="Dear {{ name }},\n\nyour code is {{ code }}.\n\n" + LINE * lines,
    )


def recipient(number: int, order: str = "user") -> str:
    """The address of row `number` (from 1). `order` is what the sandbox shall do with it."""
    return f"{order}-{number:07d}@y{number % 50}.test"


def row_of(address: str) -> int:
    """The number in an address of ours."""
    return int(address.partition("@")[0].rpartition("-")[2])


def row(number: int, order: str = "user") -> Mapping[str, object]:
    return {"email": recipient(number, order), "name": f"Anna {number}", "code": f"C{number:08d}"}


def rows(count: int, order: str = "user", start: int = 1) -> Iterable[Mapping[str, object]]:
    return (row(number, order) for number in range(start, start + count))
