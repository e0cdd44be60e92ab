"""Columns line up for every script, styles come and go, and nothing from outside steers a terminal."""

from __future__ import annotations

import json

import pytest

from mailspool.cli.paint import Span, folded, harmless, line, middle_cut, painted, plain, table, width
from mailspool.cli.say import json_text


def test_columns_line_up() -> None:
    rows = table([["ROW", "NAME", "N"], ["1", "علي", "10"], ["200", "山田", "7"]], right={0, 2})
    assert [plain(row) for row in rows] == ["ROW  NAME   N", "  1  علي   10", "200  山田   7"]
    assert {width(plain(row)) for row in rows} == {13}


def test_the_last_column_is_never_padded() -> None:
    rows = table([["a", "long text"], ["b", ""], ["c"]], indent=2)
    assert [plain(row) for row in rows] == ["  a  long text", "  b", "  c"]


def test_no_rows_are_no_lines() -> None:
    assert table([]) == []


def test_styles() -> None:
    spans = line(Span("sent", "green"), " ", Span("7", "bold"), Span("", "red"))
    assert plain(spans) == "sent 7"
    assert painted(spans) == "\x1b[32msent\x1b[0m \x1b[1m7\x1b[0m"


def test_width_counts_columns() -> None:
    assert [width(text) for text in ("abc", "山田", "e\u0301", "فاطمه\u200cزهرا")] == [3, 4, 1, 9]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\r\nb\x00", "a\\r\\nb\\x00"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("می\u200cخواهم 😀", "می\u200cخواهم 😀"),
        ("line\u2028break", "line\\u2028break"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_folding_and_cutting() -> None:
    assert folded("one two three", 8) == ["one two", "three"]
    assert folded("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert folded("漢字漢字", 4) == ["漢字", "漢字"]
    assert folded("", 4) == []
    assert middle_cut("short", 16) == "short"
    assert middle_cut("a-very-long-name@example.org", 16) == "a-very-l…ple.org"
    assert width(middle_cut("漢字" * 20, 16)) <= 16


def test_json_steers_no_terminal_and_loses_nothing() -> None:
    words = "\x1b[31m\x7f\x9b31m\u202egpj.exe\u2066\u200f \u061cs\u0131"
    text = json_text({"reply": words})
    assert not set(text) & set("\x1b\x7f\x9b\u202e\u2066\u200f\u061c")
    assert "s\u0131" in text
    assert json.loads(text) == {"reply": words}
