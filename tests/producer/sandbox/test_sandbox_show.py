"""Raw mail as words for a person."""

from __future__ import annotations

import unicodedata
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.sandbox.show import PartSummary, describe, harmless, summarise


def invoice() -> bytes:
    mail = EmailMessage()
    mail["From"] = "Acme Billing <billing@acme.test>"
    mail["To"] = "علي <ali@x.test>"
    mail["Subject"] = "فاتورة رقم ۱۲ – نهائية"
    mail.set_content("مرحبا علي،\n\nالفاتورة مرفقة.\n" + "x" * 1000)
    mail.add_alternative("<p>مرحبا</p>", subtype="html")
    mail.add_attachment(b"%PDF-1.7" * 100, maintype="application", subtype="pdf", filename="فاتورة.pdf")
    return mail.as_bytes()


def test_a_mail_with_everything() -> None:
    summary = summarise(invoice())
    assert summary.from_ == "Acme Billing <billing@acme.test>"
    assert summary.to == "علي <ali@x.test>"
    assert summary.subject == "فاتورة رقم ۱۲ – نهائية"
    assert summary.text.startswith("مرحبا علي،\n\nالفاتورة مرفقة.\nxxx")
    assert summary.text.endswith("…")
    assert len(summary.text) == 401
    assert summary.attachments == (PartSummary("فاتورة.pdf", "application/pdf", 800),)
    assert (summary.parts, summary.size) == (3, len(invoice()))


def test_the_description_has_a_line_for_each_thing() -> None:
    lines = describe(invoice()).splitlines()
    assert lines[:3] == [
        "From:    Acme Billing <billing@acme.test>",
        "To:      علي <ali@x.test>",
        "Subject: فاتورة رقم ۱۲ – نهائية",
    ]
    assert lines[3] == "File:    فاتورة.pdf  application/pdf  800 bytes"
    assert lines[4:6] == ["", "  مرحبا علي،"]


def test_html_alone_is_shown_without_its_tags() -> None:
    raw = b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello <b>Ali</b></p>\r\n"
    assert summarise(raw).text.split() == ["Hello", "Ali"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("سلام\u200cها é 日本", "سلام\u200cها é 日本"),
        ("\x1b[2J\x07\x00\x7f", "\\x1b[2J\\x07\\x00\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd"),
        ("exe\u202egpj", "exe\\u202egpj"),
        ("\u2066\u2028\ud800\ue000\U000e0041", "\\u2066\\u2028\\ud800\\ue000\\U000e0041"),
    ],
)
def test_harmless(text: str, expected: str) -> None:
    assert harmless(text) == expected


def test_lines_may_stay_lines() -> None:
    assert harmless("a\nb\tc\rd", lines=True) == "a\nb\tc\\x0dd"


BROKEN = [
    b"",
    b"\r\n",
    b"no header at all",
    b"Subject: =?utf-8?b?////?=\r\n\r\nx",
    b"Subject: =?no-such-charset?q?x?=\r\nFrom: <<<>>>\r\nTo: :;:;\r\n\r\nx",
    b"Subject: \x1b[2J\xff\xfe\r\n\r\n\x1b]0;title\x07",
    b"Subject: =?utf-8?q?=1B=5B2J=0D=0ABcc:_x?=\r\n\r\n",
    b"Content-Type: text/plain; charset=no-such\r\n\r\n\xff\xfe",
    b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n",
    b"Content-Type: multipart/mixed\r\n\r\n--x\r\n",
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx",
    b"Content-Type: /;;=\r\nContent-Disposition: attachment; filename*=utf-8''%ff%1b\r\n\r\nx",
    b"Content-Disposition: attachment; filename*0*=x; filename*2=y\r\n\r\nx",
    b'From: a@b, "\r\nTo: @\r\nMessage-ID: <\r\nDate: x\r\n\r\n',
    b"Content-Type: multipart/alternative; boundary=a\r\n\r\n" + b"--a\r\nContent-Type: text/x\r\n\r\n\r\n" * 300,
]


@pytest.mark.parametrize("raw", BROKEN)
def test_broken_mail_is_shown_as_far_as_it_goes(raw: bytes) -> None:
    check(raw)


PIECES = st.sampled_from(
    [
        *BROKEN[:-1],
        b"Subject: ",
        b"=?utf-8?q?",
        b"?=",
        b"\r\n ",
        b"\r\n",
        b"Content-Type: ",
        b"; charset=",
        b"=",
        b'"',
        b"From: a <",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=30), max_size=12))
def test_any_bytes_are_shown_harmlessly(pieces: list[bytes]) -> None:
    check(b"".join(pieces))


def check(raw: bytes) -> None:
    summary = summarise(raw)
    assert summary.size == len(raw)
    for text in (
        describe(raw),
        summary.subject,
        summary.from_,
        summary.to,
        *(part.name for part in summary.attachments),
    ):
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text if character not in "\n\t")
    names = "".join(part.name for part in summary.attachments)
    assert not set("\n\t") & set(summary.subject + summary.from_ + summary.to + names)
    assert len(summary.attachments) <= 100
