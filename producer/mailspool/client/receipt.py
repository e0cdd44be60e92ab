"""What a call that queues or checks mail answers: plain data, light to load, for signatures and handles.

Made by upload.py, single.py, browse.py (`Receipt`) and rowfeed.py (`CheckReport`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailspool.contract.states import Class


@dataclass(frozen=True)
class Receipt:
    """Which batch a call queued into, and what it did to it."""

    batch: str
    class_: Class
    name: str = ""
    key: str | None = None
    created: bool = True
    added: int = 0
    skipped_known: int = 0
    skipped_bad: int = 0
    duplicates: int = 0
    rejects: Path | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What `Spool.check` found: every row was rendered, nothing was queued."""

    title: str
    described: str
    rows: int
    good: int
    bad: int
    duplicates: int
    total_bytes: int

    def to_dict(self) -> dict[str, object]:
        """The JSON object."""
        return dict(vars(self))
