"""The journal's file: what it holds survives whatever happens to it, and nobody takes what is not theirs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from mailspool.contract.moves import Recorded
from mailspool.redis_server import locks
from mailspool.redis_server.address import parse_redis_url
from mailspool_worker.events import Events
from mailspool_worker.journal import (
    HEAD_BYTES,
    ROOM_BYTES,
    Journal,
    NotOurs,
    Unrecorded,
    decode,
    encode,
    spool_identity,
)
from tests.support.working import working
from tests.worker.conftest import MakeSettings

SPOOL, OTHER = "0123456789ab", "ba9876543210"


def sent(index: int, batch: str = "b1", k: int = 0) -> Unrecorded:
    return Unrecorded(batch, k, f"1:w.{k}", index, b"s%d" % index)


class Told(Events):
    """Warnings and the journal's own events, by name."""

    def __init__(self) -> None:
        super().__init__(None)
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def warning(self, what: str, **facts: object) -> None:
        self.warnings.append((what, facts))

    def names(self) -> list[str]:
        return [what for what, _ in self.warnings]


class Moves:
    """Takes everything but what a test says."""

    def __init__(self) -> None:
        self.groups: list[tuple[str, int, str, list[tuple[int, bytes]]]] = []
        self.refused: tuple[int, ...] = ()
        self.broken, self.raises = "", False

    async def record(self, groups: Sequence[tuple[str, int, str, Sequence[tuple[int, bytes]]]]) -> Sequence[Recorded]:
        ((b, k, token, outcomes),) = groups
        if b == self.broken and self.raises:
            raise ResponseError("WRONGTYPE Operation against a key")
        if b == self.broken:
            return [Recorded("BROKEN", "WRONGTYPE Operation against a key", ())]
        self.groups.append((b, k, token, list(outcomes)))
        return [Recorded("OK", "live", self.refused)]

    def indexes(self) -> list[int]:
        return [index for *_, outcomes in self.groups for index, _ in outcomes]


class Desk:
    """A folder, and workers that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = Told()
        self.moves = Moves()
        self._open: list[Journal] = []

    def worker(self, name: str, spool: str = SPOOL) -> Journal:
        journal = Journal(self.folder, spool, name, self.events)
        journal.open()
        self._open.append(journal)
        return journal

    def left(self, name: str, *outcomes: Unrecorded, spool: str = SPOOL) -> Path:
        """The file of a worker that stopped while Redis was away."""
        journal = self.worker(name, spool)
        journal.keep(outcomes)
        journal.close(recorded=False)
        return self.folder / f"journal-{spool}-{name}"

    def files(self) -> list[str]:
        return sorted(path.name.removeprefix(f"journal-{SPOOL}-") for path in self.folder.glob("journal-*"))

    def close(self) -> None:
        for journal in self._open:
            journal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "spool")
    yield desk
    desk.close()


# Our own file


def test_the_file_is_ours_alone_and_has_its_room_from_the_start(desk: Desk) -> None:
    desk.worker("one")
    facts = (desk.folder / f"journal-{SPOOL}-one").stat()
    assert stat.S_IMODE(facts.st_mode) == 0o600
    assert facts.st_size == ROOM_BYTES
    assert facts.st_blocks * 512 >= ROOM_BYTES, "a file with holes is refused by a full disk after all"
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700


def test_a_new_file_that_another_worker_took_for_a_dead_ones_is_made_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.folder / f"journal-{SPOOL}-one"
    whole = locks.try_lock
    taken: list[Path] = []

    def removed(wanted: Path, *, shared: bool = False) -> locks.Lock | None:
        lock = whole(wanted, shared=shared)
        if wanted == path and not taken:
            taken.append(wanted)
            path.unlink()
        return lock

    monkeypatch.setattr(locks, "try_lock", removed)
    desk.worker("one").keep([sent(1)])
    assert taken == [path]
    assert decode(path.read_bytes(), SPOOL).outcomes == [sent(1)]


def test_it_goes_with_its_worker(desk: Desk) -> None:
    journal = desk.worker("one")
    journal.keep([])
    journal.close(recorded=False)
    other = desk.worker("two")
    other.keep([sent(1)])
    other.close(recorded=True)
    assert desk.files() == []


async def test_what_was_kept_is_replayed_once_and_the_file_goes(desk: Desk) -> None:
    desk.left("gone", sent(1), sent(2), sent(3, k=1), sent(4, "b2"))
    await desk.worker("next").replay(desk.moves)
    assert desk.moves.groups == [
        ("b1", 0, "1:w.0", [(1, b"s1"), (2, b"s2")]),
        ("b1", 1, "1:w.1", [(3, b"s3")]),
        ("b2", 0, "1:w.0", [(4, b"s4")]),
    ]
    assert desk.files() == ["next"]
    assert desk.events.warnings == []


async def test_what_is_kept_later_takes_the_place_of_what_was_kept(desk: Desk) -> None:
    journal = desk.worker("gone")
    journal.keep([sent(1), sent(2)])
    journal.keep([sent(2)])
    journal.close(recorded=False)
    await desk.worker("next").replay(desk.moves)
    assert desk.moves.indexes() == [2]


async def test_many_go_in_calls_of_a_hundred(desk: Desk) -> None:
    desk.left("gone", *(sent(i) for i in range(250)))
    await desk.worker("next").replay(desk.moves)
    assert [len(outcomes) for *_, outcomes in desk.moves.groups] == [100, 100, 50]


def test_without_room_the_facts_come_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: nothing beyond what was allocated at the start can be written."""
    journal = desk.worker("gone")
    whole = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if at + len(data) > ROOM_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    deferred = [Unrecorded("b1", 0, "1:w.0", 1_000 + i, b"d" + b"x" * 300) for i in range(2_000)]
    journal.keep([*deferred, *(sent(i) for i in range(100))])
    journal.close(recorded=False)
    found = decode((desk.folder / f"journal-{SPOOL}-gone").read_bytes(), SPOOL)
    assert not found.torn
    assert [outcome.index for outcome in found.outcomes[:100]] == list(range(100))
    assert 100 < len(found.outcomes) < 1_000


def test_a_disk_that_fails_is_told_and_no_crash(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = desk.worker("gone")

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    journal.keep([sent(1)])
    assert desk.events.names() == ["journal_failed"]


def test_without_a_folder_of_ours_there_is_a_warning_and_no_journal(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    desk = Desk(file / "below")
    journal = desk.worker("one")
    journal.keep([sent(1)])
    journal.close(recorded=False)
    assert desk.events.names() == ["no_journal"]


async def test_a_worker_that_ends_in_order_leaves_no_file(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9")
    async with working(settings):
        assert len(list(settings.data_dir.glob("journal-*"))) == 1
    assert list(settings.data_dir.glob("journal-*")) == []


# What others left


async def test_the_journal_of_a_worker_that_lives_is_left_alone(desk: Desk) -> None:
    alive = desk.worker("alive")
    alive.keep([sent(1)])
    await desk.worker("next").replay(desk.moves)
    assert desk.moves.groups == []
    assert desk.files() == ["alive", "next"]


async def test_of_a_worker_that_was_killed_an_empty_file_is_left(desk: Desk) -> None:
    desk.left("killed")
    (desk.folder / f"journal-{SPOOL}-killed").write_bytes(bytes(ROOM_BYTES))
    await desk.worker("next").replay(desk.moves)
    assert (desk.moves.groups, desk.files(), desk.events.warnings) == ([], ["next"], [])


async def test_another_redis_keeps_its_journals(desk: Desk) -> None:
    path = desk.left("theirs", sent(1), spool=OTHER)
    journal = desk.worker("next")
    await journal.replay(desk.moves)
    await journal.replay(desk.moves)
    assert desk.moves.groups == []
    assert path.exists()
    assert desk.events.names() == ["journal_of_another_redis"], "told once"


async def test_of_a_torn_file_the_good_part_is_replayed(desk: Desk) -> None:
    path = desk.left("torn", *(sent(i) for i in range(10)))
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + 5 * (len(data[HEAD_BYTES:].rstrip(b"\0")) // 10) + 12] ^= 0xFF
    path.write_bytes(data)
    await desk.worker("next").replay(desk.moves)
    assert desk.moves.indexes() == [0, 1, 2, 3, 4]
    assert desk.files() == ["next", "torn.aside"]
    assert desk.events.names() == ["journal_set_aside"]
    await desk.worker("third").replay(desk.moves)
    assert len(desk.moves.indexes()) == 5, "what was set aside is looked at by nobody"


@pytest.mark.parametrize("data", [b"nonsense" * 100, b"\0\0\0\x04\0\0\0\0abcd", b"x"])
async def test_a_file_that_is_no_journal_is_set_aside(desk: Desk, data: bytes) -> None:
    journal = desk.worker("next")
    (desk.folder / f"journal-{SPOOL}-strange").write_bytes(data)
    await journal.replay(desk.moves)
    assert (desk.moves.groups, desk.files()) == ([], ["next", "strange.aside"])
    assert desk.events.names() == ["journal_set_aside"]


async def test_a_file_whose_head_names_another_redis_is_set_aside(desk: Desk) -> None:
    path = desk.left("theirs", sent(1), spool=OTHER)
    path.rename(desk.folder / f"journal-{SPOOL}-renamed")
    await desk.worker("next").replay(desk.moves)
    assert (desk.moves.groups, desk.files()) == ([], ["next", "renamed.aside"])


async def test_a_link_and_a_folder_are_set_aside(desk: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_bytes(b"not ours")
    journal = desk.worker("next")
    (desk.folder / f"journal-{SPOOL}-link").symlink_to(secret)
    (desk.folder / f"journal-{SPOOL}-folder").mkdir()
    await journal.replay(desk.moves)
    assert desk.files() == ["folder.aside", "link.aside", "next"]
    assert secret.read_bytes() == b"not ours"


async def test_a_file_of_somebody_else_is_not_believed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.left("theirs", sent(1))
    journal = desk.worker("next")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    await journal.replay(desk.moves)
    assert desk.moves.groups == []
    assert desk.events.names() == ["journal_set_aside"]


@pytest.mark.parametrize("raises", [False, True])
async def test_a_batch_whose_records_are_broken_keeps_no_other_from_its_outcomes(desk: Desk, raises: bool) -> None:
    desk.left("gone", sent(1, "b1"), sent(2, "bad"), sent(3, "b3"))
    desk.moves.broken, desk.moves.raises = "bad", raises
    await desk.worker("next").replay(desk.moves)
    assert desk.moves.indexes() == [1, 3]
    assert desk.files() == ["gone.aside", "next"]


async def test_what_redis_knows_better_is_not_counted_and_the_file_goes(desk: Desk) -> None:
    desk.left("gone", sent(1), sent(2))
    desk.moves.refused = (2,)
    await desk.worker("next").replay(desk.moves)
    assert desk.files() == ["next"]


# Bytes


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_costs_at_most_what_follows(at: int, noise: bytes) -> None:
    outcomes = [sent(i) for i in range(4)]
    head, frames = encode(SPOOL, "w", outcomes)
    data = bytearray(head + frames)
    data[at : at + len(noise)] = noise
    try:
        found = decode(bytes(data), SPOOL)
    except NotOurs:
        return
    assert found.outcomes == outcomes[: len(found.outcomes)]
    assert found.torn == (len(found.outcomes) < 4) or not any(data[:HEAD_BYTES])


@given(st.binary(max_size=1_200))
def test_noise_is_no_journal(data: bytes) -> None:
    try:
        found = decode(data, SPOOL)
    except NotOurs:
        return
    assert found.outcomes == []


def test_a_spool_is_named_by_its_place_and_prefix_not_by_its_password() -> None:
    def name(url: str, prefix: str = "ms", password: str | None = None) -> str:
        return spool_identity(parse_redis_url(url, password), prefix, embedded=False)

    one = name("redis://queue:6379/0")
    assert one == name("redis://queue", password="other")
    assert one == name("redis://me:secret@queue:6379/0")
    others = {name("redis://queue/1"), name("redis://queue:6380"), name("redis://queue", "m2"), name("redis://q")}
    assert len(others | {one}) == 5
