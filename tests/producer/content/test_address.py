"""Addresses: the fast check against email-validator, what is forgiven in a cell, header mailboxes, and every phrase."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import email_validator
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content import address as module
from mailspool.content.address import (
    DOMAINS_KEPT,
    AddressError,
    Mailbox,
    clean_cell,
    identity,
    normalise,
    parse_mailbox,
    parse_mailboxes,
)

ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-"


@pytest.fixture(autouse=True)
def house_names_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle with the two names that we allow on purpose."""
    reserved = [name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name not in ("localhost", "local")]
    monkeypatch.setattr(email_validator, "SPECIAL_USE_DOMAIN_NAMES", reserved)
    module._domains.clear()


def ours(address: str) -> str | None:
    try:
        return normalise(address)
    except AddressError:
        return None


def theirs(address: str) -> str | None:
    """email-validator's wire form; it lowers role names (`Postmaster`), which we send as written."""
    try:
        found = email_validator.validate_email(address, check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError:
        return None
    local = address.rpartition("@")[0]
    return f"{local if local.isascii() else found.local_part}@{found.ascii_domain}"


def phrase(address: str) -> str:
    with pytest.raises(AddressError) as caught:
        normalise(address)
    return str(caught.value)


ascii_local = st.text(ATEXT + ".", min_size=0, max_size=12) | st.text(ATEXT + '."(),:;<>[]\\ \x00\n', max_size=6)
label = st.text("abZ09-", max_size=5) | st.sampled_from(["xn--bcher-kva", "xn--zz", "ab--c", "x_y", "a" * 63, "b" * 64])
tld = st.sampled_from(
    ["org", "ORG", "x1", "1x", "123", "test", "invalid", "local", "localhost", "onion", "arpa", "a-b"]
)
domain = st.builds(lambda labels, end: ".".join([*labels, end]), st.lists(label, max_size=4), tld)
any_letter = st.text("aZ9üßعẞ中\u0301\u200c\u00ad\u202e。．＠Ａ１\u0660-._\u2028\ud800", max_size=6)


@settings(deadline=None, max_examples=1500)
@given(ascii_local, domain)
@example("a" * 300, "x.org")
@example("a", ".".join(["b" * 60] * 4) + ".org")
@example("Postmaster", "X.Org")
def test_ascii_addresses_are_judged_as_email_validator_does(local: str, host: str) -> None:
    address = f"{local}@{host}"
    lone_localhost = host.lower() == "localhost" and theirs(f"{local}@x.org") is not None
    assert ours(address) == (f"{local}@localhost" if lone_localhost else theirs(address))
    assert ours(address) == ours(address)  # the second time from memory


@settings(deadline=None, max_examples=1500)
@given(any_letter | ascii_local, any_letter | domain, st.sampled_from(["", ".org", ".test", ".ایران"]))
@example("علی", "مثال.إختبار", "")
@example("a", "faß", ".de")
def test_other_letters_are_judged_as_email_validator_does(local: str, host: str, end: str) -> None:
    address = f"{local}@{host}{end}"
    if (host + end).lower() != "localhost":
        assert ours(address) == theirs(address)


any_cell = st.text(max_size=30) | st.builds("{}@{}.org".format, any_letter, any_letter)


@settings(deadline=None, max_examples=500)
@given(any_cell | st.builds("{} <{}>".format, any_letter, any_cell))
def test_nothing_else_is_ever_raised_and_nothing_unsafe_gets_through(text: str) -> None:
    for read in (lambda cell: Mailbox("", normalise(cell)), clean_cell, parse_mailbox):
        try:
            name, found = read(text)
        except AddressError:
            continue
        assert not any(c.isspace() or not c.isprintable() for c in found)
        assert found.count("@") == 1
        assert normalise(found) == found
        assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("form", ["a{}b@x.org", "a@x{}.org", "{}a@x.org", "a@x.org{}", "Ali{} Reza <a@x.org>"])
@pytest.mark.parametrize("read", [normalise, parse_mailbox, parse_mailboxes])
def test_control_characters_are_refused_everywhere(read: Callable[[str], object], form: str, character: str) -> None:
    with pytest.raises(AddressError):
        read(form.format(character))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Ali.Reza+tag@Example.ORG", "Ali.Reza+tag@example.org"),
        ("root@localhost", "root@localhost"),
        ("a@TEST", "a@test"),
        ("a@mail.test", "a@mail.test"),
        ("a@mail.office.local", "a@mail.office.local"),
        ("a@bücher.local", "a@xn--bcher-kva.local"),
        ("a@bücher.localhost", "a@xn--bcher-kva.localhost"),
        ("a@Bücher.DE", "a@xn--bcher-kva.de"),
        ("a@faß.de", "a@xn--fa-hia.de"),
        ("علی@مثال.إختبار", "علی@xn--mgbh0fb.xn--kgbechtv"),
        ("reply+" + "x" * 80 + "@reply.example.com", "reply+" + "x" * 80 + "@reply.example.com"),
    ],
)
def test_normalised(address: str, expected: str) -> None:
    assert normalise(address) == expected
    assert normalise(address) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no address"),
        (" \u200b", "no address"),
        ("ali", "no @ sign"),
        ("ali\uff20x.org", '"\uff20" instead of @'),
        ("ali@@x.org", "two @ signs"),
        ("a@b@c@x.org", "three @ signs"),
        ("a@b@c@d@x.org", "4 @ signs"),
        ("a@x.org, b@y.org", "two addresses"),
        ("a@x.org;b@y.org", "two addresses"),
        ("a@x.org/b@y.org c@z.org", "three addresses"),
        ("ali@", "nothing after the @"),
        ("@x.org", "nothing before the @"),
        ("a b@x.org", "a space inside"),
        ("a\u200bb@x.org", "an invisible character inside (U+200B)"),
        ("a\r\nb@x.org", "a line break"),
        ("a\0@x.org", "a NUL character"),
        ("a\x1b@x.org", "a control character (U+001B)"),
        ('"ab"@x.org', "quotes before the @"),
        ("a(b@x.org", '"(" before the @'),
        ("a\\b@x.org", "a backslash before the @"),
        ('a"b@x.org', "a quote before the @"),
        (".a@x.org", "a dot at the start"),
        ("a.@x.org", "a dot before the @"),
        ("a..b@x.org", "two dots in a row"),
        ("\u0301a@x.org", "letters before the @ that no address may have"),
        ("a@[10.0.0.1]", "an IP address after the @"),
        ("a@10.0.0.1", "an IP address after the @"),
        ("a@x_y.org", '"_" after the @'),
        ("a@.x.org", "a dot after the @"),
        ("a@x.org.", "a dot at the end"),
        ("a@x..org", "two dots in a row"),
        ("a@-x.org", "a hyphen at the edge of a domain name"),
        ("a@x-.org", "a hyphen at the edge of a domain name"),
        ("ali@gmail", "no dot after the @"),
        ("a@x.y2", "a domain that ends in a digit"),
        ("a@" + "b" * 64 + ".org", "more than 63 characters between two dots"),
        ("a@" + "b.cc." * 60 + "org", "longer than 254 characters"),
        ("a" * 250 + "@x.org", "longer than 254 characters"),
        ("ع" * 125 + "@xx.org", "longer than 254 characters"),
        ("a" * 240 + "@bücher.de", "longer than 254 characters"),
        ("a@xn--zz.org", "no possible domain after the @"),
        ("a@ab--c.org", "no possible domain after the @"),
        ("a@example.invalid", "no mail can go to .invalid"),
    ],
)
def test_the_reason_in_words(address: str, words: str) -> None:
    assert phrase(address) == words


def test_length_is_checked_for_known_domains_too() -> None:
    assert normalise("a" * 248 + "@x.org") == "a" * 248 + "@x.org"
    assert phrase("a" * 249 + "@x.org") == "longer than 254 characters"
    assert normalise("a@bücher.de") == "a@xn--bcher-kva.de"
    assert phrase("a" * 240 + "@bücher.de") == "longer than 254 characters"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("Ali@x.org", "aLI@x.org", True),
        ("STRASSE@x.org", "straße@x.org", True),
        ("Éa@x.org", "éA@x.org", True),
        ("ali@x.org", "ali@y.org", False),
        ("ali+a@x.org", "ali@x.org", False),
    ],
)
def test_identity(one: str, two: str, same: bool) -> None:
    assert (identity(normalise(one)) == identity(normalise(two))) is same


@pytest.mark.parametrize(
    ("cell", "name", "address"),
    [
        ("ali@x.org", "", "ali@x.org"),
        ("  ali@x.org\t", "", "ali@x.org"),
        ("\xa0ali@x.org\r\n", "", "ali@x.org"),
        ("\ufeffali@x.org\u200b", "", "ali@x.org"),
        ("\u202bali@x.org\u202c", "", "ali@x.org"),
        ("mailto:ali@x.org", "", "ali@x.org"),
        ("MAILTO: ali@x.org", "", "ali@x.org"),
        ("<ali@x.org>", "", "ali@x.org"),
        ("< ali@x.org >", "", "ali@x.org"),
        ("<mailto:ali@x.org>", "", "ali@x.org"),
        (" Ali Reza <Ali@X.org> ", "Ali Reza", "Ali@x.org"),
        ('"Reza, Ali" <ali@x.org>', "Reza, Ali", "ali@x.org"),
        ('"a \\"b\\" \\\\ c" <ali@x.org>', 'a "b" \\ c', "ali@x.org"),
        ("Reza,  Ali<ali@x.org>", "Reza, Ali", "ali@x.org"),
        ('Ali "Boss" Reza <ali@x.org>', "Ali Boss Reza", "ali@x.org"),
        ("علی رضایی <ali@x.org>", "علی رضایی", "ali@x.org"),
        ("ali@x.org <ALI@x.org>", "", "ALI@x.org"),
        ("Sales @ Acme <s@acme.org>", "Sales @ Acme", "s@acme.org"),
        ("Ali (Sales) <ali@x.org>", "Ali (Sales)", "ali@x.org"),
    ],
)
def test_what_a_cell_may_hold(cell: str, name: str, address: str) -> None:
    assert clean_cell(cell) == Mailbox(name, address)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "no address"),
        ("<>", "no address"),
        ("Ali <>", "no address"),
        ("ali@x.org bob@x.org", "two addresses"),
        ("bob@y.org <ali@x.org>", "two addresses"),
        ("a@x.org, Bob <b@y.org>", "two addresses"),
        ('"Ali (ali@old.org)" <ali@x.org>', "two addresses"),
        ("Ali <a@x.org> <b@x.org>", 'two "<" before the address'),
        ('Ali "Boss <ali@x.org>', "a quote that never ends"),
        ("ali@x.org>", '">" without "<"'),
        ("Ali\nReza <ali@x.org>", "a line break"),
        ("Ali\tReza <ali@x.org>", "a control character (U+0009)"),
        ("<ali@x.org", '"<" before the @'),
    ],
)
def test_what_a_cell_may_not_hold(cell: str, words: str) -> None:
    with pytest.raises(AddressError) as caught:
        clean_cell(cell)
    assert str(caught.value) == words


def test_a_header_with_one_mailbox() -> None:
    assert parse_mailbox("Acme, Inc. <billing@Acme.example>") == Mailbox("Acme, Inc.", "billing@acme.example")
    assert parse_mailbox(" billing@acme.example ") == Mailbox("", "billing@acme.example")
    with pytest.raises(AddressError, match="two addresses"):
        parse_mailbox("a@x.org, b@x.org")
    with pytest.raises(AddressError, match="a line break"):
        parse_mailbox("a@x.org\r\nBcc: b@x.org")


def test_a_header_with_several_mailboxes() -> None:
    text = '"Reza, Ali" <ali@x.org>, bob@y.org,, John Q. Public <j@z.org>, "a \\" b" <q@x.org>,'
    assert parse_mailboxes(text) == (
        Mailbox("Reza, Ali", "ali@x.org"),
        Mailbox("", "bob@y.org"),
        Mailbox("John Q. Public", "j@z.org"),
        Mailbox('a " b', "q@x.org"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no address"),
        (" , ", "no address"),
        ("Acme, Inc. <x@y.org>", 'no @ sign in "Acme" (a name with a comma needs quotes)'),
        ("a@x.org; b@y.org", "two addresses"),
        ('"Ali <a@x.org>, b@y.org', "a quote that never ends"),
        ("a@x.org,\r\nb@y.org", "a line break"),
    ],
)
def test_a_header_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_mailboxes(text)
    assert str(caught.value) == words


def test_remembered_domains_stay_bounded() -> None:
    for number in range(DOMAINS_KEPT + 50):
        normalise(f"a@d{number}.org")
    assert 0 < len(module._domains) <= DOMAINS_KEPT
