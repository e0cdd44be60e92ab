"""The body reader: dots, ends, lines, whatever the pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.sandbox.body import BodyReader, too_long_line, unstuffed
from tests.producer.sandbox.wire import stuffed

LINES = st.lists(
    st.binary(max_size=12).map(lambda line: line.replace(b"\r\n", b"\r")).filter(lambda line: not line.endswith(b"\r"))
    | st.sampled_from([b"", b".", b"..", b".x", b"..x", b"\n.", b".\n", b"\r.\ry", b"\n.\n", b"x" * 998]),
    max_size=8,
)
"""Lines that dots, bare CR and bare LF make difficult. A CR at the end of a line would belong to no line."""


def read(pieces: list[bytes], limit: int = 10_000) -> tuple[bytes | None, BodyReader, bytes]:
    reader, buffer = BodyReader(limit), bytearray()
    body = None
    for piece in pieces:
        buffer += piece
        if body is None:
            body = reader.take(buffer)
    return body, reader, bytes(buffer)


@given(LINES, st.data())
def test_any_content_comes_back_however_it_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    stream = stuffed(content) + b"NEXT"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    body, _, rest = read(pieces)
    assert body == content
    assert rest == b"NEXT"


@pytest.mark.parametrize(
    "sequence",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r\n.\0\r\n", b"\r\n\0.\r\n"],
)
def test_only_crlf_dot_crlf_ends_a_mail(sequence: bytes) -> None:
    smuggled = b"MAIL FROM:<admin@target.test>\r\n"
    body, _, rest = read([b"text" + sequence + smuggled + b"\r\n.\r\n"])
    assert body is not None
    assert smuggled in body
    assert rest == b""


@pytest.mark.parametrize(("first", "expected"), [(b".\r\n", b""), (b"..\r\n.\r\n", b".\r\n"), (b"\r\n.\r\n", b"\r\n")])
def test_the_first_line_may_be_the_end_or_a_dot(first: bytes, expected: bytes) -> None:
    assert read([first])[0] == expected
    assert read([first[n : n + 1] for n in range(len(first))])[0] == expected


def test_every_line_with_a_dot_loses_one() -> None:
    assert unstuffed(b".a\r\n..b\r\n...\r\nc.\r\n.\n.\r\n") == b"a\r\n.b\r\n..\r\nc.\r\n\n.\r\n"


@pytest.mark.parametrize(("octets", "found"), [(0, None), (997, None), (998, None), (999, 999), (5000, 5000)])
@pytest.mark.parametrize("before", [b"", b"short\r\n", b"y" * 998 + b"\r\n", b"\r\n" * 1000])
@pytest.mark.parametrize("after", [b"", b"short\r\n", b"y" * 998 + b"\r\n"])
def test_lines_are_measured_without_their_crlf(octets: int, found: int | None, before: bytes, after: bytes) -> None:
    assert too_long_line(before + b"x" * octets + b"\r\n" + after, 998) == found


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 20))
def test_the_jumping_measure_agrees_with_the_plain_one(lengths: list[int], limit: int) -> None:
    body = b"".join(b"x" * length + b"\r\n" for length in lengths)
    assert too_long_line(body, limit) == next((length for length in lengths if length > limit), None)


def test_a_body_far_beyond_the_limit_is_thrown_away_but_its_end_is_found() -> None:
    body, reader, rest = read([b"x" * 500] * 50 + [b"\r\n.\r", b"\nNEXT"], limit=1000)
    assert body == b""
    assert reader.discarded > 20_000
    assert rest == b"NEXT"


@pytest.mark.parametrize("limit", [99, 100, 101])
def test_up_to_twice_the_limit_a_body_is_kept_so_that_stuffing_cannot_decide(limit: int) -> None:
    body, reader, _ = read([b"..\r\n" * 25, b".\r\n"], limit=limit)
    assert body == b".\r\n" * 25
    assert reader.discarded == 0


def test_where_a_drop_cuts() -> None:
    def reached(buffer: bytes) -> int | None:
        return BodyReader(1000).reached(bytearray(buffer), 100)

    assert reached(b"") is None
    assert reached(b".\r\n") == 0
    assert reached(b"x" * 100) is None, "an end may still begin before the cut"
    assert reached(b"x" * 105) == 100
    assert reached(b"x" * 99 + b"\r\n.\r\n") == 101
    assert reached(b"x" * 10 + b"\r\n.\r\n" + b"y" * 200) == 12
