"""`Spool`: its life, and what `send` and `send_batch` take."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailspool import Attachment, Batch, ConfigError, InputError, Message, Settings, Spool, SpoolUnsafe
from mailspool.contract.codec import decode_rows
from mailspool.contract.records import Row
from tests.support.embedded import plain_server
from tests.support.hand import Hand

HELLO = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello {{ name }}", text="{{ 1 + 1 }}\n")
NEWS = Message(from_="Shop <shop@x.test>", subject="News for {{ name }}", text="Dear {{ name }}\n")


async def rows_of(spool: Spool, batch: Batch) -> list[Row]:
    connection = await spool.connection()
    found: list[Row] = []
    for k in sorted(int(k) for k in await connection.fields(connection.keys.rows(batch.id))):
        data = await connection.command("GET", connection.keys.chunk(batch.id, k))
        assert isinstance(data, bytes)
        found += decode_rows(data)
    return found


async def recipients(spool: Spool, batch: Batch) -> list[str]:
    return [row.recipient for row in await rows_of(spool, batch)]


# -- life


async def test_nothing_is_touched_before_the_first_use(home: Path) -> None:
    spool = Spool(data_dir=home / "spool")
    assert not (home / "spool").exists()
    await spool.close()
    assert not (home / "spool").exists()


async def test_it_opens_at_first_use_once_for_many_tasks(settings: Settings) -> None:
    spool = Spool(settings)
    try:
        found = await asyncio.gather(*(spool.status() for _ in range(20)))
        assert len(found) == 20
        assert len({id(await spool.connection()) for _ in range(3)}) == 1
    finally:
        await spool.close()


async def test_a_closed_spool_says_so_and_can_be_opened_again(settings: Settings) -> None:
    async with Spool(settings) as spool:
        batch = await spool.send(HELLO)
    with pytest.raises(RuntimeError, match=r"this Spool is closed"):
        await batch.status()
    async with spool:
        assert (await batch.status()).total == 1
    await spool.close()


def test_another_event_loop_is_refused_in_words(settings: Settings) -> None:
    spool = Spool(settings)
    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(spool.open())
        with pytest.raises(RuntimeError, match=r"open in another event loop"):
            asyncio.run(spool.status())
    finally:
        first.run_until_complete(spool.close())
        first.close()


def test_what_is_no_settings_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"either a Settings object or single settings"):
        Spool(Settings(data_dir=home), data_dir=home)
    with pytest.raises(ConfigError, match=r"by name: Spool\(redis_url="):
        Spool("redis://queue:6379")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigError, match=r"redis_ulr"):
        Spool(redis_ulr="redis://queue:6379")


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
async def test_neither_spool_nor_batch_can_be_pickled(spool: Spool, copied: Callable[[object], object]) -> None:
    batch = await spool.send(HELLO)
    for thing in (spool, batch):
        with pytest.raises(TypeError, match=r"pass batch.id, then spool.batch\(id\)"):
            copied(thing)


def test_settings_pickle(settings: Settings) -> None:
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own


async def test_a_forked_child_opens_its_own(spool: Spool) -> None:
    await spool.status()

    async def in_the_child() -> None:
        await spool.status()
        gc.collect()  # nothing of the parent's may be closed here: both share one epoll
        assert (await spool.send(HELLO)).added == 1
        await spool.close()

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            asyncio.run(in_the_child())
            code = 0
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    async with asyncio.timeout(4):  # a connection that has become deaf is given up after 5 s
        assert len([batch async for batch in spool.batches()]) == 1


# -- send


async def test_a_message_is_literal(spool: Spool) -> None:
    batch = await spool.send(HELLO)
    assert (batch.created, batch.added, batch.class_, batch.key, batch.name) == (True, 1, "transactional", None, "")
    assert (batch.skipped_known, batch.skipped_bad, batch.duplicates, batch.rejects, batch.notices) == (
        0,
        0,
        0,
        None,
        (),
    )
    assert batch.id[0] == "b"
    assert len(batch.id) == 10
    status = await batch.status()
    assert (status.total, status.class_, status.key) == (1, "transactional", None)
    assert await rows_of(spool, batch) == [Row("ali@x.test", {}, "")]
    assert repr(batch) == f"<Batch {batch.id}>"


async def test_values_make_it_a_template(spool: Spool) -> None:
    values = {"name": "Ali", "amount": Decimal("1.50"), "day": date(2026, 11, 23), "items": [{"n": 1}], "none": None}
    mail = HELLO.replace(text="{{ name }} {{ amount }} {{ day.year }} {{ items[0].n }} {{ none }}\n")
    batch = await spool.send(mail, values=values)
    assert (await rows_of(spool, batch))[0].values == {**values, "email": "ali@x.test"}
    with pytest.raises(InputError, match=r"the mail cannot be rendered: .*name.* has no value"):
        await spool.send(mail, values={"amount": 1})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"when": object()}, '"when" is an object; a value may be str, int'),
        ({7: "seven"}, 'the key "7" is an int, not a str'),
        ({"n": 2**70}, "more than 64 bits"),
        ({"n": "a\0b"}, "a NUL character"),
        ({"n": (1, 2)}, '"n" is a tuple'),
        (["name"], "values is a list: give a dict of names and values."),
    ],
)
async def test_values_that_cannot_travel(spool: Spool, values: Mapping[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        await spool.send(HELLO, values=values)
    assert words in str(caught.value)


async def test_a_copy_for_each_receiver_once(spool: Spool) -> None:
    mail = HELLO.replace(to=["Ali <ali@x.test>", "sara@x.test"], cc="ALI@X.test, reza@x.test", bcc="boss@x.test")
    batch = await spool.send(mail)
    assert await recipients(spool, batch) == ["ali@x.test", "sara@x.test", "reza@x.test", "boss@x.test"]
    assert await recipients(spool, await spool.send(mail, to="other@x.test")) == [
        "other@x.test", "ALI@x.test", "reza@x.test", "boss@x.test"
    ]  # fmt: skip


async def test_250_receivers_are_three_chunks(spool: Spool, hand: Hand) -> None:
    everybody = [f"u{n}@x.test" for n in range(250)]
    batch = await spool.send(HELLO, to=everybody, key="all")
    assert batch.added == 250
    assert await recipients(spool, batch) == everybody
    assert (await spool.send(HELLO, to=everybody, key="all")).skipped_known == 250
    await hand.work(batch.id, class_="transactional")
    assert (await batch.status()).sent == 250


async def test_a_big_attachment_goes_by_an_upload(spool: Spool, hand: Hand) -> None:
    mail = HELLO.replace(attachments=[Attachment(os.urandom(3_000_000), name="big.bin")])
    first, second = await spool.send(mail), await spool.send(mail, key="k")
    assert (first.added, second.added) == (1, 1)
    connection = await spool.connection()
    assert len([name for name in await connection.strings("KEYS", "ms:blob:*") if not name.endswith("refs")]) == 1
    await hand.work(first.id, class_="transactional")
    assert (await first.status()).done


def finished() -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Shop <shop@x.test>"
    mail["To"] = "Ali <ali@x.test>, sara@x.test"
    mail["Bcc"] = "boss@x.test"
    mail["Subject"] = "{{ not a template }}"
    mail.set_content("Hello\n")
    return mail


@pytest.mark.parametrize("form", ["object", "bytes"])
async def test_a_finished_mail_goes_as_it_is(spool: Spool, form: str) -> None:
    mail = finished() if form == "object" else finished().as_bytes()
    batch = await spool.send(mail)
    assert await recipients(spool, batch) == ["ali@x.test", "sara@x.test", "boss@x.test"]
    spec = await (await spool.connection()).command("GET", f"ms:spec:{batch.id}")
    assert isinstance(spec, bytes)
    assert b"{{ not a template }}" in spec
    assert b"boss" not in spec
    assert await recipients(spool, await spool.send(mail, to=["reza@x.test", "Reza <REZA@x.test>"])) == ["reza@x.test"]


async def test_a_finished_mail_in_a_batch_goes_to_every_row(spool: Spool) -> None:
    batch = await spool.send_batch(finished(), ["a@x.test", {"email": "b@x.test", "name": "unused"}], key="k")
    assert await recipients(spool, batch) == ["a@x.test", "b@x.test"]
    assert (await spool.send_batch(finished(), ["b@x.test", "c@x.test"], key="k")).added == 1


async def test_send_at_expiry_and_hold_reach_the_batch(spool: Spool) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    batch = await spool.send(HELLO, send_at=at, expires_after=timedelta(minutes=15), hold=True, name="reset")
    status = await batch.status()
    assert (status.state, status.send_at, status.name) == ("held", at, "reset")
    assert status.expires_at == at + timedelta(minutes=15)
    await batch.release()
    status = await batch.status()
    assert status.state == "scheduled"
    assert str(status.waiting_for).startswith("starts ")
    assert str(status.waiting_for).endswith(f"{at.astimezone():%H:%M}")  # the day stands before it, if it is another


# -- send_batch


def table(tmp_path: Path, text: str, name: str = "customers.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


ROWS = [{"email": "ali@x.test", "name": "Ali"}, {"email": "sara@x.test", "name": "Sara"}]


async def async_rows() -> AsyncIterator[Mapping[str, object]]:
    for row in ROWS:
        await asyncio.sleep(0)
        yield row


def generated() -> Iterator[Mapping[str, object]]:
    yield from ROWS


@pytest.mark.parametrize("kind", ["list", "generator", "async", "csv", "jsonl", "stream"])
async def test_rows_of_every_kind(spool: Spool, home: Path, kind: str) -> None:
    csv = table(home, "email,name\nali@x.test,Ali\nsara@x.test,Sara\n")
    lines = '{"email":"ali@x.test","name":"Ali"}\n{"email":"sara@x.test","name":"Sara"}\n'
    with csv.open("rb") as stream:
        rows = {
            "list": ROWS, "generator": generated(), "async": async_rows(), "csv": csv,
            "jsonl": table(home, lines, "c.jsonl"), "stream": stream,
        }[kind]  # fmt: skip
        batch = await spool.send_batch(NEWS, rows)  # type: ignore[arg-type]  # a union of all of them
    assert batch.class_ == "bulk"
    assert await rows_of(spool, batch) == [Row("ali@x.test", dict(ROWS[0]), ""), Row("sara@x.test", dict(ROWS[1]), "")]


async def test_values_keep_their_type(spool: Spool) -> None:
    values = {"amount": Decimal("1.50"), "day": date(2026, 11, 23), "at": datetime.now(UTC), "items": [1, {"a": None}]}
    batch = await spool.send_batch(NEWS, [{**ROWS[0], **values}, {**ROWS[1], "amount": 1.5, "day": True}])
    first, second = await rows_of(spool, batch)
    assert first.values == {**ROWS[0], **values}
    assert second.values == {**ROWS[1], "amount": 1.5, "day": True}


async def test_addresses_alone_are_rows(spool: Spool) -> None:
    batch = await spool.send_batch(NEWS.replace(subject="S", text="T\n"), ["ali@x.test", "Sara <sara@x.test>"])
    found = await rows_of(spool, batch)
    assert [(row.recipient, row.to_name) for row in found] == [("ali@x.test", ""), ("sara@x.test", "Sara")]


@pytest.mark.parametrize("rows", [[], "empty.csv", "header.csv"])
async def test_no_rows_are_a_batch_that_is_done(spool: Spool, home: Path, rows: list[str] | str) -> None:
    table(home, "", "empty.csv")
    table(home, "email,name\n", "header.csv")
    batch = await spool.send_batch(NEWS, home / rows if isinstance(rows, str) else rows, key="k")
    status = await batch.wait(timeout=0)
    assert (status.total, status.done, status.ok, status.state, batch.added) == (0, True, True, "done", 0)
    again = await spool.send_batch(NEWS, ROWS, key="k")
    assert (again.id, again.added) == (batch.id, 2)


async def test_the_exact_header_is_there_through_row(spool: Spool, home: Path) -> None:
    mail = NEWS.replace(subject='{{ row["First Name"] }}', text="{{ first_name }}\n")
    batch = await spool.send_batch(mail, table(home, "E-Mail,First Name\nali@x.test,Ali\n"))
    (row,) = await rows_of(spool, batch)
    assert row.values["row"] == {"E-Mail": "ali@x.test", "First Name": "Ali"}
    report = await spool.check(mail, home / "customers.csv")
    assert (report.rows, report.good, report.bad) == (1, 1, 0)


async def test_bad_rows_are_skipped_on_demand_and_written_down(spool: Spool, home: Path) -> None:
    path = table(home, "email,name\nali@x.test,Ali\nsara@@x.test,Sara\n=reza,Reza\n")
    batch = await spool.send_batch(NEWS, path, on_bad_row="skip", key="k")
    assert (batch.added, batch.skipped_bad, batch.rejects) == (1, 2, home / "customers.rejected.csv")
    assert (home / "customers.rejected.csv").read_text("utf-8-sig").splitlines()[0] == "email,name,line,problem"


async def test_the_same_address_twice(spool: Spool) -> None:
    twice = [ROWS[0], {"email": "ALI@X.test", "name": "Ali"}]
    differing = [ROWS[0], {"email": "ali@x.test", "name": "Aliya"}]
    batch = await spool.send_batch(NEWS, twice)
    assert (batch.added, batch.duplicates) == (1, 1)
    with pytest.raises(InputError, match=r"ali@x.test stands in rows 1 and 2 with different values"):
        await spool.send_batch(NEWS, differing)
    first = await spool.send_batch(NEWS, differing, duplicates="first")
    assert (first.added, first.duplicates) == (1, 1)
    assert (await spool.send_batch(NEWS, differing, duplicates="all")).added == 2
    assert (await spool.send_batch(NEWS, differing, row_key="name")).added == 2


async def test_a_mail_that_is_too_big_is_a_bad_row(spool: Spool) -> None:
    rows = [ROWS[0], {"email": "sara@x.test", "name": "x" * 3_000_000}]
    small = Spool(data_dir=spool.settings.data_dir, max_message_bytes="1MiB")
    async with small:
        with pytest.raises(InputError, match=r"row 2: its mail has [\d,]+ bytes; max_message_bytes is 1,048,576"):
            await small.send_batch(NEWS, rows)
        with pytest.raises(InputError, match=r"the mail has [\d,]+ bytes; max_message_bytes is 1,048,576"):
            await small.send(HELLO.replace(text="x" * 3_000_000))


async def test_check_renders_every_row_and_queues_nothing(home: Path) -> None:
    spool = Spool(data_dir=home / "spool")
    mail = NEWS.replace(text="{{ 10 // n }}\n", subject="S")
    report = await spool.check(mail, [{"email": "a@x.test", "n": 1}, {"email": "a@x.test", "n": 1}])
    assert (report.rows, report.good, report.bad, report.duplicates) == (2, 1, 0, 1)
    assert report.total_bytes > 100
    assert report.to_dict()["total_bytes"] == report.total_bytes
    with pytest.raises(InputError, match=r"row 2: text: it cannot be filled .ZeroDivisionError."):
        await spool.check(mail, [{"email": "a@x.test", "n": 1}, {"email": "b@x.test", "n": 0}])
    assert not (home / "spool").exists()


async def test_a_list_in_memory_lets_others_have_their_turn(home: Path) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await Spool(data_dir=home).check(NEWS, [{"email": f"u{n}@x.test", "name": "A"} for n in range(5_000)])
    task.cancel()
    assert turns >= 5


async def test_hold_needs_proven_fsync(home: Path) -> None:
    async with Spool(data_dir=home / "safe") as spool:
        assert (await spool.send(HELLO, on_uncertain="hold")).added == 1
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    with plain_server(home / "plain", *options) as server:
        async with Spool(redis_url=f"unix://{server}") as spool:
            with pytest.raises(
                SpoolUnsafe, match=r'on_uncertain="hold" needs .* fsync each second. Nothing was queued'
            ):
                await spool.send_batch(NEWS, ROWS, on_uncertain="hold")
            link = (await spool.connection()).link
            link._facts = replace(link.facts, durability="fsync", durability_proven=False)  # CONFIG was refused
            with pytest.raises(SpoolUnsafe, match=r"known to fsync"):
                await spool.send(HELLO, on_uncertain="hold")
