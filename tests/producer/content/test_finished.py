"""Surgery on finished MIME: only line ends and Bcc change, whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content import finished

FIELDS = st.lists(
    st.sampled_from(
        [
            b"From: a@x.org\r\n",
            b"Subject:  two  spaces\r\n \r\n\tfolded\r\n",
            b"X-Latin: \xe9\r\n",
            b"bcc : b@x.org,\r\n c@x.org\r\n",
            b"BCC: d@x.org\r\n",
            b"Resent-Bcc: e@x.org\r\n",
            b"Bcc-Like: kept\r\n",
            b"X-Bcc:\r\n Bcc: kept too\r\n",
            b"Empty:\r\n",
        ]
    ),
    min_size=1,
    max_size=8,
).map(lambda fields: b"From: first@x.org\r\n" + b"".join(fields))
BODY = st.binary(max_size=80).map(lambda data: data.replace(b"\0", b"").replace(b"\r", b"\n").replace(b"\n", b"\r\n"))


def is_blind(field: bytes) -> bool:
    return field.lower().startswith((b"bcc:", b"bcc ", b"resent-bcc"))


@settings(deadline=None)
@given(FIELDS, BODY)
@example(b"From: a@x.org\r\nbcc : b\r\n c\r\n", b"Bcc: in the body stays\r\n")
def test_everything_but_bcc_is_kept_byte_for_byte(header: bytes, body: bytes) -> None:
    whole = header + b"\r\n" + body
    kept = [f.lines for f in finished.header_fields(header) if not is_blind(f.lines)]
    stored = finished.take_in(whole)
    expected = b"".join(kept) + b"\r\n" + body
    assert stored == expected if expected.endswith(b"\r\n") else stored == expected + b"\r\n"
    assert b"b@x.org" not in finished.split(stored)[0]
    assert finished.take_in(stored) == stored


@pytest.mark.parametrize(
    ("data", "normal"),
    [
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n"),
        (b"a\n\r\nb\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\nb\r", b"a\r\nb\r\n"),
        (b"", b"\r\n"),
        (b"\r\n.\r\n", b"\r\n.\r\n"),
    ],
)
def test_line_ends(data: bytes, normal: bytes) -> None:
    assert finished.crlf(data) == normal
    assert finished.crlf(normal) is normal


def test_a_mail_without_a_body_gets_its_empty_line() -> None:
    assert finished.take_in(b"From: a@x.org") == b"From: a@x.org\r\n\r\n"
    assert finished.take_in(b"From: a@x.org\n\n") == b"From: a@x.org\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it has no header"),
        (b"\r\nFrom: a@x.org\r\n", "it has no header"),
        (b"Bcc: a@x.org\r\n\r\n", "it has no header"),
        (b"From: a@x.org\r\nno field\r\n\r\n", "line 2 is no header field"),
        (b" folded: first\r\n\r\n", "line 1 is no header field"),
        (b"From a@x.org Mon\r\n\r\n", "line 1 is no header field"),
        ("Schlüssel: x\r\n\r\n".encode(), "line 1 is no header field"),
        (b"From: a@x.org\r\n\r\na\0", "it holds a NUL byte"),
    ],
)
def test_what_is_no_mail(data: bytes, words: str) -> None:
    with pytest.raises(finished.MimeError, match=words):
        finished.take_in(data)


def test_inspect() -> None:
    assert finished.inspect(b"date: x\r\nMESSAGE-ID:y\r\n\r\n") == (
        b"date: x\r\nMESSAGE-ID:y\r\n\r\n",
        True,
        "y",
        False,
        False,
    )
    found = finished.inspect(b"From: a\r\n\r\nDate: in the body\xc3\xbc\r\n")
    assert (found.has_date, found.message_id, found.eight_bit, found.smtputf8) == (False, "", True, False)
    assert finished.inspect(b"message-id:\r\n <a@x>\r\nMessage-ID: <b@x>\r\n\r\n").message_id == "<a@x>"
    assert finished.inspect("To: ü\r\n\r\n".encode()).smtputf8
