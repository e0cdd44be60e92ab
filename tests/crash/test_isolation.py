"""The short edition of isolation.py asserts structure, not time: the healthy are done while the bad ones are not."""

from __future__ import annotations

from pathlib import Path

from tests.crash.isolation import Size, run
from tests.support.edition import show

SHORT = Size(relays=12, mails=60, sessions=2, dot_delay_s=0.02)


async def test_the_healthy_are_done_while_a_dead_and_a_slow_relay_have_hardly_begun(tmp_path: Path) -> None:
    seen = await run(tmp_path / "short", SHORT, with_bad=True)
    show("isolation", relays=SHORT.relays, of_the_slow_one=seen.of_slow, dead=seen.dead_state, bad=seen.statuses)
    assert seen.of_slow <= 2 * SHORT.sessions, "the slow one holds its own sessions, and nothing else"
    dead, slow = seen.statuses
    assert dead.startswith(f"{SHORT.mails}: {SHORT.mails} queued")
    assert f"{SHORT.mails}: " in slow
    assert "failed" not in dead + slow
