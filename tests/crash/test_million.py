"""What million.py calls growth. It takes its minutes in `make crash` alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.crash.million import Moment, faults, shares, sizes
from tests.support.census import Census

KEYS = {"ms:totals:bulk": 2, "ms:workers": 1}


def moment(
    when: str,
    *,
    rss_mib: float = 80.0,
    files: int = 45,
    tasks: int = 9,
    blocks: int = 300_000,
    keys: Mapping[str, int] = KEYS,
    redis_mib: float = 2.0,
) -> Moment:
    return Moment(when, 1_000_000, rss_mib, rss_mib, 4, files, Census(tasks, blocks), keys, redis_mib)


def found(last: Moment, counted: int = 1_000_000) -> list[str]:
    start = [moment("first sent", rss_mib=78), moment("first purged", rss_mib=78, files=25)]
    return list(faults([*start, moment("a tenth"), moment("all sent"), last], counted))


def test_at_the_end_as_at_the_start() -> None:
    assert not found(moment("purged", files=25))


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (moment("purged", files=25, rss_mib=85), "5.0 MiB more than after a tenth"),
        (moment("purged", files=25, blocks=320_000), "20,000 pieces of memory more"),
        (moment("purged", files=30), "30 open files, not 25"),
        (moment("purged", files=25, tasks=10), "10 tasks, not 9"),
        (moment("purged", files=25, keys={**KEYS, "ms:batch:b1": 9}), "ms:batch:b1 has 9 members, not None"),
        (moment("purged", files=25, keys={**KEYS, "ms:workers": 2}), "ms:workers has 2 members, not 1"),
        (moment("purged", files=25, redis_mib=3.5), "Redis has 1.5 MiB more"),
    ],
    ids=["memory", "pieces", "files", "tasks", "key", "members", "redis"],
)
def test_growth(last: Moment, told: str) -> None:
    (fault,) = found(last)
    assert told in fault


def test_what_the_sink_counted_is_what_was_sent() -> None:
    (fault,) = found(moment("purged", files=25), counted=1_000_001)
    assert "counted 1,000,001" in fault


def test_a_million_in_tenths() -> None:
    batches = sizes(1.0)
    assert sum(batches) == 990_000
    assert [size for share in shares(batches) for size in share] == list(batches)
    assert len(list(shares(batches))) == 10
