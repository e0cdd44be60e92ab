"""Where settings come from, in order: argument, environment, credential file, TOML file. The first that gives one wins.

Called by model.py. The result is a table from key (`("relay_url",)`, `("relays", "main", "url")`) to what was given and
where, so that every later sentence can name file and line, and `mailspool settings` can say where a value came from.
Relative paths are taken from the folder of the settings file, elsewhere from the current one.
Raises nothing itself: what is wrong is collected, so that a person sees all of it at once.
Known limit: `relays` is not read from one JSON variable; each key has its own, MAILSPOOL_RELAYS__NAME__URL. (A library
that decodes such texts as JSON turns the password 1e5 into a number.)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource

from mailspool.settings.relays import RelayTable
from mailspool.settings.suggest import did_you_mean, nearest
from mailspool.settings.tomlfile import CONFIG_VARIABLE, KeyPath, TomlFile
from mailspool.settings.urls import url_password

PREFIX: Final = "MAILSPOOL_"
RELAYS: Final = "relays"
RELAYS_PREFIX: Final = "MAILSPOOL_RELAYS__"
RUN_SECRETS: Final = Path("/run/secrets")
"""Where Docker, Podman and Compose put secrets."""
SECRETS: Final = frozenset({"redis_url", "redis_password", "relay_url", "relay_password"})
RELAY_KEYS: Final = (*RelayTable.model_fields, "password_file")
_SECRET_LIMIT: Final = 65_536
"""A password file is a line; a larger file is the wrong one."""


class Layer(IntEnum):
    """Smaller wins."""

    ARGUMENT = 0
    ENVIRONMENT = 1
    CREDENTIAL = 2
    TOML = 3


@dataclass(frozen=True, slots=True)
class Given:
    """One value and where it stands. `file` is set instead of `value` where the value is kept in a file."""

    value: object = field(repr=False)
    layer: Layer
    where: str
    file: Path | None = None

    @property
    def prefix(self) -> str:
        """What an error sentence about this value starts with."""
        return f"{self.where}: " if self.where else ""


@dataclass(slots=True)
class Gathered:
    """The winners, and what is to be said about the rest. `unread` are relay secrets that this process may not read:
    an error for whoever sends, none for whoever only queues."""

    given: dict[KeyPath, Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unread: dict[KeyPath, str] = field(default_factory=dict)


def gather(
    model: type[BaseSettings], overrides: Mapping[str, object], toml: TomlFile | None, environ: Mapping[str, str]
) -> Gathered:
    """Everything that was given, each key from the first source that has it."""
    names = tuple(model.model_fields)
    found = Gathered()
    layers = [
        _Flat(names, found.problems, Layer.ARGUMENT, lambda _: "").all(overrides, Path.cwd),
        _Flat(names, found.problems, Layer.ENVIRONMENT, _variable).all(_environment(model, environ, found), Path.cwd),
        _credentials(names, environ),
    ]
    if toml is not None:
        folder = toml.path.parent
        flat = _Flat(names, found.problems, Layer.TOML, toml.where).all(toml.values, lambda: folder)
        found.problems += _inline_passwords(flat, toml)
        # A file named in TOML is a credential file too, and comes before the folders that are searched unasked.
        named = {key: replace(given, layer=Layer.CREDENTIAL) for key, given in flat.items() if given.file is not None}
        layers = [*layers[:2], named, layers[2], flat]
    if RELAYS in overrides:
        # A keyword argument is a whole value: relays of the machine's own file must not stay beside a test's.
        layers[1:] = [{key: given for key, given in layer.items() if key[0] != RELAYS} for layer in layers[1:]]
    for layer in layers:
        for key, given in layer.items():
            found.given.setdefault(key, given)
    _read_files(found)
    return found


@dataclass(slots=True)
class _Flat:
    """One source's nested values as flat keys; unknown names become problems with the nearest known one."""

    names: tuple[str, ...]
    problems: list[str]
    layer: Layer
    where: Callable[[KeyPath], str]
    found: dict[KeyPath, Given] = field(default_factory=dict)

    def all(self, values: Mapping[str, object], folder: Callable[[], Path]) -> dict[KeyPath, Given]:
        for name, value in values.items():
            base = name.removesuffix("_file")
            if name == RELAYS:
                self._relays(value, folder)
            elif name == "data_dir" and isinstance(value, str) and value and not value.startswith("~"):
                self._put((name,), (name,), folder() / value)
            elif name in self.names:
                self._put((name,), (name,), value)
            elif base in self.names and base != RELAYS:
                self._put_file((name,), (base,), value, folder)
            else:
                self._unknown((name,), f'unknown setting "{name}".{did_you_mean(name, self.names)}')
        return self.found

    def _relays(self, value: object, folder: Callable[[], Path]) -> None:
        if not isinstance(value, Mapping):
            self._unknown((RELAYS,), 'relays is a table of relays: [relays.main], below it url = "smtp://..."')
            return
        for relay, table in value.items():
            if isinstance(table, RelayTable):
                table = {key: getattr(table, key) for key in table.model_fields_set}
            if not isinstance(table, Mapping):
                words = (
                    f'write [relays.main], below it {relay} = "..."' if relay in RELAY_KEYS else "it must be a table"
                )
                self._unknown((RELAYS, relay), f"relays.{relay}: {words}")
                continue
            if not table:
                self._unknown((RELAYS, relay), f'[relays.{relay}] is empty: give it url = "smtp://..."')
            for key, part in table.items():
                self._relay_key(str(relay), str(key), part, folder)

    def _relay_key(self, relay: str, key: str, value: object, folder: Callable[[], Path]) -> None:
        typed = (RELAYS, relay, key)
        if key == "password_file":
            self._put_file(typed, (RELAYS, relay, "password"), value, folder)
        elif key in RELAY_KEYS:
            self._put(typed, typed, value)
        elif key in self.names:
            words = f'"{key}" is a setting of its own, not one of [relays.{relay}]: put it above the first [table].'
            self._unknown(typed, words)
        else:
            self._unknown(typed, f'unknown name "{key}" in [relays.{relay}].{did_you_mean(key, RELAY_KEYS)}')

    def _put(self, typed: KeyPath, key: KeyPath, value: object) -> None:
        self._once(typed, key, Given(value, self.layer, self.where(typed)))

    def _put_file(self, typed: KeyPath, key: KeyPath, value: object, folder: Callable[[], Path]) -> None:
        if value is None:
            return
        if not isinstance(value, str | Path) or not str(value):
            self._unknown(typed, f"{'.'.join(typed)} must be the path of a file")
            return
        try:
            path = folder() / Path(value).expanduser()
        except RuntimeError:
            self._unknown(typed, f"{'.'.join(typed)}: ~ cannot be resolved, write the full path")
            return
        self._once(typed, key, Given(None, self.layer, self.where(typed), path))

    def _once(self, typed: KeyPath, key: KeyPath, given: Given) -> None:
        if key in self.found:
            dotted = ".".join(key)
            self._unknown(typed, f"{dotted} and {dotted}_file are both set: keep one.")
        self.found.setdefault(key, given)

    def _unknown(self, typed: KeyPath, words: str) -> None:
        where = self.where(typed)
        self.problems.append(f"{where}: {words}" if where else words)


def _variable(key: KeyPath) -> str:
    return PREFIX + "__".join(key).upper()


def _environment(model: type[BaseSettings], environ: Mapping[str, str], found: Gathered) -> dict[str, object]:
    """The known MAILSPOOL_* variables as names and values; empty ones count as not set."""
    source = EnvSettingsSource(model)
    values: dict[str, object] = {}
    for name, info in model.model_fields.items():
        if name == RELAYS:
            continue
        value, _, _ = source.get_field_value(info, name)
        if value is not None:
            values[name] = value
        path = environ.get(f"{PREFIX}{name}_file".upper())
        if path:
            values[f"{name}_file"] = path
    relays: dict[str, dict[str, str]] = {}
    for variable, value in environ.items():
        if not variable.upper().startswith(RELAYS_PREFIX) or not value:
            continue
        relay, sign, key = variable[len(RELAYS_PREFIX) :].lower().partition("__")
        if sign and relay and key:
            relays.setdefault(relay, {})[key] = value
        else:
            found.problems.append(f"{variable}: write {RELAYS_PREFIX}NAME__URL.")
    if relays:
        values[RELAYS] = relays
    return values


def _credentials(names: Iterable[str], environ: Mapping[str, str]) -> dict[KeyPath, Given]:
    """Files in the folders where systemd and container engines put secrets."""
    found: dict[KeyPath, Given] = {}
    folders = [(RUN_SECRETS, "mailspool_")]
    if environ.get("CREDENTIALS_DIRECTORY"):
        folders.insert(0, (Path(environ["CREDENTIALS_DIRECTORY"]), "mailspool."))
    for folder, prefix in folders:
        for name in names:
            path = folder / f"{prefix}{name}"
            if name != RELAYS and os.path.isfile(path):
                found.setdefault((name,), Given(None, Layer.CREDENTIAL, str(path), path))
    return found


def _inline_passwords(flat: Mapping[KeyPath, Given], toml: TomlFile) -> list[str]:
    """A password in a file that others can read is no secret any more."""
    if not toml.others_can_read:
        return []
    return [
        f"{given.where}: {'.'.join(key)} holds a password, and others can read this file: chmod 600 {toml.shown}, "
        f"or move the password to a file of its own and name it in {_file_key(key)}."
        for key, given in flat.items()
        if isinstance(given.value, str)
        and (key[-1].endswith("password") or (key[-1].endswith("url") and url_password(given.value)))
    ]


def _file_key(key: KeyPath) -> str:
    return ".".join((*key[:-1], key[-1].replace("url", "password"))) + "_file"


def _read_files(found: Gathered) -> None:
    for key, given in list(found.given.items()):
        if given.file is None:
            continue
        try:
            text, mode = read_secret(given.file)
        except ValueError as error:
            sentence = f"{given.prefix}{'.'.join(key)}_file: {given.file} {error}."
            del found.given[key]
            if key[0] in (RELAYS, "relay_url", "relay_password"):
                found.unread[key] = sentence
            else:
                found.problems.append(sentence)
            continue
        secret = key[0] in SECRETS or key[0] == RELAYS
        # /run/secrets is left out: engines make those files 0444, and the container is the wall around them.
        if secret and mode & stat.S_IROTH and os.name == "posix" and given.file.parent != RUN_SECRETS:
            found.warnings.append(f"every user of this machine can read {given.file}: chmod 600 {given.file}")
        value: object = SecretStr(text) if key[-1].endswith("password") else text
        where = given.where if given.where in ("", str(given.file)) else f"{given.where} ({given.file})"
        found.given[key] = replace(given, value=value, where=where)


def read_secret(path: Path) -> tuple[str, int]:
    """The text of a secret file without its one trailing newline, and the file's mode; ValueError with words."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(_SECRET_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {(error.strerror or 'error').lower()}") from None
    if len(raw) > _SECRET_LIMIT:
        raise ValueError("is larger than 64 KiB, so it cannot be the right file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    if not text:
        raise ValueError("is empty")
    return text, mode


def unknown_variables(environ: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """A sentence for each MAILSPOOL_* variable that sets nothing: pydantic-settings passes over them in silence."""
    known = {CONFIG_VARIABLE}
    for name in names:
        if name != RELAYS:
            known |= {f"{PREFIX}{name.upper()}", f"{PREFIX}{name.upper()}_FILE"}
    sentences: list[str] = []
    for variable in sorted(environ):
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper in known or _of_kubernetes(upper):
            continue
        if upper.startswith(RELAYS_PREFIX) and upper.rpartition("__")[2].lower() in RELAY_KEYS:
            continue
        if upper == PREFIX + "RELAYS":
            sentences.append(f"{variable} is no setting: write {RELAYS_PREFIX}NAME__URL.")
            continue
        near = nearest(upper.removeprefix(PREFIX), [name.removeprefix(PREFIX).lower() for name in known])
        suggestion = f" Did you mean {PREFIX}{near.upper()}?" if near else ""
        sentences.append(f"{variable} is no setting.{suggestion}")
    return sentences


def _of_kubernetes(variable: str) -> bool:
    """A Service called mailspool, or mailspool-redis, gives every pod such variables; no setting ends like that."""
    return variable.endswith(("_PORT", "_SERVICE_HOST", "_SERVICE_PORT")) or "_PORT_" in variable
