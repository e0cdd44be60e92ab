"""What kind of list is this? Encoding, kind, delimiter, from the first bytes. Pure.

`reader` calls `find_encoding`, then `find_layout`. Nothing is guessed silently: bytes that are not UTF-8 (and not
named by --encoding) are refused, because a list read in the wrong code page mails wrong names to everybody.
Raises InputError with the file's name and what to do. UTF-16 is read only when it is named.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import Final

from mailspool.content.address import AddressError, clean_cell
from mailspool.errors import InputError
from mailspool.lists.columns import address_candidates, find_column, variable_names
from mailspool.lists.rows import Format, ListOptions, shown

DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_NAME_OF: Final = {sign: name for name, sign in DELIMITERS.items()}
_BY_SUFFIX: Final[dict[str, Format]] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SPREADSHEETS: Final = {".xlsx": "an Excel workbook", ".xls": "an Excel workbook", ".ods": "a spreadsheet"}
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_line_break = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Encoding:
    """`name` for people, `codec` for Python."""

    name: str
    codec: str


@dataclass(frozen=True, slots=True)
class Layout:
    """`delimiter` only for CSV; `skip`: lines before the first one that counts; `empty`: nothing but blanks."""

    format: Format
    delimiter: str = ""
    skip: int = 0
    empty: bool = False

    @property
    def name(self) -> str:
        return {"jsonl": "JSON lines", "list": "one address a line", "csv": delimiter_name(self.delimiter)}[self.format]


def delimiter_name(sign: str) -> str:
    return _NAME_OF.get(sign, shown(sign))


def line_breaks(text: str) -> int:
    return len(_line_break.findall(text))


def physical_lines(text: str) -> list[str]:
    """Lines as the reader counts them (`str.splitlines` also breaks at form feeds and U+2028)."""
    return _line_break.split(text)


def not_decodable(title: str, encoding: Encoding, line: int) -> InputError:
    """For bytes that the encoding does not have, in physical line `line`."""
    if encoding.name == "UTF-8":
        return InputError(
            f"{title} is not UTF-8 (line {line}). Save it as CSV UTF-8, or say which encoding it has: "
            "--encoding NAME, for example cp1252."
        )
    return InputError(f"{title} is not {encoding.name} (line {line}).")


def find_encoding(title: str, suffix: str, head: bytes, wanted: str | None) -> Encoding:
    """A UTF-8 BOM or nothing means UTF-8; `wanted` is --encoding."""
    if suffix in _SPREADSHEETS or head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(
            f"{title} is {_SPREADSHEETS.get(suffix, 'a workbook or an archive')}. "
            'Save it as "CSV UTF-8" and give that file.'
        )
    if wanted is not None:
        return _named_encoding(title, head, wanted)
    if head.startswith(_UTF16_MARKS):
        raise InputError(f"{title} is UTF-16. Save it as CSV UTF-8, or say so: --encoding utf-16.")
    if b"\0" in head and not _is_utf8_text(head):
        raise InputError(f"{title} is not a text file. If it is UTF-16, say so: --encoding utf-16-le.")
    return Encoding("UTF-8", "utf-8-sig")


def _is_utf8_text(head: bytes) -> bool:
    """NULs here and there are bad rows; in every other byte they are UTF-16, in heaps a binary file."""
    return head.count(b"\0") * 20 < len(head)


def _named_encoding(title: str, head: bytes, wanted: str) -> Encoding:
    try:
        codec = codecs.lookup(wanted).name
        "".encode(codec)
    except LookupError:  # unknown, or a codec that makes no text (base64)
        raise InputError(f"there is no encoding {shown(wanted)} (--encoding). Known ones: utf-8, cp1252, ...") from None
    if codec in ("utf-8", "utf-8-sig"):
        return Encoding("UTF-8", "utf-8-sig")
    if head.startswith(codecs.BOM_UTF8):
        raise InputError(f"{title} says in its first bytes that it is UTF-8, --encoding says {codec}. Leave it out.")
    return Encoding(codec, codec)


def decode_head(title: str, encoding: Encoding, head: bytes) -> str:
    """The head as text; a character cut at its end is left out."""
    try:
        return codecs.getincrementaldecoder(encoding.codec)("strict").decode(head)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding.codec, "replace")
        raise not_decodable(title, encoding, line_breaks(before) + 1) from None


def find_layout(title: str, suffix: str, text: str, options: ListOptions) -> Layout:
    """From the name's suffix (lower case, "" for stdin) and the first text; options win."""
    lines = physical_lines(text)
    delimiter = _wanted_delimiter(options.delimiter)
    kind = options.format or _BY_SUFFIX.get(suffix)
    skip = next((number for number, line in enumerate(lines) if line.strip()), None)
    if skip is None:
        return Layout(kind or "list", delimiter or ",", empty=True)
    first = lines[skip].strip()
    if kind != "csv" and first.startswith("["):
        raise InputError(f"{title} holds a JSON array. Write one object a line (JSON lines), without brackets.")
    if kind == "jsonl" or (kind is None and first.startswith("{")):
        return Layout("jsonl")
    if kind == "list":
        return Layout("list")
    sep = re.fullmatch(r"sep=(.)", first, re.IGNORECASE)
    if sep and delimiter in (None, sep[1]):
        return Layout("csv", sep[1], skip + 1)
    for start in (skip, _after_comments(lines)):
        below = "\n".join(lines[start:])
        sign = _best_delimiter(below, delimiter, options.email_column)
        if sign is not None:
            return Layout("csv", sign, start)
    return _without_header(title, kind, lines, delimiter, options)


def first_records(text: str, delimiter: str, count: int) -> list[list[str]]:
    """The first rows of the head that hold anything, leniently."""
    found = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
            if any(cell.strip() for cell in cells):
                found.append([cell.strip() for cell in cells])
            if len(found) == count:
                break
    except csv.Error:
        pass  # a broken quote: `table` names its line when it gets there
    return found


def _wanted_delimiter(wanted: str | None) -> str | None:
    if wanted is None:
        return None
    sign = DELIMITERS.get(wanted.lower(), "\t" if wanted == "\\t" else wanted)
    if len(sign) != 1 or sign in '"\r\n':
        raise InputError(f"{shown(wanted)} is no delimiter (--delimiter). Say comma, semicolon, tab or pipe.")
    return sign


def _after_comments(lines: list[str]) -> int:
    """The first line that is neither blank nor a comment of an address list; 0 if there is none."""
    return next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), 0)


def _best_delimiter(text: str, delimiter: str | None, wanted: str | None) -> str | None:
    """Of the delimiters that make an address column in the header, the one that makes most columns."""
    best, most = None, 0
    for sign in [delimiter] if delimiter else DELIMITERS.values():
        header, below = [*first_records(text, sign, 2), [], []][:2]
        if len(header) > most and _has_address_column(header, below, wanted):
            best, most = sign, len(header)
    return best


def _has_address_column(header: list[str], below: list[str], wanted: str | None) -> bool:
    names = variable_names(header)
    if wanted is not None:
        return find_column(header, names, wanted) is not None
    return bool(address_candidates(header, names, below))


def _without_header(
    title: str, kind: Format | None, lines: list[str], delimiter: str | None, options: ListOptions
) -> Layout:
    """No header names an address: a plain list, a CSV without its header, or a CSV that names it otherwise."""
    start = _after_comments(lines)
    sign, cells = _split_most(lines[start], delimiter)
    forced = options.format == "csv" or options.email_column is not None
    if not forced and _is_cell(lines[start]):
        return Layout("list")
    if any(_is_cell(cell) for cell in cells):
        if kind is None and not forced and all(_is_cell(cell) for cell in cells if cell):
            return Layout("list")
        raise InputError(
            f"{title}: line {start + 1} holds an address, not column names; add a first line such as email,name."
        )
    if kind == "csv" or forced or len(cells) > 1:
        return Layout("csv", sign, start)
    return Layout("list")


def _split_most(line: str, delimiter: str | None) -> tuple[str, list[str]]:
    """The delimiter that cuts a line into most cells (if none is given), and these."""
    signs = [delimiter] if delimiter else DELIMITERS.values()
    return max(((sign, [*first_records(line, sign, 1), []][0]) for sign in signs), key=lambda found: len(found[1]))


def _is_cell(cell: str) -> bool:
    try:
        clean_cell(cell)
    except AddressError:
        return False
    return True
