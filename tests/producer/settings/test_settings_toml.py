"""The settings file: which one counts, who may own and read it, and that every error names its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailspool.errors import ConfigError
from mailspool.settings import Settings
from mailspool.settings.tomlfile import line_of
from tests.producer.settings.settings_helpers import failure, posix_only, write


def test_the_first_file_counts_and_none_is_merged(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = write(tmp_path / "etc" / "mailspool.toml", 'key_prefix = "machine"\nmax_chunks = 9\n')
    assert (Settings().key_prefix, Settings().config_file) == ("machine", machine)
    own = write(home / ".config" / "mailspool" / "mailspool.toml", 'key_prefix = "own"\n')
    assert (Settings().key_prefix, Settings().max_chunks, Settings().config_file) == ("own", 20, own)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert Settings().key_prefix == "machine"
    write(tmp_path / "xdg" / "mailspool" / "mailspool.toml", 'key_prefix = "xdg"\n')
    assert Settings().key_prefix == "xdg"
    write(Path("mailspool.toml"), 'key_prefix = "here"\n')
    assert Settings().key_prefix == "here"
    monkeypatch.setenv("MAILSPOOL_CONFIG", str(write(tmp_path / "x.toml", 'key_prefix = "variable"\n')))
    assert Settings().key_prefix == "variable"
    named = write(tmp_path / "y.toml", 'key_prefix = "named"\n')
    assert Settings.load(named).key_prefix == Settings(config=str(named)).key_prefix == "named"
    assert Settings(config=os.devnull).key_prefix == "ms"


@posix_only
def test_a_file_here_counts_only_if_it_is_yours_or_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(Path("mailspool.toml"), 'key_prefix = "here"\n')
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    assert Settings().key_prefix == "here"
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root's files count for everybody
        assert Settings().key_prefix == "here"
        os.chown(path, 12_345, 12_345)
    settings = Settings()
    assert settings.key_prefix == "ms"
    assert settings.warnings == ("./mailspool.toml is not read: it belongs neither to you nor to root.",)


def test_a_file_that_was_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(config="none.toml")
    assert (str(caught.value), caught.value.exit_code) == ('there is no settings file "none.toml" (--config).', 66)
    monkeypatch.setenv("MAILSPOOL_CONFIG", "none.toml")
    assert failure() == 'there is no settings file "none.toml" (MAILSPOOL_CONFIG).'


def test_a_file_that_cannot_be_read_is_no_reason_to_go_on_without_it(tmp_path: Path) -> None:
    machine = tmp_path / "etc" / "mailspool.toml"
    machine.mkdir(parents=True)
    assert failure() == f"{machine} cannot be read: is a directory."


def test_only_a_regular_file_of_a_sane_size_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe.toml", tmp_path / "large.toml"
    os.mkfifo(pipe)
    large.write_text("#" * (1 << 20) + "\n")
    for path, words in (
        (Path("/dev/zero"), "is no regular file."),
        (pipe, "is no regular file."),
        (large, "is larger than 1 MiB, so it cannot be the right file."),
    ):
        monkeypatch.setenv("MAILSPOOL_CONFIG", str(path))
        assert failure() == f"{path} {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'max_chunks = 5\n\n# relay\nrelay_uri = "x"\n',
            'mailspool.toml line 4: unknown setting "relay_uri". Did you mean "relay_url"?',
        ),
        ("max_chunks = 0\n", "mailspool.toml line 1: max_chunks = 0: write at least 1."),
        (
            '\nrelay_url = "smtp://h:465"\n',
            "mailspool.toml line 2: relay_url: port 465 speaks TLS from the first byte, which is smtps: write smtps://h:465",
        ),
        (
            '[relays.main]\nurl = "smtp://h"\nrate = "5"\n',
            "mailspool.toml line 3: relays.main.rate: write mails and a time, such as 14/s, 30/m or 500/h.",
        ),
        (
            '[relays.main]\nuser = "u"\n',
            'mailspool.toml line 2: relays.main: it needs url = "smtp://..." or provider = "gmail".',
        ),
        ("[relays.main]\n", 'mailspool.toml line 1: [relays.main] is empty: give it url = "smtp://..."'),
        (
            '[relays.main]\nurl = "smtp://h"\nmax_chunks = 5\n',
            'mailspool.toml line 3: "max_chunks" is a setting of its own, not one of [relays.main]: '
            "put it above the first [table].",
        ),
        (
            '[relays]\nurl = "smtp://h"\n',
            'mailspool.toml line 2: relays.url: write [relays.main], below it url = "..."',
        ),
        ("relays.main.weight = 0\n", "mailspool.toml line 1: relays.main.weight = 0: write more than 0."),
        ("[mailspool]\nmax_chunks = 5\n", 'mailspool.toml line 1: unknown setting "mailspool".'),
        (
            'relay_url = "smtp://h.example"\nrelay_url = "smtp://h.example"\n',
            "mailspool.toml line 2 is no TOML: cannot overwrite a value, column 31.",
        ),
        (
            "relay_url = smtp://h\n",
            'mailspool.toml line 1 is no TOML: invalid value, column 13. Text stands in quotes: relay_url = "smtp://..."',
        ),
        (
            'redis_password = "a"\nredis_password_file = "b"\n',
            "mailspool.toml line 2: redis_password and redis_password_file are both set: keep one.",
        ),
        ("redis_password_file = 5\n", "mailspool.toml line 1: redis_password_file must be the path of a file."),
    ],
)
def test_an_error_names_file_and_line(text: str, words: str) -> None:
    write(Path("mailspool.toml"), text)
    assert failure() == words


def test_a_file_that_is_not_utf_8() -> None:
    Path("mailspool.toml").write_bytes(b'default_from = "M\xfcller <a@b.example>"\n')
    assert failure() == "mailspool.toml is not UTF-8: save it as UTF-8."


def test_a_byte_order_mark_does_not_matter() -> None:
    Path("mailspool.toml").write_bytes(b"\xef\xbb\xbfmax_chunks = 3\n")
    assert Settings().max_chunks == 3


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 1),
        (("dotted", "in", "line"), 2),
        (("quoted key",), 3),
        (("text",), 4),
        (("hidden",), None),
        (("after",), 7),
        (("table", "key"), 9),
        (("table", "other"), 8),
        (("table", "inner", "key"), 11),
        (("table", "inner", "inline", "a"), 12),
        (("absent",), None),
    ],
)
def test_the_line_of_a_key(key: tuple[str, ...], line: int | None) -> None:
    text = (
        "top = 1\ndotted . in.line = 2\n\"quoted key\" = 3\ntext = '''\nhidden = 5\n'''\nafter = 7\n"
        "[table] # remark\nkey = 9\n[ table.inner ]\nkey = 11\ninline = { a = 1 }\n"
    )
    assert line_of(text, key) == line


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    write(tmp_path / "conf" / "secret", "p")
    named = write(tmp_path / "conf" / "x.toml", 'data_dir = "spool"\nredis_password_file = "secret"\n')
    settings = Settings(config=named)
    assert settings.data_dir == tmp_path / "conf" / "spool"
    assert settings.redis_password is not None
    assert Settings(data_dir="spool").data_dir == Path("spool").absolute()


@posix_only
@pytest.mark.parametrize(
    ("text", "name", "file"),
    [
        ('relay_url = "smtp://u:p@h.example"', "relay_url", "relay_password_file"),
        ('relay_url = "smtp://a@b.example:p@h.example"', "relay_url", "relay_password_file"),
        ('relay_url = "gmail://you@gmail.com:p"', "relay_url", "relay_password_file"),
        ('redis_url = "redis://:p@queue"', "redis_url", "redis_password_file"),
        ('redis_password = "p"', "redis_password", "redis_password_file"),
        ('relays.main.password = "p"', "relays.main.password", "relays.main.password_file"),
        ('relays.main.url = "smtp://u:p@h.example"', "relays.main.url", "relays.main.password_file"),
    ],
)
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_password_in_a_file_that_others_can_read_is_refused(text: str, name: str, file: str, mode: int) -> None:
    write(Path("mailspool.toml"), text, mode)
    assert failure() == (
        f"mailspool.toml line 1: {name} holds a password, and others can read this file: chmod 600 mailspool.toml, "
        f"or move the password to a file of its own and name it in {file}."
    )


@posix_only
@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ('redis_url = "redis://:p@queue"', 0o600),
        ('redis_url = "redis://queue"\nrelay_url = "smtp://u@h.example"', 0o644),
        ('relay_url = "smtp://a@b.example@h.example:25"', 0o644),
        ('relay_url = "gmail://you@gmail.com"', 0o644),
        ('relay_url = "smtp://h.example:25"', 0o644),
    ],
)
def test_a_file_without_a_password_may_be_read_by_all(text: str, mode: int) -> None:
    write(Path("mailspool.toml"), text, mode)
    Settings()
