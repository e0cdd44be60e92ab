"""What must hold of one batch at any moment, whatever was called last.

Called by audit.py for every batch that a step touched. Each oracle raises Violation by `must`.
"""

from __future__ import annotations

from collections import Counter

from mailspool.contract.codec import decode_rows
from tests.storm.case import AT_REST, COUNTER, FINAL, Case, must, num
from tests.storm.records import bare, payload

INDEXES = ("batches", "ids", "deadline", "retire")


def loading_is_invisible(case: Case) -> None:
    db, b = case.step.post, case.b
    must(not case.committed, "a committed batch loads again", b)
    must(not case.due and not case.runs and not db.rows(b), "rows of a batch that nobody committed", b)
    must(case.has_turn() == (False, False), "a batch that loads has a turn", b)
    must(not any(b in db.scores(index) for index in INDEXES), "a batch that loads is in an index", b)
    must(not any(name.startswith("n_") for name in case.fields), "a batch that loads has counters", b)


def purging_has_no_turn(case: Case) -> None:
    db, b = case.step.post, case.b
    must(case.has_turn() == (False, False), "a batch that goes has a turn", b)
    must(not any(b in db.scores(index) for index in ("batches", "ids", "deadline")), "purging, and in an index", b)


def rows_are_what_was_committed(case: Case) -> None:
    db, b = case.step.post, case.b
    must(db.rows(b) == {k: str(n) for k, n in case.chunks.items()}, "rows are not those committed", b, db.rows(b))
    must(num(case.fields, "total") == case.batch.total, "total is not the number of rows", b, case.fields["total"])
    for k, rows in case.batch.chunks.items():
        stored, outs = db.text(f"chunk:{b}:{k}"), case.outs[str(k)]
        sent = {int(i) for i, value in outs.items() if value[0] == "s"} if case.c == "transactional" else set()
        if stored != payload(rows):
            known = _erased_of(case, str(k))
            must(known <= sent, "erased, and not sent", b, k, known - sent)
            must(stored == payload(rows, known), "the payload is not what was loaded", b, k)
            must(sent <= known or _to_be_erased(case, str(k)), "sent, finished, and still there", b, k, sent - known)
        else:
            must(not sent or _to_be_erased(case, str(k)), "sent, finished, and still there", b, k, sent)
        must(set(case.outs[str(k)]) <= set(map(str, range(len(rows)))), "an outcome of no message", b, k)


def _erased_of(case: Case, k: str) -> set[int]:
    stored = case.step.post.text(f"chunk:{case.b}:{k}")
    must(stored is not None, "the payload is gone", case.b, k)
    return {i for i, row in enumerate(decode_rows((stored or "").encode("latin-1"))) if not row.values}


def _to_be_erased(case: Case, k: str) -> bool:
    """The chunk is not finished, or the move `erase` has still to come."""
    return k in case.due or k in case.runs or case.state == "closing" or case.b in case.step.post.members("erase")


def the_spec_is_there(case: Case) -> None:
    """Erased once nothing of a transactional batch can be sent any more, and never while something can."""
    stored, spec = case.step.post.text(f"spec:{case.b}"), case.batch.spec
    n_sent = num(case.fields, "n_sent")
    over = case.state == "closed" or (case.state == "done" and n_sent == case.batch.total)
    may = case.c == "transactional" and over and n_sent > 0
    if may and "upload" not in case.fields and case.b not in case.step.post.members("erase"):
        must(stored == bare(spec).decode("latin-1"), "the content is still there", case.b)
    elif stored != spec.decode("latin-1"):
        must(may and stored == bare(spec).decode("latin-1"), "the spec is another", case.b)


def what_was_given_stays(case: Case) -> None:
    for name, value in case.batch.fields.items():
        if name not in {"expires", "lifetime"}:
            must(case.fields.get(name) == str(value), "a field changed", case.b, name, case.fields.get(name))
    must(case.fields["key"] == case.batch.key, "the key changed", case.b)


def every_chunk_has_one_place(case: Case) -> None:
    db = case.step.post
    for k in case.chunks:
        places = (k in case.due) + (k in case.runs)
        if case.state in {"live", "held"}:
            must(places == 1 or (places == 0 and case.all_final(k)), "a chunk in no place or in two", case.b, k)
            must(places or not db.lost_runs(case.b, k), "a chunk at rest remembers lost runs", case.b, k)
    must(set(case.due) <= set(case.chunks) and set(case.runs) <= set(case.chunks), "a place for no chunk", case.b)


def every_run_has_one_lease(case: Case) -> None:
    db = case.step.post
    flight, apart = db.scores(f"flight:{case.c}"), db.scores(f"apart:{case.c}")
    for k, run in case.runs.items():
        member = f"{case.b}:{k}"
        must((member in flight) + (member in apart) == 1, "a run without exactly one lease", member, run)
        must(run.startswith("run:") or member in flight, "a fed chunk outside the window", member, run)


def claims_have_runs(case: Case) -> None:
    for k, outs in case.outs.items():
        if any(value[0] == "c" for value in outs.values()):
            must(case.runs.get(k, "").startswith("run:"), "a claim that no run holds", case.b, k)


def next_tries_are_before_the_deadline(case: Case) -> None:
    if case.state == "closed":
        return
    limit = max(case.expires(), case.step.now)
    for k, outs in case.outs.items():
        for value in outs.values():
            must(value[0] != "d" or int(value[1:14]) <= limit, "a next try past the deadline", case.b, k, value)


def odd_lists_what_was_not_simply_sent(case: Case) -> None:
    odd = case.step.post.members(f"odd:{case.b}")
    for k, outs in case.outs.items():
        must(k in odd or all(value[0] in "sc" for value in outs.values()), "a chunk missing in odd", case.b, k)


def accounts_are_the_fold_of_the_outcomes(case: Case) -> None:
    folded: Counter[str] = Counter()
    for outs in case.outs.values():
        folded.update(COUNTER[value[0]] for value in outs.values())
    if case.state == "closed":
        final = {COUNTER[letter]: folded[COUNTER[letter]] for letter in FINAL}
        open_ = case.batch.total - sum(final.values())
        folded = Counter({**final, f"n_{case.fields['verdict']}": open_})
    counters = {name: int(value) for name, value in case.fields.items() if name.startswith("n_") and value != "0"}
    must(counters == {name: n for name, n in folded.items() if n}, "accounts", case.b, case.state, counters, folded)


def the_state_fits(case: Case) -> None:
    b, state, runs = case.b, case.state, case.runs
    must(state in {"live", "held", "closing", "done", "closed"}, "an unknown state", b, state)
    if state in {"live", "held"}:
        must(case.due or runs, "neither done nor anything to do", b)
    elif state == "closing":
        must(runs and all(run.startswith("run:") for run in runs.values()), "closing, but nobody runs", b, runs)
    else:
        must(not runs and not case.due and not case.step.post.hash(f"lost:{b}"), "at rest, but something is left", b)
    if state == "done":
        must(all(map(case.all_final, case.chunks)), "done with messages that are not", b, case.outs)


def indexes_follow_the_state(case: Case) -> None:
    db, b = case.step.post, case.b
    deadline, retire = db.scores("deadline").get(b), db.scores("retire").get(b)
    must(deadline == (case.expires() if case.state in {"live", "held"} else None), "deadline index", b, deadline)
    must(db.scores("batches").get(b) == num(case.fields, "created"), "not in the index by creation", b)
    must(b in db.scores("ids"), "not in the index of ids", b)
    must(("finished" in case.fields) == (case.state in AT_REST), "when it finished", b, case.state)
    if case.state in AT_REST:
        must(retire is not None, "at rest, but never purged", b)
        waits = {"wait_until", "wait_why", "rate_until"} & case.fields.keys()
        must(not waits, "at rest, and waits for something", b, waits)
    else:
        must(retire is None, "purged while it lives", b)


def the_turn_follows_the_due_times(case: Case) -> None:
    now, in_open_or_later = case.step.now, case.has_turn()
    if case.state != "live" or not case.due:
        must(in_open_or_later == (False, False), "a turn of a batch that may not go", case.b, case.state)
        return
    must(sum(in_open_or_later) == 1, "no turn, or two", case.b, in_open_or_later)
    at = max(min(case.due.values()), num(case.fields, "send_at"), num(case.fields, "wait_until"))
    if in_open_or_later[0]:
        must(at <= now, "a turn before its time", case.b, at - now)


ALWAYS = (
    rows_are_what_was_committed,
    the_spec_is_there,
    what_was_given_stays,
    every_chunk_has_one_place,
    every_run_has_one_lease,
    claims_have_runs,
    next_tries_are_before_the_deadline,
    odd_lists_what_was_not_simply_sent,
    accounts_are_the_fold_of_the_outcomes,
    the_state_fits,
    indexes_follow_the_state,
    the_turn_follows_the_due_times,
)


def check(case: Case) -> None:
    if case.state == "loading":
        loading_is_invisible(case)
    elif case.state == "purging":
        purging_has_no_turn(case)
    else:
        for oracle in ALWAYS:
            oracle(case)
