"""`python -m tests.crash.receivers '{"count": 50, ...}'`: many receivers in one process, each on a port of its own.

The first line on stdout is a JSON array of their URLs; then, for every line on stdin, one with the mails that each has
received. One of them may be slow for everybody; a dead one is a port where nobody listens, which needs no process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import msgspec

from mailspool.sandbox import Receiver, ReceiverOptions


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """`slow`: which one, by number, and how long it takes a mail."""

    count: int
    dot_delay_s: float
    slow: int | None = None
    slow_s: float = 10.0


async def main(plan: Plan) -> None:
    async with AsyncExitStack() as stack:
        receivers = []
        for number in range(plan.count):
            delay_s = plan.slow_s if number == plan.slow else plan.dot_delay_s
            options = ReceiverOptions(dot_delay_s=delay_s, remember_mails=False, remember_log=False)
            receivers.append(await stack.enter_async_context(Receiver(options=options)))
        say([receiver.url for receiver in receivers])
        while await asyncio.to_thread(sys.stdin.readline):
            say([receiver.received for receiver in receivers])


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
