"""Random storms over the moves on a real server; the auditor recomputes everything after every step.

A fixed list of seeds first, so that a change that breaks something breaks it at every run; then fresh ones until the
time is over: MAILSPOOL_STORM_SECONDS, 25 by default. A failure begins with its seed, and names the last calls;
`python -m tests.storm 1 SEED` runs that storm again.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.storm.case import Violation
from tests.storm.server import Link, Server
from tests.storm.storm import Storm, named, storm

SECONDS = float(os.environ.get("MAILSPOOL_STORM_SECONDS", "25"))
FIXED_SEEDS = tuple(range(1, 17))
SEED_BITS = 32


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    with Server() as server:
        link = Link(server.socket)
        yield link
        link.close()


@pytest.mark.storm
def test_nothing_is_lost_in_a_random_storm(link: Link) -> None:
    start = time.monotonic()
    counts: Counter[str] = Counter()
    seeds = [*FIXED_SEEDS, secrets.randbits(SEED_BITS)]
    for seed in seeds:
        counts += named(seed, link)
    while time.monotonic() - start < SECONDS:
        counts += named(secrets.randbits(SEED_BITS), link)
    missing = {"Abandon", "Broom", "Lease", "Record", "SendOne", "Settle", "mails", "repeats"} - counts.keys()
    assert not missing, f"these storms did not even try {missing}"


def test_a_storm_that_fails_tells_its_seed_first(
    link: Link, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_self: Storm) -> None:
        raise KeyError("not even a violation")

    monkeypatch.setattr(Storm, "run", breaks)
    with pytest.raises(Violation, match=r"seed 4711.*KeyError.*not even") as caught:
        named(4711, link)
    assert "the last calls" in str(getattr(caught.value.__cause__, "__notes__", ""))
    assert "storm 4711" in capsys.readouterr().err


@pytest.mark.storm
def test_a_seed_is_the_same_storm_on_another_server(link: Link) -> None:
    with Server() as server:
        other = Link(server.socket)
        assert storm(FIXED_SEEDS[0], link) == storm(FIXED_SEEDS[0], other)
        other.close()
