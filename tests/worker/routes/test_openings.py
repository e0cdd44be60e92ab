"""Openings in a row: each failed one is told, the last one is judged."""

from __future__ import annotations

import pytest

from mailspool_worker.classify import Loss, Stage, Verdict
from mailspool_worker.routes import openings as module
from mailspool_worker.routes.openings import Openings
from mailspool_worker.smtp.takeover import OpenFailed
from tests.support.routing import Yard, make_relay
from tests.support.waiting import until


class Bench:
    """Openings whose connections fail as `losses` say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *losses: Loss) -> None:
        yard = Yard()
        self.losses = list(losses)
        self.told: list[str] = []
        self.judged: list[str] = []
        yard.events.session_failed = lambda relay, stage, why: self.told.append(f"{stage} {why}")  # type: ignore[method-assign]  # kept
        self.openings = Openings(
            make_relay(), yard.parts.settings, yard.boot, yard.events,
            make=lambda features: pytest.fail("nothing opens"), failed=self._failed, changed=lambda: None,
        )  # fmt: skip

        async def fails(*_args: object, **_options: object) -> None:
            loss = self.losses.pop(0)
            raise OpenFailed(Stage.CONNECT, loss, loss.value)

        monkeypatch.setattr(module, "open_session", fails)

    def _failed(self, verdict: Verdict, words: str) -> None:
        self.judged.append(f"{verdict.action} {words}")


async def test_each_try_is_told_and_the_last_one_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Loss.TIMEOUT, Loss.REFUSED, Loss.REFUSED)
    bench.openings.start(1)
    await until(lambda: bool(bench.judged), "it is judged")
    assert bench.told == ["CONNECT timeout", "CONNECT refused", "CONNECT refused"]
    assert bench.judged == ["next-host refused"]
    await bench.openings.close()


async def test_a_relay_that_is_silent_for_long_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRYING_S", 0.0)
    bench = Bench(monkeypatch, Loss.TIMEOUT)
    bench.openings.start(1)
    await until(lambda: bool(bench.judged), "it is judged")
    assert (bench.told, bench.losses) == (["CONNECT timeout"], [])
    await bench.openings.close()
