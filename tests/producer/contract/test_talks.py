"""Stored conversations: bounded in bytes, and anything that is none of ours is told from one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.contract.codec import DecodeError
from mailspool.contract.talks import (
    ATTEMPT_BYTES,
    Direction,
    Line,
    Talk,
    decode_talks,
    encode_talk,
    parse_talk,
    talk_text,
)

_DIRECTIONS: tuple[Direction, ...] = (">", "<", "-")
_LINES = st.builds(
    Line, st.integers(0, 10**7), st.sampled_from(_DIRECTIONS), st.text(st.characters(codec="utf-8"), max_size=220)
)
_TALKS = st.builds(
    Talk, st.integers(0, 10**13), st.just("main"), st.sampled_from("dfu"), st.lists(_LINES, max_size=60).map(tuple)
)


def stored(*parts: bytes) -> bytes:
    return msgspec.msgpack.encode(list(parts))


def talk(*texts: str) -> Talk:
    lines = tuple(Line(number, "<", text) for number, text in enumerate(texts))
    return Talk(1_700_000_000_000, "main", "d", lines, "450 later")


def test_a_short_one_comes_back_whole() -> None:
    one, other = talk("250 ok", "450 später"), talk("550 no")
    assert decode_talks(stored(encode_talk(one), encode_talk(other))) == (one, other)
    assert parse_talk(talk_text(one)) == one


@given(_TALKS)
def test_none_is_larger_than_promised(one: Talk) -> None:
    packed = encode_talk(one)
    assert len(packed) <= ATTEMPT_BYTES
    (back,) = decode_talks(stored(packed))
    assert back.at_ms == one.at_ms
    assert len(talk_text(one)) < 6 * ATTEMPT_BYTES


def test_of_a_long_one_the_beginning_and_the_end_stay() -> None:
    one = talk(*(f"{number} {'x' * 190}" for number in range(60)))
    (back,) = decode_talks(stored(encode_talk(one)))
    texts = [line.text.split()[0] for line in back.lines]
    assert (texts[0], texts[-1]) == ("0", "59")
    (gap,) = [line for line in back.lines if line.dir == "-"]
    assert gap.text == f"({60 - len(back.lines) + 1} lines left out)"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\xc4\x01x", stored(b"\x90"), msgspec.msgpack.encode(["text"])])
def test_what_is_none_of_ours(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_talks(data)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[1,"m","d",[[0,"?","x"]]]'])
def test_text_that_is_none_of_ours(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_talk(text)


@given(st.binary(max_size=200))
def test_noise_never_ends_otherwise(data: bytes) -> None:
    try:
        decode_talks(data)
    except DecodeError:
        return
