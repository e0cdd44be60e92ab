"""`python -m tests.support.loading_main FOLDER`: a producer that queues batch after batch until `FOLDER/stop` exists.

Every third upload is given up when all its rows are loaded. A call that ends in SpoolUnavailable is made again with its
key. While `FOLDER/pause` exists it waits between the last load and the commit. Lines on stdout, each when it is known:
`paused`, `acknowledged NUMBER ROWS`, `given-up NUMBER ROWS`, `unavailable NUMBER`, `stopped`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mailspool import Spool, SpoolUnavailable
from mailspool.contract.moves import Loaded, Moves
from tests.support.mailing import letter, row
from tests.support.waiting import until

ROWS = 450
GIVEN_UP_EVERY = 3


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


async def queue(spool: Spool, number: int) -> None:
    while True:
        try:
            batch = await spool.send_batch(letter(2), table(number), key=f"upload-{number}")
        except GivenUpError:
            say("given-up", number, ROWS)
            return
        except SpoolUnavailable:
            say("unavailable", number)
        else:
            say("acknowledged", number, batch.added + batch.skipped_known)
            return


async def main(folder: Path) -> None:
    pause_before_commits(folder / "pause")
    number = 0
    async with Spool() as spool:
        while not (folder / "stop").exists():
            number += 1
            await queue(spool, number)
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
