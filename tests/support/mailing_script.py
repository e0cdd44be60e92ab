"""A script as people write it: a list, a template, a key. `python mailing_script.py LIST KEY [SECONDS] [HALT_AT]`.

Prints `ready` and waits for a line on stdin before it queues; then `{"created", "added", "known", "batch"}`. SECONDS:
after how long another upload is taken for dead (15 by default). HALT_AT: stop for ever behind so many rows.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from mailspool.contract import states

# Before the client is imported, which copies these numbers.
if __name__ == "__main__" and len(sys.argv) > 3 and float(sys.argv[3]):
    silent_s = float(sys.argv[3])
    vars(states).update(UPLOAD_SILENT_MS=int(silent_s * 1000), UPLOAD_SIGN_S=silent_s / 4)

from mailspool import Message, Spool

NEWS = Message(
    from_="News <news@sender.test>",
    subject="News for {{ name }}",
    text="Dear {{ name }},\n\nyour code is {{ code }}.\n",
)


async def table(path: Path, halt_at: int) -> AsyncIterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == halt_at:
                say("halted")
                await asyncio.get_running_loop().create_future()
            yield row


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def main(path: Path, key: str, halt_at: int) -> None:
    say("ready")
    sys.stdin.readline()
    async with Spool() as spool:
        batch = await spool.send_batch(NEWS, table(path, halt_at), key=key)
    known = batch.skipped_known
    say(json.dumps({"created": batch.created, "added": batch.added, "known": known, "batch": batch.id}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[4]) if len(sys.argv) > 4 else -1))
