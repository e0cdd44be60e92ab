"""The command's one run, in this loop: when it ends and with which code. Signals to a real process: the scenarios."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections.abc import Iterator
from typing import cast

import pytest
from redis.exceptions import ResponseError

from mailspool import Message, Settings, Spool
from mailspool.cli.failures import failure_of
from mailspool.contract.moves import Moves, Snapshot
from mailspool.contract.states import Class
from mailspool.errors import ConfigError
from mailspool.redis_server.link import Link
from mailspool.sandbox import Receiver
from mailspool_worker import cli_entry
from mailspool_worker.app import Engine
from mailspool_worker.cli_entry import run_worker
from tests.support.leaks import tasks_left
from tests.support.waiting import until
from tests.support.working import expecting_a_worker, nothing_left
from tests.worker.conftest import MakeSettings

LETTER = Message(from_="a@sender.test", to="{{ email }}", subject="Hello", text="Salaam!\n")


@pytest.fixture(autouse=True)
def quick_and_thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A frozen heap would hide leaks from the tests that follow, and children that they fork would survive SIGTERM."""
    monkeypatch.setattr(cli_entry, "_LOOK_EVERY_S", 0.02)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)  # a closed uvloop leaves its own
    gc.unfreeze()


def test_the_second_signal_leaves_what_is_unrecorded_in_the_journal(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = process(make_settings(relay_url="smtp://127.0.0.1:9"))
    kept: list[int] = []

    class Busy:
        def keep_journal(self) -> None:
            kept.append(run._signals)

    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", ended)
    run._engine = cast("Engine", Busy())
    run._signal()
    assert kept == []
    with pytest.raises(SystemExit):
        run._signal()
    assert kept == [2]


async def test_a_signal_ends_a_worker_that_waits_for_redis_at_its_start(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as Redis is away, nothing of a start comes back."""

    async def away(_moves: Moves, _worker: str, _fields: object, *, now_ms: int = 0) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.Future()

    monkeypatch.setattr(Moves, "beat", away)
    settings = make_settings(relay_url="smtp://127.0.0.1:9")
    assert await code_of(settings, process(settings)) == 0


def process(
    settings: Settings,
    *,
    class_: Class | None = None,
    drain: bool = False,
    until_done: list[str] | None = None,
    timeout_s: float | None = None,
) -> cli_entry._Process:
    return cli_entry._Process(settings, class_, drain, until_done, timeout_s)


async def code_of(settings: Settings, run: cli_entry._Process) -> int:
    """Its exit code; nothing may be left."""
    async with asyncio.timeout(20):
        code = await run.run()
    assert tasks_left() == []
    link = Link(settings)
    await link.open()
    try:
        await nothing_left(link.redis, settings.key_prefix)
    finally:
        await link.close()
    return code


async def queue(settings: Settings, *addresses: str) -> str:
    async with expecting_a_worker(settings), Spool(settings) as spool:
        return (await spool.send_batch(LETTER, [{"email": address} for address in addresses])).id


@pytest.mark.parametrize(
    ("addresses", "code"),
    [(("a@x.test", "b@x.test"), 0), (("a@x.test", "550-5.1.1-b@x.test"), 1)],
)
@pytest.mark.parametrize("every_batch", [True, False])
async def test_until_done_ends_with_how_it_went(
    make_settings: MakeSettings, addresses: tuple[str, ...], code: int, every_batch: bool
) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="error")
        batch = await queue(settings, *addresses)
        assert await code_of(settings, process(settings, until_done=[] if every_batch else [batch])) == code


async def test_until_done_asks_little(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a spool of many batches that are done, and one that is not, mostly that one."""
    asked: list[str] = []

    async def counting(moves: Moves, b: str, *, now_ms: int = 0) -> Snapshot | None:
        asked.append(b)
        return await status(moves, b, now_ms=now_ms)

    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="error")
        names = [await queue(settings, f"a{n}@x.test") for n in range(8)]
        assert await code_of(settings, process(settings, drain=True)) == 0
        waits = await queue(settings, "450-a@x.test")
        status = Moves.status
        monkeypatch.setattr(Moves, "status", counting)
        assert await code_of(settings, process(settings, until_done=[], timeout_s=0.8)) == 75
        assert set(asked) == {waits}
        assert len(asked) <= 0.8 / (cli_entry._LOOK_EVERY_S * cli_entry._ASK_EVERY) + 2
        asked.clear()
        assert await code_of(settings, process(settings, until_done=[*names, waits], timeout_s=0.5)) == 75
        assert [asked.count(name) for name in names] == [1] * 8


async def test_until_done_does_not_wait_for_what_cannot_be_read(
    make_settings: MakeSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="warning", log_format="json")
        broken, batch = await queue(settings, "a@x.test"), await queue(settings, "b@x.test")
        async with Spool(settings) as spool:
            connection = await spool.connection()
            await connection.command("HDEL", connection.keys.batch(broken), "state")
            await connection.command("ZADD", connection.keys.batches, 1, b"\xff")
            await connection.command("ZADD", connection.keys.deadline, 9 * 10**15, b"\xfe")
            async with asyncio.timeout(10):
                assert await process(settings, until_done=[]).run() == 1
                assert await process(settings, until_done=[batch]).run() == 0
                assert await process(settings, drain=True).run() == 0
            await connection.command("FLUSHALL")
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert broken in {line["batch"] for line in told if line["event"] == "batch_set_aside"}


async def test_a_batch_that_nobody_knows_is_done(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9", log_level="error")
    assert await code_of(settings, process(settings, until_done=["bnobody"])) == 0


@pytest.mark.parametrize(
    ("settings", "form"),
    [({"log_level": "warning"}, "words"), ({"log_format": "json"}, "json"), ({"log_level": "error"}, "nothing")],
)
async def test_drain_sends_what_can_go_and_leaves_the_rest(
    make_settings: MakeSettings, capfd: pytest.CaptureFixture[str], settings: dict[str, object], form: str
) -> None:
    async with Receiver() as receiver:
        made = make_settings(relay_url=receiver.url, **settings)
        batch = await queue(made, "a@x.test", "450-b@x.test")
        assert await code_of(made, process(made, drain=True)) == 0
        assert receiver.received == 1
    said = capfd.readouterr().err.splitlines()
    if form == "nothing":
        assert said == []
    elif form == "words":
        assert any(line.startswith(f"drained; {batch}: 1 wait: a later try at ") for line in said)
    else:
        (told,) = [line for line in map(json.loads, said) if line["event"] == "drained"]
        assert (told["batch"], told["waiting"]) == (batch, 1)
        assert told["why"].startswith("a later try at ")


@pytest.mark.parametrize("form", ["console", "json"])
async def test_a_broken_record_does_not_end_a_drain(
    make_settings: MakeSettings, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="info", log_format=form)
        broken, batch = await queue(settings, "a@x.test"), await queue(settings, "b@x.test", "450-c@x.test")
        async with Spool(settings) as spool:
            connection = await spool.connection()
            await connection.command("HSET", connection.keys.batch(broken), "state", b"\xff")
            assert await process(settings, drain=True).run() == 0
    said = capfd.readouterr().err.splitlines()
    if form == "json":
        told = {line["batch"]: line["why"] for line in map(json.loads, said) if line["event"] == "drained"}
        assert told[broken] == "it cannot be read (UnicodeDecodeError)"
        assert told[batch].startswith("a later try at ")
    else:
        assert any(line.startswith(f"drained; {broken} cannot be read") for line in said)
        assert any(line.startswith(f"drained; {batch}: 1 wait") for line in said)


SPOILED: dict[str, tuple[tuple[str | bytes, ...], ...]] = {
    "no class": (("HDEL", "{B}", "class"),),
    "no state": (("HDEL", "{B}", "state"),),
    "another type": (("DEL", "{B}"), ("SET", "{B}", "x")),
    "runs of another type": (("DEL", "{P}:run:{b}"), ("SET", "{P}:run:{b}", "x")),
    "outcomes of another type": (("DEL", "{P}:out:{b}:0"), ("SET", "{P}:out:{b}:0", "x")),
}


@pytest.mark.parametrize("case", SPOILED)
async def test_a_batch_that_cannot_be_read_is_set_aside_by_name(
    make_settings: MakeSettings, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    """Its chunks were fed already: they keep no drain, and the log tells once which batch it is, and why."""
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="warning", log_format="json")
        broken, batch = await queue(settings, "a@x.test"), await queue(settings, "b@x.test")
        async with Spool(settings) as spool:
            connection = await spool.connection()
            for words in SPOILED[case]:
                texts = [
                    str(word).format(B=connection.keys.batch(broken), b=broken, P=connection.keys.prefix)
                    for word in words
                ]
                await connection.command(*texts)
            async with asyncio.timeout(10):  # without it a drain waits for the sweep, a minute each time
                assert await process(settings, drain=True).run() == 0
            assert (await (await spool.batch(batch)).status()).ok
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["batch"] for line in told if line["event"] == "batch_set_aside"] == [broken]
    assert not [line for line in told if line["event"] == "bug"]


@pytest.mark.parametrize(
    "key",
    [
        *("suppressed", "paused", "workers", "batches", "deadline", "chores"),
        *("open:bulk", "later:bulk", "flight:bulk"),
    ],
)
async def test_a_broken_key_of_all_ends_a_drain_in_words(
    make_settings: MakeSettings, capfd: pytest.CaptureFixture[str], key: str
) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9", log_level="warning", log_format="json")
    async with Spool(settings) as spool:
        connection = await spool.connection()
        await connection.command("RPUSH", f"{connection.keys.prefix}:{key}", "x")
        with pytest.raises(ResponseError) as caught:
            async with asyncio.timeout(10):
                await process(settings, drain=True).run()
        await connection.command("FLUSHALL")
    told = failure_of(caught.value)
    assert (told.code, told.exit_code) == ("broken_records", 78)
    assert "mailspool verify" in told.hint
    assert '"event":"bug"' not in capfd.readouterr().err


async def test_a_time_limit(make_settings: MakeSettings) -> None:
    async with Receiver() as receiver:
        settings = make_settings(relay_url=receiver.url, log_level="error")
        await queue(settings, "450-a@x.test")
        assert await code_of(settings, process(settings, until_done=[], timeout_s=0.3)) == 75


async def test_a_signal_drains(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9", log_level="error")
    run = process(settings)
    task = asyncio.create_task(run.run())
    await until(lambda: gc.get_freeze_count() > 0, "it works")
    run._signal()
    async with asyncio.timeout(10):
        assert await task == 0
    assert tasks_left() == []


async def test_what_kills_a_background_task_ends_the_process_in_order(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Engine] = []
    open_engine = Engine.open

    async def then_fail(engine: Engine) -> None:
        await open_engine(engine)
        opened.append(engine)
        engine.failed = ConfigError("the folder was moved")

    monkeypatch.setattr(Engine, "open", then_fail)
    settings = make_settings(relay_url="smtp://127.0.0.1:9", log_level="error")
    with pytest.raises(ConfigError):
        await process(settings).run()
    assert tasks_left() == []
    assert opened[0]._stopping


def test_without_a_relay_nothing_starts(make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError):
        run_worker(make_settings())


def test_it_runs_on_a_loop_of_its_own(make_settings: MakeSettings) -> None:
    settings = make_settings(relay_url="smtp://127.0.0.1:9", log_level="error")
    assert run_worker(settings, class_="bulk", until_done=[]) == 0
