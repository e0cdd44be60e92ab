"""The list of disasters: name, what is promised, who plays it, how large its editions are."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.crash.disasters import others, redis, space, stops, workers
from tests.crash.stage import Size, Stage

SHORT_LEASE_S = 1.5
"""Renewed every half second: still longer than any hiccup of a busy machine that these editions meet."""


@dataclass(frozen=True)
class Disaster:
    name: str
    promise: str
    play: Callable[[Stage], Awaitable[None]]
    short: Size
    full: Size


DISASTERS = (
    Disaster(
        "workers-killed",
        "kill -9: lost 0, each repeat was unrecorded, one a session",
        workers.killed,
        Size(1_500, blows=2, lease_s=SHORT_LEASE_S),
        Size(40_000, blows=10, pace=2_000),
    ),
    Disaster(
        "worker-frozen",
        "for three lease times: the other one takes over, the thawed one changes nothing",
        workers.frozen,
        Size(3_000, lease_s=SHORT_LEASE_S, pace=800),
        Size(40_000, blows=2, pace=700),
    ),
    Disaster(
        "storm",
        "workers and Redis killed: lost 0, each repeat was unrecorded, going again p99 < 30 s",
        workers.storm,
        Size(3_600, blows=3, lease_s=SHORT_LEASE_S, pace=600),
        Size(200_000, blows=120, pace=450, rows=500, drain_s=900),
    ),
    Disaster(
        "storm-held",
        "the same with on_uncertain=hold: repeats 0, what is in doubt is shown as uncertain",
        workers.held_storm,
        Size(3_600, blows=3, lease_s=SHORT_LEASE_S, pace=600, on_uncertain="hold"),
        Size(200_000, blows=120, pace=450, rows=500, drain_s=900, on_uncertain="hold"),
    ),
    Disaster(
        "rolling-restart",
        "two workers at full speed, SIGTERM to one after the other: never 2 s without a record, no repeat, 1 attempt",
        stops.rolling,
        Size(600, blows=2, lease_s=SHORT_LEASE_S, ahead=5, pace=800),
        Size(300_000, blows=20, rows=500, ahead=60, pace=math.inf, gap_limit_s=2.0, drain_s=600),
    ),
    Disaster(
        "worker-stopped",
        "SIGTERM at full speed: gone within stop_timeout, everything recorded, no repeat, 1 attempt",
        stops.stopped,
        Size(1_500, lease_s=SHORT_LEASE_S, away_s=0.5),
        Size(40_000, rows=500, ahead=60, away_s=10.0),
    ),
    Disaster(
        "redis-unreachable",
        "replies cut in the middle, delays, Redis away and silent: no process exits, no repeat, no false outcome",
        redis.unreachable,
        Size(4_000, lease_s=3.0, pace=400, away_s=6.0),
        Size(40_000, blows=3, pace=500, away_s=30.0),
    ),
    Disaster(
        "redis-frozen",
        "SIGSTOP in the middle: no process exits, no false outcome, going again within 5 s",
        redis.frozen,
        Size(2_000, lease_s=3.0, pace=700, away_s=6.0),
        Size(40_000, pace=1_000, away_s=60.0),
    ),
    Disaster(
        "arq-forgotten",
        "all of arq's keys are gone: everything is fed again",
        redis.forgets_arq,
        Size(2_000, blows=2, lease_s=SHORT_LEASE_S),
        Size(40_000, blows=10, pace=2_000),
    ),
    Disaster(
        "redis-clock",
        "an hour ahead, an hour behind, and back: nobody loses a lease, nothing repeats, nothing waits for an hour",
        redis.clock_jumps,
        Size(4_000, blows=4, lease_s=3.0, pace=300),
        Size(40_000, blows=8, pace=1_000),
    ),
    Disaster(
        "power-cut",
        "the whole machine, of the file only what was synced is left: no acknowledged mail is lost",
        redis.power_cut,
        Size(1_500, lease_s=SHORT_LEASE_S, pace=800),
        Size(40_000, blows=6, pace=1_000),
    ),
    Disaster(
        "disk-full",
        "the embedded server's disk: producers are refused in words, no worker exits, then everything goes out",
        space.disk_full,
        Size(3_000, lease_s=3.0, pace=400),
        Size(40_000, blows=3, pace=1_000, away_s=30.0),
    ),
    Disaster(
        "memory-full",
        "maxmemory: producers are refused in words, workers drain what was acknowledged, then everything goes out",
        space.memory_full,
        Size(1_400, lease_s=3.0, pace=1_000, rows=10),
        Size(14_000, pace=1_000, rows=10, drain_s=300.0),
    ),
    Disaster(
        "receiver-restarts",
        "kill -9 of receivers: lost 0, what may repeat is each session's last mail",
        others.receiver_restarts,
        Size(1_500, blows=2, lease_s=SHORT_LEASE_S),
        Size(40_000, blows=10, pace=2_000),
    ),
    Disaster(
        "hosts-clocks",
        "one worker's host an hour ahead, one behind, and kills: lost 0, repeats as ever",
        others.one_hosts_clock,
        Size(1_500, blows=2, lease_s=SHORT_LEASE_S),
        Size(40_000, blows=8, pace=2_000),
    ),
    Disaster(
        "two-formats",
        "record formats N and N+1 at once: each worker gets what it can read, and everything is sent",
        others.two_formats,
        Size(2_000, blows=1, lease_s=SHORT_LEASE_S),
        Size(40_000, blows=1, pace=2_000),
    ),
)
BY_NAME = {disaster.name: disaster for disaster in DISASTERS}
