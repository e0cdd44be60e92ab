"""The moves as values: what an actor asks for, so that it can be sent, sent again, logged and judged.

`send` goes through the real `Moves`, arguments packed and answers parsed as in production. `refused` says that the
answer is a refusal, after which nothing may have changed; `SAME_ANSWER` that a second call answers the same.
"""

from __future__ import annotations

from tests.storm.ops.base import Op
from tests.storm.ops.operating import (
    AskDrained,
    Broom,
    Close,
    Hold,
    Pause,
    Purge,
    Release,
    Reopen,
    Resolve,
    Resume,
    Rewind,
    RewindLeases,
    Status,
    Unpause,
)
from tests.storm.ops.producing import Abandon, Attach, Begin, Collect, Commit, Load, SendOne, SignOfLife
from tests.storm.ops.running import (
    Beat,
    Bounce,
    Bury,
    Detach,
    Erase,
    Feed,
    Forget,
    Group,
    Lease,
    Leave,
    Record,
    Renew,
    Settle,
    Sweep,
)

__all__ = [
    "Abandon",
    "AskDrained",
    "Attach",
    "Beat",
    "Begin",
    "Bounce",
    "Broom",
    "Bury",
    "Close",
    "Collect",
    "Commit",
    "Detach",
    "Erase",
    "Feed",
    "Forget",
    "Group",
    "Hold",
    "Lease",
    "Leave",
    "Load",
    "Op",
    "Pause",
    "Purge",
    "Record",
    "Release",
    "Renew",
    "Reopen",
    "Resolve",
    "Resume",
    "Rewind",
    "RewindLeases",
    "SendOne",
    "Settle",
    "SignOfLife",
    "Status",
    "Sweep",
    "Unpause",
]
