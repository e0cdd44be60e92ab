"""Bytes to replies: the limits, the lenience of the field, and that no split of the stream matters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailspool_worker.smtp.replies import (
    MAX_BODY_CHARS,
    MAX_REPLY_BYTES,
    MAX_REPLY_LINES,
    MAX_TEXT_CHARS,
    Reply,
    ReplyError,
    ReplyParser,
    mask_addresses,
)


def read(*pieces: bytes) -> tuple[list[Reply], bool]:
    """All replies, and whether the stream ended in an error."""
    parser, replies = ReplyParser(), list[Reply]()
    for piece in pieces:
        try:
            replies += parser.feed(piece)
        except ReplyError as error:
            return replies + list(error.replies), True
    return replies, False


def reply(said: bytes) -> Reply:
    (only,), _ = read(said)
    return only


def test_four_replies_in_one_segment() -> None:
    replies, broken = read(b"250 2.0.0 Ok: queued as 4X\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n")
    assert [one.code for one in replies] == [250, 250, 250, 354]
    assert replies[0].lines == (b"2.0.0 Ok: queued as 4X",)
    assert not broken


def test_a_multiline_reply_is_one_reply() -> None:
    assert read(b"250-mx.example.org\r\n250-SIZE 1000\r\n250 PIPELINING\r\n220 next\r\n")[0] == [
        Reply(250, (b"mx.example.org", b"SIZE 1000", b"PIPELINING")),
        Reply(220, (b"next",)),
    ]


@pytest.mark.parametrize("line", [b"250\r\n", b"250 \r\n", b"250\n", b"250 \n"])
def test_a_bare_code_is_a_reply(line: bytes) -> None:
    assert read(line) == ([Reply(250, (b"",))], False)


def test_line_ends_may_be_lf_only_and_mixed() -> None:
    assert read(b"250-a\n250 b\r\n354 c\n")[0] == [Reply(250, (b"a", b"b")), Reply(354, (b"c",))]


@pytest.mark.parametrize(
    "noise",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 x\r\n",
        b"2500 x\r\n",
        b"250x\r\n",
        b"250\tx\r\n",
        b" 250 x\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"-1 x\r\n",
        b"\x16\x03\x01\x02\x00\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\n\r\n",
        b"250-a\r\nb\r\n",
    ],
)
def test_noise_is_an_error_and_what_came_before_it_is_kept(noise: bytes) -> None:
    assert read(b"550 5.1.1 gone\r\n" + noise + b"250 ok\r\n") == ([Reply(550, (b"5.1.1 gone",))], True)


def test_an_error_stays_and_shows_nothing_of_the_wire() -> None:
    parser = ReplyParser()
    with pytest.raises(ReplyError) as caught:
        parser.feed(b"secret@example.org\r\n")
    assert "secret" not in str(caught.value)
    with pytest.raises(ReplyError):
        parser.feed(b"250 ok\r\n")


@pytest.mark.parametrize(
    ("lines", "broken"), [(MAX_REPLY_LINES - 1, False), (MAX_REPLY_LINES, False), (MAX_REPLY_LINES + 1, True)]
)
def test_the_limit_of_lines(lines: int, broken: bool) -> None:
    assert read(b"250-x\r\n" * (lines - 1) + b"250 x\r\n")[1] is broken


@pytest.mark.parametrize(
    ("size", "broken"), [(MAX_REPLY_BYTES - 1, False), (MAX_REPLY_BYTES, False), (MAX_REPLY_BYTES + 1, True)]
)
@pytest.mark.parametrize("head", [b"", b"250-one\r\n250-two\r\n"])
def test_the_limit_of_bytes(size: int, broken: bool, head: bytes) -> None:
    said = head + b"250 " + b"x" * (size - len(head) - 6) + b"\r\n"
    assert len(said) == size
    assert read(said)[1] is broken
    assert read(b"220 first\r\n" + said + b"220 next\r\n")[1] is broken
    assert read(said[:-1], said[-1:])[1] is broken
    assert read(*(said[at : at + 1_000] for at in range(0, size, 1_000)))[1] is broken


@pytest.mark.parametrize(("held", "broken"), [(MAX_REPLY_BYTES, False), (MAX_REPLY_BYTES + 1, True)])
def test_a_line_that_never_ends_is_not_kept_for_ever(held: int, broken: bool) -> None:
    assert read(b"2" * held)[1] is broken
    assert read(*[b"2" * 1_024] * (MAX_REPLY_BYTES // 1_024), b"2" * (held - MAX_REPLY_BYTES))[1] is broken


def test_many_replies_may_be_longer_than_one() -> None:
    replies, broken = read(b"250 ok\r\n" * 10_000)
    assert (len(replies), broken) == (10_000, False)


def test_the_limit_starts_anew_with_each_reply() -> None:
    long = b"250-" + b"x" * 20_000 + b"\r\n250 ok\r\n"
    replies, broken = read(long, long, long)
    assert (len(replies), broken) == (3, False)


def test_partial_says_whether_bytes_are_held() -> None:
    parser = ReplyParser()
    assert not parser.partial
    for piece in (b"250", b"-a\r\n", b"250"):
        assert parser.feed(piece) == []
        assert parser.partial
    assert parser.feed(b" b\r\n") == [Reply(250, (b"a", b"b"))]
    assert not parser.partial


lines = st.one_of(
    st.builds(
        b"%d%b%b%b".__mod__,
        st.tuples(
            st.integers(198, 601),
            st.sampled_from([b" ", b"-", b"", b"\t"]),
            st.binary(max_size=6),
            st.sampled_from([b"\r\n", b"\n", b"\r"]),
        ),
    ),
    st.sampled_from(
        [b"250 ok\r\n", b"250-a\r\n", b"354 go\r\n", b"\r\n", b"550 5.1.1 no\n", b"250-" + b"x" * 20_000 + b"\n"]
    ),
)


@given(st.lists(lines, max_size=8).map(b"".join), st.lists(st.integers(0, 60_000), max_size=12))
@example(b"250-a\r\n250 b\r\n354 c\r\n", list(range(30)))
@example(b"250 a\r\n250-b\r\n550 c\r\n", list(range(30)))
def test_any_split_gives_the_same(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert read(*pieces) == read(stream)


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_give_replies_or_an_error(pieces: list[bytes]) -> None:
    for one in read(*pieces)[0]:
        assert 200 <= one.code < 600
        assert one.text.replace("\u200c", "").replace("\u200d", "").isprintable()
        assert len(one.text) <= MAX_TEXT_CHARS


# -- what a reply says


@pytest.mark.parametrize(
    ("said", "enhanced"),
    [
        (b"550 5.1.1 no", (5, 1, 1)),
        (b"550 #5.1.0 Address rejected.", (5, 1, 0)),
        (b"550 sorry, no mailbox here by that name (#5.1.1)", (5, 1, 1)),
        (b"550 (5.1.1) no", (5, 1, 1)),
        (b"550-Sorry\r\n550-5.7.26 this\r\n550 5.1.1 that", (5, 7, 26)),
        (b"550 550 5.1.1 repeated by a relay", (5, 1, 1)),
        (b"250 2.1.5", (2, 1, 5)),
        (b"550 5.1.1: no", (5, 1, 1)),
        (b"550 5.7.1. no", (5, 7, 1)),
        (b"450 4.2.0\r\n", (4, 2, 0)),
        (b"450 5.1.1 contradicts", None),
        (b"550-2.0.0 contradicts\r\n550 5.1.1 fits", (5, 1, 1)),
        (b"550 no code", None),
        (b"550 5.9.11.2 is an address", None),
        (b"550 host 5.1.1 in the middle", None),
        (b"550 5.1 too short", None),
        (b"550 5.1.1000 too long", None),
        (b"354 3.0.0 no such class", None),
    ],
)
def test_the_enhanced_code(said: bytes, enhanced: tuple[int, int, int] | None) -> None:
    assert reply(said.rstrip() + b"\r\n").enhanced == enhanced


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"550 5.1.1 No such user", "550 5.1.1 No such user"),
        (b"550-5.1.1 does\r\n550 5.1.1 not exist", "550 5.1.1 does not exist"),
        (b"550-5.1.1 one\r\n550 5.1.10 two", "550 5.1.1 one 5.1.10 two"),
        (b"550-a\r\n550-\r\n550 b", "550 a b"),
        (b"250", "250"),
        (b"550 a\tb\x1b[31m  c\x00\x7f", "550 a b [31m c"),
        ("550 x\u202ey\u2028z\u0085".encode(), "550 x y z"),
        (b"550 \xff\xfe", "550 \ufffd\ufffd"),
        ("550 پست الکترونیکی".encode(), "550 پست الکترونیکی"),
        (b"550 bare\rreturn", "550 bare return"),
        ("550 \u0645\u06cc\u200c\u062e \u200bx\u00a0y".encode(), "550 \u0645\u06cc\u200c\u062e x y"),
    ],
)
def test_the_text_for_people(said: bytes, text: str) -> None:
    assert reply(said + b"\r\n").text == text


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_text_is_bounded(more: int) -> None:
    text = reply(b"550 " + b"x" * (MAX_TEXT_CHARS - 4 + more) + b"\r\n").text
    assert len(text) == min(MAX_TEXT_CHARS + more, MAX_TEXT_CHARS)
    assert text.endswith("...") is (more > 0)
    assert len(reply(b"550 " + b"x" * 30_000 + b"\r\n").body) == MAX_BODY_CHARS


def test_a_reply_from_the_opening_library() -> None:
    assert Reply.of(535, "5.7.8 bad\ncredentials") == Reply(535, (b"5.7.8 bad", b"credentials"))
    assert Reply.of(220, "") == Reply(220, (b"",))
    assert Reply.of(220, "\udcff") == Reply(220, (b"\xff",))
    assert Reply.of(220, "\ud800x").text == "220 ?x"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no address", "no address"),
        ("<a@b.example>: no", "<address>: no"),
        ("a@b.example...User unknown", "<address>...User unknown"),
        ('"quoted words"@b.example no', "<address> no"),
        ('<"quoted words"@b.example> no', "<address> no"),
        ("a@[192.0.2.1] x", "<address>[192.0.2.1] x"),
        ("(a@b.example) and <x>", "<address>) and <x>"),
        ("a@b@c.example", "<address>"),
        ("علی@b.example", "<address>"),
    ],
)
def test_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


@given(st.text(st.sampled_from('ab@<>" .'), max_size=200))
def test_no_address_survives_the_mask(text: str) -> None:
    assert "a@b" not in mask_addresses(text)


@given(st.text(max_size=100))
def test_any_text_becomes_harmless(text: str) -> None:
    shown = Reply(550, (text.encode("utf-8", "replace"),)).text
    assert shown.replace("\u200c", "").replace("\u200d", "").isprintable()
