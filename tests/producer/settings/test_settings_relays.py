"""A relay's URL or table -> the relay: every rule once, every refusal in its full words."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.errors import ConfigError
from mailspool.settings import Relay, Settings, relay_from_url
from mailspool.settings.providers import providers
from mailspool.settings.urls import split_relay_url


def main(**settings: object) -> Relay:
    return Settings(**settings).relay_table()["main"]


@pytest.mark.parametrize(
    ("url", "host", "port", "security", "verify", "user", "password"),
    [
        ("smtp://mail.acme.example", "mail.acme.example", 25, "opportunistic", True, None, None),
        ("smtp://mail.acme.example/", "mail.acme.example", 25, "opportunistic", True, None, None),
        ("SMTP://Mail.Acme.Example:2525", "mail.acme.example", 2525, "opportunistic", True, None, None),
        ("smtp://u:p@mail.acme.example", "mail.acme.example", 587, "starttls", True, "u", "p"),
        ("smtp://u:p@mail.acme.example:25", "mail.acme.example", 25, "starttls", True, "u", "p"),
        ("smtps://u:p@mail.acme.example", "mail.acme.example", 465, "tls", True, "u", "p"),
        ("smtps://mail.acme.example", "mail.acme.example", 465, "tls", True, None, None),
        ("smtp://localhost", "localhost", 25, "opportunistic", False, None, None),
        ("smtp://sandbox", "sandbox", 25, "opportunistic", True, None, None),
        ("smtp://[::1]:2525", "::1", 2525, "opportunistic", False, None, None),
        ("smtp://u:p@localhost", "localhost", 587, "starttls", True, "u", "p"),
        ("smtp://u:p@localhost?tls=off", "localhost", 587, "none", True, "u", "p"),
        ("smtp://u:p@sandbox:2525/?tls=insecure", "sandbox", 2525, "starttls", False, "u", "p"),
        ("smtps://10.0.0.7?tls=insecure", "10.0.0.7", 465, "tls", False, None, None),
        ("smtp://mail.acme.example?tls=off", "mail.acme.example", 25, "none", True, None, None),
        ("smtp://localhost?tls=required", "localhost", 25, "starttls", True, None, None),
        (
            "smtp://me@acme.example:p@ss@mail.acme.example",
            "mail.acme.example",
            587,
            "starttls",
            True,
            "me@acme.example:p@ss",
            None,
        ),
        ("smtp://u+x:a+b%2Bc%2f%@h.example", "h.example", 587, "starttls", True, "u+x", "a+b+c/%"),
        ("smtp://u:100%25%zz%ff@h.example", "h.example", 587, "starttls", True, "u", "100%%zz%ff"),
        ("smtp://u:%D8%B3@h.example", "h.example", 587, "starttls", True, "u", "س"),
        ("gmail://you@gmail.com:abcd efgh", "smtp.gmail.com", 587, "starttls", True, "you@gmail.com", "abcd efgh"),
        ("gmail://you@gmail.com:p@ss:w", "smtp.gmail.com", 587, "starttls", True, "you@gmail.com", "p@ss:w"),
        ("microsoft365://a@acme.example:p", "smtp.office365.com", 587, "starttls", True, "a@acme.example", "p"),
        ("ses://K:S@eu-west-1", "email-smtp.eu-west-1.amazonaws.com", 587, "starttls", True, "K", "S"),
        ("ses://K:S%2Fx@us-gov-west-1", "email-smtp.us-gov-west-1.amazonaws.com", 587, "starttls", True, "K", "S/x"),
        ("sendgrid://apikey:SG.x", "smtp.sendgrid.net", 587, "starttls", True, "apikey", "SG.x"),
        ("fastmail://a@acme.example:p", "smtp.fastmail.com", 465, "tls", True, "a@acme.example", "p"),
    ],
)
def test_a_url_is_read(
    url: str, host: str, port: int, security: str, verify: bool, user: str | None, password: str | None
) -> None:
    if user is not None and password is None:  # the first colon behind the user part is the one that counts
        user, _, password = user.partition(":")
    relay = main(relay_url=url)
    found = relay.password.get_secret_value() if relay.password else None
    assert (relay.host, relay.port, relay.security, relay.verify) == (host, port, security, verify)
    assert (relay.user, found) == (user, password)


LOOKS = "a relay URL looks like smtp://user:password@mail.example.org:587, smtps://... or gmail://you@gmail.com:app-password"
PORT = "behind the host and a colon there must be a port from 1 to 65535: smtp://user:password@mail.example.org:587"
TAIL = "after the host there may only be ?tls=off, ?tls=required or ?tls=insecure"
SECRET = "the password seems to hold"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", LOOKS),
        ("mail.acme.example:587", LOOKS),
        ("smtp:mail.acme.example", LOOKS),
        ("smtp://u:p\nq@h.example", LOOKS),
        ("smpt://h.example", '"smpt" is no scheme or provider. Did you mean "smtp"?'),
        ("gmial://you@gmail.com:p", '"gmial" is no scheme or provider. Did you mean "gmail"?'),
        ("sengrid://apikey:k", '"sengrid" is no scheme or provider. Did you mean "sendgrid"?'),
        (
            "http://h.example",
            '"http" is no scheme or provider. Known are smtp, smtps, brevo, fastmail, gmail, icloud, mailgun, '
            "mailgun-eu, microsoft365, postmark, sendgrid, ses, yahoo, zoho.",
        ),
        (
            "smtp://u:p@h.example:465",
            "port 465 speaks TLS from the first byte, which is smtps: write smtps://u:****@h.example:465",
        ),
        (
            "smtps://u:p@h.example:587",
            "port 587 turns to TLS by STARTTLS, which is smtp: write smtp://u:****@h.example:587",
        ),
        (
            "smtps://localhost?tls=off",
            "smtps is TLS from the first byte, so tls=off contradicts it: write smtp://...?tls=off",
        ),
        ("smtp://u:a/b@h.example", f'{SECRET} "/": write %2F, or better relay_password.'),
        ("smtp://u:a#b@h.example", f'{SECRET} "#": write %23, or better relay_password.'),
        ("smtp://u:a?b@h.example", f'{SECRET} "?": write %3F, or better relay_password.'),
        ("smtp://u:p@h.example#x", f'{SECRET} "#": write %23, or better relay_password.'),
        ("ses://K:a/b@eu-west-1", f'{SECRET} "/": write %2F, or better relay_password.'),
        ("gmail://you@gmail.com:a/b", f'{SECRET} "/": write %2F, or better relay_password.'),
        ("smtp://h.example/inbox", f"{TAIL}."),
        ("smtp://h.example?secure=true", f"{TAIL}."),
        ("smtp://h.example?tls=no", "tls is one of off, required, insecure; leave it out for the safe choice."),
        (
            "smtp://u:p@h.example?tls=off",
            "tls=off would send the password to h.example in clear: take it away.",
        ),
        (
            "smtp://h.example?tls=insecure",
            "tls=insecure would take any server for h.example: it is for this machine and private networks.",
        ),
        ("smtp://u:hunter2", f"{PORT}"),
        ("smtp://h.example:", f"{PORT}"),
        ("smtp://h.example:0", f"{PORT}"),
        ("smtp://h.example:65536", f"{PORT}"),
        ("smtp://", "the host is missing."),
        ("smtp://u:p@", "the host is missing."),
        ("smtp://u:p@h_.-example", "the host is no valid name."),
        ("smtp://2001:db8::7", "an IPv6 address stands in brackets, such as smtp://[2001:db8::7]:587"),
        ("smtp://[12]", "in brackets there must be an IPv6 address, such as [2001:db8::7]."),
        ("smtp://:p@h.example", "there is a password but no user: write user:password@ before the host."),
        ("smtp://u:%0d%0a@h.example", "the user or the password holds a control character."),
        (
            "gmail://you@gmail.com:p@smtp.gmail.com",
            "gmail:// knows its host: write gmail://you@example.org:password",
        ),
        ("gmail://", "Gmail needs a user: write gmail://you@example.org:password"),
        ("ses://K:S@ireland", "Amazon SES needs a region as the host: write ses://KEY:password@eu-west-1"),
        ("ses://K:S", "Amazon SES needs a region as the host: write ses://KEY:password@eu-west-1"),
        ("ses://eu-west-1", "Amazon SES needs a user: write ses://KEY:password@eu-west-1"),
        ("sendgrid://me:k", 'SendGrid knows only the user "apikey": write sendgrid://apikey:password'),
    ],
)
def test_a_bad_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(relay_url=url)
    assert str(caught.value) == f"relay_url: {words}"
    assert caught.value.exit_code == 78


@given(
    user=st.text(min_size=1).filter(lambda text: all(sign.isprintable() for sign in text)),
    password=st.text(min_size=1).filter(lambda text: all(sign.isprintable() for sign in text)),
    port=st.integers(1, 65_535).filter(lambda port: port != 465),
)
def test_quoted_logins_come_back_as_they_were(user: str, password: str, port: int) -> None:
    url = split_relay_url(f"smtp://{quote(user, safe='')}:{quote(password, safe='')}@mail.acme.example:{port}")
    assert (url.user, url.password, url.host, url.port) == (user, password, "mail.acme.example", port)
    provided = split_relay_url(f"gmail://{quote(user, safe='')}:{quote(password, safe='')}")
    assert (provided.user, provided.password) == (user, password)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/?#%"), min_size=1))
def test_a_raw_password_without_the_three_signs_is_read_too(password: str) -> None:
    assert split_relay_url(f"smtp://u:{password}@mail.acme.example").password == password


BROKEN = (
    "smtp://u:{}@h.example:465",
    "smtps://u:{}@h.example:587",
    "smtp://u:{}",
    "smtp://u:{}@",
    "smtp://:{}@h.example",
    "smtp://u:{}@h.example?tls=off",
    "smtp://u:{}@h_-.example?x",
    "smpt://u:{}@h.example",
    "u:{}@h.example",
    "gmail://u:{}@smtp.gmail.com",
    "ses://K:{}",
    "ses://K:{}@nowhere",
)


def refusal(url: str) -> ConfigError | None:
    try:
        Settings(relay_url=url)
    except ConfigError as error:
        return error
    return None


@given(st.sampled_from(BROKEN), st.text())
def test_no_refusal_repeats_a_password(url: str, rest: str) -> None:
    error = refusal(url.format(f"hunter2{rest}"))
    assert error is None or "hunter2" not in f"{error} {error.hint}"
    assert error is None or error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"url": "smtp://h.example"}, {"weight": 1.0, "backup": False, "max_sessions": 20, "session_messages": 100}),
        ({"url": "smtp://h.example", "user": "u", "password": "p"}, {"port": 587, "security": "starttls", "user": "u"}),
        (
            {"provider": "gmail", "user": "u@gmail.com", "password": "p"},
            {"host": "smtp.gmail.com", "provider": "gmail"},
        ),
        ({"provider": "sendgrid", "password": "k"}, {"host": "smtp.sendgrid.net", "user": "apikey"}),
        ({"provider": "microsoft365", "user": "u", "password": "p"}, {"max_sessions": 3, "rate_per_s": 0.5}),
        ({"url": "microsoft365://u:p", "max_sessions": 9, "rate": "2/s"}, {"max_sessions": 9, "rate_per_s": 2.0}),
        ({"url": "smtp://u:p@smtp.office365.com"}, {"provider": "microsoft365", "max_sessions": 3}),
        ({"url": "smtp://u:p@email-smtp.eu-west-1.amazonaws.com"}, {"provider": "ses"}),
        ({"url": "smtp://u:p@amazonaws.com"}, {"provider": None, "login_hint": ""}),
        ({"url": "smtp://mx.acme.example", "provider": "postmark"}, {"provider": "postmark", "port": 25}),
        (
            {"url": "smtp://h.example", "weight": "2.5", "backup": "yes", "rate": "30/m"},
            {"weight": 2.5, "backup": True, "rate_per_s": 0.5},
        ),
        (
            {"url": "smtp://h.example", "from_domains": "Acme.example, bücher.example"},
            {"from_domains": ("acme.example", "xn--bcher-kva.example")},
        ),
        ({"url": "smtp://h.example", "password": ""}, {"user": None, "password": None}),
        ({"url": "smtp://sandbox", "tls": "off"}, {"security": "none"}),
        ({"url": "smtp://sandbox?tls=off", "tls": "off"}, {"security": "none"}),
    ],
)
def test_a_table_is_read(table: Mapping[str, object], expected: Mapping[str, object]) -> None:
    relay = main(relays={"main": table})
    assert {key: getattr(relay, key) for key in expected} == dict(expected)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, '[relays.main] is empty: give it url = "smtp://..."'),
        ({"user": "u"}, 'relays.main: it needs url = "smtp://..." or provider = "gmail".'),
        ({"provider": "gmial"}, 'relays.main.provider: "gmial" is no known provider. Did you mean "gmail"?'),
        ({"provider": "gmail"}, "relays.main: Gmail needs a user: write gmail://you@example.org:password"),
        (
            {"provider": "ses", "user": "K"},
            'relays.main.provider: Amazon SES needs a region: write url = "ses://eu-west-1" instead of provider.',
        ),
        (
            {"url": "gmail://u:p", "provider": "ses"},
            'relays.main.provider: provider = "ses" contradicts gmail://',
        ),
        (
            {"url": "smtp://u:p@h.example", "user": "v"},
            "relays.main.user: the user stands in the URL and beside it: keep one.",
        ),
        (
            {"url": "smtp://u:p@h.example", "password": "q"},
            "relays.main.password: the password stands in the URL and beside it: keep one.",
        ),
        (
            {"url": "smtp://h.example", "password": "q"},
            "relays.main.password: there is a password but no user: write smtp://user@h.example",
        ),
        (
            {"url": "smtp://h.example", "user": "u", "password": "a\nb"},
            "relays.main.password: the password holds a line break or another control character.",
        ),
        (
            {"url": "smtps://sandbox", "tls": "off"},
            "relays.main.tls: TLS is spoken from the first byte here, so tls=off contradicts it.",
        ),
        (
            {"url": "smtp://h.example", "rate": "5"},
            "relays.main.rate: write mails and a time, such as 14/s, 30/m or 500/h.",
        ),
        (
            {"url": "smtp://h.example", "from_domains": ["a@b.example"]},
            'relays.main.from_domains: "a@b.example": write the domain alone, without an @.',
        ),
        ({"url": "smtp://h.example", "weight": 0}, "relays.main.weight = 0: write more than 0."),
        ({"url": "smtp://h.example", "weight": True}, "relays.main.weight = true: write a number."),
        ({"url": "smtp://h.example", "tls": "on"}, 'relays.main.tls = "on": choose one of off, required, insecure.'),
        ({"url": "smtp://h.example", "weigth": 1}, 'unknown name "weigth" in [relays.main]. Did you mean "weight"?'),
        (
            {"url": "smtp://h.example", "max_chunks": 3},
            '"max_chunks" is a setting of its own, not one of [relays.main]: put it above the first [table].',
        ),
    ],
)
def test_a_bad_table_is_refused(table: Mapping[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(relays={"main": table})
    assert str(caught.value) == words


@pytest.mark.parametrize("name", ["Main", "a b", "", "-a", "a" * 33])
def test_a_bad_relay_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(relays={name: {"url": "smtp://h.example"}})
    assert str(caught.value).endswith(
        "a relay's name has up to 32 letters a-z, digits, - and _, and starts with a letter or digit."
    )


def test_spool_wide_limits_are_the_relays_own_where_it_names_none() -> None:
    relays = Settings(
        max_sessions=2,
        session_messages=7,
        relays={"one": {"url": "microsoft365://u:p"}, "two": {"url": "smtp://h.example", "max_sessions": 30}},
    ).relay_table()
    assert [(relay.max_sessions, relay.session_messages) for relay in relays.values()] == [(2, 7), (30, 7)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("smtp://u:hunter2@mail.acme.example", "smtp://mail.acme.example:587 as u"),
        ("smtps://u:hunter2@mail.acme.example", "smtps://mail.acme.example:465 as u"),
        ("smtp://localhost:2525", "smtp://localhost:2525"),
        ("smtp://[fd00::7]:2525?tls=off", "smtp://[fd00::7]:2525?tls=off"),
        ("smtps://sandbox?tls=insecure", "smtps://sandbox:465?tls=insecure"),
    ],
)
def test_a_relay_shows_no_password(url: str, shown: str) -> None:
    relay = main(relay_url=url)
    assert str(relay) == shown
    assert relay.url_shown == shown.removesuffix(" as u")
    assert "hunter2" not in repr(relay)
    assert pickle.loads(pickle.dumps(relay)) == relay  # noqa: S301 - our own bytes


def test_a_relay_from_a_url_alone() -> None:
    assert relay_from_url("smtp://h.example", name="probe").name == "probe"
    with pytest.raises(ConfigError) as caught:
        relay_from_url("smtp://h.example:465")
    assert str(caught.value) == (
        "the relay URL cannot be used: port 465 speaks TLS from the first byte, which is smtps: "
        "write smtps://h.example:465"
    )


def test_a_login_without_a_password_is_no_error_before_a_relay_is_needed() -> None:
    settings = Settings(relay_url="smtp://u@h.example")
    with pytest.raises(ConfigError) as caught:
        settings.relay_table()
    assert str(caught.value) == (
        'relay main logs in as "u", but there is no password: set relay_password or relay_password_file.'
    )
    with pytest.raises(ConfigError) as caught:
        Settings(relays={"spare": {"url": "smtp://u@h.example"}}).relay_table()
    assert str(caught.value) == (
        'relay spare logs in as "u", but there is no password: set relays.spare.password or relays.spare.password_file.'
    )


def test_no_relay_is_said_with_the_ways_out() -> None:
    settings = Settings()
    assert settings.relay_table() == {}
    assert settings.no_relay_words() == (
        "No relay is set, so there is nowhere to send mail to. Set MAILSPOOL_RELAY_URL=smtp://user:password@host:587 "
        "(or gmail://you@gmail.com:app-password), or write relay_url or [relays.NAME] into mailspool.toml."
    )


def test_every_provider_is_complete() -> None:
    assert set(providers()) == {
        "brevo",
        "fastmail",
        "gmail",
        "icloud",
        "mailgun",
        "mailgun-eu",
        "microsoft365",
        "postmark",
        "sendgrid",
        "ses",
        "yahoo",
        "zoho",
    }
    for name, provider in providers().items():
        assert (provider.port, provider.security) in ((587, "starttls"), (465, "tls")), name
        assert provider.login_hint.endswith((".", "password")) or "https://" in provider.login_hint, name
        assert provider.serves(provider.host.replace("{region}", "eu-west-1")), name
        assert split_relay_url(provider.example()).provider == provider
