"""Headers: variables, the address column, clashes; every refusal as a whole sentence."""

from __future__ import annotations

import pytest

from mailspool.errors import InputError
from mailspool.lists.columns import Columns, alias_key, find_column, listed, read_columns, variable_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("email", "email"),
        ("First Name", "first_name"),
        (" first-name ", "first_name"),
        ("First  --  Name!", "first_name"),
        ("E-Mail", "e_mail"),
        ("Ｎａｍｅ", "name"),
        ("Größe", "größe"),
        ("نام خانوادگی", "نام_خانوادگی"),
        ("نام\u200cخانوادگی", "نام_خانوادگی"),
        ("नाम", "नाम"),
        ("2024 total", "_2024_total"),
        ("№", "no"),
        ("_hidden_", "hidden"),
        ("%", ""),
    ],
)
def test_variable_names(header: str, name: str) -> None:
    assert variable_name(header) == name
    assert name == "" or name.isidentifier()


@pytest.mark.parametrize("header", ["email", "E-Mail", "e mail", "EMAIL_", "Mail", "Email Address", "Recipient", "TO"])
def test_address_columns_by_alias(header: str) -> None:
    assert read_columns("l.csv", 1, ["name", header], [], None).address == 1


@pytest.mark.parametrize("header", ["ایمیل", "البريد الإلكتروني", "البريد الالكتروني"])
def test_address_columns_in_persian_and_arabic(header: str) -> None:
    assert read_columns("l.csv", 1, ["name", header], [], None).address == 1


def test_email_wins_over_other_candidates() -> None:
    assert read_columns("l.csv", 1, ["recipient", "email", "to"], [], None).address == 1
    assert read_columns("l.csv", 1, ["recipient", "E-Mail", "to"], [], None).address == 1
    assert read_columns("l.csv", 1, ["E-Mail", "eMail"], [], None).address == 1


def test_the_word_address_counts_only_as_a_last_resort() -> None:
    assert read_columns("l.csv", 1, ["name", "address"], ["Ali", "a@x.org"], None).address == 1
    assert read_columns("l.csv", 1, ["address", "mail"], ["a@x.org", "b@x.org"], None).address == 1
    with pytest.raises(InputError, match="no address column"):
        read_columns("l.csv", 1, ["name", "address"], ["Ali", "Main Street 5"], None)
    with pytest.raises(InputError, match="no address column"):
        read_columns("l.csv", 1, ["name", "address"], [], None)


@pytest.mark.parametrize("wanted", ["Work Mail", "work_mail", "work mail", "WORK-MAIL"])
def test_the_column_that_was_asked_for(wanted: str) -> None:
    columns = read_columns("l.csv", 1, ["email", "Work Mail"], [], wanted)
    assert columns == Columns(("email", "Work Mail"), ("email", "work_mail"), 1)
    assert columns.variables == ("email", "work_mail")


def test_the_address_always_stands_under_email_too() -> None:
    assert read_columns("l.csv", 1, ["Mail", "name"], [], None).variables == ("mail", "name", "email")


def test_empty_columns_at_the_end_are_padding_and_signs_get_a_number() -> None:
    columns = read_columns("l.csv", 1, ["#", " email ", "%", "", " "], [], None)
    assert columns == Columns(("#", "email", "%"), ("column_1", "email", "column_3"), 1)


@pytest.mark.parametrize(
    ("headers", "wanted", "sentence"),
    [
        (
            ["name", "phone"],
            None,
            "l.csv has no address column: line 3 has name, phone. "
            "Call one of them email, or say which it is: --email-column NAME.",
        ),
        (
            ["Mail", "Recipient", "name"],
            None,
            'l.csv has 2 columns that may hold the address: "Mail" and "Recipient". Say which: --email-column NAME.',
        ),
        (["email", "name"], "work", 'l.csv has no column "work" (--email-column); it has: email, name.'),
        (
            ["First Name", "email", "first-name"],
            None,
            'l.csv: the columns "First Name" and "first-name" are both {{ first_name }}. Rename one of them.',
        ),
        (["email", "email"], None, 'l.csv: the columns "email" and "email" are both {{ email }}. Rename one of them.'),
        (["email", "", "name"], None, "l.csv: column 2 has no name in line 3."),
        (["", " "], None, "l.csv has no column names; add a first line such as email,name."),
    ],
)
def test_refused_headers(headers: list[str], wanted: str | None, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_columns("l.csv", 3, headers, [], wanted)
    assert str(caught.value) == sentence


def test_a_hundred_headers_do_not_bury_the_sentence() -> None:
    assert listed([f"c{n}" for n in range(100)]) == ", ".join(f"c{n}" for n in range(20)) + " and 80 more"
    assert listed(["a\x1b[2J"]) == "a\\x1b[2J"


def test_find_column_prefers_the_exact_header() -> None:
    assert find_column(["a b", "A B"], ["a_b", "x"], "A B") == 1
    assert find_column(["a b"], ["a_b"], "zz") is None
    assert alias_key("E - Mail_") == "email"


def test_two_hundred_thousand_columns_are_read_at_once() -> None:
    """Each was compared with all before it: minutes."""
    headers = [*(f"c{n}" for n in range(200_000)), "email"]
    assert read_columns("list.csv", 1, headers, (), None).address == 200_000
