"""The table of settings: every name, default and bound, what is refused in which words, and what is never shown."""

from __future__ import annotations

import pickle
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from mailspool.errors import ConfigError
from mailspool.settings import SettingLine, Settings, explain

DEFAULTS: dict[str, object] = {
    "redis_url": None,
    "redis_password": None,
    "embedded_server": "auto",
    "key_prefix": "ms",
    "durability": "auto",
    "blob_store": "auto",
    "redis_reserve": 0.1,
    "relay_url": None,
    "relay_password": None,
    "relays": {},
    "default_from": None,
    "ehlo_name": None,
    "retry_schedule": "5m 15m 30m 1h 2h 4h 6h*",
    "retry_jitter": 0.2,
    "expire_bulk": timedelta(days=5),
    "expire_transactional": timedelta(days=1),
    "on_uncertain": "resend",
    "suppress_bounces": True,
    "keep_done": timedelta(days=7),
    "keep_failed": timedelta(days=30),
    "max_message_bytes": 25 * 1024 * 1024,
    "processes": 1,
    "max_chunks": 20,
    "stop_timeout": timedelta(seconds=25),
    "max_sessions": 20,
    "unrecorded_per_session": 1,
    "session_messages": 100,
    "session_age": timedelta(minutes=5),
    "session_idle": timedelta(seconds=15),
    "connect_timeout": timedelta(seconds=15),
    "keep_conversations": 1_000,
    "log_level": "info",
    "log_format": "auto",
}


def test_every_setting_has_its_default_and_a_reason(home: Path) -> None:
    settings = Settings()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert settings.data_dir == home / ".local" / "share" / "mailspool"
    assert set(Settings.model_fields) == {*DEFAULTS, "data_dir"}
    assert len(Settings.model_fields) == 34
    assert all(info.description for info in Settings.model_fields.values())


def test_no_name_can_be_set_by_kubernetes() -> None:
    assert not [name for name in Settings.model_fields if re.search("_port$|_host$|_port_", f"{name}_file{name}")]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/mailspool"}, "/var/lib/mailspool"),
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ({"XDG_DATA_HOME": "/data"}, "/data/mailspool"),
        ({"XDG_DATA_HOME": "/data", "STATE_DIRECTORY": "/state"}, "/state"),
        ({"XDG_DATA_HOME": "relative"}, "{home}/.local/share/mailspool"),
        ({"MAILSPOOL_DATA_DIR": "~/spool"}, "{home}/spool"),
        ({"MAILSPOOL_DATA_DIR": "spool"}, "{home}/work/spool"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="XDG is not for macOS")
def test_the_data_folder(variables: dict[str, str], folder: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().data_dir == Path(folder.format(home=home))


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("stop_timeout", "1h30m", timedelta(minutes=90)),
        ("stop_timeout", timedelta(seconds=3), timedelta(seconds=3)),
        ("keep_done", "0s", timedelta(0)),
        ("max_message_bytes", "10 MB", 10_000_000),
        ("max_message_bytes", 500, 500),
        ("processes", "auto", "auto"),
        ("processes", "4", 4),
        ("processes", 1, 1),
        ("max_chunks", "1", 1),
        ("max_chunks", 1_000_000, 1_000_000),
        ("unrecorded_per_session", 2, 2),
        ("keep_conversations", 0, 0),
        ("redis_reserve", 0, 0.0),
        ("redis_reserve", "0.5", 0.5),
        ("retry_jitter", 1, 1.0),
        ("log_level", "DEBUG", "debug"),
        ("durability", "none", "none"),
        ("suppress_bounces", "no", False),
        ("embedded_server", "OFF", "off"),
        ("embedded_server", "/usr/bin/valkey-server", "/usr/bin/valkey-server"),
        ("blob_store", "dir:/srv/blobs", "dir:/srv/blobs"),
        ("ehlo_name", "Mail.Acme.Example", "mail.acme.example"),
        ("default_from", "Acme <billing@acme.example>", "Acme <billing@acme.example>"),
        ("redis_url", "redis://queue:6379/2", "redis://queue:6379/2"),
        ("redis_url", "rediss://:p@queue?socket_timeout=5", "rediss://:p@queue?socket_timeout=5"),
        ("redis_url", "redis://[::1]:6379", "redis://[::1]:6379"),
        ("redis_url", "unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1"),
    ],
)
def test_a_value_is_read(name: str, given: object, value: object) -> None:
    assert getattr(Settings(**{name: given}), name) == value


WHOLE = "write a whole number"
FROM = "write one address, such as billing@acme.example or Acme <billing@acme.example>"
EHLO = "write a host name such as mail.example.org, or an address in brackets such as [203.0.113.7]"
DURATION = "write a number and a unit (ms, s, m, h, d, w), such as 90s, 15m or 1h30m"


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("max_chunks", "many", f'max_chunks = "many": {WHOLE}.'),
        ("max_chunks", 0, "max_chunks = 0: write at least 1."),
        ("max_chunks", 1_000_001, "max_chunks = 1000001: write at most 1000000."),
        ("max_chunks", 1.5, f"max_chunks = 1.5: {WHOLE}."),
        ("max_chunks", True, "max_chunks = true: write a number."),
        ("max_chunks", None, f"max_chunks: {WHOLE}."),
        ("unrecorded_per_session", 3, "unrecorded_per_session = 3: write at most 2."),
        ("keep_conversations", -1, "keep_conversations = -1: write at least 0."),
        ("redis_reserve", 1, "redis_reserve = 1: write less than 1."),
        ("redis_reserve", "10%", 'redis_reserve = "10%": write a number.'),
        ("retry_jitter", -0.1, "retry_jitter = -0.1: write at least 0."),
        ("stop_timeout", 25, f"stop_timeout = 25: {DURATION}."),
        ("stop_timeout", timedelta(seconds=-1), "stop_timeout: a duration lies between 0 and ten years."),
        ("connect_timeout", "0s", 'connect_timeout = "0s": the duration must be longer than 0.'),
        ("expire_bulk", "5 days", f'expire_bulk = "5 days": {DURATION}.'),
        (
            "max_message_bytes",
            "25 Mo",
            'max_message_bytes = "25 Mo": write a number of bytes, or one with a unit such as 25 MiB or 10 MB.',
        ),
        ("max_message_bytes", 0, "max_message_bytes = 0: write at least 1."),
        ("processes", "all", 'processes = "all": write auto, or a whole number from 1 on.'),
        ("processes", 0, "processes = 0: write auto, or a whole number from 1 on."),
        ("processes", True, "processes = true: write auto, or a whole number from 1 on."),
        (
            "durability",
            "fsink",
            'durability = "fsink": choose one of auto, fsync, everysec, none. Did you mean "fsync"?',
        ),
        ("log_format", "xml", 'log_format = "xml": choose one of auto, console, json.'),
        ("on_uncertain", "drop", 'on_uncertain = "drop": choose one of resend, hold.'),
        ("suppress_bounces", "maybe", 'suppress_bounces = "maybe": write true or false.'),
        ("retry_schedule", "5m* 1h", 'retry_schedule = "5m* 1h": only the last wait may carry a *.'),
        ("retry_schedule", 300, "retry_schedule = 300: write text in quotes."),
        (
            "embedded_server",
            "valkey",
            'embedded_server = "valkey": write auto, off, or the full path of a valkey-server or redis-server.',
        ),
        ("blob_store", "dir:blobs", 'blob_store = "dir:blobs": write auto, redis, or dir:/full/path.'),
        (
            "key_prefix",
            "a:b",
            'key_prefix = "a:b": write up to 32 letters, digits, dots, - and _, starting with a letter or digit.',
        ),
        (
            "key_prefix",
            "a" * 70,
            f'key_prefix = "{"a" * 59}...: write up to 32 letters, digits, dots, - and _, '
            "starting with a letter or digit.",
        ),
        ("data_dir", "", 'data_dir = "": write the path of a folder.'),
        ("default_from", "Acme", f'default_from = "Acme": {FROM}.'),
        ("default_from", "a@b.example, c@d.example", f'default_from = "a@b.example, c@d.example": {FROM}.'),
        ("default_from", "a@b.example\r\nBcc: x@y", f'default_from = "a@b.example??Bcc: x@y": {FROM}.'),
        ("ehlo_name", "203.0.113.7", f'ehlo_name = "203.0.113.7": {EHLO}.'),
        ("relays", "smtp://h", 'relays is a table of relays: [relays.main], below it url = "smtp://..."'),
        ("relays", {"url": "smtp://h"}, 'relays.url: write [relays.main], below it url = "..."'),
        ("relay_url", 25, "relay_url: write text in quotes."),
        ("relay_password", 25, "relay_password: write text in quotes."),
        (
            "redis_url",
            "localhost:6379",
            "redis_url: a Redis URL looks like redis://host:6379/0, rediss://... or unix:///run/valkey.sock",
        ),
        ("redis_url", "reddis://queue", 'redis_url: "reddis" is no scheme for Redis. Did you mean "redis"?'),
        (
            "redis_url",
            "valkey://queue",
            'redis_url: "valkey" is no scheme for Redis. Write "redis", "rediss" (TLS) or "unix".',
        ),
        (
            "redis_url",
            "unix://run/x.sock",
            "redis_url: a unix URL has three slashes and a full path: unix:///run/valkey.sock",
        ),
        (
            "redis_url",
            "redis://:a/b@queue",
            'redis_url: the password seems to hold "/": write %2F, or better redis_password.',
        ),
        (
            "redis_url",
            "redis://queue/jobs",
            "redis_url: behind the host there may only be the number of a database, such as /0.",
        ),
        ("redis_url", "redis://", "redis_url: the host is missing."),
        ("redis_uri", "x", 'unknown setting "redis_uri". Did you mean "redis_url"?'),
        ("colour", "x", 'unknown setting "colour".'),
        ("relays_file", "x", 'unknown setting "relays_file". Did you mean "relays"?'),
    ],
)
def test_a_bad_value_is_refused(name: str, given: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**{name: given})
    assert str(caught.value) == words
    assert (caught.value.exit_code, caught.value.code) == (78, "bad_setting")


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(relay_uri="x", redis_uri="x")
    assert str(caught.value).splitlines() == [
        'unknown setting "relay_uri". Did you mean "relay_url"?',
        'unknown setting "redis_uri". Did you mean "redis_url"?',
    ]
    with pytest.raises(ConfigError) as caught:
        Settings(max_chunks=0, processes="x")
    assert len(str(caught.value).splitlines()) == 2


def test_the_schedule_is_parsed() -> None:
    steps_s, last_repeats = Settings(retry_schedule="5m 1h*").schedule_steps_s()
    assert (steps_s, last_repeats) == ((300.0, 3_600.0), True)


def test_the_ehlo_name_is_ours_unless_set() -> None:
    assert Settings(ehlo_name="mail.acme.example").ehlo() == "mail.acme.example"
    assert Settings().ehlo()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().max_chunks = 3


def loaded() -> Settings:
    return Settings(
        redis_url="redis://queue:6379",
        redis_password="hunter2a",
        relays={
            "main": {"url": "smtp://u:hunter2b@h.example"},
            "two": {"url": "smtp://u@h.example", "password": "hunter2c"},
        },
    )


def test_settings_pickle_with_everything() -> None:
    settings = loaded()
    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes
    assert copy == settings
    assert copy.relay_table() == settings.relay_table()
    assert copy.origins == settings.origins


def test_no_secret_is_shown() -> None:
    settings = loaded()
    one = Settings(relay_url="smtp://u:hunter2d@h.example", redis_url="rediss://:hunter2e@queue?password=hunter2f")
    for text in (
        repr(settings),
        str(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        repr(settings.relay_table()),
        str(explain(settings)),
        repr(one),
        str(one.model_dump()),
        str(explain(one)),
        repr(settings.relays),
        repr(one._given),
    ):
        assert "hunter2" not in text
    assert repr(one) == "Settings(redis_url='rediss://:****@queue?password=****', relay_url='smtp://u:****@h.example')"


def test_explain_says_value_origin_default_and_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "work" / "mailspool.toml").write_text('max_chunks = 5\n[relays.main]\nurl = "smtp://u@h.example"\n')
    monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__PASSWORD", "hunter2")
    monkeypatch.setenv("MAILSPOOL_KEEP_DONE", "36h")
    lines = {line.name: line for line in explain(Settings(durability="fsync"))}
    found = {name: (line.value, line.origin, line.default) for name, line in lines.items()}
    assert found["max_chunks"] == ("5", "mailspool.toml line 1", "20")
    assert found["relays.main.url"] == ("smtp://u@h.example", "mailspool.toml line 3", "none")
    assert found["relays.main.password"] == ("****", "MAILSPOOL_RELAYS__MAIN__PASSWORD", "none")
    assert found["keep_done"] == ("1d12h", "MAILSPOOL_KEEP_DONE", "7d")
    assert found["durability"] == ("fsync", "argument", "auto")
    assert found["max_message_bytes"] == ("25 MiB", "default", "25 MiB")
    assert found["redis_url"] == ("none", "default", "none (embedded server)")
    assert found["suppress_bounces"] == ("true", "default", "true")
    assert len(lines) == 33 + 2
    assert lines["max_chunks"].to_dict() == {
        "name": "max_chunks",
        "value": "5",
        "origin": "mailspool.toml line 1",
        "default": "20",
        "reason": "chunks in work in one process; never fewer than 4 a relay",
    }
    assert all(isinstance(line, SettingLine) and line.reason for line in lines.values())
