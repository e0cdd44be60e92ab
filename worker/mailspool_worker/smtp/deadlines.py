"""How long a session waits for each reply (RFC 5321 4.5.3.2): one deadline for a reply, never restarted by a drip."""

from __future__ import annotations

from typing import Final, NamedTuple

from mailspool_worker.classify import Stage

DEADLINE_S: Final[dict[Stage | None, float]] = {
    Stage.MAIL: 300.0,
    Stage.RCPT: 300.0,
    Stage.DATA: 120.0,
    Stage.BODY: 180.0,
    Stage.DOT: 600.0,
    None: 300.0,
    Stage.QUIT: 2.0,
}
"""QUIT is a courtesy; None is a reply that is only counted (RSET, a lone dot)."""


class Waits(NamedTuple):
    """How long an opening waits: for the connection (with its TLS where that comes first), the banner, each reply."""

    connect_s: float = 15.0
    banner_s: float = 30.0
    """Greeting delays against spammers stay below half a minute; with RFC 5321's five a dead relay would look busy."""
    reply_s: float = 300.0


OVERDUE_S: Final = 5.0
"""A final reply that takes longer holds up its session alone: the message behind it goes to another one."""
