"""Transfer encodings: exact, legal, and the shorter one."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content import body

PIECES = st.sampled_from(
    [
        "\n",
        "\r\n",
        "\r",
        ".",
        "..",
        " ",
        "\t",
        "=",
        "word ",
        "ü",
        "سلام",
        "שלום",
        "😀",
        "x" * 500,
        "é" * 80,
        "a = b",
        "\x0c",
        "\x7f",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=60).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400),
)


def decoded(encoding: bytes, lines: bytes) -> bytes:
    if encoding == b"quoted-printable":
        return quopri.decodestring(lines)
    return base64.b64decode(lines) if encoding == b"base64" else lines


@settings(deadline=None)
@given(TEXTS, st.booleans())
@example("", True)
@example("", False)
@example("trailing space ", False)
@example("trailing tab\t\nü \n", False)
def test_every_text_comes_back(text: str, alone: bool) -> None:
    encoding, lines = body.encode_text(text, alone=alone)
    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    if alone and not wanted.endswith("\n"):
        wanted += "\n"
    closing = b"" if alone or encoding == b"base64" else b"\r\n"  # base64's own line end may be the boundary's
    raw = wanted.replace("\n", "\r\n").encode()
    assert decoded(encoding, lines) == raw + closing
    assert lines.isascii()
    assert b"\n" not in lines.replace(b"\r\n", b"")
    assert b"\r" not in lines.replace(b"\r\n", b"")
    assert not lines or lines.endswith(b"\r\n")
    longest = max(map(len, lines.split(b"\r\n")))
    assert longest <= (998 if encoding == b"7bit" else 76)
    fits = raw.isascii() and max(map(len, raw.split(b"\r\n"))) <= 998
    assert (encoding == b"7bit") == fits
    if not fits:
        quoted = body.quoted_printable(raw.replace(b"\r\n", b"\n")) + (b"" if alone else b"\r\n")
        assert len(lines) == min(len(quoted), len(body.base64_lines(raw)))


@pytest.mark.parametrize(("size", "encoding"), [(997, b"7bit"), (998, b"7bit"), (999, b"quoted-printable")])
@pytest.mark.parametrize("before", ["", "short\n", "y" * 998 + "\n", "y\n" * 600])
def test_the_longest_line_of_7bit(size: int, encoding: bytes, before: str) -> None:
    for after in ("", "\n", "\nshort\n"):
        assert body.encode_text(before + "x" * size + after, alone=False)[0] == encoding


@pytest.mark.parametrize("char", ["ü", "漢", "😀", "="])
def test_the_shorter_encoding_is_found_at_every_mixture(char: str) -> None:
    for count in range(1, 200):
        text = char * count + "a" * (1200 - count)
        raw = text.encode()
        _, lines = body.encode_text(text, alone=False)
        assert len(lines) == min(len(body.quoted_printable(raw)) + 2, len(body.base64_lines(raw)))


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 113, 114, 115, 1000])
def test_base64_lines(size: int) -> None:
    data = bytes(range(256)) * 4
    lines = body.base64_lines(data[:size])
    assert base64.b64decode(lines) == data[:size]
    assert lines == base64.encodebytes(data[:size]).replace(b"\n", b"\r\n")


def test_half_a_character_is_an_error_of_the_caller() -> None:
    with pytest.raises(UnicodeEncodeError):
        body.encode_text("\ud800", alone=False)
