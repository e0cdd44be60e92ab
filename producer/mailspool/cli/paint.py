"""Lines of styled text, columns that line up, and the colours of a terminal. Pure.

`screens` makes lines; `say` paints them where somebody looks at a terminal and leaves the styles out elsewhere. Text
from outside (replies, addresses, names) passes through `harmless` on its way into a span, where it is measured. All
that comes out passes through it once more, so that no word that was forgotten steers a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from typing import Final, Literal, NamedTuple

Style = Literal["plain", "bold", "dim", "red", "green", "yellow"]
_CODES: Final[dict[Style, str]] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a terminal show `gpj.exe` as `exe.jpg`."""
_LAST_LEAST: Final = 28
"""Columns of a folded reply: less is not read as a sentence."""
_SHORT_LEAST: Final = 16


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: Style = "plain"


Line = Sequence[Span]
Cell = Span | str


def span(cell: Cell) -> Span:
    return Span(cell) if isinstance(cell, str) else cell


def line(*cells: Cell) -> Line:
    return tuple(span(cell) for cell in cells)


def plain(spans: Line) -> str:
    """Without its styles."""
    return "".join(_harmless_lines(part.text) for part in spans)


def painted(spans: Line) -> str:
    """With the codes that a terminal understands."""
    texts = ((part.style, _harmless_lines(part.text)) for part in spans)
    return "".join(
        f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style != "plain" and text else text for style, text in texts
    )


def width(text: str) -> int:
    """Columns on a terminal: wide characters take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(sign) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )


def table(
    rows: Sequence[Sequence[Cell]],
    *,
    right: Collection[int] = (),
    gap: int = 2,
    indent: int = 0,
    columns: int | None = None,
    shorten: int | None = None,
) -> list[Line]:
    """Rows as lines whose columns line up; `right`: columns of numbers. The last column is never padded.

    Where `columns` of a terminal are too few, the last column goes on in the next line, and the column `shorten` loses
    the middle of its longest cells.
    """
    cells = [[span(cell) for cell in row] for row in rows]
    number = max((len(row) for row in cells), default=0)
    widths = [max((width(row[n].text) for row in cells if n < len(row)), default=0) for n in range(number)]
    if columns is not None and number:
        room = columns - indent - gap * (number - 1) - sum(widths)
        if room < 0 and shorten is not None and shorten < number - 1:
            last = min(widths[-1], max(_LAST_LEAST, widths[-1] + room))
            widths[shorten] = max(_SHORT_LEAST, min(widths[shorten], widths[shorten] + room + widths[-1] - last))
            cells = [_shortened(row, shorten, widths[shorten]) for row in cells]
            room = columns - indent - gap * (number - 1) - sum(widths)
        if room < 0:
            widths[-1] = min(widths[-1], max(_LAST_LEAST, widths[-1] + room))
            cells = [part for row in cells for part in _folded_row(row, number, widths[-1])]
    return [_row(row, widths, right, gap, indent) for row in cells]


def _shortened(row: Sequence[Span], n: int, most: int) -> list[Span]:
    return [Span(middle_cut(cell.text, most), cell.style) if at == n else cell for at, cell in enumerate(row)]


def _folded_row(row: Sequence[Span], number: int, most: int) -> list[list[Span]]:
    """The row, and one for each further line of its last column."""
    if len(row) < number:
        return [list(row)]
    *others, last = row
    first, *more = folded(last.text, most) or [""]
    empty = [Span("")] * len(others)
    return [[*others, Span(first, last.style)], *([*empty, Span(text, last.style)] for text in more)]


def middle_cut(text: str, most: int) -> str:
    """`very-long…@example.org`: both ends tell more than the middle."""
    if width(text) <= most:
        return text
    tail = max(1, (most - 1) // 2)
    start, end = text, text[1:]
    while width(end) > tail:
        end = end[1:]
    while start and width(start) > most - 1 - width(end):
        start = start[:-1]
    return f"{start}…{end}"


def folded(text: str, most: int) -> list[str]:
    """In lines of at most so many columns, between words where it can be."""
    lines: list[str] = []
    rest = text.strip()
    while width(rest) > most:
        cut = len(rest)
        while width(rest[:cut]) > most:
            cut -= 1
        space = rest.rfind(" ", 0, cut + 1)
        cut = space if space > 0 else max(1, cut)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, rest] if rest else lines


def _row(cells: Sequence[Span], widths: Sequence[int], right: Collection[int], gap: int, indent: int) -> Line:
    spans = [Span(" " * indent)] if indent else []
    for n, cell in enumerate(cells):
        space = " " * (widths[n] - width(cell.text))
        if n in right:
            spans.append(Span(space))
        spans.append(cell)
        if n < len(cells) - 1:
            spans.append(Span((" " * gap) if n in right else space + " " * gap))
    while spans and not spans[-1].text.strip():
        spans.pop()
    return tuple(spans)


def harmless(text: str) -> str:
    """`text` on one line, with all that could steer a terminal written out. Joiners and marks of scripts stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if _shows(sign) else _written_out(sign) for sign in text)


def _harmless_lines(text: str) -> str:
    """For what stands in a span already: its line breaks are the screen's own."""
    return text if text.isascii() and text.isprintable() else "\n".join(map(harmless, text.split("\n")))


def _shows(sign: str) -> bool:
    return sign not in _OVERRIDES and unicodedata.category(sign) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
