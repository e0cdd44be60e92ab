"""Ctrl-C: what was asked for is either done or not; the last line says which, and how to go on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from mailspool import Message, Settings, Spool
from mailspool.cli import interrupt
from mailspool.cli.failures import Interrupted
from tests.producer.cli.commands import FROM, Cli

LETTER = Message(from_="me@acme.example", subject="Hi", text="hello")


def test_while_a_list_is_read(cli: Cli) -> None:
    """Opening a named pipe for writing returns when its reader is there."""
    pipe = cli.folder / "list.csv"
    os.mkfifo(pipe)
    running = cli.start("send", *FROM, "--body", "x", "--to", "list.csv")
    half_a_list = os.open(pipe, os.O_WRONLY)
    os.write(half_a_list, b"email\na@x.org\n")
    running.signal()
    ran = running.end()
    os.close(half_a_list)
    assert (ran.code, ran.out, ran.err) == (130, "", "Interrupted: nothing was done.\n")
    assert cli.batches() == []


async def moves(spool: Spool) -> int:
    """How many this spool's server has run."""
    stats = cast("Mapping[str, Mapping[str, int]]", await (await spool.connection()).command("INFO", "commandstats"))
    return stats.get("cmdstat_evalsha", {}).get("calls", 0)


async def until_moves(spool: Spool, number: int) -> None:
    async with asyncio.timeout(20):
        while await moves(spool) < number:  # noqa: ASYNC110 - what another process does is no event of ours
            await asyncio.sleep(0.01)


async def test_before_the_commit(cli: Cli) -> None:
    """Another upload holds the key: the command asks for it again and again, until the test lets it go."""
    let_go = asyncio.Event()
    cli.write("list.csv", "email\nb@x.org\n")

    async def rows() -> AsyncIterator[str]:
        yield "a@x.org"
        await let_go.wait()

    async with Spool(Settings(data_dir=cli.data_dir)) as spool:
        holder = asyncio.create_task(spool.send_batch(LETTER, rows(), key="k"))
        await until_moves(spool, 1)
        running = cli.start("send", *FROM, "--body", "hello", "--to", "list.csv", "--key", "k", "--json")
        await until_moves(spool, await moves(spool) + 3)
        running.signal()
        ran = await asyncio.to_thread(running.end)
        let_go.set()
        batch = await holder
        assert (await batch.status()).total == 1
    assert (ran.code, ran.out) == (130, "")
    assert ran.error() == {
        "code": "interrupted",
        "message": "Interrupted: nothing was queued.",
        "hint": None,
        "exit": 130,
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_watching_stops_and_nothing_else(cli: Cli, number: signal.Signals, code: int) -> None:
    batch = cli.send("--to", "a@x.org").out.strip()
    watching = cli.start("watch", batch, "--json")
    watching.until('"queued":1')
    watching.signal(number)
    ran = watching.end()
    assert ran.code == code
    assert ran.error()["message"] == f"Stopped watching; {batch} goes on. Come back: mailspool watch {batch}"
    assert cli.batches()[0]["queued"] == 1


def test_delivering_stops_and_keeps_the_rest(cli: Cli) -> None:
    with cli.receiver() as receiver:
        running = cli.start("send", *FROM, "--body", "x", "--to", "450-b@x.org", "--to", "a@x.org", "--deliver")
        receiver.until("a@x.org")
        running.signal()
        ran = running.end()
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-2:] == [
        "finishing what is on the wire (at most 25 s); Ctrl-C again drops it",
        "Stopped: 1 of 2 are sent, the rest is kept. Go on: the same command again (for a list), or mailspool worker",
    ]
    assert [(batch["sent"], batch["done"]) for batch in cli.batches()] == [(1, False)]


def test_the_second_one_drops_what_is_on_the_wire(cli: Cli) -> None:
    with cli.receiver() as receiver:
        running = cli.start("send", *FROM, "--body", "x", "--to", "stall-a@x.org", "--deliver")
        receiver.until("stall-a@x.org")
        running.signal()
        running.until("Ctrl-C again drops it")
        running.signal()
        ran = running.end()
    assert ran.code == 130
    assert "Dropped: mails that were on the wire are in doubt and may be sent again." in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_stop_did_its_work(cli: Cli, number: signal.Signals) -> None:
    running = cli.start("worker", env={"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:9"})
    running.until("worker_started")
    running.signal(number)
    ran = running.end()
    assert (ran.code, ran.out) == (0, "")
    assert '"worker_stopped"' in ran.err


def test_the_demo_leaves_nothing(cli: Cli) -> None:
    running = cli.start("demo", "--count", "100000")
    running.until("Nothing leaves this machine.")
    running.signal()
    ran = running.end()
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.endswith("Stopped; nothing is left behind.\n")
    assert list(cli.temporary.iterdir()) == []


def test_a_lost_cancellation_is_found_again() -> None:
    """redis-py's asyncio.wait_for swallows one that comes together with the answer, before Python 3.12."""

    async def main(signals: interrupt.Signals) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert signals.first == signal.SIGINT  # and it goes on, as if there had been none
        interrupt.obey()
        return 0

    with pytest.raises(Interrupted) as caught:
        interrupt.run(main)
    assert caught.value.exit_code == 130


async def test_work_that_does_not_listen_is_told_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    told = 0
    monkeypatch.setattr(interrupt, "_ONCE_MORE_S", 0.01)

    async def deaf() -> None:
        nonlocal told
        while told < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1

    task = asyncio.create_task(interrupt.stoppable(deaf()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == 3


async def test_stoppable_work_is_ordinary_work() -> None:
    async def fails() -> None:
        raise KeyError("x")

    async def works() -> int:
        return 7

    assert await interrupt.stoppable(works()) == 7
    with pytest.raises(KeyError):
        await interrupt.stoppable(fails())


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """nohup."""

    async def main(signals: interrupt.Signals) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        interrupt.obey()
        return 7

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert interrupt.run(main) == 7
    finally:
        signal.signal(signal.SIGHUP, before)
