"""The front door: files as a whole, what is known of them, streams that are slow or given up."""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mailspool.errors import InputError, NotFound
from mailspool.lists import BadRow, ListOptions, ListRow, open_rows
from mailspool.lists.reader import FileRows
from mailspool.lists.rows import BATCH_ROWS
from mailspool.lists.stream import HEAD_BYTES, Puller
from tests.producer.lists.reading import Folder, read_all

DEADLINE_S = 20
CSV = "email,name\na@x.org,A\n"


class Pipe:
    """A pipe whose writing end is in the test's hands."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self.stream = os.fdopen(read, "rb")

    def send(self, data: bytes) -> None:
        """Blocks while the pipe is full."""
        while data:
            data = data[os.write(self._write, data) :]

    def end(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.end()
    assert not made.stream.closed
    made.stream.close()


async def test_what_is_known_before_the_first_row(lists: Folder) -> None:
    read = await lists.read("customers.csv", "\ufeffE-Mail;First Name;n\na@x.org;A;1\n", row_key="N")
    source = read.source
    assert (source.title, source.unit, source.row_key) == ("customers.csv", "line", "n")
    assert source.columns == ("e_mail", "first_name", "n", "email")
    assert source.describe() == "UTF-8, semicolon: e_mail first_name n email"
    assert source.reject_form is not None
    assert source.reject_form.path == lists.path / "customers.rejected.csv"


async def test_a_title_of_ones_own(lists: Folder) -> None:
    assert (await lists.read("customers.csv", CSV, title="people")).source.title == "people"


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"])
async def test_an_empty_file_has_no_rows_and_no_columns(lists: Folder, content: str) -> None:
    read = await lists.read("customers.csv", content)
    assert (read.rows, read.bad, read.source.columns, read.source.describe()) == ([], [], None, "empty")
    header_only = await lists.read("customers.csv", content + "\nemail,name\n")
    assert (header_only.rows, header_only.source.columns) == ([], ("email", "name"))


async def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        await read_all(tmp_path / "no.csv")
    assert str(caught.value) == f'no file "{tmp_path / "no.csv"}".'
    assert (caught.value.exit_code, caught.value.code) == (66, "no_such_file")


async def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        await read_all(tmp_path)
    assert str(caught.value) == f"{tmp_path.name} cannot be read: it is a folder; give a file."
    assert caught.value.exit_code == 66


async def test_a_file_that_may_not_be_read(lists: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = lists.write("customers.csv", CSV)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError) as caught:
        await read_all(path)
    assert str(caught.value) == "customers.csv cannot be read: Permission denied."
    assert caught.value.exit_code == 66


async def test_a_disk_that_fails_in_the_middle() -> None:
    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() > HEAD_BYTES:
                raise OSError(5, "Input/output error")
            return super().read1(size)

    with pytest.raises(InputError) as caught:
        await read_all(Failing(("email\n" + "a@x.org\n" * 100_000).encode()))
    assert str(caught.value) == "stdin cannot be read: Input/output error."


@pytest.mark.parametrize("line", [2, 50_000])
async def test_bytes_that_are_not_utf8_are_refused_with_their_line(lists: Folder, line: int) -> None:
    content = b"email,name\r\n" + b'a@x.org,"A\r\nB"\r\n' * (line // 2 - 1) + b"b@x.org,\xe9\r\n" + b"c@x.org,C\r\n"
    with pytest.raises(InputError) as caught:
        await lists.read("customers.csv", content)
    assert str(caught.value) == (
        f"customers.csv is not UTF-8 (line {line}). Save it as CSV UTF-8, or say which encoding it has: "
        "--encoding NAME, for example cp1252."
    )


@pytest.mark.parametrize("name", ["people.txt", "people.jsonl"])
async def test_the_line_of_a_wrong_byte_in_other_kinds(lists: Folder, name: str) -> None:
    line = b'{"email": "a@x.org"}\n' if name.endswith("l") else b"a@x.org\n"
    with pytest.raises(InputError, match=r"is not UTF-8 \(line 30001\)"):
        await lists.read(name, line * 30_000 + b"\xff" + line)


@pytest.mark.parametrize("encoding", ["cp1256", "utf-16", "utf-16-le"])
async def test_an_encoding_that_was_named(lists: Folder, encoding: str) -> None:
    content = "email,name\na@x.org,علي رضايي\n".encode(encoding)
    read = await lists.read("customers.csv", content, encoding=encoding)
    assert [row.values["name"] for row in read.rows] == ["علي رضايي"]
    assert read.source.describe() == f"{encoding}, comma: email name"


@pytest.mark.parametrize("above", ["sep=;\r\n", "\n\n", "# from the shop\n# second line\n"])
async def test_what_stands_above_the_header_is_counted_and_passed_over(lists: Folder, above: str) -> None:
    read = await lists.read("customers.dat", above + "email;name\na@x.org;A\nali@@x.org;B\n")
    lines = above.count("\n")
    assert read.rows == [ListRow("a@x.org", {"email": "a@x.org", "name": "A"}, lines + 2)]
    assert read.problems == [f'line {lines + 3}: "ali@@x.org": two @ signs (column email)']


async def test_leaving_closes_the_file_at_once(lists: Folder) -> None:
    async with open_rows(lists.write("customers.csv", CSV)) as rows:
        assert isinstance(rows, FileRows)
        file = rows._file
    assert file._tap is not None
    assert file._tap.closed


async def test_a_row_key_that_is_no_column(lists: Folder) -> None:
    for name, content, columns in (("l.csv", CSV, "email, name"), ("l.txt", "a@x.org\n", "email")):
        with pytest.raises(InputError) as caught:
            await lists.read(name, content, row_key="number")
        assert str(caught.value) == f'{name} has no column "number" (--row-key); it has: {columns}.'


async def test_text_streams_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        await read_all(io.StringIO(CSV))
    assert str(caught.value) == "rows is an open text file: open it in binary mode ('rb'), or give its Path."


async def test_streams_in_memory_and_on_disk_are_read_and_left_open(lists: Folder) -> None:
    stream = io.BytesIO(CSV.encode())
    read = await read_all(stream)
    assert (len(read.rows), read.source.title, stream.closed) == (1, "stdin", False)
    with lists.write("customers.csv", CSV).open("rb") as file:
        read = await read_all(file)
        assert (len(read.rows), read.source.title, file.closed) == (1, "customers.csv", False)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the descriptors of this process")
async def test_files_are_closed_also_when_their_reader_fails(lists: Folder) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for content in (CSV, "name\nAli\n", b"\xff", 'email,name\na@x.org,"A\nb@x.org,B\n'):
        with suppress(InputError):
            await lists.read("customers.csv", content)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_pipe_is_read_while_the_loop_lives(pipe: Pipe) -> None:
    """The writer writes its second half only after the loop has run something else."""
    loop_ran = threading.Event()

    def writer() -> None:
        pipe.send(b"email,name\na@x.org,A\n")
        if loop_ran.wait(DEADLINE_S):
            pipe.send(b"b@x.org,B\n" * 3 * BATCH_ROWS)
        pipe.end()

    thread = threading.Thread(target=writer)
    thread.start()
    asyncio.get_running_loop().call_soon(loop_ran.set)
    async with asyncio.timeout(DEADLINE_S):
        read = await read_all(pipe.stream)
    thread.join()
    assert len(read.rows) == 3 * BATCH_ROWS + 1


@pytest.mark.parametrize("sent", [b"", b"email\n" + b"a@x.org\n" * 20_000])
async def test_a_silent_pipe_is_given_up_at_once(pipe: Pipe, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its head is awaited, and after the last row. No thread is left that could hold the process."""
    silent = threading.Event()
    really = select.select

    def told(read: list[int], write: list[int], wrong: list[int]) -> object:
        if all_sent.is_set() and not really(read, write, wrong, 0)[0]:
            silent.set()
        return really(read, write, wrong)

    async def read() -> None:
        async with open_rows(pipe.stream) as rows:
            async for _ in rows.batches():
                pass

    all_sent = threading.Event()
    monkeypatch.setattr(select, "select", told)
    async with asyncio.timeout(DEADLINE_S):
        if not sent:
            all_sent.set()
        task = asyncio.create_task(read())
        await asyncio.to_thread(pipe.send, sent[:-8])
        all_sent.set()
        await asyncio.to_thread(pipe.send, sent[-8:])  # so that at least one read comes after all_sent
        assert await asyncio.to_thread(silent.wait, DEADLINE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    readers = [thread for thread in threading.enumerate() if thread.name.startswith("mailspool-list")]
    for thread in readers:
        await asyncio.to_thread(thread.join, DEADLINE_S)
    assert not any(thread.is_alive() for thread in readers)


async def test_a_named_pipe_given_as_a_path(tmp_path: Path) -> None:
    fifo = tmp_path / "customers.csv"
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_bytes, args=(CSV.encode(),))
    thread.start()
    async with asyncio.timeout(DEADLINE_S):
        read = await read_all(fifo)
    thread.join()
    assert read.rows == [ListRow("a@x.org", {"email": "a@x.org", "name": "A"}, 2)]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


async def test_what_was_buffered_before_is_not_lost(pipe: Pipe) -> None:
    pipe.send(b"# somebody read this line\nemail\na@x.org\n")
    pipe.end()
    pipe.stream.readline()
    assert [row.recipient for row in (await read_all(pipe.stream)).rows] == ["a@x.org"]


async def test_a_good_row_that_turned_out_bad(lists: Folder) -> None:
    csv = await lists.read("l.csv", 'name,email\nA,"""Reza \\\\ Ali"" <a@x.org>"\nB,b@x.org\n')
    assert [csv.source.spoil(row, "too big") for row in csv.rows] == [
        BadRow(2, "too big", ("A", '"Reza \\\\ Ali" <a@x.org>')),
        BadRow(3, "too big", ("B", "b@x.org")),
    ]
    json = await lists.read("l.jsonl", '{"Mail":"a@x.org","n":1}\n', want_exact=True)
    assert json.source.spoil(json.rows[0], "too big") == BadRow(1, "too big", ('{"Mail":"a@x.org","n":1}',))
    plain = await lists.read("l.txt", "Ali <a@x.org>\n")
    assert plain.source.spoil(plain.rows[0], "too big") == BadRow(1, "too big", ('"Ali" <a@x.org>',))


async def test_a_puller_keeps_the_order_of_its_work() -> None:
    done: list[str] = []
    puller = Puller(threaded=True)
    await puller.run(lambda: done.append(threading.current_thread().name))
    finished = asyncio.Event()
    loop = asyncio.get_running_loop()

    def last() -> None:
        loop.call_soon_threadsafe(finished.set)

    puller.finish(last)
    async with asyncio.timeout(DEADLINE_S):
        await finished.wait()
    assert done[0].startswith("mailspool-list")


async def test_options_have_defaults(lists: Folder) -> None:
    assert (await read_all(lists.write("l.csv", CSV), None)).rows == (await lists.read("l.csv", CSV)).rows
    assert ListOptions().want_exact is False
