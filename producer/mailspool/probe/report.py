"""What a probe gives back, and the two ways in which it ends early."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

Direction = Literal["<", ">", "-"]

OK: Final = 0
UNAVAILABLE: Final = 69
"""EX_UNAVAILABLE: the receiver is not reached, or will not do what was asked."""
LOGIN_REFUSED: Final = 77
"""EX_NOPERM."""
_SHOWN: Final = 512
"""RFC 5321 4.5.3.1.5: no reply line is longer."""


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """A line of the conversation: `>` from us, `<` from the server, `-` what happened besides."""

    at_ms: int
    dir: Direction
    line: str


@dataclass(frozen=True, slots=True)
class ProbeTls:
    """How the connection is secured. `expires_at`: end of the certificate, ISO 8601 UTC."""

    version: str
    verified: bool
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the server said and what it means. `auth` is null where nobody logged in; `size` is the limit in bytes."""

    steps: tuple[ProbeStep, ...]
    tls: ProbeTls | None
    auth: Literal["ok", "refused"] | None
    size: int | None
    features: tuple[str, ...]
    verdict: str
    exit_code: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    lines: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        return harmless(f"{self.code} {' '.join(self.lines)}".strip())


class Stop(Exception):  # noqa: N818 - it carries a verdict
    """The conversation ends here, with this verdict."""

    def __init__(self, verdict: str, exit_code: int = UNAVAILABLE) -> None:
        super().__init__(verdict)
        self.verdict, self.exit_code = verdict, exit_code


class TlsFailed(Stop):
    """TLS was offered and did not come about: without a login the worker goes on in clear."""


def harmless(text: str) -> str:
    """`text` on one line, with everything that a terminal could obey escaped, cut to the length of a reply line."""
    shown = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text[: _SHOWN + 1]
    )
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
