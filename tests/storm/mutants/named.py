"""The faults that the storm must notice at every run of the tests, in the words of what goes wrong for a user.

`SEEDS` are storms known to notice one, tried first so that the test is quick.
"""

from __future__ import annotations

from tests.storm.mutants.fault import PRELUDE, Fault

NAMED = (
    Fault(
        "a take-over inside a lease",
        "lease",
        "if current ~= 'fed:'..gen then return {'NO', 'busy'} end",
        "if current:sub(1, 4) == 'fed:' and current ~= 'fed:'..gen then return {'NO', 'busy'} end",
    ),
    Fault("stale ids left in arq", "sweep", "call('ZREM', queue, id); ", ""),
    Fault("a zombie's sent after close breaks the accounts", "record", "verdict = closed_as()", "verdict = nil"),
    Fault(
        "a zombie's sent after close is dropped",
        "record",
        "ok = was ~= 's'",
        "ok = was ~= 's' and (own or not verdict)",
    ),
    Fault(
        "a lost wake-up: rest gives no turn", PRELUDE, "then asleep('done') else turn() end", "then asleep('done') end"
    ),
    Fault("a lost wake-up: release gives no turn", "release", "turn()", ""),
    Fault("an unfair feed", PRELUDE, "turn(true)", "turn()"),
    Fault("a stale gen leases a newer feed", "lease", "current ~= 'fed:'..gen", "current:sub(1, 4) ~= 'fed:'"),
    Fault(
        "hold and release send too early: the chunk given back is due at once",
        "lease",
        "if s ~= 'live' then drop(k); rest(k);",
        "if s ~= 'live' then drop(k); call('ZADD', DUE, now, k); turn();",
    ),
    Fault(
        "hold and release send too early: all is due at once",
        "release",
        "turn()",
        "for _, k in ipairs(call('ZRANGE', DUE, 0, -1)) do call('ZADD', DUE, now, k) end turn()",
    ),
    Fault("an empty batch stays live", "commit", "else asleep('done') end", "else wake() end"),
)

SEEDS = {
    "a take-over inside a lease": 5010,
    "stale ids left in arq": 5003,
    "a zombie's sent after close breaks the accounts": 5001,
    "a zombie's sent after close is dropped": 5001,
    "a lost wake-up: rest gives no turn": 5009,
    "a lost wake-up: release gives no turn": 5003,
    "an unfair feed": 5000,
    "a stale gen leases a newer feed": 5002,
    "hold and release send too early: the chunk given back is due at once": 5023,
    "hold and release send too early: all is due at once": 5003,
    "an empty batch stays live": 5007,
}
