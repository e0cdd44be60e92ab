"""Checks of single settings that no other file owns. Called by pydantic for model.py; ValueError says what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)


def text(check: Callable[[str], str]) -> Callable[[object], str]:
    """`check` for a value that must be text."""

    def checked(value: object) -> str:
        return check(_text(value))

    return checked


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write text in quotes")
    return value.strip()


def folder(value: object) -> Path:
    """A folder, absolute from here on: a worker must not change its spool by changing its directory."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("write the path of a folder")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("~ cannot be resolved: write the full path") from None


def embedded_server(value: object) -> str:
    """auto, off, or the path of a server program."""
    word = str(value) if isinstance(value, Path) else _text(value)
    if word.lower() in ("auto", "off"):
        return word.lower()
    if not word.startswith(("/", "~")):
        raise ValueError("write auto, off, or the full path of a valkey-server or redis-server")
    return str(folder(word))


def blob_store(value: object) -> str:
    """auto, redis, or dir:/path."""
    word = _text(value)
    if word.lower() in ("auto", "redis"):
        return word.lower()
    if not word.startswith("dir:/"):
        raise ValueError("write auto, redis, or dir:/full/path")
    return word


def key_prefix(value: object) -> str:
    """What every key in Redis starts with."""
    word = _text(value)
    if _PREFIX.fullmatch(word) is None:
        raise ValueError("write up to 32 letters, digits, dots, - and _, starting with a letter or digit")
    return word


def processes(value: object) -> object:
    """auto, or a count."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word == "auto":
            return word
        value = int(word) if re.fullmatch(r"[0-9]{1,6}", word, re.ASCII) else 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("write auto, or a whole number from 1 on")
    return value


def mailbox(value: object) -> str:
    """`Acme <billing@acme.example>` or the bare address, roughly; the message checks it fully when it is used."""
    word = _text(value)
    address = word[word.rfind("<") + 1 : -1] if word.endswith(">") and "<" in word else word
    local, sign, domain = address.rpartition("@")
    if not (sign and local and domain) or not word.isprintable() or re.search(r"[\s<>,;]", address):
        raise ValueError("write one address, such as billing@acme.example or Acme <billing@acme.example>")
    return word
