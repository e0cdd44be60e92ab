"""What a Spool says of settings that it has read itself: once, in the log, where a web application's people look."""

from __future__ import annotations

import logging

import pytest

from mailspool import Spool
from mailspool.settings import Settings


async def test_a_misspelt_variable_is_told_once(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILSPOOL_REDIS_URI", "redis://mail.acme.example")
    told = ["MAILSPOOL_REDIS_URI is no setting. Did you mean MAILSPOOL_REDIS_URL?"]
    with caplog.at_level(logging.WARNING, "mailspool"):
        async with Spool(data_dir=settings.data_dir) as spool:
            await spool.status()
        assert caplog.messages == told
        async with Spool(settings):
            assert caplog.messages == told, "whoever has made the settings knows them"
