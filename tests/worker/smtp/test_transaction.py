"""The bytes of a transaction: parameters, unsafe addresses, dot-stuffing however the mail is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.content.mime import Rendered
from mailspool_worker.smtp import transaction
from mailspool_worker.smtp.transaction import WHY_NOT, Features, UnsafeEnvelope


def mail(
    *, size: int = 1_000, eight_bit: bool = False, smtputf8: bool = False, mail_from: str = "a@x.test"
) -> Rendered:
    return Rendered(mail_from, (b"",), size, eight_bit, smtputf8)


ALL = Features(pipelining=True, eight_bit=True, smtputf8=True, size_limit=5_000, tells_size=True)


@pytest.mark.parametrize(
    ("rendered", "features", "plain", "command"),
    [
        (mail(), Features(), False, b"MAIL FROM:<a@x.test>\r\n"),
        (mail(), ALL, False, b"MAIL FROM:<a@x.test> SIZE=1000\r\n"),
        (mail(eight_bit=True), ALL, False, b"MAIL FROM:<a@x.test> SIZE=1000 BODY=8BITMIME\r\n"),
        (mail(eight_bit=True), ALL, True, b"MAIL FROM:<a@x.test>\r\n"),
        (mail(smtputf8=True), ALL, True, b"MAIL FROM:<a@x.test> SMTPUTF8\r\n"),
        (mail(mail_from=""), ALL, True, b"MAIL FROM:<>\r\n"),
        (mail(mail_from="ä@x.test", smtputf8=True), Features(), False, "MAIL FROM:<ä@x.test> SMTPUTF8\r\n".encode()),
    ],
)
def test_mail_names_what_the_receiver_offers(
    rendered: Rendered, features: Features, plain: bool, command: bytes
) -> None:
    assert transaction.mail_command(rendered, features, plain=plain) == command


@pytest.mark.parametrize(
    "bad", ["a b@x.test", "a@x.test\r\nDATA", "<a@x.test", "a@x.test>", "a\0@x.test", "a\x7f@x.test"]
)
def test_what_could_end_a_command_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(UnsafeEnvelope) as refused:
        transaction.mail_command(mail(mail_from=bad), ALL)
    assert bad not in str(refused.value)
    with pytest.raises(UnsafeEnvelope) as refused:
        transaction.rcpt_command(bad)
    assert bad not in str(refused.value)


def test_a_recipient_has_a_domain() -> None:
    assert transaction.rcpt_command("a@x.test") == b"RCPT TO:<a@x.test>\r\n"
    with pytest.raises(UnsafeEnvelope):
        transaction.rcpt_command("postmaster")


@pytest.mark.parametrize(
    ("rendered", "features", "why"),
    [
        (mail(size=5_000), ALL, None),
        (mail(size=5_001), ALL, "too_big"),
        (mail(size=10**9), Features(), None),
        (mail(smtputf8=True), ALL, None),
        (mail(smtputf8=True), Features(), "smtputf8"),
        (mail(eight_bit=True), Features(), "eight_bit"),
    ],
)
def test_what_a_receiver_cannot_take_is_known_before(rendered: Rendered, features: Features, why: str | None) -> None:
    assert transaction.why_not(rendered, features) == why
    assert why is None or why in WHY_NOT


def test_pipelining_can_be_switched_off() -> None:
    assert ALL.without_pipelining() == Features(eight_bit=True, smtputf8=True, size_limit=5_000, tells_size=True)


def stuffed(data: bytes) -> bytes:
    """RFC 5321 4.5.2, read line by line."""
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in data.split(b"\r\n"))


LINES = st.lists(st.sampled_from([b"", b".", b"..", b"x", b".x", b"a.b", b"xyz."]), max_size=30)


@given(lines=LINES)
def test_small_mails_are_stuffed_piece_by_piece(lines: list[bytes]) -> None:
    pieces = [line + b"\r\n" for line in lines]
    assert b"".join(transaction.dot_stuffed(pieces)) == stuffed(b"".join(pieces))


@given(lines=LINES, limit=st.integers(1, 7), cuts=st.lists(st.integers(0, 120), max_size=4))
def test_large_mails_are_stuffed_wherever_they_are_cut(lines: list[bytes], limit: int, cuts: list[int]) -> None:
    data = b"".join(line + b"\r\n" for line in lines)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "PIECE_LIMIT", limit)
        slices = list(transaction.stuffed_slices(pieces))
    assert b"".join(slices) == stuffed(data)
    assert all(len(one) <= 2 * limit + 1 for one in slices)
