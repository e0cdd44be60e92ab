"""What `doctor` answers: one Check for each thing looked at. Public, frozen, `to_dict()` is the JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Check:
    """`fix`: what to do. Where it is given although `ok` is true, somebody should look at it: a warning."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None

    @property
    def level(self) -> Level:
        if not self.ok:
            return "FAIL"
        return "ok" if self.fix is None else "warn"

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All of them, in the order of the screen."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, object]:
        return {"checks": [check.to_dict() for check in self.checks]}


def failed(name: str, message: str, hint: str = "", fix: str = "") -> list[Check]:
    """An error as a check: its first sentence is the detail, what follows (else its hint, else `fix`) the way out."""
    detail, _, rest = message.strip().replace("\n", " ").partition(". ")
    return [Check(name, False, detail.rstrip("."), rest.rstrip(".") or hint or fix or None)]
