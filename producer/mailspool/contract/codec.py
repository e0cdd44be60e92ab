"""Records to bytes and back, versioned. Only typed msgspec decoders: no pickle, nothing that can run code.

A row's values keep their type: Decimal, date and datetime travel as msgpack extensions. An outcome starts with fixed
columns that the Lua scripts read and rewrite (`lua/prelude.lua`): state letter, 13 digits of time, 3 digits of
attempts, 1 digit of doubts; the rest is a msgpack array that only Python reads.
Raises DecodeError (bytes that are none of ours) and TypeError (a value that cannot travel; names its type).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from mailspool.contract.records import Outcome, Row, Spec
from mailspool.contract.states import NAME_OF, VERSIONS_SERVED

_PLAIN = frozenset((str, int, float, bool, type(None)))
_DECIMAL, _DATE, _DATETIME = 1, 2, 3
_FIXED = 18  # letter 1, time 13, attempts 3, doubts 1


class DecodeError(ValueError):
    """Stored bytes that are not a record of a version we read."""


def _to_wire(value: object) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Decimal):
        return msgspec.msgpack.Ext(_DECIMAL, str(value).encode())
    if isinstance(value, datetime):
        return msgspec.msgpack.Ext(_DATETIME, value.isoformat().encode())
    if isinstance(value, date):
        return msgspec.msgpack.Ext(_DATE, value.isoformat().encode())
    if isinstance(value, Mapping):
        return {str(name): _to_wire(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_wire(item) for item in value]
    if isinstance(value, str):
        return str(value)  # a subclass (Markup, an enum member): its text
    raise TypeError(kind.__name__)


def _from_wire(code: int, data: memoryview) -> object:
    text = bytes(data).decode()
    try:
        if code == _DECIMAL:
            return Decimal(text)
        if code == _DATE:
            return date.fromisoformat(text)
        if code == _DATETIME:
            return datetime.fromisoformat(text)
    except (ValueError, InvalidOperation) as error:
        raise DecodeError(f"extension {code} holds no value of its type") from error
    raise DecodeError(f"unknown extension {code}")


_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(list[Row], ext_hook=_from_wire).decode
_decode_spec = msgspec.msgpack.Decoder(Spec).decode
_decode_rest = msgspec.msgpack.Decoder(tuple[str, str, str, int, int, int, int]).decode
_decode_short = msgspec.msgpack.Decoder(tuple[str, str, int]).decode


def wire_values(values: Mapping[str, object]) -> dict[str, object]:
    """The values as they are stored. Raises TypeError with the type's name for a value that cannot travel."""
    return {name: _to_wire(value) for name, value in values.items()}


def encode_row(row: Row) -> bytes:
    """One row; `row.values` must have passed `wire_values` unless they are plain (str, int, float, bool, None)."""
    return _encode(row)


def decode_rows(data: bytes) -> list[Row]:
    """A chunk's payload: a msgpack array of rows (the load script writes its head)."""
    try:
        return _decode_rows(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
        # TypeError: Redis has nothing there
        raise DecodeError(f"a chunk cannot be read: {type(error).__name__}") from error


def encode_spec(spec: Spec) -> bytes:
    return _encode(spec)


def decode_spec(data: bytes) -> Spec:
    try:
        spec = _decode_spec(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"a batch's spec cannot be read: {type(error).__name__}") from error
    if spec.v not in VERSIONS_SERVED:
        raise DecodeError(f"a batch's spec is of version {spec.v}, which this release does not read")
    return spec


def encode_outcome(o: Outcome) -> bytes:
    """About 60 bytes for a mail that was sent at once, so that Redis keeps a chunk's outcomes in one listpack."""
    head = b"%b%013d%03d%d" % (o.state.encode(), o.at_ms, min(o.attempts, 999), min(o.doubts, 9))
    if not o.reason and o.first_ms == o.at_ms and o.last_ms == o.at_ms:
        return head + _encode((o.relay, o.reply, o.size))
    return head + _encode((o.relay, o.reply, o.reason, o.first_ms, o.last_ms, o.size, o.strikes))


def decode_outcome(data: bytes) -> Outcome:
    try:
        state, at_ms = chr(data[0]), int(data[1:14])
        attempts, doubts, rest = int(data[14:17] or 0), int(data[17:18] or 0), data[_FIXED:]
        if state not in NAME_OF or len(data) < _FIXED - 4:
            raise ValueError("no state has this letter, or its time is cut off")
        if not rest:
            return Outcome(state, at_ms, attempts, doubts)
        if rest[0] == 0x93:
            relay, reply, size = _decode_short(rest)
            return Outcome(state, at_ms, attempts, doubts, relay, reply, "", at_ms, at_ms, size)
        return Outcome(state, at_ms, attempts, doubts, *_decode_rest(rest))
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise DecodeError(f"an outcome cannot be read: {type(error).__name__}") from error
