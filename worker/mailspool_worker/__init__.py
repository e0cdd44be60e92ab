"""What operators run: the jobs, routes and SMTP sessions that send what the spool holds.

`from mailspool_worker import Worker`: the same engine inside a program of one process, and for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailspool_worker.inline import Worker as Worker

__all__ = ["Worker"]


def __getattr__(name: str) -> object:
    if name != "Worker":
        raise AttributeError(f"module 'mailspool_worker' has no attribute {name!r}")
    from mailspool_worker.inline import Worker

    return Worker
