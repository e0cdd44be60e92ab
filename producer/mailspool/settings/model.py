"""Everything a user can set, with defaults and reasons.

Called by the client, the worker and the command line: `Settings(redis_url=...)` reads arguments, environment,
credential files and the first settings file, checks all of it, and is frozen from then on. It pickles, and hides
secrets in `repr` and in `model_dump`.
A keyword argument given as None means "none", and beats the environment like any other value.
Raises: ConfigError with one sentence for each thing that is wrong. A relay's secret that this process may not read is
no error before `relay_table()` is asked: whoever only queues mail needs no password.
Known limit: reading takes a few milliseconds and touches files; make one Settings and pass it on.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, field_serializer, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mailspool.contract.states import OnUncertain
from mailspool.errors import ConfigError
from mailspool.settings import checks
from mailspool.settings.durations import Schedule, parse_schedule
from mailspool.settings.fields import (
    Count,
    CountOrZero,
    Duration,
    PositiveDuration,
    Size,
    lower_text,
    no_bool,
    sentence,
)
from mailspool.settings.hosts import ehlo_argument, own_name
from mailspool.settings.relays import MAIN, NO_RELAY, Limits, Relay, RelayFault, RelayTable, make_relay, relay_name
from mailspool.settings.settle import settle_passwords, settle_relays
from mailspool.settings.sources import RELAYS, Given, gather
from mailspool.settings.tomlfile import KeyPath, find_toml
from mailspool.settings.urls import check_redis_url, masked_url
from mailspool.settings.words import finish, sentences

_lower = BeforeValidator(lower_text)
_number = BeforeValidator(no_bool)


def default_data_dir() -> Path:
    """`$STATE_DIRECTORY` (systemd), else the user's data folder."""
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "mailspool"
        home = os.environ.get("XDG_DATA_HOME", "")
        return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share") / "mailspool"
    except RuntimeError:
        raise ConfigError("this user has no home folder: set MAILSPOOL_DATA_DIR or MAILSPOOL_REDIS_URL.") from None


class Settings(BaseSettings):
    """All settings of one process. Each field's description is the reason for its default."""

    model_config = SettingsConfigDict(
        env_prefix="MAILSPOOL_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_url: str | None = Field(None, description="none = the embedded server; an explicit URL beats a guess")
    redis_password: SecretStr | None = Field(None, description="keeps it out of the URL and out of ps")
    data_dir: Annotated[Path, BeforeValidator(checks.folder)] = Field(
        default_factory=default_data_dir, description="systemd's $STATE_DIRECTORY, else the user's data folder"
    )
    embedded_server: Annotated[str, BeforeValidator(checks.embedded_server)] = Field(
        "auto", description="another valkey-server or redis-server than the one that comes along is a choice, no guess"
    )
    key_prefix: Annotated[str, BeforeValidator(checks.key_prefix)] = Field(
        "ms", description="lets two spools live in one Redis"
    )
    durability: Annotated[Literal["auto", "fsync", "everysec", "none"], _lower] = Field(
        "auto", description="fsync on the embedded server, at least everysec on yours; none = this Redis may forget"
    )
    blob_store: Annotated[str, BeforeValidator(checks.blob_store)] = Field(
        "auto", description="not used yet: attachments lie in Redis, each content once"
    )
    redis_reserve: Annotated[float, _number, Field(ge=0, lt=1)] = Field(
        0.1, description="share of maxmemory kept free: workers must write when producers may not"
    )
    relay_url: str | None = Field(None, description="the one-relay case; where set it is the only relay")
    relay_password: SecretStr | None = Field(None, description="keeps it out of the URL")
    relays: dict[str, RelayTable] = Field(default_factory=dict, description="several relays, [relays.NAME]")
    default_from: Annotated[str, BeforeValidator(checks.mailbox)] | None = Field(None, description="short commands")
    ehlo_name: Annotated[str, BeforeValidator(checks.text(ehlo_argument))] | None = Field(
        None, description="this machine's full name, else its address in brackets: receivers check it"
    )
    retry_schedule: Annotated[str, BeforeValidator(checks.text(sentence(parse_schedule)))] = Field(
        "5m 15m 30m 1h 2h 4h 6h*", description="what the field agrees on; the first 5 minutes pass greylisting"
    )
    retry_jitter: Annotated[float, _number, Field(ge=0, le=1)] = Field(0.2, description="so that no herd comes back")
    expire_bulk: PositiveDuration = Field(timedelta(days=5), description="RFC 5321 4.5.4.1")
    expire_transactional: PositiveDuration = Field(timedelta(days=1), description="yesterday's reset link is noise")
    on_uncertain: Annotated[OnUncertain, _lower] = Field(
        "resend",
        description="what every MTA does when the last reply was lost (here at most twice); hold never repeats",
    )
    suppress_bounces: bool = Field(
        True, description="no mail to addresses known as dead: Gmail and Yahoo count repeats"
    )
    keep_done: Duration = Field(timedelta(days=7), description="records after a batch is done")
    keep_failed: Duration = Field(timedelta(days=30), description="records of what did not arrive")
    max_message_bytes: Size = Field(25 << 20, description="25 MiB, Gmail's limit")
    processes: Annotated[Count | Literal["auto"], BeforeValidator(checks.processes)] = Field(
        1, description="not used yet: start more workers instead, one process each"
    )
    max_chunks: Count = Field(20, description="chunks in work in one process; never fewer than 4 a relay")
    stop_timeout: Duration = Field(timedelta(seconds=25), description="below Kubernetes' 30 s and systemd's 90 s")
    max_sessions: Count = Field(
        20, description="to one relay from one process; Postfix allows a client 50; learned down"
    )
    unrecorded_per_session: Annotated[int, _number, Field(ge=1, le=2)] = Field(
        1, description="2 is faster where a receiver caps sessions, and doubles the repeats after a crash"
    )
    session_messages: Count = Field(100, description="mails on one connection: load balancers like it to end")
    session_age: PositiveDuration = Field(timedelta(minutes=5), description="the same, in time")
    session_idle: PositiveDuration = Field(
        timedelta(seconds=15), description="an idle connection holds a receiver's slot"
    )
    connect_timeout: PositiveDuration = Field(timedelta(seconds=15), description="short, as Postfix is tuned for bulk")
    keep_conversations: CountOrZero = Field(
        1000, description="messages of a batch whose failed attempts are kept word for word: bounds memory"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _lower] = Field(
        "info", description="one line for each outcome"
    )
    log_format: Annotated[Literal["auto", "console", "json"], _lower] = Field(
        "auto", description="json when stderr is no terminal"
    )

    _given: dict[KeyPath, Given] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(())
    _config_file: Path | None = PrivateAttr(None)
    _unread: tuple[str, ...] = PrivateAttr(())

    def __init__(self, **overrides: object) -> None:
        # `config` is no parameter of its own, so that **overrides of type object fit.
        config = overrides.pop("config", None)
        if not isinstance(config, str | Path | None):
            raise ConfigError("config is the path of a settings file.")
        toml, warnings = find_toml(None if config is None else Path(config), os.environ)
        found = gather(type(self), overrides, toml, os.environ)
        settle_passwords(found)
        settle_relays(found)
        _raise(found.problems)
        try:
            super().__init__(**_nested(found.given))
        except ValidationError as error:
            raise ConfigError("\n".join(sentences(error, found.given))) from None
        self._given = found.given
        self._config_file = toml.path if toml else None
        self._warnings = (*warnings, *found.warnings)
        self._unread = tuple(found.unread.values())
        self._relays()

    @classmethod
    def load(cls, config: Path | str | None = None, **overrides: object) -> Self:
        """`Settings(config=..., **overrides)`; `config` is the settings file to read instead of the usual ones."""
        return cls(config=config, **overrides)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `gather` found: it reads all sources itself, because each value needs its origin."""
        return (init_settings,)

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: str | None) -> str | None:
        return None if url is None else check_redis_url(url)

    @field_validator(RELAYS)
    @classmethod
    def _relay_names(cls, relays: dict[str, RelayTable]) -> dict[str, RelayTable]:
        for name in relays:
            relay_name(name)
        return relays

    @field_serializer("redis_url", "relay_url")
    def _url_masked(self, url: str | None) -> str | None:
        return None if url is None else masked_url(url)

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        # Only what was set: 34 defaults would hide it.
        shown = [(name, getattr(self, name)) for name in type(self).model_fields if name in self.model_fields_set]
        return [(name, masked_url(value) if name.endswith("_url") and value else value) for name, value in shown]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know although it is no error, one sentence each."""
        return self._warnings

    @property
    def config_file(self) -> Path | None:
        """The settings file that was read."""
        return self._config_file

    @property
    def origins(self) -> dict[str, str]:
        """Where each value that is no default came from: `relays.main.url` -> `mailspool.toml line 7`."""
        return {".".join(key): given.where or "argument" for key, given in self._given.items()}

    def schedule_steps_s(self) -> Schedule:
        """The retry schedule as (steps in seconds, does the last one repeat)."""
        return parse_schedule(self.retry_schedule)

    def ehlo(self) -> str:
        """What to say at EHLO: the setting, else this machine's name. Asks the resolver at the first call."""
        return self.ehlo_name or own_name()

    def relay_table(self) -> dict[str, Relay]:
        """The relays by name, ready to be used; {} where none is set. ConfigError where a password is missing."""
        _raise(list(self._unread))
        relays = self._relays()
        for relay in relays.values():
            if relay.user is not None and relay.password is None:
                key = "relay_password" if self.relay_url is not None else f"relays.{relay.name}.password"
                raise ConfigError(
                    f'relay {relay.name} logs in as "{relay.user}", but there is no password: set {key} or {key}_file.'
                )
        return relays

    def relay_names(self) -> list[str]:
        """Also where a password is missing: a producer needs none."""
        return [MAIN] if self.relay_url is not None else list(self.relays)

    def no_relay_words(self) -> str:
        """The sentence for whoever needs a relay and has none (exit code 78)."""
        return NO_RELAY

    def _relays(self) -> dict[str, Relay]:
        """Built anew at each call, so that a copy with other values has other relays."""
        limits = Limits(max_sessions=self.max_sessions, session_messages=self.session_messages)
        if self.relay_url is not None:
            tables = {MAIN: RelayTable(url=self.relay_url, password=self.relay_password)}
        else:
            tables = self.relays
        relays: dict[str, Relay] = {}
        problems: list[str] = []
        for name, table in tables.items():
            try:
                relays[name] = make_relay(name, table, limits)
            except RelayFault as fault:
                key: KeyPath = (RELAYS, name, fault.key)
                if self.relay_url is not None:
                    key = ("relay_password",) if fault.key == "password" else ("relay_url",)
                problems.append(_fault(key, str(fault), self._given))
        _raise(problems)
        return relays


def _fault(key: KeyPath, words: str, given: dict[KeyPath, Given]) -> str:
    source = given.get(key) or next((value for found, value in given.items() if found[:2] == key[:2]), None)
    return finish(f"{source.prefix if source else ''}{'.'.join(key if key in given else key[:2])}: {words}")


def _nested(given: dict[KeyPath, Given]) -> dict[str, Any]:
    """What pydantic validates (Any, because its own door is typed so)."""
    values: dict[str, Any] = {}
    relays: dict[str, dict[str, object]] = {}
    for key, source in given.items():
        if len(key) == 1:
            values[key[0]] = source.value
        else:
            relays.setdefault(key[1], {})[key[2]] = source.value
    return {**values, RELAYS: relays} if relays else values


def _raise(problems: list[str]) -> None:
    if problems:
        raise ConfigError("\n".join(finish(problem) for problem in problems))
