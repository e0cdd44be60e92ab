"""What the producer's moves must answer and do: begin, attach, load, commit, send1, collect.

The expected answer is worked out from the keys before the call and from the records. Raises Violation by `must`.
"""

from __future__ import annotations

from mailspool.contract.moves import Begun, Loaded, Sent1
from mailspool.contract.states import UPLOAD_ABANDONED_MS, UPLOAD_SILENT_MS
from tests.storm import ops
from tests.storm.case import Step, must, num, over
from tests.storm.snapshot import Snapshot


def _is_alive(db: Snapshot, u: str | None, now: int) -> bool:
    return u is not None and db.scores("loading").get(u, 0) > now - UPLOAD_SILENT_MS


def _expected_begin(op: ops.Begin, step: Step) -> Begun:
    db, now = step.pre, step.now
    if upload := db.hash(f"upload:{op.u}"):
        mine = db.batch(upload["batch"]).get("upload") == op.u
        return Begun("LOAD", upload["batch"], int(upload["base"])) if mine else Begun("TAKEN")
    current = db.text(f"key:{op.key}") if op.key else None
    if op.u in db.hash(f"uploads:{op.b}"):
        return Begun("TAKEN")
    if db.batch(op.b):
        return Begun("NAMED")
    if op.u in db.hash(f"uploads:{current}"):
        return Begun("TAKEN")
    if current is None:
        return Begun("LOAD", op.b, 0)
    fields = db.batch(current)
    alive = _is_alive(db, fields.get("upload"), now)
    if fields["state"] == "loading":
        return Begun("WAIT") if alive else Begun("LOAD", op.b, 0)
    if verdict := over(fields, now):
        return Begun("CLOSED", current, 0, verdict)
    if fields["digest"] != op.fields["digest"]:
        return Begun("CONFLICT", current)
    return Begun("WAIT") if alive else Begun("LOAD", current, num(fields, "next"))


def begin(op: ops.Begin, step: Step) -> None:
    answer, expected = step.answer_to(op), _expected_begin(op, step)
    must(answer == expected, "begin", answer, expected)
    if answer.kind != "LOAD":
        return
    db = step.post
    must(db.batch(answer.batch).get("upload") == op.u, "nothing was reserved", op.u)
    must(db.scores("loading").get(op.u) == step.now, "no sign of life", op.u)
    must(int(db.hash(f"upload:{op.u}")["base"]) == answer.base, "the first chunk number was not kept", op.u)
    if op.key:
        must(db.text(f"key:{op.key}") == answer.batch, "the key leads elsewhere", op.key)
    chunks = db.rows(answer.batch)
    must(all(int(k) < answer.base for k in chunks), "chunk numbers that are taken", answer.batch, answer.base)


def attach(op: ops.Attach, step: Step) -> None:
    answer = step.answer_to(op)
    if step.pre.batch(op.b).get("upload") != op.u:
        must(answer == "TAKEN", "attached without the reservation", op)
    elif step.pre.text(f"blob:{op.sha}") is None and op.data is None:
        must(answer == "SEND", "an attachment that is not there", op)
    else:
        must(answer == "OK", "attach", answer)
        must(op.b in step.post.members(f"blob:{op.sha}:refs"), "no reference", op)
        must(step.post.scores("loading").get(op.u) == step.now, "no sign of life", op.u)


def abandon(op: ops.Abandon, step: Step) -> None:
    holds = step.pre.batch(op.b).get("upload") == op.u
    must(step.answer_to(op) == ("OK" if holds else "TAKEN"), "abandon", step.answer)
    if holds:
        must("upload" not in step.post.batch(op.b), "abandoned, and still reserved", op)
        must(step.post.scores("loading").get(op.u, step.now) <= 0, "abandoned, and looks alive", op)


def _may_load(b: str, u: str, step: Step) -> Loaded | None:
    """The refusal of load and commit, if there is one."""
    fields = step.pre.batch(b)
    if fields.get("upload") != u:
        return Loaded("TAKEN")
    verdict = over(fields, step.now)
    return Loaded("CLOSED", detail=verdict) if verdict else None


def load(op: ops.Load, step: Step) -> None:
    answer = step.answer_to(op)
    if refusal := _may_load(op.b, op.u, step):
        must(answer == refusal, "load", answer, refusal)
        return
    kept, known = step.records.expected_load(op)
    must(answer == Loaded("OK", len(kept), known), "load counts", answer, kept, known)
    must(step.post.scores("loading").get(op.u) == step.now, "no sign of life", op.u)
    must(num(step.post.batch(op.b), "next") > op.k, "the next chunk number", op.b, op.k)


def sign_of_life(op: ops.SignOfLife, step: Step) -> None:
    expected = _may_load(op.b, op.u, step) or Loaded("OK")
    must(step.answer_to(op) == expected, "sign of life", step.answer, expected)
    if expected.kind == "OK":
        must(step.post.scores("loading").get(op.u) == step.now, "no sign of life", op.u)


def _expected_commit(op: ops.Commit, step: Step) -> Loaded:
    db = step.pre
    if stored := db.hash(f"uploads:{op.b}").get(op.u):
        added, known = map(int, stored.split(","))
        return Loaded("OK", added, known)
    if refusal := _may_load(op.b, op.u, step):
        return refusal
    upload, fields = db.hash(f"upload:{op.u}"), db.batch(op.b)
    added, known = int(upload["rows"]), int(upload["known"])
    if added + known != op.total:
        return Loaded("INCOMPLETE")
    if missing := [sha for sha in op.shas if db.text(f"blob:{sha}") is None]:
        return Loaded("BLOB", detail=missing[0])
    if fields["state"] == "loading" and num(fields, "lifetime") == 0 and num(fields, "expires") <= step.now:
        return Loaded("EXPIRED")
    return Loaded("OK", added, known)


def commit(op: ops.Commit, step: Step) -> None:
    answer, expected = step.answer_to(op), _expected_commit(op, step)
    must(answer == expected, "commit", answer, expected)
    if answer.kind != "OK":
        return
    before, after = step.pre.batch(op.b), step.post.batch(op.b)
    must(step.records.batches[op.b].uploads[op.u] == (answer.added, answer.known), "commit counts", answer)
    must(after.get("upload") != op.u, "the reservation outlives its commit", op.u)
    if op.u in step.pre.hash(f"uploads:{op.b}"):
        return
    if before["state"] == "loading":
        expected_state = "done" if answer.added == 0 else "held" if before["hold"] == "1" else "live"
    else:
        expected_state = "live" if before["state"] == "done" and answer.added else before["state"]
    must(after["state"] == expected_state, "the state after a commit", before["state"], after["state"])


def send1(op: ops.SendOne, step: Step) -> None:
    answer, db = step.answer_to(op), step.pre
    start, lifetime = max(step.now, int(op.fields["send_at"])), int(op.fields["lifetime"])
    again = op.u in db.hash(f"uploads:{op.b}")
    if not again and op.key and db.text(f"key:{op.key}") is not None:
        must(answer == Sent1("KEY"), "send1 over a key", answer)
    elif not again and db.batch(op.b):
        must(answer == Sent1("NAMED"), "send1 over another batch", answer)
    elif not again and (start + lifetime if lifetime else int(op.fields["expires"])) <= step.now:
        must(answer == Sent1("EXPIRED"), "send1 past its deadline", answer)
    else:
        must(answer.kind == "OK" and answer.now_ms == step.now, "send1", answer)
        if not again:
            state = "held" if op.fields["hold"] == "1" else "live"
            must(step.post.batch(op.b)["state"] == state, "the state after send1", op.b)


def collect(op: ops.Collect, step: Step) -> None:
    answer, db = step.answer_to(op), step.pre
    upload = db.hash(f"upload:{op.u}")
    b = upload.get("batch", "")
    holds = db.batch(b).get("upload") == op.u
    alive = holds and db.scores("loading").get(op.u, 0) > step.now - UPLOAD_ABANDONED_MS
    must(answer in ({"ALIVE"} if upload and alive else {"OK", "MORE"}), "collect", answer)
    if answer == "MORE":
        must("upload" not in step.post.batch(b), "collected under an upload", op.u)
    if answer != "OK":
        return
    must(op.u not in step.post.scores("loading"), "collected, and still in the index", op.u)
    must(step.post.batch(b).get("upload") != op.u or not upload, "a reservation of nobody", op.u)
    if upload and db.batch(b).get("state") == "loading":
        must(not step.post.batch(b), "a batch that nobody can load any more", b)
    elif b:
        must(step.post.batch(b).get("state") == db.batch(b).get("state"), "collect changed a committed batch", b)
