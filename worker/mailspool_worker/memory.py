"""How much rendered mail this process holds: sessions pull nothing new while it is near its limit.

Counted from rendering to the final reply, without what all mails of a batch share (attachments lie in memory once).
A route asks before each pull; what is rendered goes on its way whatever the count, so no two messages wait for each
other. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

LIMIT_BYTES = 64 * 1024 * 1024


def _nobody() -> None: ...


class RenderedMemory:
    """`largest_bytes`: no message is larger, so a pull allowed now cannot pass the limit."""

    def __init__(self, largest_bytes: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self.used = 0
        self.on_room: Callable[[], None] = _nobody
        """Called when somebody was sent away and there is room again."""
        self._enough = max(0, limit_bytes - largest_bytes)
        self._sent_away = False

    def has_room(self) -> bool:
        if self.used <= self._enough:
            return True
        self._sent_away = True
        return False

    def took(self, size: int) -> None:
        self.used += size

    def gave(self, size: int) -> None:
        self.used -= size
        if self._sent_away and self.used <= self._enough:
            self._sent_away = False
            self.on_room()
