"""The doors that hostile input comes in by, one function each: bytes in, nothing raised but what is documented.

A door returns what went through it as lines that would go on the wire or into a header, for the caller to look at; an
input that it refuses in a documented way gives none. Used by test_fuzzed_doors.py.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from mailspool import InputError, Message
from mailspool.content.address import AddressError, Mailbox, clean_cell, identity, normalise, parse_mailboxes
from mailspool.content.mime import Compiled
from mailspool.content.render import RenderError
from mailspool.contract.codec import DecodeError, decode_outcome, decode_rows, decode_spec, encode_row, encode_spec
from mailspool.contract.keys import Keys
from mailspool.contract.records import Row
from mailspool.lists import ListOptions, ListRow, open_rows
from mailspool.message import to_spec
from mailspool.wake import deserialize
from mailspool_worker.classify import Stage, classify
from mailspool_worker.smtp.replies import ReplyError, ReplyParser, mask_addresses

Door = Callable[[bytes, Path], Awaitable[list[bytes]]]

BATCH, DATE_MS = "b7k2m9q4x", 1_795_000_000_000
ROW = Row("ali@x.test", {"name": "Ali", "code": "C1"})
OWN_HEADERS = frozenset(
    b"date from to subject message-id mime-version content-type content-transfer-encoding reply-to x-mine"
    b" x-mailspool feedback-id list-unsubscribe list-unsubscribe-post precedence auto-submitted".split()
)
_STAGES = (Stage.BANNER, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


async def addresses(data: bytes, _: Path) -> list[bytes]:
    text, found = text_of(data), []
    for parse in (_one_mailbox, parse_mailboxes):
        try:
            for mailbox in parse(text):
                found.append(b"RCPT TO:<%b>" % mailbox.address.encode())
                assert normalise(mailbox.address) == normalise(normalise(mailbox.address))
                assert identity(mailbox.address) == identity(identity(mailbox.address))
        except AddressError:
            continue
    return found


def _one_mailbox(text: str) -> tuple[Mailbox, ...]:
    return (clean_cell(text),)


async def headers(data: bytes, _: Path) -> list[bytes]:
    parts = [text_of(part) for part in data.split(b"|", 3)] + [""] * 3
    given = {"from_": "News <news@sender.test>", "to": "ali@x.test", "text": "x"}
    found = []
    for changes in (
        {"subject": parts[0]},
        {"headers": {"X-Mine": parts[1]}},
        {"headers": {parts[2]: "1"}},
        {"reply_to": parts[0]},
        {"from_": parts[1]},
    ):
        try:
            found += _header_lines(Message(**{**given, **changes}))  # type: ignore[arg-type]  # a table's fields
        except (InputError, RenderError):
            continue
    return found


def _header_lines(message: Message, row: Row = ROW) -> list[bytes]:
    spec, blobs = to_spec(message, kind="template")
    return _head(Compiled(spec, blobs, batch=BATCH, date_ms=DATE_MS), row)


def _head(compiled: Compiled, row: Row) -> list[bytes]:
    rendered = compiled.render(row, 1)
    head, blank, _ = b"".join(rendered.pieces).partition(b"\r\n\r\n")
    assert blank, "a mail without an end of its header"
    return [*head.split(b"\r\n"), b"MAIL FROM:<%b>" % rendered.mail_from.encode()]


async def templates(data: bytes, _: Path) -> list[bytes]:
    source = text_of(data)
    try:
        message = Message(from_="News <news@sender.test>", to="ali@x.test", subject=source, text=source, html=source)
        return _header_lines(message)
    except (InputError, RenderError):
        return []


async def csv(data: bytes, folder: Path) -> list[bytes]:
    return await _list(data, folder / "list.csv", "csv")


async def jsonl(data: bytes, folder: Path) -> list[bytes]:
    return await _list(data, folder / "list.jsonl", "jsonl")


async def _list(data: bytes, path: Path, kind: str) -> list[bytes]:
    path.write_bytes(data)  # noqa: ASYNC240 - a few bytes
    message = Message(from_="News <news@sender.test>", subject="Hello {{ name }}", text="{{ name }}")
    spec, blobs = to_spec(message, kind="template")
    compiled, found = Compiled(spec, blobs, batch=BATCH, date_ms=DATE_MS), []
    try:
        async with open_rows(path, ListOptions()) as source:
            async for batch in source.batches():
                for row in batch:
                    if isinstance(row, ListRow):
                        found.append(b"RCPT TO:<%b>" % row.recipient.encode())
                        values = {"name": row.values.get("name", "")}
                        found += _head(compiled, Row(row.recipient, values))
    except (InputError, RenderError):
        return found
    return found


async def replies(data: bytes, _: Path) -> list[bytes]:
    parser, found = ReplyParser(), []
    try:
        for start in range(0, len(data), 7):
            for reply in parser.feed(data[start : start + 7]):
                for stage in _STAGES:
                    classify(stage, reply)
                for text in (reply.text, mask_addresses(reply.text)):
                    assert text.isprintable(), "a reply that a terminal would obey"
                    found.append(text.encode())
    except ReplyError:
        return found
    return found


async def records(data: bytes, _: Path) -> list[bytes]:
    for decode in (decode_rows, decode_spec, decode_outcome):
        try:
            decode(data)
        except DecodeError:
            continue
    try:
        rows = decode_rows(data)
        found = []
        for row in rows[:3]:
            spec, blobs = to_spec(Message(from_="a@b.test", subject="{{ name }}", text="{{ name }}"), kind="template")
            found += _head(Compiled(spec, blobs, batch=BATCH, date_ms=DATE_MS), row)
    except (DecodeError, InputError, RenderError):
        return []
    return found


async def jobs(data: bytes, _: Path) -> list[bytes]:
    try:
        job = deserialize(data)
    except (ValueError, msgspec.MsgspecError):
        return []
    for value in job.values():
        try:
            Keys("ms").parse_job_id(str(value))
        except ValueError:
            continue
    return []


DOORS: dict[str, Door] = {
    "addresses": addresses,
    "headers": headers,
    "csv": csv,
    "jsonl": jsonl,
    "templates": templates,
    "replies": replies,
    "records": records,
    "jobs": jobs,
}


class Bomb:
    """Runs `os.mkdir(mark)` where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


def seeds(door: str, mark: Path) -> list[bytes]:
    """Good inputs of a door, and known attacks on it; the generator cuts, joins and spoils them."""
    message = Message(from_="a@b.test", subject="{{ name }}", text="x")
    spec = encode_spec(to_spec(message, kind="template")[0])
    rows = b"\x92" + encode_row(ROW) + encode_row(Row("b@x.test", {"name": "\r\nBcc: evil@x.test"}))
    job = msgspec.msgpack.encode({"t": 1, "f": "deliver", "a": ["b1", 0, 1], "k": {}, "et": 1})
    bomb = pickle.dumps(Bomb(mark))
    by_door = {
        "csv": [
            b"email,name\r\nali@x.test,Ali\r\n",
            b'email;name\n"a@b.test";"x\ny"\n',
            b"/etc/passwd,=cmd|' /C'!A0\n",
        ],
        "jsonl": [b'{"email": "ali@x.test", "name": "Ali"}\n', b'{"email": "a@b.test", "name": {"a": [1e999]}}\n'],
        "templates": [
            b"{{ name }}",
            b"{% for x in range(9) %}{{ x }}{% endfor %}",
            b"{{ ''.__class__.__mro__[1].__subclasses__() }}",
            b"{% include '/etc/passwd' %}",
            b"{{ cycler.__init__.__globals__.os.mkdir('" + str(mark).encode() + b"') }}",
            b"{{ 'x' * 10000000000 }}",
        ],
        "replies": [
            b"250-a\r\n250 2.0.0 ok\r\n",
            b"550 5.1.1 \x1b[2J<a@b.test>\r\n",
            b"250" + b"x" * 9000,
            b"250-\n" * 50,
        ],
        "records": [spec, rows, b"s17000002312230010", b"d1700000231223" + b"0010" + b"\x93", bomb],
        "jobs": [job, bomb, b"\x81\xa1t\x01", b"ms:b1:0:1"],
    }
    mailboxes = [
        b"ali@x.test",
        b'"A, B" <a@b.test>',
        "علی <a@مثال.test>".encode(),
        b"a@b.test\r\nRCPT TO:<evil@x.test>",
    ]
    return [*by_door.get(door, []), *mailboxes, *(HOSTILE if door not in ("records", "jobs") else [])]


HOSTILE = [
    b"\r\nBcc: evil@x.test\r\n",
    b"\nX-Injected: 1",
    b"\r",
    b"\0",
    b"\r\n.\r\nMAIL FROM:<evil@x.test>\r\n",
    b"=?utf-8?q?=0d=0aBcc:_evil@x.test?=",
    "\u2028\u0085\u202e\ufeff".encode(),
    b"\xff\xfe",
    b'<>@@.."\\',
    b"a" * 1_000,
]
