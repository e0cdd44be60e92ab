"""The same script with the same key, run again: after a kill half-way, unchanged, with new rows, and twice at once.

Each time the receiver gets the union of all lists, every row once.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.support.edition import pick, show
from tests.support.ground import Background, Ground
from tests.support.mailing import recipient, row
from tests.support.waiting import until

ROWS = pick(short=2_000, full=20_000)
SILENT_S = pick(short=2.0, full=0.0)
"""How long a dead upload keeps its key; 0 is the real time."""
SCRIPT = Path(__file__).parents[1] / "support" / "mailing_script.py"


class Said(msgspec.Struct):
    """What a run of the script printed."""

    created: bool
    added: int
    known: int
    batch: str


def write_list(path: Path, first: int, last: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["email", "name", "code"])
        table.writeheader()
        table.writerows(row(number) for number in range(first, last + 1))
    return path


def start(ground: Ground, name: str, path: Path, key: str, *, halt_at: int = -1) -> Background:
    """Behind the barrier: it waits for `go`."""
    return ground.script(name, SCRIPT, str(path), key, str(SILENT_S), str(halt_at))


async def go(*scripts: Background) -> None:
    await until(lambda: all("ready" in script.said() for script in scripts), "the scripts are ready")
    for script in scripts:
        script.say("go")


def ended(script: Background) -> Said:
    assert script.wait() == 0, script.words()
    return msgspec.convert(json.loads(script.said()[-1]), Said)


async def run(ground: Ground, name: str, path: Path, key: str) -> Said:
    script = start(ground, name, path, key)
    await go(script)
    return ended(script)


async def kill_behind(ground: Ground, name: str, path: Path, key: str, rows: int) -> None:
    script = start(ground, name, path, key, halt_at=rows)
    await go(script)
    await until(lambda: "halted" in script.said(), f"{name} is half-way")
    script.kill()


@pytest.mark.storm
async def test_killed_half_way_then_unchanged_then_with_new_rows(ground: Ground) -> None:
    receiver = ground.receiver()
    ground.worker()
    whole, longer = ground.folder / "list.csv", ground.folder / "longer.csv"
    write_list(whole, 1, ROWS)
    write_list(longer, 1, ROWS + ROWS // 10)
    async with ground.spool() as spool:
        await kill_behind(ground, "killed", whole, "news", ROWS // 2)
        assert [status async for status in spool.batches()] == []
        first = await run(ground, "first", whole, "news")
        batch = await spool.batch(first.batch)
        assert (await batch.wait(60)).sent == ROWS
        unchanged = await run(ground, "unchanged", whole, "news")
        grown = await run(ground, "grown", longer, "news")
        status = await batch.wait(60)
    receipts = receiver.log.receipts()
    show(
        "run again",
        rows=ROWS,
        first=f"{first.added} added",
        unchanged=f"{unchanged.added} added, {unchanged.known} known",
        a_tenth_more=f"{grown.added} added, {grown.known} known",
        received=len(receipts),
        repeats=receipts.total() - len(receipts),
    )
    assert (first.created, first.added, first.known) == (True, ROWS, 0)
    assert (unchanged.created, unchanged.added, unchanged.known) == (False, 0, ROWS)
    assert (grown.created, grown.added, grown.known) == (False, ROWS // 10, ROWS)
    assert status.sent == status.total == ROWS + ROWS // 10
    assert receipts == Counter(recipient(number) for number in range(1, ROWS + ROWS // 10 + 1))


@pytest.mark.storm
@pytest.mark.parametrize("killed", [False, True], ids=["both-live", "one-is-killed"])
async def test_two_at_once_with_overlapping_lists(ground: Ground, killed: bool) -> None:
    receiver = ground.receiver()
    ground.worker()
    left = write_list(ground.folder / "left.csv", 1, ROWS * 6 // 10)
    right = write_list(ground.folder / "right.csv", ROWS * 4 // 10 + 1, ROWS)
    async with ground.spool() as spool:
        pair = [start(ground, "left", left, "pair"), start(ground, "right", right, "pair")]
        if killed:
            pair[0] = start(ground, "doomed", left, "pair", halt_at=ROWS // 3)
        await go(*pair)
        said = []
        if killed:
            await until(lambda: "halted" in pair[0].said() or not pair[1].alive, "one is half-way")
            pair[0].kill()
            pair[0] = start(ground, "left", left, "pair")
            await go(pair[0])
        said = [ended(script) for script in pair]
        status = await (await spool.batch("key:pair")).wait(60)
    receipts = receiver.log.receipts()
    show(
        f"two at once{', one killed' if killed else ''}",
        added=[one.added for one in said],
        known=[one.known for one in said],
        received=len(receipts),
        repeats=receipts.total() - len(receipts),
    )
    assert said[0].batch == said[1].batch
    assert sum(one.created for one in said) == 1
    assert sum(one.added for one in said) == status.total == status.sent == ROWS
    assert receipts == Counter(recipient(number) for number in range(1, ROWS + 1))
