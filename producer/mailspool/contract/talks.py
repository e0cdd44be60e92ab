"""The conversation of a failed attempt, as it is stored: what we wrote, what came back, and when. Bytes and back.

Written by the worker (`ms:talk:<b>`, field = message number; `talk` of `ms:route:<name>`), read by `show` and `why`.
A stored value is a msgpack list of packed attempts, the newest last; `lua/talk.lua` appends to it. It is for people
alone: nothing is decided by it, and it may be missing. No body and nothing of a login is ever in it.
Raises DecodeError for bytes that are none of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from mailspool.contract.codec import DecodeError

ATTEMPTS_KEPT: Final = 10
"""A day of the default schedule; talk.lua counts on fewer than 16."""
ATTEMPT_BYTES: Final = 4_096
"""A whole pipelined exchange with five long replies; many ordinary ones have 500."""

Direction = Literal[">", "<", "-"]
"""What we wrote, what came back, what happened otherwise."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One line, so many ms after the first one."""

    at_ms: int
    dir: Direction
    text: str


class Talk(msgspec.Struct, frozen=True, array_like=True):
    """One attempt: `at_ms` is when it ended by Redis' clock, `state` the letter of what it came to ("": an opening),
    `reply` the one that decided."""

    at_ms: int
    relay: str
    state: str
    lines: tuple[Line, ...]
    reply: str = ""


_pack = msgspec.msgpack.Encoder().encode
_parts = msgspec.msgpack.Decoder(list[bytes]).decode
_unpack = msgspec.msgpack.Decoder(Talk).decode
_text = msgspec.json.Encoder().encode
_from_text = msgspec.json.Decoder(Talk).decode


def encode_talk(talk: Talk) -> bytes:
    """At most ATTEMPT_BYTES: of a longer one the middle is left out, for it is its beginning and its end that tell."""
    packed = _pack(talk)
    for kept in range(len(talk.lines) - 1, 1, -1):
        if len(packed) <= ATTEMPT_BYTES:
            break
        packed = _pack(msgspec.structs.replace(talk, lines=_thinned(talk.lines, kept)))
    return packed if len(packed) <= ATTEMPT_BYTES else _pack(msgspec.structs.replace(talk, lines=()))


def _thinned(lines: Sequence[Line], kept: int) -> tuple[Line, ...]:
    last = kept // 2
    head, tail = lines[: kept - last], lines[len(lines) - last :]
    return (*head, Line(tail[0].at_ms, "-", f"({len(lines) - kept} lines left out)"), *tail)


def decode_talks(value: bytes) -> tuple[Talk, ...]:
    """The attempts of one message, the oldest first."""
    try:
        return tuple(_unpack(part) for part in _parts(value))
    except msgspec.DecodeError as error:
        raise DecodeError("a conversation cannot be read") from error


def talk_text(talk: Talk) -> str:
    """For a hash whose fields are text."""
    return _text(msgspec.structs.replace(talk, lines=_unpack(encode_talk(talk)).lines)).decode()


def parse_talk(text: str) -> Talk:
    """What `talk_text` wrote."""
    try:
        return _from_text(text)
    except msgspec.DecodeError as error:
        raise DecodeError("a conversation cannot be read") from error
