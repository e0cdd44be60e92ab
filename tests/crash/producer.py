"""`python -m tests.crash.producer FOLDER '{...}'`: a producer that queues upload after upload, each with its key.

It writes down what it asks for before it asks, and what it is told, in `told-NAME.jsonl`: the judge's witness. Every
eighth upload is given up when all its rows are loaded. A call that fails because the spool is away, full or its answer
was lost is made again with its key; one that is started again begins with the upload that it does not know as
acknowledged. It ends when all uploads are made, or when `FOLDER/stop` exists.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from mailspool.contract import states


class Task(msgspec.Struct, forbid_unknown_fields=True):
    """`ahead`: so many uploads may be unfinished before it waits for the oldest one. `record_version`: of a later
    release, whose records are the same in all but their number.
    """

    name: str
    uploads: int
    rows: int
    ahead: int = 20
    on_uncertain: states.OnUncertain = "resend"
    lines: int = 2
    record_version: int = states.RECORD_VERSION


if __name__ == "__main__":
    TASK = msgspec.json.decode(sys.argv[2], type=Task)
    # Before the client is imported, which copies this number.
    vars(states).update(RECORD_VERSION=TASK.record_version, VERSIONS_SERVED=(1, TASK.record_version))

from mailspool import Batch, MailspoolError, Spool  # noqa: E402 - see above
from tests.support.mailing import letter, row  # noqa: E402 - see above

GIVEN_UP_EVERY = 8
PAUSE_S = 0.05


class GivenUpError(Exception):
    """The list ends in an error."""


class Witness:
    """Appends lines; each reaches the kernel before the next step."""

    def __init__(self, path: Path) -> None:
        self.known = {line["acknowledged"] for line in _lines(path) if "acknowledged" in line}
        self._file = path.open("ab", buffering=0)

    def write(self, **fields: object) -> None:
        self._file.write(json.dumps({**fields, "at_ms": time.time_ns() // 1_000_000}).encode() + b"\n")


def _lines(path: Path) -> Iterator[dict[str, object]]:
    if path.exists():
        yield from (json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))


def table(order: str, rows: int, *, given_up: bool) -> Iterator[Mapping[str, object]]:
    for n in range(1, rows + 1):
        yield row(n, order)
    if given_up:
        raise GivenUpError


def is_there(path: Path) -> bool:
    return path.exists()


class Producer:
    def __init__(self, folder: Path, task: Task) -> None:
        self._task = task
        self._stop = folder / "stop"
        self._witness = Witness(folder / f"told-{task.name}.jsonl")

    async def queue(self, spool: Spool, number: int) -> Batch | None:
        task = self._task
        key = order = f"{task.name}{number}"
        given_up = number % GIVEN_UP_EVERY == 0
        self._witness.write(asked=key, order=order, rows=task.rows)
        while True:
            try:
                rows = table(order, task.rows, given_up=given_up)
                batch = await spool.send_batch(letter(task.lines), rows, key=key, on_uncertain=task.on_uncertain)
            except GivenUpError:
                self._witness.write(given_up=key)
                return None
            except MailspoolError as error:
                self._witness.write(refused=key, error=type(error).__name__, words=str(error))
                if is_there(self._stop):
                    return None
                await asyncio.sleep(PAUSE_S)
            else:
                self._witness.write(acknowledged=key, batch=batch.id, rows=batch.added + batch.skipped_known)
                return batch

    async def run(self) -> None:
        ahead = deque[Batch]()
        async with Spool() as spool:
            for number in range(1, self._task.uploads + 1):
                if is_there(self._stop):
                    return
                if f"{self._task.name}{number}" in self._witness.known:
                    continue
                if (batch := await self.queue(spool, number)) is not None:
                    ahead.append(batch)
                while len(ahead) > self._task.ahead and not is_there(self._stop):
                    await self._finished(ahead)

    async def _finished(self, ahead: deque[Batch]) -> None:
        try:
            done = (await ahead[0].status()).done
        except MailspoolError:
            done = True  # nobody can say; the next upload will be told why
        if done:
            ahead.popleft()
        else:
            await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    asyncio.run(Producer(Path(sys.argv[1]), TASK).run())
