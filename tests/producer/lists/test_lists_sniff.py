"""What a list is, told from its first bytes; every refusal as a whole sentence."""

from __future__ import annotations

import codecs

import pytest

from mailspool.errors import InputError
from mailspool.lists.rows import ListOptions
from mailspool.lists.sniff import Encoding, Layout, decode_head, find_encoding, find_layout

UTF8 = Encoding("UTF-8", "utf-8-sig")


def layout(text: str, suffix: str = ".csv", options: ListOptions | None = None) -> Layout:
    return find_layout("customers", suffix, text, options or ListOptions())


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("email,name\n", ","),
        ("email;name\n", ";"),
        ("name\temail\n", "\t"),
        ("name|E-Mail|x\n", "|"),
        ("name;mail;note, long\n", ";"),
        ('"Name, first";"e-mail"\r\n', ";"),
        ("email\n", ","),
        ("name,address\nAli,a@x.org\n", ","),
        ("name;address\nAli;a@x.org\n", ";"),
        ("a,b\n", ","),
        ("a;b;c\n", ";"),
        ("\ufeffnot here,email\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_makes_an_address_column(text: str, delimiter: str) -> None:
    assert layout(text) == Layout("csv", delimiter)


def test_the_delimiter_for_a_named_column() -> None:
    assert layout("Kontakt;n,ame\n", options=ListOptions(email_column="kontakt")).delimiter == ";"


@pytest.mark.parametrize(("word", "sign"), [("comma", ","), ("Tab", "\t"), ("\\t", "\t"), ("pipe", "|"), ("^", "^")])
def test_the_delimiter_that_was_asked_for(word: str, sign: str) -> None:
    assert layout(f"email{sign}name;a\n", options=ListOptions(delimiter=word)) == Layout("csv", sign)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sep=;\nemail;name\n", Layout("csv", ";", 1)),
        ("\nSEP=|\r\nemail|a,b\n", Layout("csv", "|", 2)),
        ("\n \nemail,name\n", Layout("csv", ",", 2)),
        ("", Layout("csv", ",", empty=True)),
        (" \n\t\n", Layout("csv", ",", empty=True)),
    ],
)
def test_lines_before_the_header(text: str, expected: Layout) -> None:
    assert layout(text) == expected


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        (".jsonl", '{"email": "a@x.org"}\n', Layout("jsonl")),
        (".ndjson", "anything\n", Layout("jsonl")),
        ("", '\n  {"email": "a@x.org"}\n', Layout("jsonl")),
        ("", "email,name\na@x.org,Ali\n", Layout("csv", ",")),
        ("", "email\na@x.org\n", Layout("csv", ",")),
        ("", "a@x.org\n", Layout("list")),
        ("", "Reza, Ali <a@x.org>\n", Layout("list")),
        ("", "a@x.org, b@x.org\n", Layout("list")),
        ("", "# our list\n\na@x.org\n", Layout("list")),
        ("", "# our list\nemail;name\n", Layout("csv", ";", 1)),
        ("", "#,email\n1,a@x.org\n", Layout("csv", ",")),
        (".txt", "email\tname\n", Layout("csv", "\t")),
        (".txt", "ali at x.org\n", Layout("list")),
        (".csv", "a@x.org\nb@x.org\n", Layout("list")),
        (".csv", "# only comments\n", Layout("csv", ",")),
    ],
)
def test_kinds(suffix: str, text: str, expected: Layout) -> None:
    assert layout(text, suffix) == expected


@pytest.mark.parametrize(
    ("asked", "text", "expected"),
    [
        (ListOptions(format="list"), "email,name\n", Layout("list")),
        (ListOptions(format="jsonl"), "email,name\n", Layout("jsonl")),
        (ListOptions(format="csv"), '{"email"\n', Layout("csv", ",")),
    ],
)
def test_the_kind_that_was_asked_for(asked: ListOptions, text: str, expected: Layout) -> None:
    assert layout(text, ".csv", asked) == expected


@pytest.mark.parametrize(
    ("suffix", "text", "options", "sentence"),
    [
        (
            ".csv",
            "\na@x.org,Ali\n",
            ListOptions(),
            "customers: line 2 holds an address, not column names; add a first line such as email,name.",
        ),
        (
            ".csv",
            "a@x.org\n",
            ListOptions(format="csv"),
            "customers: line 1 holds an address, not column names; add a first line such as email,name.",
        ),
        (
            "",
            "Ali;a@x.org\n",
            ListOptions(delimiter=";"),
            "customers: line 1 holds an address, not column names; add a first line such as email,name.",
        ),
        (
            "",
            '[{"email": "a@x.org"}]',
            ListOptions(),
            "customers holds a JSON array. Write one object a line (JSON lines), without brackets.",
        ),
        (
            ".csv",
            "email",
            ListOptions(delimiter="::"),
            '"::" is no delimiter (--delimiter). Say comma, semicolon, tab or pipe.',
        ),
    ],
)
def test_refused_layouts(suffix: str, text: str, options: ListOptions, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        layout(text, suffix, options)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("head", "wanted", "expected"),
    [
        (b"email\n", None, UTF8),
        (codecs.BOM_UTF8 + b"email\n", None, UTF8),
        (b"", None, UTF8),
        (b"email,name\na@x.org,A\0li\n", None, UTF8),
        (b"email\n", "UTF8", UTF8),
        (codecs.BOM_UTF8 + b"email\n", "utf-8", UTF8),
        (b"email\n", "windows-1252", Encoding("cp1252", "cp1252")),
        ("email\n".encode("utf-16"), "UTF-16", Encoding("utf-16", "utf-16")),
    ],
)
def test_encodings(head: bytes, wanted: str | None, expected: Encoding) -> None:
    assert find_encoding("customers.csv", ".csv", head, wanted) == expected


@pytest.mark.parametrize(
    ("suffix", "head", "wanted", "sentence"),
    [
        (".xlsx", b"", None, 'l is an Excel workbook. Save it as "CSV UTF-8" and give that file.'),
        (".xls", b"\xd0\xcf\x11\xe0", None, 'l is an Excel workbook. Save it as "CSV UTF-8" and give that file.'),
        (".ods", b"", "utf-8", 'l is a spreadsheet. Save it as "CSV UTF-8" and give that file.'),
        (".csv", b"PK\x03\x04", None, 'l is a workbook or an archive. Save it as "CSV UTF-8" and give that file.'),
        (".csv", "email".encode("utf-16"), None, "l is UTF-16. Save it as CSV UTF-8, or say so: --encoding utf-16."),
        (
            ".csv",
            "email,ایمیل".encode("utf-16-le"),
            None,
            "l is not a text file. If it is UTF-16, say so: --encoding utf-16-le.",
        ),
        (".csv", b"email", "cp12560", 'there is no encoding "cp12560" (--encoding). Known ones: utf-8, cp1252, ...'),
        (".csv", b"email", "base64", 'there is no encoding "base64" (--encoding). Known ones: utf-8, cp1252, ...'),
        (
            ".csv",
            codecs.BOM_UTF8 + b"email",
            "cp1252",
            "l says in its first bytes that it is UTF-8, --encoding says cp1252. Leave it out.",
        ),
    ],
)
def test_refused_encodings(suffix: str, head: bytes, wanted: str | None, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        find_encoding("l", suffix, head, wanted)
    assert str(caught.value) == sentence


def test_a_head_that_is_not_in_its_encoding() -> None:
    assert decode_head("l.csv", UTF8, "é".encode()[:1]) == ""
    assert decode_head("l.csv", UTF8, codecs.BOM_UTF8 + b"a") == "a"
    with pytest.raises(InputError) as caught:
        decode_head("l.csv", UTF8, b"a\r\nb\rc \xe9 d")
    assert str(caught.value) == (
        "l.csv is not UTF-8 (line 3). Save it as CSV UTF-8, or say which encoding it has: "
        "--encoding NAME, for example cp1252."
    )
    with pytest.raises(InputError) as caught:
        decode_head("l.csv", Encoding("ascii", "ascii"), b"\xe9")
    assert str(caught.value) == "l.csv is not ascii (line 1)."
