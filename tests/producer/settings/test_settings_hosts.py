"""Host names: which are well formed, which are near enough for a password in clear, and what we call ourselves."""

from __future__ import annotations

import socket

import pytest

from mailspool.settings import hosts


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Mail.Acme.Example", "mail.acme.example"),
        ("mail.acme.example.", "mail.acme.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("ایمیل.example", "xn--mgb2dc35cb.example"),
        ("my_sandbox", "my_sandbox"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("3com.example", "3com.example"),
    ],
)
def test_a_host_is_read(text: str, host: str) -> None:
    assert hosts.host_name(text) == host


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the host is missing"),
        (".", "the host is missing"),
        ("a..b", "the host is no valid name"),
        ("-a.example", "the host is no valid name"),
        ("a b", "the host is no valid name"),
        ("a" * 64, "the host is no valid name"),
        (".".join(["a" * 60] * 5), "the host is no valid name"),
        ("134744072", "the host is no valid name or address"),
        ("8.8.2056", "the host is no valid name or address"),
        ("0x8080808", "the host is no valid name or address"),
        ("\u202ea.example", "the host is no valid international name"),
    ],
)
def test_a_bad_host_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        hosts.host_name(text)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("host", "loopback", "private"),
    [
        ("localhost", True, True),
        ("smtp.localhost", True, True),
        ("127.0.0.1", True, True),
        ("127.8.9.1", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("10.1.2.3", False, True),
        ("172.31.255.255", False, True),
        ("172.32.0.1", False, False),
        ("192.168.0.1", False, True),
        ("fd00::7", False, True),
        ("sandbox", False, True),
        ("mail.internal", False, True),
        ("nas.local", False, True),
        ("mail.acme.example", False, False),
        ("localhost.acme.example", False, False),
        ("8.8.8.8", False, False),
        ("::ffff:8.8.8.8", False, False),
        ("2001:db8::7", False, False),
    ],
)
def test_how_near_a_host_is(host: str, loopback: bool, private: bool) -> None:
    assert (hosts.is_loopback(host), hosts.is_private(host)) == (loopback, private)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mail.Acme.Example", "mail.acme.example"),
        ("[203.0.113.7]", "[203.0.113.7]"),
        ("[IPv6:2001:db8::7]", "[IPv6:2001:db8::7]"),
        ("localhost", "localhost"),
    ],
)
def test_an_ehlo_name_is_read(text: str, name: str) -> None:
    assert hosts.ehlo_argument(text) == name


@pytest.mark.parametrize("text", ["203.0.113.7", "[mail.acme.example]", "my_host.example", "a\r\nMAIL FROM:<>", "a b"])
def test_a_bad_ehlo_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        hosts.ehlo_argument(text)


@pytest.mark.parametrize(
    ("fqdn", "name"),
    [
        ("laptop.acme.example", "laptop.acme.example"),
        ("laptop", None),
        ("localhost.localdomain", None),
        ("1.0.0.127.in-addr.arpa", None),
        ("bad_name.example", None),
    ],
)
def test_our_own_name_is_full_or_an_address(fqdn: str, name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: fqdn)
    hosts.own_name.cache_clear()
    found = hosts.own_name()
    hosts.own_name.cache_clear()
    assert hosts.ehlo_argument(found) == found
    assert found == name if name else found.startswith("[")
