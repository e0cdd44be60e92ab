"""What the corrections after a clock that was set back must do: `rewind` one batch, `rewind_leases` one class.

Worked out from the keys before the call, with the codec in place of Lua. Raises Violation by `must`.
"""

from __future__ import annotations

from mailspool.contract.codec import decode_outcome, encode_outcome
from mailspool.contract.states import FEED_GRACE_MS, LATER_LIMIT_MS, LEASE_MS
from tests.storm import ops
from tests.storm.case import Step, must, num, when_due

SLICE = 100
PUT_OFF = ("wait_until", "rate_until", "closed_until")


def right_outcome(value: str, now: int) -> str:
    """As far from now as it was from then."""
    outcome = decode_outcome(value.encode("latin-1"))
    short = value[18:19] == "\x93"  # says nothing of when it was tried
    if value[0] != "d" or short or (outcome.first_ms <= now and outcome.last_ms <= now):
        return value
    outcome.at_ms = max(now, outcome.at_ms - max(0, outcome.last_ms - now))
    outcome.first_ms, outcome.last_ms = min(outcome.first_ms, now), min(outcome.last_ms, now)
    packed = encode_outcome(outcome).decode("latin-1")
    return packed[:14] + value[14:18] + packed[18:]


def rewind(op: ops.Rewind, step: Step) -> None:
    fields, answer = step.pre.batch(op.b), step.answer_to(op)
    if fields.get("state") not in {"live", "held"}:
        must(answer == -1 and step.pre == step.post, "rewound a batch at rest", op, answer)
        return
    ahead = sorted(((at, k) for k, at in step.pre.due(op.b).items() if at > step.now), reverse=True)
    # Redis orders members of one score by their octets; only the set of a slice matters where it is cut elsewhere.
    page = [k for _, k in ahead[op.start : op.start + SLICE]]
    latest = step.now + LATER_LIMIT_MS
    for k in page:
        rows, outs = int(step.pre.rows(op.b)[k]), step.pre.outcomes(op.b, k)
        right = {i: right_outcome(value, step.now) for i, value in outs.items()}
        must(step.post.outcomes(op.b, k) == right, "rewound as something else", op, k)
        if right != outs or step.pre.due(op.b)[k] > latest:
            due = when_due(rows, right, num(fields, "expires"), step.now)
            must(step.post.due(op.b).get(k) == due, "rewound, and due at another time", op, k)
    after = step.post.batch(op.b)
    for name in PUT_OFF if after["state"] != "done" else ():  # a zombie may have sent what waited
        must(num(after, name) == min(num(fields, name), latest), "put off for too long", op, name)
    must((answer == -1) == (len(page) < SLICE), "rewind's next start", op, answer, len(page))


def rewind_leases(op: ops.RewindLeases, step: Step) -> None:
    now, corrected = step.now, 0
    longest = now + max(LEASE_MS, FEED_GRACE_MS)
    for name, most, at in (
        (f"flight:{op.c}", longest, now + LEASE_MS),
        (f"apart:{op.c}", longest, now + LEASE_MS),
        ("workers", now, now),
        ("loading", now, now),
    ):
        before = step.pre.scores(name)
        right = {member: at if score > most else score for member, score in before.items()}
        corrected += sum(right[member] != score for member, score in before.items())
        must(step.post.scores(name) == right, "a lease, or a sign of life, in a time to come", name)
    must(step.answer_to(op) == corrected, "rewind_leases counts", step.answer, corrected)
