"""Everything that can be wrong with what a person gives: a sentence, the right exit code, and nothing queued.

One row a fault, over the Python API with a real server; the command line prints the same sentences.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from mailspool import (
    Attachment,
    ConfigError,
    InputError,
    KeyConflict,
    MailspoolError,
    Message,
    NotFound,
    Settings,
    Spool,
    SpoolFull,
    SpoolUnavailable,
    SpoolUnsafe,
)
from mailspool.redis_server import folder as folders
from mailspool_worker import Worker
from tests.support.embedded import plain_server

NEWS = Message(from_="Shop <shop@x.test>", subject="News for {{ name }}", text="Dear {{ name }}\n")
LETTER = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello", text="Salaam!\n")
SECRET = "hunter2"
GOOD = "email,name\nali@x.test,Ali\n"
Call = Callable[[Spool], Awaitable[object]]


class Fault(NamedTuple):
    """What is done, and what is said about it."""

    done: Call
    kind: type[MailspoolError]
    exit_code: int
    words: str


def listed(content: str | bytes, name: str = "customers.csv") -> Call:
    """The list at fault."""

    async def send(spool: Spool) -> object:
        path = spool.settings.data_dir.parent / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return await spool.send_batch(NEWS, path)

    return send


def sent(**changes: object) -> Call:
    """The letter at fault, or the terms of sending it."""
    terms = {name: changes.pop(name) for name in ("send_at", "expires_at", "expires_after", "relay") if name in changes}

    async def send(spool: Spool) -> object:
        return await spool.send(LETTER.replace(**changes), **terms)  # type: ignore[arg-type]  # as they come

    return send


def mailed(**changes: object) -> Call:
    """The template of a batch at fault."""

    async def send(spool: Spool) -> object:
        return await spool.send_batch(NEWS.replace(**changes), [{"email": "a@x.test", "name": "A"}])

    return send


def with_settings(**settings: object) -> Call:
    async def send(spool: Spool) -> object:
        async with Spool(**{"data_dir": spool.settings.data_dir, **settings}) as other:
            return await other.send(LETTER)

    return send


async def without_from(spool: Spool) -> object:
    async with Spool(data_dir=spool.settings.data_dir) as other:
        return await other.send(Message(to="ali@x.test", subject="S", text="T\n"))


async def without_relay(spool: Spool) -> object:
    async with Worker(spool):
        return None


async def other_content(spool: Spool) -> object:
    await spool.send(LETTER, key="monday", send_at=None)
    try:
        return await spool.send(LETTER.replace(subject="Other"), key="monday")
    finally:
        await (await spool.connection()).link.redis.flushall()


async def row_without_a_name(spool: Spool) -> object:
    return await spool.send_batch(NEWS, [{"email": "a@x.test", "name": "A"}, {"email": "b@x.test", "Name": "B"}])


async def too_big(spool: Spool) -> object:
    attachment = Attachment(b"x" * 3_000_000, name="big.bin")
    async with Spool(data_dir=spool.settings.data_dir, max_message_bytes="1MiB") as other:
        return await other.send_batch(NEWS.replace(attachments=[attachment]), [{"email": "a@x.test", "name": "A"}])


async def unknown_batch(spool: Spool) -> object:
    return await spool.batch("b7k3")


async def missing_list(spool: Spool) -> object:
    return await spool.send_batch(NEWS, Path("nobody.csv"))


async def a_folder(spool: Spool) -> object:
    return await spool.send_batch(NEWS, spool.settings.data_dir)


async def letters(spool: Spool) -> object:
    return await spool.send_batch(NEWS, "customers.csv")


SOON = datetime.now(UTC) + timedelta(hours=1)
FAULTS = {
    "missing list": Fault(missing_list, NotFound, 66, r'no file "nobody\.csv"'),
    "unreadable list": Fault(a_folder, InputError, 66, r"spool cannot be read: it is a folder; give a file"),
    "a str as rows": Fault(letters, InputError, 65, r"rows is a str: give Path\('customers\.csv'\) for a file"),
    "no address column": Fault(
        listed("name,amount\nAli,1\n"), InputError, 65, r"customers\.csv has no address column: line 1 has name, amount"
    ),
    "two address columns": Fault(
        listed("to,recipient,name\na@x.test,b@x.test,A\n"), InputError, 65, r"customers\.csv.*email.column"
    ),
    "not UTF-8": Fault(
        listed("email,name\nali@x.test,Jürgen\n".encode("cp1252")), InputError, 65, r"csv is not UTF-8 .line 2"
    ),
    "bad address": Fault(listed(GOOD + "sara@@x.test,Sara\n"), InputError, 65, r'line 3: "sara@@x\.test": two @ signs'),
    "too many cells": Fault(
        listed(GOOD + "sara@x.test,Sara,1,2\n"), InputError, 65, r"line 3: 4 cells, header has 2: an unquoted comma\?"
    ),
    "CR LF in a header value": Fault(
        sent(headers={"X-A": "1\r\nBcc: x@x.test"}), InputError, 65, r"header X-A .*line break"
    ),
    "NUL in a subject": Fault(sent(subject="a\0b"), InputError, 65, r"subject .*NUL"),
    "a header name with a break": Fault(sent(headers={"X\r\nBcc": "x@x.test"}), InputError, 65, r"no header name"),
    "template syntax": Fault(mailed(subject="{{ name }"), InputError, 65, r"subject: "),
    "a missing column": Fault(
        listed("email,Name2\nali@x.test,Ali\n"), InputError, 65, r"needs \{\{ name \}\}; customers\.csv has: email"
    ),
    "a row without a name": Fault(
        row_without_a_name, InputError, 65, r"row 2: template needs \{\{ name \}\}; .*Did you mean \{\{ Name \}\}\?"
    ),
    "missing attachment": Fault(
        lambda spool: sent(attachments=[Attachment("invoices/1017.pdf")])(spool),
        InputError,
        66,
        r"no file invoices/1017\.pdf",
    ),
    "too big": Fault(too_big, InputError, 65, r"row 1: its mail has [\d,]+ bytes; max_message_bytes is 1,048,576"),
    "no From": Fault(without_from, InputError, 65, r"No sender: give from_="),
    "nobody to send to": Fault(sent(to=()), InputError, 65, r"nobody gets this mail"),
    "no relay": Fault(without_relay, ConfigError, 78, r"No relay is set.*MAILSPOOL_RELAY_URL"),
    "relay URL": Fault(with_settings(relay_url=f"mail.x.test:{SECRET}"), ConfigError, 78, r"relay_url"),
    "port and scheme": Fault(
        with_settings(relay_url=f"smtp://me:{SECRET}@mail.x.test:465"), ConfigError, 78, r"smtps://"
    ),
    "provider": Fault(with_settings(relay_url=f"gmial://me:{SECRET}"), ConfigError, 78, r"[Dd]id you mean.*gmail"),
    "setting": Fault(with_settings(relay_uri="smtp://x"), ConfigError, 78, r"relay_uri.*Did you mean.*relay_url"),
    "relay is a URL": Fault(sent(relay=f"smtp://me:{SECRET}@x.test"), InputError, 65, r"relay is the name of a relay"),
    "naive send_at": Fault(sent(send_at=datetime(2026, 11, 24)), InputError, 65, r"send_at is a naive datetime: use"),  # noqa: DTZ001
    "past send_at": Fault(sent(send_at=SOON - timedelta(days=1)), InputError, 65, r"is in the past; leave it out"),
    "expiry before send_at": Fault(
        sent(send_at=SOON, expires_at=SOON), InputError, 65, r"expires_at is not after send_at"
    ),
    "both expiries": Fault(
        sent(expires_at=SOON, expires_after=timedelta(1)), InputError, 65, r"both given: which one counts\?"
    ),
    "same key, other content": Fault(other_content, KeyConflict, 65, r'"monday" belongs to batch .* another subject'),
    "unknown batch": Fault(unknown_batch, NotFound, 66, r'no batch "b7k3" in .*/spool'),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_a_sentence_and_queues_nothing(spool: Spool, name: str) -> None:
    fault = FAULTS[name]
    with pytest.raises(fault.kind) as caught:
        await fault.done(spool)
    error = caught.value
    assert re.search(fault.words, str(error), re.DOTALL), str(error)
    assert error.exit_code == fault.exit_code
    assert SECRET not in f"{error} {error.hint}"
    assert [batch async for batch in spool.batches()] == []
    connection = await spool.connection()
    assert await connection.command("ZCARD", connection.keys.ids) == 0


async def test_every_bad_row_is_told_at_once(spool: Spool, home: Path) -> None:
    path = home / "customers.csv"
    path.write_text("email,name\n" + "".join(f"u{n}@@x.test,U\n" for n in range(30)) + "a@x.test,A\n", "utf-8")
    with pytest.raises(InputError) as caught:
        await spool.send_batch(NEWS, path)
    assert str(caught.value).startswith("customers.csv: 30 of 31 rows are bad; nothing was queued.\nline 2: ")
    assert len(caught.value.problems) == 20
    assert str(caught.value).endswith('and 10 more\nSkip them with on_bad_row="skip" (--skip-bad).')
    assert (caught.value.code, [batch async for batch in spool.batches()]) == ("bad_rows", [])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on_bad_row": "ignore"}, 'on_bad_row "ignore" is none of refuse, skip.'),
        ({"duplicates": "last"}, 'duplicates "last" is none of refuse, first, all.'),
        ({"row_key": 7}, "row_key is an int: give the name of a column."),
        ({"row_key": "number"}, r'no "number" .row_key.; it has: email, name'),
        ({"class_": "urgent"}, "neither transactional nor bulk"),
    ],
)
async def test_words_that_are_none_of_ours(spool: Spool, given: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        await spool.send_batch(NEWS, [{"email": "a@x.test", "name": "A"}], **given)  # type: ignore[arg-type]  # mistakes


@pytest.mark.parametrize("template", ["Hello", None, {"text": "Hello"}, 7])
async def test_what_is_no_mail(spool: Spool, template: object) -> None:
    for call in (spool.send_batch(template, ["a@x.test"]), spool.send(template)):  # type: ignore[arg-type]  # the mistake
        with pytest.raises(InputError, match=r"give a Message, or a finished mail"):
            await call


async def test_copies_to_the_boss_are_refused(spool: Spool) -> None:
    for field in ("cc", "bcc"):
        with pytest.raises(InputError, match=r"add a row for them instead"):
            await spool.send_batch(NEWS.replace(**{field: "boss@x.test"}), [{"email": "a@x.test", "name": "A"}])


# -- this Redis, this folder


async def test_an_unreachable_redis_is_told_within_the_limit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.redis_server.link.OPEN_LIMIT_S", 0.3)
    for url in (f"unix://{home}/nobody.sock", f"redis://:{SECRET}@127.0.0.1:1"):
        with pytest.raises(
            SpoolUnavailable, match=r"does not answer \(tried 0.3 s\)\. Nothing was queued\.$"
        ) as caught:
            await Spool(redis_url=url).send(LETTER)
        assert (caught.value.exit_code, caught.value.acknowledged) == (69, False)
        assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--appendonly", "yes", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"), "would delete mail when"),
        (("--appendonly", "no"), 'would lose mail at a restart: appendonly is off. Set it, or durability = "none"'),
    ],
)
async def test_a_redis_that_would_lose_mail_is_refused(home: Path, options: tuple[str, ...], words: str) -> None:
    with plain_server(home / "plain", *options, "--save", "") as server:
        with pytest.raises(SpoolUnsafe, match=words) as caught:
            await Spool(redis_url=f"unix://{server}").send(LETTER)
        assert caught.value.exit_code == 78


async def test_one_that_forgets_may_be_chosen(home: Path) -> None:
    with plain_server(home / "plain", "--appendonly", "no", "--save", "") as server:
        async with Spool(redis_url=f"unix://{server}", durability="none") as spool:
            assert (await spool.send(LETTER)).added == 1
            assert (await spool.status()).durability == "forgets mail at a restart: appendonly is off"


async def test_another_users_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    (home / "spool").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(ConfigError, match=r"this spool belongs to .*: sudo -u .* mailspool status") as caught:
            await Spool(data_dir=home / "spool").send(LETTER)
    assert caught.value.exit_code == 77


async def test_a_folder_that_cannot_be_written(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write to /proc/1/spool: .* Set data_dir") as caught:
        await Spool(data_dir=Path("/proc/1/spool")).send(LETTER)
    assert caught.value.exit_code == 78


async def test_too_little_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Spool(settings) as spool:
        little = folders.DiskRoom(free_bytes=100 << 20, total_bytes=1 << 30)
        monkeypatch.setattr(folders, "disk_room", lambda _: little)
        with pytest.raises(SpoolFull, match=r"has 100.0 MiB free, of which 256.0 MiB must stay free") as caught:
            await spool.send_batch(NEWS, [{"email": "a@x.test", "name": "A"}])
        assert caught.value.exit_code == 73
        assert [batch async for batch in spool.batches()] == []
