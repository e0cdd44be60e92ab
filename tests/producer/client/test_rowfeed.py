"""From a list to chunks: what memory it takes, what is looked at, and what reaches Redis."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from mailspool import InputError, Message, Spool
from mailspool.client.receipt import CheckReport
from mailspool.client.rowfeed import RowFeed
from mailspool.content.mime import Compiled
from mailspool.contract.codec import decode_rows
from mailspool.contract.records import Row, Spec
from mailspool.lists.reader import open_rows

SPEC = Spec(v=1, kind="template", from_="a@x.test", subject="{{ name }}", text="Dear {{ name }}\n")


class Taken:
    """Keeps the chunks."""

    def __init__(self) -> None:
        self.chunks: list[list[bytes]] = []
        self.ids: list[list[bytes] | None] = []

    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        self.chunks.append(list(rows))
        self.ids.append(None if ids is None else list(ids))

    def rows(self) -> list[Row]:
        return [
            row
            for chunk in self.chunks
            for row in decode_rows(b"\xdc" + len(chunk).to_bytes(2, "big") + b"".join(chunk))
        ]


class Forgotten:
    async def add(self, rows: Sequence[bytes], ids: Sequence[bytes] | None) -> None:
        return


def people(count: int) -> Iterator[Mapping[str, object]]:
    return ({"email": f"user{n}@y{n % 50}.test", "name": f"Anna {n}", "code": n} for n in range(count))


async def fed(rows: object, taker: Taken | Forgotten, *, with_ids: bool = True, **changes: object) -> RowFeed:
    async with open_rows(rows) as source:  # type: ignore[arg-type]  # rows of several kinds
        feed = RowFeed(
            source, Compiled(SPEC, {}, batch="b000000000", date_ms=0), frozenset({"name"}),
            **{"duplicates": "refuse", "on_bad_row": "refuse", "with_ids": with_ids, "max_bytes": 1 << 20, **changes},  # type: ignore[arg-type]  # keywords
        )  # fmt: skip
        await feed.run(taker)
        return feed


async def test_chunks_of_a_hundred_with_identities() -> None:
    taken = Taken()
    feed = await fed(people(250), taken)
    assert [len(chunk) for chunk in taken.chunks] == [100, 100, 50]
    assert [len(ids or ()) for ids in taken.ids] == [100, 100, 50]
    assert {len(mark) for ids in taken.ids for mark in ids or ()} == {16}
    assert [row.recipient for row in taken.rows()][:2] == ["user0@y0.test", "user1@y1.test"]
    assert (feed.counted.read, feed.counted.good, feed.counted.bad) == (250, 250, 0)


async def test_without_a_key_there_are_none() -> None:
    taken = Taken()
    await fed(people(3), taken, with_ids=False)
    assert taken.ids == [None]


async def test_after_the_first_bad_row_nothing_more_goes_out() -> None:
    taken = Taken()
    rows = [*people(150), {"email": "no"}, *({"email": f"z{n}@x.test", "name": "Z"} for n in range(300))]
    with pytest.raises(InputError, match=r"1 of 451 rows is bad"):
        await fed(rows, taken)
    assert [len(chunk) for chunk in taken.chunks] == [100]


async def test_skipped_rows_leave_no_gap() -> None:
    taken = Taken()
    rows = [*people(99), {"email": "no"}, *({"email": f"z{n}@x.test", "name": "Z"} for n in range(2))]
    feed = await fed(rows, taken, on_bad_row="skip")
    assert [len(chunk) for chunk in taken.chunks] == [100, 1]
    assert (feed.counted.good, feed.counted.bad) == (101, 1)


async def test_only_the_first_row_is_rendered_unless_it_is_a_check() -> None:
    assert (await fed(people(50), Taken())).report().total_bytes < 1_000
    report = (await fed(people(50), Taken(), render_all=True)).report()
    assert isinstance(report, CheckReport)
    assert report.total_bytes > 10_000
    assert (report.title, report.described) == ("", "rows from a program")


async def test_rejects_of_a_refused_list_are_not_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("email,name\na@x.test,A\na@x.test,B\nno,C\n", "utf-8")
    with pytest.raises(InputError, match=r"1 row contradicts an earlier one"):
        await fed(path, Taken(), on_bad_row="skip")
    assert os.listdir(tmp_path) == ["people.csv"]


async def test_memory_grows_by_less_than_100_bytes_a_row() -> None:
    """From 5,000 rows to 25,000, with a key: what duplicate detection keeps, and nothing else."""

    async def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            await fed(people(count), Forgotten())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = await peak(5_000)
    assert (await peak(25_000) - small) / 20_000 <= 100


async def test_an_upload_keeps_no_more_than_what_is_on_its_way(spool: Spool) -> None:
    mail = Message(from_="a@x.test", subject="S", text="{{ name }}\n")
    await spool.send_batch(mail, people(2_000), key="warm")
    gc.collect()
    tracemalloc.start()
    try:
        batch = await spool.send_batch(mail, people(10_000), key="k")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert batch.added == 10_000
    assert peak < 10_000 * 100 + 2_000_000
