"""What the worker's moves must answer and do: lease, renew, record, detach, settle, sweep.

The expected answer is worked out from the keys before the call. Raises Violation by `must`.
"""

from __future__ import annotations

from mailspool.contract.moves import Leased, Recorded, Refused, Swept
from mailspool.contract.states import CLASSES, FEED_GRACE_MS, LEASE_MS, SUSPECT_AGE_MS
from tests.storm import ops
from tests.storm.case import FINAL, Step, as_worker_sees, later_of, must, num, run_of, served
from tests.storm.snapshot import PREFIX, Snapshot


def _expected_refusal(op: ops.Lease, step: Step) -> str | None:
    db, run = step.pre, step.pre.runs(op.b).get(str(op.k))
    if run is None:
        return "notfed"
    if run == f"run:{op.gen}:{op.token}":
        return None
    if run != f"fed:{op.gen}":
        return "busy"
    fields = db.batch(op.b)
    state = as_worker_sees(db, fields, step.now)
    if state != "live":
        return state
    relay = fields.get("relay")
    return "relay" if relay and relay not in op.relays else None


def lease(op: ops.Lease, step: Step) -> None:
    answer, why = step.answer_to(op), _expected_refusal(op, step)
    if why is not None:
        must(answer == Refused(why), "lease", answer, why)
        if why in {"held", "relay"}:
            must(str(op.k) not in step.post.runs(op.b), "a refused lease keeps its place", op)
        return
    must(isinstance(answer, Leased), "lease", answer)
    if not isinstance(answer, Leased):
        return
    db, fields = step.post, step.post.batch(op.b)
    must(db.runs(op.b)[str(op.k)] == f"run:{op.gen}:{op.token}", "the run is not mine", op)
    if step.pre.runs(op.b)[str(op.k)].startswith("fed:"):
        must(db.scores(f"flight:{fields['class']}")[f"{op.b}:{op.k}"] == step.now + LEASE_MS, "lease end", op)
        must(all(value[:1] != b"c" for value in answer.outcomes.values()), "a claim outlived its run", op)
    must(answer.rows.decode("latin-1") == db.text(f"chunk:{op.b}:{op.k}"), "rows of a lease", op)
    outs = {str(i): value.decode("latin-1") for i, value in answer.outcomes.items()}
    must(outs == db.outcomes(op.b, op.k), "outcomes of a lease", op)
    must(answer.state == as_worker_sees(db, fields, step.now), "the state of a lease", answer.state)
    must(answer.lost_runs == db.lost_runs(op.b, op.k), "lost runs of a lease", answer.lost_runs)
    must(answer.batch == fields and answer.now_ms == step.now, "the batch of a lease", op)


def renew(op: ops.Renew, step: Step) -> None:
    answers: list[str] = step.answer_to(op)
    for (b, k, token), answer in zip(op.runs, answers, strict=True):
        if step.pre.runs(b).get(str(k)) != f"run:{token}":
            must(answer == "LOST", "renewed a run that is lost", b, k, answer)
            continue
        fields = step.post.batch(b)
        must(answer == as_worker_sees(step.post, fields, step.now), "the state of a renewal", b, answer)
        must(step.post.lease_end(fields["class"], f"{b}:{k}") == step.now + LEASE_MS, "renewed nothing", b, k)
        for zset in ("flight", "apart"):
            members = (db.scores(f"{zset}:{fields['class']}") for db in (step.pre, step.post))
            must(len({f"{b}:{k}" in found for found in members}) == 1, "renew moved a run", b, k)


def record(op: ops.Record, step: Step) -> None:
    outs: dict[tuple[str, int], dict[str, str]] = {}
    answers = step.answer_to(op)
    must(len(answers) == len(op.groups), "an answer for each group", answers)
    for group, answer in zip(op.groups, answers, strict=True):
        b, k, _, _ = group
        fields = step.pre.batch(b)
        if fields.get("state", "purging") == "purging":
            must(answer == Recorded("GONE", "gone", ()), "recorded what is gone", answer)
            continue
        kept = outs.setdefault((b, k), dict(step.pre.outcomes(b, k)))
        expected = _record_one(step, group, kept)
        must(answer == expected, "record answers", group, answer, expected)
    for (b, k), expected_outs in outs.items():
        must(step.post.outcomes(b, k) == expected_outs, "record", b, k, step.post.outcomes(b, k), expected_outs)


def _record_one(step: Step, group: ops.Group, outs: dict[str, str]) -> Recorded:
    """What one group does to the outcomes of its chunk, in the order given."""
    b, k, token, outcomes = group
    fields = step.pre.batch(b)
    own = step.pre.runs(b).get(str(k)) == f"run:{token}"
    state = as_worker_sees(step.pre, fields, step.now)
    refused = []
    for index, data in outcomes:
        i, new, old = str(index), data.decode("latin-1"), outs.get(str(index))
        if new[:1] == "d" and int(new[1:14]) > num(fields, "expires"):
            new = f"d{num(fields, 'expires'):013d}{new[14:]}"
        if _may_record(new, old, own, state):
            if new:
                outs[i] = new
            else:
                del outs[i]
        elif old != (new or None):
            refused.append(index)
    return Recorded("OK" if own else "LOST", state, tuple(refused))


def _may_record(new: str, old: str | None, own: bool, state: str) -> bool:
    was = old[0] if old else ""
    if new == "":
        return own and was == "c"
    if new[0] == "s":
        return was != "s"
    if new[0] == "c":
        return own and was in {"", "d"} and state == "live"
    return own and was not in FINAL


def detach(op: ops.Detach, step: Step) -> None:
    mine = step.pre.runs(op.b).get(str(op.k)) == f"run:{op.token}"
    must(step.answer_to(op) == ("OK" if mine else "LOST"), "detach", step.answer)
    if mine:
        c, member = step.post.batch(op.b)["class"], f"{op.b}:{op.k}"
        must(member not in step.post.scores(f"flight:{c}"), "detached, and in the window", member)
        must(
            step.post.scores(f"apart:{c}").get(member) == step.pre.lease_end(c, member), "detach moved a lease", member
        )


def bounce(op: ops.Bounce, step: Step) -> None:
    """Nothing but these: the batch's own fields and state, and what is known of the addresses that were named."""
    before, after, answer = step.pre.batch(op.b), step.post.batch(op.b), step.answer_to(op)
    if before.get("state", "loading") in {"loading", "purging"}:
        must(answer == "GONE" and step.pre == step.post, "a bounce of nothing", op, answer)
        return
    must(answer == ("HELD" if "held_why" in after else "OK"), "a bounce answers", answer)
    trips = after.get("held_why") != before.get("held_why")
    must(trips or before["state"] == after["state"], "a bounce held a batch without a word", op.b)
    known, found = step.pre.hash("suppressed"), step.post.hash("suppressed")
    must(known.items() <= found.items(), "an address was forgiven", op)
    must(found.keys() - known.keys() <= {identity for _, identity, _ in op.notes}, "a stranger was suppressed", op)
    must(known == found or (op.suppress and not trips), "suppressed although it may not", op)


def settle(op: ops.Settle, step: Step) -> None:
    mine = step.pre.runs(op.b).get(str(op.k)) == f"run:{op.token}"
    must(step.answer_to(op) == ("OK" if mine else "LOST"), "settle", step.answer)
    if not mine:
        return
    after = step.post.batch(op.b)
    must(str(op.k) not in step.post.runs(op.b), "settled, and still running", op)
    if op.why and op.scope == "batch" and after["state"] in {"live", "held"}:
        must(num(after, "wait_until") >= later_of(op, step.now), "a blocked batch does not wait", op)
    if op.why == "rate" and after["state"] in {"live", "held"}:
        must(num(after, "rate_until") >= later_of(op, step.now), "drain does not know of the rate", op)


def bury(op: ops.Bury, step: Step) -> None:
    """Its leases end now, nobody else's; the sweep does the rest."""
    ended = 0
    for c in CLASSES:
        for zset in ("flight", "apart"):
            before, after = step.pre.scores(f"{zset}:{c}"), step.post.scores(f"{zset}:{c}")
            must(before.keys() == after.keys(), "bury took a lease away", zset, c)
            for member, end in before.items():
                b, _, k = member.partition(":")
                owner = step.pre.runs(b).get(k, "").partition(":")[2].partition(":")[2].partition(".")[0]
                must(after[member] == (min(end, step.now) if owner == op.worker else end), "bury", member, owner, end)
                ended += owner == op.worker and end > step.now
    must(step.answer_to(op) == ended, "bury counts", step.answer, ended)
    must(op.worker not in step.post.scores("workers"), "buried, and still there", op.worker)
    must(not step.post.hash(f"worker:{op.worker}"), "buried, and still there", op.worker)


def forget(op: ops.Forget, step: Step) -> None:
    """Suspects go by age alone; those without a time get one."""
    before, after = step.pre.hash("suspects"), step.post.hash("suspects")
    for who, value in before.items():
        batch, _, at = value.partition(" ")
        old = bool(at) and int(at) + SUSPECT_AGE_MS < step.now
        looked_at = None if old else value if at else f"{batch} {step.now}"
        must(after.get(who) in (value, looked_at), "forget", op, who, value)
        must(op.cursor or step.answer_to(op) or after.get(who) == looked_at, "forget left one out", op, who, value)
    must(after.keys() <= before.keys(), "forget made a suspect", op)


def erase(op: ops.Erase, step: Step) -> None:
    must(step.answer_to(op) == -1 and op.b not in step.post.members("erase"), "erase", op, step.answer)


def sweep(op: ops.Sweep, step: Step) -> None:
    db, freed = step.post, 0
    for zset in ("flight", "apart"):
        overdue = [member for member, end in db.scores(f"{zset}:{op.c}").items() if end <= step.now]
        must(not overdue, "sweep left what is overdue", zset, overdue)
    for b in step.pre.batches:
        if step.pre.batch(b)["class"] != op.c:
            must(step.pre.runs(b) == db.runs(b), "sweep of the other class", b)
            continue
        freed += sum(_swept(step, op.c, b, k, run) for k, run in step.pre.runs(b).items())
    must(step.answer_to(op) == Swept(freed), "sweep counts", step.answer, freed)


def _swept(step: Step, c: str, b: str, k: str, run: str) -> bool:
    """Whether this run had to go, checked against whether it went."""
    end, member = step.pre.lease_end(c, f"{b}:{k}"), f"{b}:{k}"
    kind, gen = run_of(run)
    job = f"{PREFIX}:{b}:{k}:{gen}"
    overdue = end is not None and end <= step.now
    waits_in_arq = kind == "fed" and _waits(step.pre, step, c, b, job)
    if not overdue or waits_in_arq:
        must(step.post.runs(b).get(k) == run, "swept before its time" if not overdue else "took a job from arq", job)
        if overdue:
            must(step.post.lease_end(c, member) == step.now + FEED_GRACE_MS, "when to look again", job)
        return False
    must(k not in step.post.runs(b), "a dead run was left", job)
    queues = (step.post.queue(c, version) for version in ("1", "2"))
    stale = [kind for kind in ("job", "in-progress", "retry") if step.post.arq(kind, job)]
    must(not stale and not any(job in queue for queue in queues), "stale ids in arq", job, stale)
    return True


def _waits(db: Snapshot, step: Step, c: str, b: str, job: str) -> bool:
    fields = db.batch(b)
    queued = job in db.queue(c, fields["v"]) and db.arq("job", job) and not db.arq("in-progress", job)
    return queued and served(db, fields, step.now)


def no_other_move_sweeps(step: Step) -> None:
    """A run ends by its own settle, by the sweep, or by a refused lease; a fed chunk also by close."""
    if isinstance(step.op, ops.Sweep):
        return
    for b in step.pre.batches:
        for k, run in step.pre.runs(b).items():
            if step.post.runs(b).get(k) == run:
                continue
            match step.op:
                case ops.Settle() | ops.Lease():
                    must((step.op.b, str(step.op.k)) == (b, k), "another run ended", b, k, run)
                case ops.Close():
                    must(step.op.b == b and run.startswith("fed:"), "close ended a run", b, k, run)
                case _:
                    must(False, "a run ended", b, k, run)
