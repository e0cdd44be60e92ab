"""`mailspool demo`."""

from __future__ import annotations

from mailspool.cli.options import Ask


def demo(ask: Ask) -> int:
    """Send 1,000 mails."""
    return 0
