"""`python -m tests.support.loading_main FOLDER`: a producer that queues batch after batch until `FOLDER/stop` exists.

Every third upload is given up when all its rows are loaded. A call that ends in SpoolUnavailable is made again with
its key. It is at most 40 batches ahead of the worker, and waits for the oldest one otherwise; while `FOLDER/pause`
exists it waits between the last load and the commit. Lines on stdout, each when it is known: `paused`,
`acknowledged NUMBER ROWS`, `given-up NUMBER ROWS`, `unavailable NUMBER`, `stopped`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mailspool import Batch, Spool, SpoolUnavailable
from mailspool.contract.moves import Loaded, Moves
from tests.support.mailing import letter, row
from tests.support.waiting import until

ROWS = 450
GIVEN_UP_EVERY = 3
AHEAD = 40


class GivenUpError(Exception):
    """The list ends in an error."""


def order_of(number: int) -> str:
    """The recipients of one upload have a local part of their own."""
    return f"batch{number}"


def table(number: int) -> Iterator[Mapping[str, object]]:
    for n in range(1, ROWS + 1):
        yield row(n, order_of(number))
    if is_given_up(number):
        raise GivenUpError


def is_given_up(number: int) -> bool:
    return number % GIVEN_UP_EVERY == 0


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def is_there(path: Path) -> bool:
    return path.exists()


def pause_before_commits(pause: Path) -> None:
    commit = Moves.commit

    async def paused(moves: Moves, b: str, u: str, total: int, shas: Sequence[str] = (), *, now_ms: int = 0) -> Loaded:
        if is_there(pause):
            say("paused")
            await until(lambda: not is_there(pause), "it may go on")
        return await commit(moves, b, u, total, shas, now_ms=now_ms)

    setattr(Moves, "commit", paused)  # noqa: B010 - mypy forbids to assign to a method


async def queue(spool: Spool, number: int) -> Batch | None:
    while True:
        try:
            batch = await spool.send_batch(letter(2), table(number), key=f"upload-{number}")
        except GivenUpError:
            say("given-up", number, ROWS)
            return None
        except SpoolUnavailable:
            say("unavailable", number)
        else:
            say("acknowledged", number, batch.added + batch.skipped_known)
            return batch


async def main(folder: Path) -> None:
    pause_before_commits(folder / "pause")
    number, ahead = 0, deque[Batch]()
    async with Spool() as spool:
        while not is_there(folder / "stop"):
            number += 1
            if (batch := await queue(spool, number)) is not None:
                ahead.append(batch)
            if len(ahead) > AHEAD:
                await ahead.popleft().wait()
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
