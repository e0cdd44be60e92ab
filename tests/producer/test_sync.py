"""`SyncSpool` and `SyncBatch`: the same names without await, from threads, after a fork, and under Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import inspect
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from mailspool import Batch, InputError, Message, NotFound, Settings, Spool, SyncBatch, SyncSpool, WaitTimeout
from mailspool.client import loop_thread
from mailspool.client.upload import Upload
from tests.support.embedded import REPOSITORY, eventually, servers_below

HELLO = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello", text="Salaam!\n")
NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Dear {{ name }}\n")
ROWS = [{"email": f"u{n}@x.test", "name": f"Anna {n}"} for n in range(250)]
ASYNC_ONLY = {"lifespan", "connection"}


@pytest.fixture
def spool(settings: Settings) -> Iterator[SyncSpool]:
    with SyncSpool(settings) as spool:
        yield spool


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("plain", "sync"), [(Spool, SyncSpool), (Batch, SyncBatch)])
def test_the_signatures_are_the_same_minus_async(plain: type, sync: type) -> None:
    assert public(plain) - ASYNC_ONLY == public(sync) - {"settings"}
    for name in [*(public(plain) - ASYNC_ONLY), *(["__init__"] if plain is Spool else [])]:
        asked, given = inspect.signature(getattr(plain, name)), inspect.signature(getattr(sync, name))
        assert list(given.parameters.values()) == list(asked.parameters.values()), name
        answer = str(asked.return_annotation).replace("AsyncIterator", "Iterator")
        assert str(given.return_annotation) == ("SyncBatch" if answer == "Batch" else answer), name
        assert not inspect.iscoroutinefunction(getattr(sync, name)), name


def test_both_handles_have_the_same_attributes(spool: SyncSpool) -> None:
    batch = spool.send_batch(NEWS, ROWS, key="monday", name="news")
    inner = {name for name in vars(batch._batch) if not name.startswith("_")}
    assert {name for name in vars(batch) if not name.startswith("_")} == inner
    for name in inner:
        assert getattr(batch, name) == getattr(batch._batch, name), name
    assert repr(batch) == f"<SyncBatch {batch.id} news>"


def test_a_batch_from_beginning_to_end(spool: SyncSpool) -> None:
    batch = spool.send_batch(NEWS, ROWS, key="monday")
    assert (batch.created, batch.added) == (True, 250)
    assert (spool.send_batch(NEWS, ROWS, key="monday").added, spool.send(HELLO).added) == (0, 1)
    assert [message.row for message in batch.messages()] == list(range(1, 251))
    assert batch.message(17).recipient == "u16@x.test"
    assert (list(batch.failed()), list(batch.unsent())) == ([], [])
    with pytest.raises(WaitTimeout, match=r"0 of 250"):
        batch.wait(timeout=0)
    assert next(batch.progress(0.01)).queued == 250
    assert (batch.hold(), batch.release(), batch.retry(), batch.cancel()) == (250, 250, 0, 250)
    assert batch.status().state == "cancelled"
    assert [status.state for status in batch.progress()] == ["cancelled"]
    assert [status.total for status in spool.batches()] == [1, 250]
    assert spool.status().queued == 1
    assert spool.batch("key:monday").id == batch.id
    with pytest.raises(NotFound):
        spool.batch("key:tuesday")
    assert spool.check(NEWS, iter(ROWS)).good == 250


def test_a_stream_that_is_left_early_is_closed(spool: SyncSpool) -> None:
    batch = spool.send_batch(NEWS, ROWS)
    for message in batch.messages():
        assert message.row == 1
        break
    assert next(iter(batch.messages())).row == 1


def test_rows_are_pulled_in_the_calling_thread(spool: SyncSpool) -> None:
    """As a database's cursor or Django's queryset demands, which refuses to run inside an event loop."""
    threads: set[int] = set()

    def rows() -> Iterator[Mapping[str, object]]:
        for row in ROWS:
            threads.add(threading.get_ident())
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            yield row

    class Query:
        def __iter__(self) -> Iterator[Mapping[str, object]]:
            return rows()

    assert spool.send_batch(NEWS, rows()).added == 250
    assert spool.send_batch(NEWS, Query()).added == 250
    assert spool.check(NEWS, map(dict, ROWS)).good == 250
    assert threads == {threading.get_ident()}


def test_rows_may_use_the_spool_themselves(spool: SyncSpool) -> None:
    rows = ({**row, "name": str(spool.status().queued)} for row in ROWS[:3])
    assert spool.send_batch(NEWS, rows).added == 3


def test_what_rows_raise_arrives_and_nothing_is_queued(spool: SyncSpool) -> None:
    def rows() -> Iterator[Mapping[str, object]]:
        yield from ROWS
        raise ZeroDivisionError("of the caller's own")

    with pytest.raises(ZeroDivisionError, match=r"of the caller's own"):
        spool.send_batch(NEWS, rows(), key="monday")
    assert list(spool.batches()) == []
    assert spool.send_batch(NEWS, ROWS, key="monday").created


@pytest.mark.parametrize("rows", ["a@x.test", b"a@x.test", {"email": "a@x.test"}, 7, None])
def test_what_is_no_list_of_rows_is_refused_as_by_spool(spool: SyncSpool, rows: object) -> None:
    with pytest.raises(InputError, match=r"rows is "):
        spool.send_batch(NEWS, rows)  # type: ignore[arg-type]  # the mistake


def test_a_file_is_a_file(spool: SyncSpool, home: Path) -> None:
    path = home / "people.csv"
    path.write_text("email,name\nali@x.test,Ali\n", "utf-8")
    assert spool.send_batch(NEWS, path).added == 1
    with path.open("rb") as stream:
        assert spool.send_batch(NEWS, stream).added == 1


def test_many_threads_share_one(spool: SyncSpool) -> None:
    with ThreadPoolExecutor(16) as pool:
        batches = list(pool.map(lambda n: spool.send(HELLO, key=f"reset:{n % 40}"), range(80)))
    assert len({batch.id for batch in batches}) == 40
    assert sum(batch.created for batch in batches) == 40
    assert spool.status().queued == 40
    assert sum(thread.name == "mailspool" for thread in threading.enumerate()) == 1


def test_no_thread_before_the_first_use(home: Path) -> None:
    code = (
        "import threading, mailspool; spool = mailspool.SyncSpool(); "
        "print([thread.name for thread in threading.enumerate()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env(home))
    assert done.stdout.strip() == "['MainThread']"


def _env(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILSPOOL_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY / "producer"), "MAILSPOOL_DATA_DIR": str(home / "spool")}


def in_a_child(work: Callable[[], None]) -> int:
    """A bare fork, as gunicorn and Celery do it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_after_a_fork_both_go_on(spool: SyncSpool) -> None:
    batch = spool.send_batch(NEWS, ROWS, key="monday")

    def work() -> None:
        gc.collect()  # nothing of the parent's may be closed here: both share one epoll
        assert batch.status().total == 250
        assert spool.send_batch(NEWS, ROWS, key="monday").added == 0
        spool.send(HELLO)
        spool.close()

    for _ in range(3):
        assert in_a_child(work) == 0
        assert spool.send(HELLO).added == 1
    assert len(list(spool.batches())) == 7


def test_a_child_says_nothing_of_what_its_parent_was_doing(spool: SyncSpool, capfd: pytest.CaptureFixture[str]) -> None:
    batch = spool.send_batch(NEWS, ROWS)

    def wait() -> None:
        with pytest.raises(WaitTimeout):
            batch.wait(1.0)

    waiting = threading.Thread(target=wait)
    waiting.start()

    def work() -> None:
        spool.send(HELLO)
        gc.collect()
        spool.close()

    assert in_a_child(work) == 0
    waiting.join()
    assert capfd.readouterr().err == ""


def test_a_fork_while_the_lock_is_held(spool: SyncSpool) -> None:
    def work() -> None:
        spool.send(HELLO)
        spool.close()

    with loop_thread._lock:
        assert in_a_child(work) == 0


def test_a_fork_while_other_threads_are_inside(spool: SyncSpool) -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            spool.status()

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()

    def work() -> None:
        spool.send(HELLO)
        spool.close()

    try:
        assert [in_a_child(work) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(list(spool.batches())) == 5


def test_a_pool_of_forked_processes(spool: SyncSpool) -> None:
    batch = spool.send_batch(NEWS, ROWS)
    global _shared
    _shared = spool
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_total, [batch.id] * 6) == [250] * 6


_shared: SyncSpool


def _total(ref: str) -> int:
    return _shared.batch(ref).status().total


_INTERRUPTED = """
import sys, time
from mailspool import Message, SyncSpool
def rows():
    for n in range(250):
        yield {"email": f"u{n}@x.test"}
    print("there", flush=True)
    time.sleep(60)
with SyncSpool() as spool:
    try:
        spool.send_batch(Message(from_="a@x.test", subject="S", text="T"), ROWS, key="monday")
    except KeyboardInterrupt:
        print(len(list(spool.batches())), spool.send_batch(
            Message(from_="a@x.test", subject="S", text="T"), ["a@x.test"], key="monday").created, flush=True)
"""
_SLOW_ASYNC = """
import asyncio
async def slow():
    for n in range(250):
        yield {"email": f"u{n}@x.test"}
    print("there", flush=True)
    await asyncio.sleep(60)
"""


def test_when_ctrl_c_arrives_the_upload_is_given_up_already(
    spool: SyncSpool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program may end at once: nobody would free the key then."""

    def rows() -> Iterator[Mapping[str, object]]:
        yield from ROWS
        raise KeyboardInterrupt

    abandon = Upload._abandon

    async def slowly(upload: Upload) -> None:
        await asyncio.sleep(0.2)
        await abandon(upload)

    monkeypatch.setattr(Upload, "_abandon", slowly)
    with Redis(unix_socket_path=str(settings.data_dir / "redis.sock")) as redis:
        with pytest.raises(KeyboardInterrupt):
            spool.send_batch(NEWS, rows(), key="monday")
        assert [score for _, score in redis.zrange("ms:loading", 0, -1, withscores=True)] == [0]


@pytest.mark.parametrize("where", ["in the caller's rows", "in the loop"])
def test_ctrl_c_queues_nothing_and_frees_the_key(home: Path, where: str) -> None:
    rows = "rows()" if where == "in the caller's rows" else "slow()"
    code = _SLOW_ASYNC + _INTERRUPTED.replace("ROWS", rows)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=_env(home)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "0 True\n"
        assert process.wait(20) == 0


def test_from_inside_its_own_loop_it_is_refused(spool: SyncSpool) -> None:
    class Rows:
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # runs in the loop: that is the mistake
            spool.status()
            yield {}

    with pytest.raises(RuntimeError, match=r"called from inside its own event loop"):
        spool.send_batch(NEWS, Rows())


def test_neither_can_be_pickled(spool: SyncSpool) -> None:
    for thing in (spool, spool.send(HELLO)):
        with pytest.raises(TypeError, match=r"pass batch.id, then spool.batch\(id\)"):
            pickle.dumps(thing)


def test_the_last_one_out_stops_the_server(settings: Settings, home: Path) -> None:
    first, second = SyncSpool(settings), SyncSpool(settings)
    first.open()
    second.send(HELLO)
    first.close()
    assert len(servers_below(home)) == 1
    second.close()
    eventually(lambda: not servers_below(home), "the server is stopped")
    first.close()
