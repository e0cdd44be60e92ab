"""`python -m tests.support.worker_main '{...}'`: a worker process as the command line starts it, faults on request.

Settings come from MAILSPOOL_* as for everybody. The argument's fields are `Faults`: how it ends, shorter constants for
the short editions, and what it shall die of. Exits as the command does.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec

from mailspool.contract import states
from tests.support import census


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """`lease_s`: instead of 15, with everything that hangs on it. `breaker_s`: instead of 60.

    `record_version`: of a later release, which reads all formats up to its own.
    `census`: it tells what it holds when it gets SIGUSR1 (census.py).
    `die_at`: the process ends, as if it were killed, when it comes to the recipient `die_on`.
    """

    lease_s: float | None = None
    breaker_s: float | None = None
    later_limit_s: float | None = None
    die_on: str | None = None
    die_at: Literal["render", "body"] = "body"
    class_: Literal["transactional", "bulk"] | None = None
    drain: bool = False
    until_done: list[str] | None = None
    timeout_s: float | None = None
    record_version: int | None = None
    census: bool = False


def shorten(faults: Faults) -> None:
    """Before anything of the worker is imported: its modules and the scripts copy these numbers."""
    if faults.lease_s is not None:
        lease_s = faults.lease_s
        vars(states).update(LEASE_MS=int(lease_s * 1000), RENEW_EVERY_S=lease_s / 3, LEASE_MARGIN_S=lease_s / 3)
        vars(states).update(WORKER_ALIVE_MS=int(lease_s * 1000), FEED_GRACE_MS=int(lease_s * 1000 * 2 / 3))
    if faults.record_version is not None:
        number = faults.record_version
        vars(states).update(RECORD_VERSION=number, VERSIONS_SERVED=tuple(range(1, number + 1)))
    if faults.later_limit_s is not None:
        vars(states).update(LATER_LIMIT_MS=int(faults.later_limit_s * 1000))
    if faults.breaker_s is not None:
        from mailspool_worker.routes import plan

        vars(plan).update(BREAKER_S=faults.breaker_s)


def arm(recipient: str, place: Literal["render", "body"]) -> None:
    """This process dies at this recipient: while its mail is rendered, or when its body should go out."""
    from mailspool.content.mime import Rendered
    from mailspool_worker.runs import Item
    from mailspool_worker.smtp.body import BodyWriter

    render, send = Item.render, BodyWriter.send
    mail: list[Rendered] = []

    def rendered(item: Item) -> Rendered:
        if item.row.recipient == recipient and place == "render":
            os._exit(99)
        found = render(item)
        if item.row.recipient == recipient:
            mail.append(found)
        return found

    def sent(writer: BodyWriter, content: Rendered) -> bool:
        if any(content is poison for poison in mail):
            os._exit(99)
        return send(writer, content)

    setattr(Item, "render", rendered)  # noqa: B010 - mypy forbids to assign to a method
    setattr(BodyWriter, "send", sent)  # noqa: B010 - the same


def main(argument: str) -> int:
    faults = msgspec.json.decode(argument, type=Faults)
    shorten(faults)
    if faults.die_on is not None:
        arm(faults.die_on, faults.die_at)
    if faults.census:
        census.on_request()
    from mailspool.settings import Settings
    from mailspool_worker.cli_entry import run_worker

    return run_worker(
        Settings(),
        class_=faults.class_,
        drain=faults.drain,
        until_done=faults.until_done,
        timeout_s=faults.timeout_s,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "{}"))
