"""Where a value comes from: the order of the sources, variables, credential files, and what happens where two meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailspool.errors import ConfigError
from mailspool.settings import Settings, sources, unknown_variables
from tests.producer.settings.settings_helpers import failure, posix_only, secret, write


class TestOrder:
    """argument > environment > credential file > TOML > default, shown by taking one away after the other."""

    def test_each_source_gives_way_to_the_one_before_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "cred"))
        monkeypatch.setenv("MAILSPOOL_KEY_PREFIX", "environment")
        steps = [
            ("credential", write(tmp_path / "cred" / "mailspool.key_prefix", "credential\n")),
            ("named", write(tmp_path / "named", "named\n")),
            ("run", write(tmp_path / "run-secrets" / "mailspool_key_prefix", "run\n")),
            ("toml", write(Path("mailspool.toml"), 'key_prefix = "toml"\n')),
        ]
        assert Settings(key_prefix="argument").key_prefix == "argument"
        assert Settings(key_prefix_file=steps[1][1]).key_prefix == "named"
        assert Settings().key_prefix == "environment"
        monkeypatch.delenv("MAILSPOOL_KEY_PREFIX")
        for value in ("credential", "run", "toml"):
            assert Settings().key_prefix == value
            dict(steps)[value].unlink()
        assert Settings().key_prefix == "ms"

    def test_a_file_named_in_toml_comes_before_the_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "run-secrets" / "mailspool_relay_password", "from the folder")
        write(Path("secrets/password"), "named")
        write(Path("mailspool.toml"), 'relay_url = "smtp://u@h.example"\nrelay_password_file = "secrets/password"\n')
        assert secret(Settings().relay_password) == "named"

    def test_an_argument_of_none_means_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAILSPOOL_REDIS_URL", "redis://queue")
        assert Settings().redis_url == "redis://queue"
        assert Settings(redis_url=None).redis_url is None

    def test_an_empty_variable_counts_as_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), 'redis_url = "redis://queue"\n')
        monkeypatch.setenv("MAILSPOOL_REDIS_URL", "")
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__URL", "")
        assert (Settings().redis_url, Settings().relays) == ("redis://queue", {})

    def test_origins_name_each_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = write(tmp_path / "run-secrets" / "mailspool_relay_password", "p")
        named = write(tmp_path / "url", "redis://queue")
        monkeypatch.setenv("MAILSPOOL_REDIS_URL_FILE", str(named))
        write(Path("mailspool.toml"), '# relay\nrelay_url = "smtp://u@h.example"\n')
        assert Settings(max_chunks=2).origins == {
            "max_chunks": "argument",
            "redis_url": f"MAILSPOOL_REDIS_URL_FILE ({named})",
            "relay_password": str(run),
            "relay_url": "mailspool.toml line 2",
        }


class TestEnvironment:
    @pytest.mark.parametrize("password", ["1e5", "0123", "true", "null", '"x"', "{}", "+%41"])
    def test_the_password_of_a_relay_stays_the_text_it_is(self, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__URL", "smtp://u@h.example")
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__PASSWORD", password)
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__WEIGHT", "2")
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__FROM_DOMAINS", "a.example b.example")
        relay = Settings().relay_table()["main"]
        assert (secret(relay.password), relay.weight) == (password, 2.0)
        assert relay.from_domains == ("a.example", "b.example")

    def test_one_key_of_a_relay_can_be_set_over_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), '[relays.main]\nurl = "smtp://u@h.example"\nweight = 3\n')
        monkeypatch.setenv("MAILSPOOL_RELAYS__MAIN__PASSWORD", "p")
        relay = Settings().relay_table()["main"]
        assert (relay.host, relay.weight, secret(relay.password)) == ("h.example", 3.0, "p")

    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("MAILSPOOL_MAX_CHUNKS", "many", 'MAILSPOOL_MAX_CHUNKS: max_chunks = "many": write a whole number.'),
            (
                "MAILSPOOL_RELAY_URL",
                "smtp://h:465",
                "MAILSPOOL_RELAY_URL: relay_url: port 465 speaks TLS from the first byte, which is smtps: write smtps://h:465",
            ),
            (
                "MAILSPOOL_RELAYS__MAIN__URI",
                "smtp://h",
                'MAILSPOOL_RELAYS__MAIN__URI: unknown name "uri" in [relays.main]. Did you mean "url"?',
            ),
            ("MAILSPOOL_RELAYS__MAIN", "smtp://h", "MAILSPOOL_RELAYS__MAIN: write MAILSPOOL_RELAYS__NAME__URL."),
            (
                "MAILSPOOL_REDIS_PASSWORD_FILE",
                "/none",
                "MAILSPOOL_REDIS_PASSWORD_FILE: redis_password_file: /none cannot be read: no such file or directory.",
            ),
        ],
    )
    def test_an_error_names_the_variable(
        self, variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        assert failure() == words

    def test_unknown_variables_are_said(self) -> None:
        environ = dict.fromkeys(
            [
                "MAILSPOOL_RELAY_URI",
                "MAILSPOOL_COLOUR",
                "mailspool_max_chunk",
                "MAILSPOOL_RELAYS",
                "OTHER_RELAY_URI",
                "MAILSPOOL_RELAY_URL",
                "MAILSPOOL_RELAY_URL_FILE",
                "MAILSPOOL_CONFIG",
                "MAILSPOOL_RELAYS__MAIN__URL",
                "MAILSPOOL_RELAYS__MAIN__PASSWORD_FILE",
                "mailspool_redis_url",
                "MAILSPOOL_PORT",
                "MAILSPOOL_PORT_6379_TCP_ADDR",
                "MAILSPOOL_SERVICE_HOST",
                "MAILSPOOL_SERVICE_PORT",
                "MAILSPOOL_SERVICE_PORT_REDIS",
                "MAILSPOOL_REDIS_SERVICE_HOST",
                "MAILSPOOL_RELAYS_PORT",
            ],
            "x",
        )
        assert unknown_variables(environ) == [
            "MAILSPOOL_COLOUR is no setting.",
            "MAILSPOOL_RELAYS is no setting: write MAILSPOOL_RELAYS__NAME__URL.",
            "MAILSPOOL_RELAY_URI is no setting. Did you mean MAILSPOOL_RELAY_URL?",
            "mailspool_max_chunk is no setting. Did you mean MAILSPOOL_MAX_CHUNKS?",
        ]

    def test_what_kubernetes_sets_for_a_service_called_mailspool_breaks_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("MAILSPOOL_PORT", "MAILSPOOL_SERVICE_HOST", "MAILSPOOL_RELAYS_PORT", "MAILSPOOL_REDIS_PORT"):
            monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
        assert Settings() == Settings()
        assert unknown_variables() == []


class TestSecretFiles:
    @pytest.mark.parametrize(
        ("raw", "value"), [("p\n", "p"), ("p", "p"), ("p\n\n", "p\n"), ("p\r\n", "p"), (" p \n", " p "), ("ü\n", "ü")]
    )
    def test_one_trailing_newline_is_cut(self, raw: str, value: str, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(raw.encode())
        assert secret(Settings(redis_password_file=path).redis_password) == value

    @pytest.mark.parametrize(
        ("raw", "words"),
        [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"\xff", "is not UTF-8"),
            (b"x" * 65_537, "is larger than 64 KiB, so it cannot be the right file"),
            (None, "cannot be read: no such file or directory"),
        ],
    )
    def test_a_bad_secret_file_is_refused(self, raw: bytes | None, words: str, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        if raw is not None:
            path.write_bytes(raw)
        assert failure(redis_password_file=path) == f"redis_password_file: {path} {words}."

    @posix_only
    def test_a_secret_file_that_all_can_read_is_warned_about(self, tmp_path: Path) -> None:
        path = write(tmp_path / "secret", "p", 0o644)
        assert Settings(redis_password_file=path).warnings == (
            f"every user of this machine can read {path}: chmod 600 {path}",
        )
        path.chmod(0o640)
        assert Settings(redis_password_file=path).warnings == ()
        prefix = write(tmp_path / "prefix", "x", 0o644)
        assert Settings(key_prefix_file=prefix).warnings == ()
        write(sources.RUN_SECRETS / "mailspool_redis_password", "p", 0o444)
        assert Settings().warnings == ()

    def test_a_relay_secret_that_is_away_hinders_only_whoever_sends(self, tmp_path: Path) -> None:
        write(Path("mailspool.toml"), 'relay_url = "smtp://u@h.example"\nrelay_password_file = "/none/password"\n')
        settings = Settings()
        with pytest.raises(ConfigError) as caught:
            settings.relay_table()
        assert str(caught.value) == (
            "mailspool.toml line 2: relay_password_file: /none/password cannot be read: no such file or directory."
        )
        assert Settings(relay_password="p").relay_table()["main"].user == "u"
        write(Path("mailspool.toml"), '[relays.main]\nurl = "smtp://u@h.example"\npassword_file = "password"\n')
        with pytest.raises(ConfigError) as caught:
            Settings().relay_table()
        assert str(caught.value) == (
            f"mailspool.toml line 3: relays.main.password_file: {Path('password').absolute()} "
            "cannot be read: no such file or directory."
        )
        write(Path("password"), "p")
        assert secret(Settings().relay_table()["main"].password) == "p"


class TestMeetings:
    """Two sources, one relay: the higher wins, and no password goes to another's host."""

    @pytest.mark.parametrize(
        ("toml", "variables", "password"),
        [
            ('relay_url = "smtp://u:toml@h.example"', {"MAILSPOOL_RELAY_PASSWORD": "env"}, "env"),
            ('relay_password = "toml"', {"MAILSPOOL_RELAY_URL": "smtp://u:env@h.example"}, "env"),
            ('relay_url = "gmail://u:toml"', {"MAILSPOOL_RELAY_PASSWORD": "env"}, "env"),
            ('relay_url = "ses://K:toml@eu-west-1"', {"MAILSPOOL_RELAY_PASSWORD": "env"}, "env"),
            ('relay_password = "toml"', {"MAILSPOOL_RELAY_URL": "smtp://u@h.example"}, "toml"),
        ],
    )
    def test_the_nearer_password_counts(
        self, toml: str, variables: dict[str, str], password: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(Path("mailspool.toml"), toml)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert secret(Settings().relay_table()["main"].password) == password

    def test_the_nearer_redis_password_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), 'redis_url = "redis://me:toml@queue:6379/1"')
        monkeypatch.setenv("MAILSPOOL_REDIS_PASSWORD", "env")
        settings = Settings()
        assert (settings.redis_url, secret(settings.redis_password)) == ("redis://me@queue:6379/1", "env")
        settings = Settings(redis_url="redis://:argument@queue")
        assert (settings.redis_url, settings.redis_password) == ("redis://:argument@queue", None)

    @pytest.mark.parametrize("kind", ["relay", "redis"])
    def test_two_passwords_in_one_source_are_refused(self, kind: str) -> None:
        scheme = "smtp" if kind == "relay" else "redis"
        assert failure(**{f"{kind}_url": f"{scheme}://u:p@h.example", f"{kind}_password": "q"}) == (
            f"{kind}_url holds a password, and {kind}_password is set too: keep one."
        )

    def test_a_url_without_a_user_does_not_get_a_lower_sources_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), 'relay_url = "smtp://u@h.example"\nrelay_password = "p"\n')
        monkeypatch.setenv("MAILSPOOL_RELAY_URL", "smtp://localhost:2525")
        settings = Settings()
        assert settings.relay_table()["main"].password is None
        assert settings.warnings == ("relay_password (mailspool.toml line 2) is not used: relay_url names no user.",)

    def test_a_url_without_a_user_beside_its_password_is_refused(self) -> None:
        write(Path("mailspool.toml"), 'relay_url = "smtp://h.example"\nrelay_password = "p"\n')
        assert failure() == (
            "mailspool.toml line 2: relay_password: there is a password but no user: write smtp://user@h.example"
        )

    def test_relay_url_is_the_only_relay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = 'relay_url = "smtp://one.example"\n[relays.two]\nurl = "smtp://u@two.example"\npassword_file = "none"\n'
        write(Path("mailspool.toml"), text)
        settings = Settings()
        assert [relay.host for relay in settings.relay_table().values()] == ["one.example"]
        assert settings.warnings == (
            "relay_url is the only relay where it is set: the [relays] beside it are not used.",
        )
        monkeypatch.setenv("MAILSPOOL_RELAY_URL", "smtp://localhost:2525")
        assert [relay.host for relay in Settings().relay_table().values()] == ["localhost"]
        assert Settings().warnings == ()

    def test_a_nearer_relay_that_would_not_be_used_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), 'relay_url = "smtp://real.example"\n')
        monkeypatch.setenv("MAILSPOOL_RELAYS__TEST__URL", "smtp://localhost:2525")
        assert failure() == (
            "relay_url (mailspool.toml line 1) is the only relay where it is set, so relays.test "
            "(MAILSPOOL_RELAYS__TEST__URL) would not be used: take one of them away."
        )
        assert Settings(relay_url=None).relay_table()["test"].host == "localhost"

    def test_relays_as_an_argument_replace_all_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write(Path("mailspool.toml"), '[relays.real]\nurl = "smtp://real.example"\n')
        monkeypatch.setenv("MAILSPOOL_RELAYS__MORE__URL", "smtp://more.example")
        assert set(Settings().relay_table()) == {"real", "more"}
        assert set(Settings(relays={"test": {"url": "smtp://localhost"}}).relay_table()) == {"test"}
        assert Settings(relays={}).relay_table() == {}

    def test_a_password_without_a_url_is_said(self) -> None:
        assert Settings(relay_password="p").warnings == (
            "relay_password (argument) is not used: relay_url is not set.",
        )


def test_a_home_that_is_nowhere_stops_nobody_who_named_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", classmethod(_nowhere))
    assert failure() == "this user has no home folder: set MAILSPOOL_DATA_DIR or MAILSPOOL_REDIS_URL."
    assert Settings(data_dir="/srv/spool").data_dir == Path("/srv/spool")


def _nowhere(_: type[Path]) -> Path:
    raise RuntimeError
