"""What anyone's moves must answer and do: hold, release, close, reopen, resolve, pause, purge, broom, questions.

The expected answer is worked out from the keys before the call. Raises Violation by `must`.
"""

from __future__ import annotations

import re

from mailspool.contract.states import CLASSES, LATER_LIMIT_MS
from tests.storm import ops
from tests.storm.case import AT_REST, Step, alive, must, num, open_messages, over, run_of, served, when_due
from tests.storm.snapshot import PREFIX

BROOM = 200
"""Ids that one call of the broom looks at."""
OURS = re.compile(rf"{PREFIX}:([^:]+):(\d+):(\d+)")


def hold(op: ops.Hold, step: Step) -> None:
    before = step.pre.batch(op.b)
    live = before.get("state") == "live"
    must(step.answer_to(op) == (open_messages(before) if live else 0), "hold counts", step.answer)
    _turned(step, op.b, live, "held")


def release(op: ops.Release, step: Step) -> None:
    before = step.pre.batch(op.b)
    held = before.get("state") == "held"
    must(step.answer_to(op) == (open_messages(before) if held else 0), "release counts", step.answer)
    _turned(step, op.b, held, "live")
    must(step.pre.due(op.b) == step.post.due(op.b), "hold and release change no due time", op.b)


def _turned(step: Step, b: str, may: bool, state: str) -> None:
    if may:
        must(step.post.batch(b)["state"] == state, "the state", b, state)
    else:
        must(step.pre == step.post, "a refusal changed something", b)


def close(op: ops.Close, step: Step) -> None:
    before, after = step.pre.batch(op.b), step.post.batch(op.b)
    may = before.get("state") in {"live", "held"}
    may = may and (op.verdict == "cancelled" or step.now >= num(before, "expires"))
    must(step.answer_to(op) == (open_messages(before) if may else 0), "close counts", step.answer)
    if not may:
        must(step.pre == step.post, "a refusal changed something", op)
        return
    running = any(run.startswith("run:") for run in step.pre.runs(op.b).values())
    must(after["state"] == ("closing" if running else "closed"), "closed although somebody runs, or not", op.b)
    must(after["verdict"] == op.verdict, "another verdict", op.b)


def reopen(op: ops.Reopen, step: Step) -> None:
    before, answer = step.pre.batch(op.b), step.answer_to(op)
    if before.get("state") not in {"live", "held", "done"} or over(before, step.now):
        must(answer == -1, "reopened what is closed", answer)
        return
    outs = dict(step.pre.outcomes(op.b, op.k))
    moved = 0
    for i, old in outs.items():
        if old[0] in op.letters and old[0] in "dfu" and (not op.indexes or int(i) in op.indexes):
            outs[i] = f"d{step.now:013d}" + (old[14:] if old[0] == "d" else "0000" + old[18:])
            moved += 1
    must(answer == moved, "reopen counts", answer, moved)
    must(step.post.outcomes(op.b, op.k) == outs, "reopened as something else", op, step.post.outcomes(op.b, op.k))
    if moved:
        must(step.pre.runs(op.b) == step.post.runs(op.b), "reopen moved a run", op.b)


def resolve(op: ops.Resolve, step: Step) -> None:
    outs = dict(step.pre.outcomes(op.b, op.k))
    may = step.pre.batch(op.b).get("state", "purging") != "purging"
    chosen = [i for i, old in outs.items() if may and old[0] == "u" and int(i) in op.indexes]
    outs.update({i: op.letter + outs[i][1:] for i in chosen})
    must(step.answer_to(op) == len(chosen), "resolve counts", step.answer, len(chosen))
    must(step.post.outcomes(op.b, op.k) == outs, "resolved as something else", op)


def resume(op: ops.Resume, step: Step) -> None:
    before, after = step.pre.batch(op.b), step.post.batch(op.b)
    closed = before.get("wait_why") == "closed"
    put_off = float(before.get("closed_until", 0)) > step.now
    must(step.answer_to(op) == int(closed or put_off), "resume", step.answer)
    must("wait_until" not in after or not closed, "resumed, and still waits", op.b)
    if not (closed or put_off):
        return
    must("closed_until" not in after, "resumed, and remembers a closure", op.b)
    for k, at in step.post.due(op.b).items():
        if step.now < at <= step.now + LATER_LIMIT_MS:
            rows, outs = int(step.post.rows(op.b)[k]), step.post.outcomes(op.b, k)
            must(
                at == when_due(rows, outs, num(after, "expires"), step.now), "resumed, and a chunk is put off", op.b, k
            )


def beat(op: ops.Beat, step: Step) -> None:
    must(step.answer_to(op) == step.now == step.post.scores("workers").get(op.worker), "beat", step.answer)
    fields = {name: str(value) for name, value in op.fields.items()}
    must(step.post.hash(f"worker:{op.worker}") == fields, "what a worker says of itself", op)


def leave(op: ops.Leave, step: Step) -> None:
    must(step.answer_to(op) == int(op.worker in step.pre.scores("workers")), "leave", step.answer)
    must(op.worker not in step.post.scores("workers"), "left, and still counted", op)
    must(not step.post.hash(f"worker:{op.worker}"), "left, and still described", op)


def pause(op: ops.Pause, step: Step) -> None:
    must(op.what in step.post.hash("paused"), "not paused", op.what)


def unpause(op: ops.Unpause, step: Step) -> None:
    must(op.what not in step.post.hash("paused"), "still paused", op.what)


def purge(op: ops.Purge, step: Step) -> None:
    before, answer = step.pre.batch(op.b), step.answer_to(op)
    retire = step.pre.scores("retire").get(op.b)
    if not before:
        must(answer == "GONE", "purged what is not there", answer)
    elif before["state"] != "purging" and (
        before["state"] not in AT_REST or "upload" in before or retire is None or retire > step.now
    ):
        must(answer == "BUSY", "purged before its time", op.b, before["state"], answer)
    else:
        must(answer in {"OK", "MORE"}, "purge", answer)
        must(bool(step.post.batch(op.b)) == (answer == "MORE"), "the batch goes last", op.b)


def broom(op: ops.Broom, step: Step) -> None:
    queue = step.pre.queue(op.c, str(op.version))
    left = step.post.queue(op.c, str(op.version))
    seen = sorted(queue, key=lambda job: (queue[job], job))[op.start : op.start + BROOM]
    gone = 0
    for job in seen:
        wanted = not (ours := OURS.fullmatch(job)) or _stands_behind(step, *ours.groups())
        must((job in left) == wanted, "the broom and an id in arq", job)
        must(wanted or not step.post.arq("job", job), "a job without an id", job)
        gone += not wanted
    must(len(queue) - len(left) == gone, "the broom took too much", step.answer)
    following = -1 if len(seen) < BROOM else op.start + BROOM - gone
    must(step.answer_to(op) == following, "the broom's next start", step.answer, following)


def _stands_behind(step: Step, b: str, k: str, gen: str) -> bool:
    run = step.pre.runs(b).get(k)
    return run is not None and run_of(run)[1] == gen


def status(op: ops.Status, step: Step) -> None:
    answer, fields, now = step.answer_to(op), step.pre.batch(op.b), step.now
    if not fields or answer is None:
        must(answer is None and not fields, "status of nothing", op.b, answer)
        return
    due = step.pre.due(op.b)
    slots = f"slots:{fields['class']}"
    must(answer.now_ms == now and answer.batch == fields, "status: fields", op.b)
    must(answer.earliest_due_ms == (min(due.values()) if due else None), "status: earliest due", op.b)
    must(answer.able_to_serve == served(step.pre, fields, now), "status: able to serve", op.b)
    workers = sum(int(worker[slots]) > 0 for worker in alive(step.pre, now))
    must(answer.live_workers == workers, "status: live workers", answer.live_workers, workers)
    must(answer.paused == step.pre.paused(fields["class"]), "status: paused", op.b)


def drained(op: ops.AskDrained, step: Step) -> None:
    db, answer = step.pre, step.answer_to(op)
    opened, later = db.scores(f"open:{op.c}"), db.scores(f"later:{op.c}")
    busy = len(db.scores(f"flight:{op.c}")) + len(db.scores(f"apart:{op.c}"))
    if db.paused(op.c):
        must((answer.busy, answer.stay) == (busy, len(opened) + len(later)), "drained while paused", answer)
        return
    rated = {b for b in later if num(db.batch(b), "rate_until") > step.now}
    busy += len(opened) + len(rated | {b for b, at in later.items() if at <= step.now})
    must((answer.busy == 0) == (busy == 0), "drained", answer, busy)
    must(answer.stay == len(later) - len(rated), "drained: what stays", answer)


def no_other_move_touches(step: Step) -> None:
    """Workers are written by workers, pauses by pause; a question changes nothing."""
    if isinstance(step.op, ops.Status | ops.AskDrained):
        must(step.pre == step.post, "a question changed something", step.op)
    if not isinstance(step.op, ops.Pause | ops.Unpause):
        must(step.pre.hash("paused") == step.post.hash("paused"), "paused by another move", step.op)
    if not isinstance(step.op, ops.Beat | ops.Bury | ops.Leave | ops.RewindLeases):
        must(step.pre.scores("workers") == step.post.scores("workers"), "the workers changed", step.op)
    if not isinstance(step.op, ops.Bounce | ops.Forget):
        for name in ("suppressed", "suspects"):
            must(step.pre.hash(name) == step.post.hash(name), "an address was judged by another move", step.op)
    for c in CLASSES:
        gone = step.pre.queue(c, "1").keys() - step.post.queue(c, "1").keys()
        must(not gone or isinstance(step.op, ops.Sweep | ops.Broom), "a job left arq", step.op, gone)
