"""Redis URLs, taken apart."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mailspool.errors import ConfigError
from mailspool.redis_server.address import RedisAddress, human_path, human_url, parse_redis_url


@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("redis://queue", RedisAddress(host="queue"), "redis://queue"),
        ("redis://queue:6380/3", RedisAddress(host="queue", port=6380, db=3), "redis://queue:6380/3"),
        ("redis://queue/?db=2", RedisAddress(host="queue", db=2), "redis://queue"),
        (
            "redis://me:p%40ss%2Fw@queue:1/0",
            RedisAddress(host="queue", port=1, username="me", password="p@ss/w"),
            "redis://queue:1/0",
        ),
        ("redis://:secret@[::1]:6379", RedisAddress(host="::1", password="secret"), "redis://[::1]:6379"),
        ("redis://:a@b@queue", RedisAddress(host="queue", password="a@b"), "redis://queue"),
        ("unix:///run/my%20redis.sock", RedisAddress(path=Path("/run/my redis.sock")), "unix:///run/my%20redis.sock"),
        (
            "unix://me:pw@/run/redis.sock?db=4",
            RedisAddress(path=Path("/run/redis.sock"), username="me", password="pw", db=4),
            "unix:///run/redis.sock",
        ),
        (
            "unix:///run/redis.sock?password=pw",
            RedisAddress(path=Path("/run/redis.sock"), password="pw"),
            "unix:///run/redis.sock",
        ),
        ("rediss://queue", RedisAddress(host="queue", tls=True), "rediss://queue"),
        (
            "rediss://queue?ssl_cert_reqs=none",
            RedisAddress(host="queue", tls=True, tls_verify="none", tls_check_host=False),
            "rediss://queue",
        ),
        (
            "rediss://queue?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=False",
            RedisAddress(
                host="queue",
                tls=True,
                tls_check_host=False,
                tls_ca="/ca.pem",
                tls_certificate="/c.pem",
                tls_key="/k.pem",
            ),
            "rediss://queue",
        ),
    ],
)
def test_urls(url: str, address: RedisAddress, name: str) -> None:
    assert parse_redis_url(url) == address
    assert human_url(url) == name


def test_the_password_setting_goes_before_the_urls_own() -> None:
    assert parse_redis_url("redis://me:old@queue", "new").password == "new"
    assert parse_redis_url("redis://me:old@queue", None).password == "old"


def test_no_password_is_shown() -> None:
    assert "hunter2" not in repr(parse_redis_url("redis://me:hunter2@queue"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://queue", 'begins with "http"'),
        ("queue:6379", 'begins with "queue"'),
        ("redis://", "names no host"),
        ("unix://", "names no socket"),
        ("redis://queue:port", "cannot be read"),
        ("redis://me:hunter2/x@queue", "its port is no number, or its password holds"),
        ("redis://me:pw@queue/#hunter2", "holds a #"),
        ("redis://queue/hunter2x", "the database is a number"),
        ("redis://queue/-1", "the database is a number"),
        ("redis://queue?db=٣", "the database is a number"),
        ("redis://queue?decode_responses=1", 'unknown option "decode_responses"'),
        ("redis://queue?ssl_ca_certs=/x", 'unknown option "ssl_ca_certs"'),
        ("rediss://queue?ssl_cert_reqs=optional", "ssl_cert_reqs is required or none"),
    ],
)
def test_bad_urls(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_redis_url(url)
    assert words in str(caught.value)
    assert "hunter2/x" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_tls_is_verified_unless_told() -> None:
    assert parse_redis_url("redis://queue").ssl_context() is None
    strict = parse_redis_url("rediss://queue").ssl_context()
    assert strict is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = parse_redis_url("rediss://queue?ssl_cert_reqs=none").ssl_context()
    assert lax is not None
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_paths_for_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert human_path(tmp_path / ".local" / "share" / "mailspool") == "~/.local/share/mailspool"
    assert human_path(Path("~/spool")) == "~/spool"
    assert human_path(Path("/var/lib/mailspool")) == "/var/lib/mailspool"
