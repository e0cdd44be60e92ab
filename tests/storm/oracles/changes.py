"""What a step may change of one batch: each change must be one that this move is allowed to make.

Called by audit.py for every batch that a step touched, after `batch.check`. Raises Violation by `must`.
"""

from __future__ import annotations

from mailspool.contract.moves import Leased, Refused
from mailspool.contract.states import POISON_CLAIMS, SUSPECT_RUNS
from tests.storm import ops
from tests.storm.case import AT_REST, Case, later_of, must, num, when_due

GONE = "gone"
EDGES: dict[tuple[str, str], tuple[type, ...]] = {
    (GONE, "loading"): (ops.Begin,),
    (GONE, "live"): (ops.SendOne,),
    (GONE, "held"): (ops.SendOne,),
    ("loading", "live"): (ops.Commit,),
    ("loading", "held"): (ops.Commit,),
    ("loading", "done"): (ops.Commit,),
    ("live", "held"): (ops.Hold, ops.Bounce),
    ("held", "live"): (ops.Release,),
    ("live", "closing"): (ops.Close,),
    ("held", "closing"): (ops.Close,),
    ("live", "closed"): (ops.Close,),
    ("held", "closed"): (ops.Close,),
    ("closing", "closed"): (ops.Settle, ops.Sweep),
    ("live", "done"): (ops.Settle, ops.Sweep, ops.Lease, ops.Resume, ops.Rewind),  # a zombie may have sent what waited
    ("held", "done"): (ops.Settle, ops.Sweep, ops.Lease, ops.Resume, ops.Rewind),
    ("done", "live"): (ops.Commit, ops.Reopen),
    ("done", "purging"): (ops.Purge,),
    ("closed", "purging"): (ops.Purge,),
}


def the_state_changes_by_its_move(case: Case) -> None:
    before = case.before.get("state", GONE)
    if before != case.state:
        allowed = EDGES.get((before, case.state), ())
        must(isinstance(case.step.op, allowed), "a state change that this move may not make", before, case.state)


def due_is_what_the_outcomes_say(case: Case) -> None:
    """A chunk that came back, or whose place was decided anew, is due by what is written."""
    step, op, was_due = case.step, case.step.op, case.step.pre.due(case.b)
    for k, at in case.due.items():
        if at == was_due.get(k):
            continue
        if isinstance(op, ops.Commit | ops.SendOne):
            must(at == case.batch.due_at[int(k)], "a committed chunk is due when it was loaded", case.b, k, at)
            continue
        not_before = 0
        if isinstance(op, ops.Settle) and op.why and op.scope == "chunk" and (op.b, str(op.k)) == (case.b, k):
            not_before = later_of(op, step.now)
        elif isinstance(op, ops.Lease) and step.answer_to(op) == Refused("relay"):
            not_before = step.now + 1000
        expected = when_due(case.chunks[k], case.outs[k], case.expires(), step.now, not_before)
        must(at == expected, "due", case.b, k, at - step.now, expected, case.outs[k])


def an_outcome_changes_by_its_move(case: Case) -> None:
    for k in case.chunks:
        before, after = case.step.pre.outcomes(case.b, k), case.outs[k]
        if before == after:
            continue
        for i in before.keys() | after.keys():
            if before.get(i) != after.get(i):
                must(_may_change(case, k, before.get(i), after.get(i)), "an outcome changed", case.b, k, i)


def _may_change(case: Case, k: str, old: str | None, new: str | None) -> bool:
    """Whether this move may touch this outcome at all; what exactly it writes is its own oracle's."""
    op, here = case.step.op, (case.b, int(k))
    was, is_ = (old or " ")[0], (new or " ")[0]
    match op:
        case ops.Record():
            return any((group[0], group[1]) == here for group in op.groups)
        case ops.Reopen():
            return (op.b, op.k) == here and was in op.letters and is_ == "d"
        case ops.Rewind():
            return op.b == case.b and was == is_ == "d"
        case ops.Resolve():
            return (op.b, op.k) == here and was == "u" and is_ == op.letter
        case ops.Settle():
            return (op.b, op.k) == here and was == "c" and is_ == "u" and (old or "")[1:] == (new or "")[1:]
        case ops.Sweep():
            poisoned = case.step.pre.lost_runs(case.b, k) >= SUSPECT_RUNS and case.fields["claim"] != "1"
            again = poisoned and int((old or "")[17:18] or 0) < POISON_CLAIMS
            if again and (new or "")[:14] != f"d{case.step.now:013d}":
                return False
            same = (old or "")[14:] == (new or "")[14:] if again else (old or "")[1:] == (new or "")[1:]
            return was == "c" and is_ == ("d" if again else "f" if poisoned else "u") and same
    return False


def lost_runs_are_counted(case: Case) -> None:
    """One more for each run that the sweep ended, none for a lost enqueue; a settled or final chunk has none.

    A settle that only puts its chunk off leaves the number as it is.
    """
    step, op = case.step, case.step.op
    for k in case.chunks:
        before, after = step.pre.lost_runs(case.b, k), step.post.lost_runs(case.b, k)
        expected = before
        if isinstance(op, ops.Sweep) and step.pre.runs(case.b).get(k, "").startswith("run:") and k not in case.runs:
            expected = before + 1
        elif isinstance(op, ops.Settle) and (op.b, str(op.k)) == (case.b, k) and step.answer_to(op) == "OK":
            expected = before if op.why else 0
        forgotten = after == 0 and (case.all_final(k) or case.state in AT_REST)
        must(after == expected or forgotten, "lost runs", case.b, k, before, after, expected)


def the_deadline_moves_only_at_a_new_life(case: Case) -> None:
    now, before = case.step.now, case.before
    if before.get("state", "loading") != "loading":
        must(case.fields["lifetime"] == before["lifetime"], "another lifetime", case.b)
        must(case.fields["created"] == before["created"], "another creation", case.b)
        if before["expires"] != case.fields["expires"]:
            woken = before["state"] == "done" and case.state == "live"
            must(woken and case.expires() == now + num(case.fields, "lifetime"), "a new deadline", case.b)
    elif case.state != "loading":
        given = case.batch.fields
        start, lifetime = max(now, int(given["send_at"])), int(given["lifetime"])
        must(case.expires() == (start + lifetime if lifetime else int(given["expires"])), "the deadline", case.b)
        must(num(case.fields, "lifetime") == case.expires() - start, "the lifetime", case.b)
        must(num(case.fields, "created") == now, "created", case.b)
    must(case.state != "live" or before.get("state") != "done" or case.expires() > now, "woken into the past", case.b)


def waiting_ends_by_itself(case: Case) -> None:
    """wait_until grows by a blocked settle and goes by resume or rest; nothing else touches it."""
    op, before = case.step.op, num(case.before, "wait_until")
    after = num(case.fields, "wait_until")
    if before == after:
        return
    if after == 0:
        resumed = isinstance(op, ops.Resume) and case.before["wait_why"] == "closed"
        must(resumed or case.state in AT_REST, "a wait was forgotten", case.b)
        return
    if isinstance(op, ops.Rewind):
        return
    must(isinstance(op, ops.Settle) and op.why and op.scope == "batch", "a wait from nowhere", case.b)
    if isinstance(op, ops.Settle):
        must(after == max(before, later_of(op, case.step.now)), "wait_until", case.b, after - case.step.now)


def rest_is_dated(case: Case) -> None:
    """Who comes to rest says when, and is purged a retention later; the bad ones have their own."""
    now, retire = case.step.now, case.step.post.scores("retire").get(case.b)
    if case.state not in AT_REST:
        return
    if case.before.get("state") in AT_REST:
        must(case.fields["finished"] == case.before["finished"], "it finished twice", case.b)
        must(retire == case.step.pre.scores("retire").get(case.b), "purged at another time", case.b)
        return
    bad = any(num(case.fields, name) for name in ("n_failed", "n_uncertain", "n_expired"))
    must(num(case.fields, "finished") == now, "when it finished", case.b)
    must(retire == now + num(case.fields, "keep_bad" if bad else "keep"), "retention", case.b, retire, bad)


def started_is_the_first_lease(case: Case) -> None:
    before, after = case.before.get("started"), case.fields.get("started")
    if before != after:
        leased = isinstance(case.step.op, ops.Lease) and isinstance(case.step.answer, Leased)
        if isinstance(case.step.op, ops.Rewind) and before is not None and int(before) > case.step.now:
            must(num(case.fields, "started") == case.step.now, "started", case.b)
            return
        must(before is None and leased and num(case.fields, "started") == case.step.now, "started", case.b)


ALWAYS = (
    due_is_what_the_outcomes_say,
    an_outcome_changes_by_its_move,
    lost_runs_are_counted,
    the_deadline_moves_only_at_a_new_life,
    waiting_ends_by_itself,
    rest_is_dated,
    started_is_the_first_lease,
)


def check(case: Case) -> None:
    the_state_changes_by_its_move(case)
    if case.state not in {"loading", "purging"}:
        for oracle in ALWAYS:
            oracle(case)


def check_gone(step_op: object, b: str, state: str) -> None:
    """A batch that was there and is not any more."""
    if state == "loading":
        must(isinstance(step_op, ops.Collect), "a batch vanished", b, state)
    else:
        must(isinstance(step_op, ops.Purge) and state in {*AT_REST, "purging"}, "a committed batch vanished", b, state)
