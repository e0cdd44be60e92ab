"""Header fields against the standard library's parser: what we write, it reads back, on lines of legal length."""

from __future__ import annotations

import re
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content import headers
from mailspool.content.address import Mailbox

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
WORDS = st.lists(
    st.sampled_from(["Invoice", "سلام", "שלום", "😀👍", "a" * 70, "=?utf-8?q?x?=", '"', "\\", ",", "  ", "\t", "ß"]),
    max_size=40,
).map(" ".join)
ANY = st.one_of(TEXT, WORDS, st.text(st.sampled_from("ab =?_."), max_size=120))


def parsed(field: bytes) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(field + b"\r\n")


def check_lines(field: bytes, name: str) -> None:
    assert field.endswith(b"\r\n")
    assert field.startswith(name.encode() + b": ")
    lines = field[:-2].split(b"\r\n")
    for number, line in enumerate(lines):
        assert b"\r" not in line
        assert b"\n" not in line
        assert len(line) <= 998
        assert line.strip(), "a folded line of white space alone"
        assert number == 0 or line[:1] in (b" ", b"\t")
        if b"=?utf-8" in line:
            assert len(line) <= 76
            assert all(len(word) <= 75 for word in line.split())


def unfolded(field: bytes) -> str:
    """RFC 5322 unfolding and RFC 2047 decoding without the structured parsers."""
    raw = re.sub(rb"\r\n(?=[ \t])", b"", field)[:-2].split(b": ", 1)[1]
    return str(make_header(decode_header(raw.decode("ascii"))))


@settings(deadline=None)
@given(ANY)
@example("x" * 69)
@example("x" * 70)
@example("a" + " " * 200 + "b")
@example("x" * 2000)
@example("ü" * 500)
@example("tab\there")
@example("\x1b[31m bell \x07")
@example("line\u2028separator\x85next\x0bvertical\x0cfeed")
def test_a_subject_comes_back_as_it_was(value: str) -> None:
    line = headers.one_line(value)
    field = headers.unstructured("Subject", line)
    if not line:
        assert field == b""
        return
    assert field.isascii()
    check_lines(field, "Subject")
    assert parsed(field)["subject"] == line


@pytest.mark.parametrize("size", [68, 69, 70, 897, 898, 899, 900, 901, 1100])
def test_long_words_and_the_limits_of_a_line(size: int) -> None:
    field = headers.unstructured("Subject", "x" * size)
    check_lines(field, "Subject")
    assert parsed(field)["subject"] == "x" * size


@pytest.mark.parametrize("size", range(60, 90))
def test_lines_are_folded_only_where_they_must_be(size: int) -> None:
    field = headers.unstructured("Subject", "x" * (size - len("Subject: ") - 4) + " abc")
    lines = field[:-2].split(b"\r\n")
    assert list(map(len, lines)) == ([size] if size <= 78 else [size - 4, 4])
    many = headers.unstructured("Subject", "word " * 15 + "x" * (size - 60) + " end")
    assert max(map(len, many.split(b"\r\n"))) <= 78


def test_line_breaks_become_one_space() -> None:
    assert headers.one_line("a\r\nBcc: b@x.org\n\n\rc \t") == "a Bcc: b@x.org c"


def test_short_plain_values_stand_as_they_are() -> None:
    assert headers.unstructured("Subject", "Invoice 7") == b"Subject: Invoice 7\r\n"
    assert headers.unstructured("X-A", "what? =?") == b"X-A: what? =?\r\n"


def test_the_shorter_encoding_is_taken() -> None:
    assert headers.unstructured("Subject", "Für Ali Reza") == b"Subject: =?utf-8?q?F=C3=BCr_Ali_Reza?=\r\n"
    assert b"?b?" in headers.unstructured("Subject", "سلام دنیا")


@settings(deadline=None)
@given(ANY)
@example("Smith, John")
@example('The "Boss" \\ Co')
@example("Ali  Reza")
@example("Ali Reza " * 20)
@example("a.b@c")
@example("سلام " * 30)
def test_a_display_name_comes_back_as_it_was(name: str) -> None:
    field = headers.mailboxes("To", (Mailbox(name, "ali@x.org"),))
    wanted = headers.one_line(name)
    assert field.isascii()
    check_lines(field, "To")
    assert re.sub(rb"\r\n(?=[ \t])", b"", field).rstrip().endswith(b"<ali@x.org>" if wanted else b"ali@x.org")
    message = parsed(field)
    assert [address.addr_spec for address in message["to"].addresses] == ["ali@x.org"]
    if b"=?utf-8" in field:
        phrase = field.rpartition(b"<")[0].rstrip() + b"\r\n"
        assert unfolded(phrase) == wanted
    else:
        assert message["to"].addresses[0].display_name == wanted


def test_names_are_written_in_the_plainest_way() -> None:
    def to(name: str) -> bytes:
        return headers.mailboxes("To", (Mailbox(name, "a@x.org"),))

    assert to("") == b"To: a@x.org\r\n"
    assert to("Ali Reza") == b"To: Ali Reza <a@x.org>\r\n"
    assert to("Smith, John") == b'To: "Smith, John" <a@x.org>\r\n'
    assert to("Jürgen") == b"To: =?utf-8?q?J=C3=BCrgen?= <a@x.org>\r\n"


def test_many_mailboxes_are_folded_between_them() -> None:
    boxes = tuple(Mailbox(f"Person Number {i}" if i % 2 else "", f"person{i}@department.example") for i in range(20))
    field = headers.mailboxes("Cc", boxes)
    check_lines(field, "Cc")
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert [(a.display_name, a.addr_spec) for a in parsed(field)["cc"].addresses] == list(boxes)


def test_an_address_in_another_script_stays_readable() -> None:
    assert headers.mailboxes("To", (Mailbox("", "علی@x.org"),)) == "To: علی@x.org\r\n".encode()


@settings(deadline=None)
@given(st.one_of(ANY, st.text(st.sampled_from("ab.%'\"\\;é"), max_size=200)))
@example("فاکتور ۱۲.pdf")
@example("100% 'safe'.pdf")
@example("a" * 200 + ".pdf")
@example("=?utf-8?q?x?=.pdf")
def test_a_file_name_comes_back_as_it_was(name: str) -> None:
    field = headers.disposition("attachment", name)
    wanted = headers.one_line(name).replace("/", "_").replace("\\", "_") or "attachment"
    assert field.isascii()
    check_lines(field.replace(b"Content-Disposition: ", b"D: ", 1), "D")
    assert max(map(len, field.split(b"\r\n"))) <= 80
    message = parsed(field)
    assert message["content-disposition"].params["filename"] == wanted  # get_filename() would strip quotes
    assert message.get_content_disposition() == "attachment"


def test_a_path_in_a_file_name_is_no_path() -> None:
    assert parsed(headers.disposition("inline", "../../etc/passwd")).get_filename() == ".._.._etc_passwd"


def test_date_and_message_id() -> None:
    assert headers.date(1_795_000_000_999) == b"Date: Wed, 18 Nov 2026 11:06:40 +0000\r\n"
    found = headers.message_id("b7k2m9q4x", 17, "acme.example")
    assert re.fullmatch(r"<b7k2m9q4x\.17\.[0-9a-f]{6}@acme\.example>", found)
    assert found == headers.message_id("b7k2m9q4x", 17, "acme.example")
    assert headers.mark("b7k2m9q4x", 17) != headers.mark("b7k2m9q4x1", 7)
