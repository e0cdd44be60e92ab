"""What must hold of a batch and its chunks, and what is wrong where it does not. Pure.

Called by batches.py with what `look` read at one moment. Due leases are no fault (the sweep is for them), nor is a fed
chunk without its arq job (the same), nor a chunk that is due and finished (its next run finds nothing to do).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mailspool.client.verify.report import Fault
from mailspool.contract.inspection import NEVER, BatchFacts, ChunkFacts, Fold

ALIVE: Final = frozenset(("live", "held"))
AT_REST: Final = frozenset(("done", "closed"))
STATES: Final = ALIVE | AT_REST | {"closing", "loading", "purging"}
UNCOMMITTED: Final = frozenset(("loading", "purging"))
_LATER_MS: Final = 61_000
"""A batch whose records are broken steps back for a minute; no other turn lies behind its time."""
COUNTERS: Final = ("sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain", "claimed")


def number(fields: Mapping[str, str], name: str) -> int:
    """0 for what is none."""
    text = fields.get(name) or "0"
    return int(text) if text.removeprefix("-").isdecimal() else 0


def judge_chunk(batch: str, facts: BatchFacts, chunk: ChunkFacts) -> Iterator[Fault]:
    """One chunk in the batch's present state."""
    where = f"chunk {chunk.k}"
    if chunk.rows is None:
        if chunk.listed:  # it may have left since the caller saw it
            yield Fault("stray_chunk", batch, where, "waits, runs or is listed, and has no rows")
        return
    if chunk.payload is None:
        yield Fault("lost_rows", batch, where, f"its {chunk.rows} rows are gone; nothing can bring them back")
    elif chunk.payload != chunk.rows:
        held = "other bytes" if chunk.payload < 0 else f"{chunk.payload} rows"
        yield Fault("lost_rows", batch, where, f"holds {held}, and {chunk.rows} rows were committed")
    if chunk.strange:
        yield Fault("bad_outcome", batch, where, f"{chunk.strange} outcomes cannot be read; a person must decide")
    if chunk.outside:
        yield Fault("stray_outcome", batch, where, f"{chunk.outside} outcomes belong to no message")
    if sum(chunk.fold) - chunk.fold.claimed - chunk.fold.sent and not chunk.odd:
        yield Fault("odd_index", batch, where, "has messages that are not sent, and is not listed for show and retry")
    yield from _placed(batch, facts.fields.get("state", ""), chunk, where)


def _placed(batch: str, state: str, chunk: ChunkFacts, where: str) -> Iterator[Fault]:
    rows, run = chunk.rows or 0, chunk.run
    open_ = rows - chunk.fold.final
    if state == "done" and open_ > 0:
        yield Fault("unfinished", batch, where, f"the batch is done, and {open_} of its messages are not")
    if state in AT_REST:
        return
    if state in ALIVE:
        if chunk.due_ms is None and run is None and open_ > 0:
            yield Fault("stranded_chunk", batch, where, f"{open_} messages are neither due nor running nor finished")
        if chunk.due_ms is not None and run is not None:
            yield Fault("two_places", batch, where, "is due and in somebody's hands at once")
        if chunk.due_ms is not None and abs(chunk.due_ms) >= NEVER:
            yield Fault("never_due", batch, where, "is due at no time that comes")
        if chunk.late:
            yield Fault("late_try", batch, where, f"{chunk.late} next tries lie past the deadline")
    leases = (chunk.flight_ms is not None) + (chunk.apart_ms is not None)
    if run is None and leases:
        yield Fault("lease", batch, where, "has a lease, and nobody runs it")
    elif run is not None and leases != 1:
        yield Fault("lease", batch, where, f"is in somebody's hands with {leases} leases")
    elif run is not None and not run.startswith("run:") and chunk.flight_ms is None:
        yield Fault("lease", batch, where, "is fed, and outside the window")
    if chunk.fold.claimed and not (run or "").startswith("run:"):
        yield Fault("claim", batch, where, f"{chunk.fold.claimed} messages are claimed by a run that is over")


def judge_batch(batch: str, facts: BatchFacts) -> Iterator[Fault]:
    """The batch's own record and its places in the indexes."""
    fields = facts.fields
    state = fields.get("state", "")
    if state not in STATES:
        yield Fault("broken_record", batch, "", f'its state is "{state[:20]}", which is none')
        return
    if state in UNCOMMITTED:
        return
    if not facts.has_spec:
        yield Fault("lost_content", batch, "", "its content (spec) is gone; nothing can bring it back")
    if facts.created_index != number(fields, "created") or not facts.in_ids:
        yield Fault("index", batch, "batches", "is missing in the lists of batches")
    alive, at_rest = state in ALIVE, state in AT_REST
    if facts.deadline != (number(fields, "expires") if alive else None):
        yield Fault("index", batch, "deadline", "its deadline is not where the workers look for it")
    if (facts.retire is not None) != at_rest or ("finished" in fields) != at_rest:
        yield Fault("index", batch, "retire", "its end is not where the workers look for it")
    if fields.get("key") and facts.key_leads_to != batch:
        yield Fault("key", batch, "", "its key does not lead to it: the same call would mail everybody again")
    if facts.upload_leads_to != batch:
        yield Fault("upload", batch, "", "is reserved for an upload that is none")
    if alive and not facts.due and not facts.runs:
        yield Fault("state", batch, "", f"is {state}, and nothing of it is due or running")
    if state == "closing" and not facts.runs:
        yield Fault("state", batch, "", "is closing, and nobody runs it")
    if state == "closing" and any(not run.startswith("run:") for run in facts.runs.values()):
        yield Fault("state", batch, "", "is closing, and is still fed")
    if at_rest and (facts.due or facts.runs or facts.lost):
        yield Fault("state", batch, "", f"is {state}, and something of it is due or running")
    yield from _turn(batch, facts, state)


def _turn(batch: str, facts: BatchFacts, state: str) -> Iterator[Fault]:
    open_, later = facts.open_turn is not None, facts.later_ms
    if state != "live" or facts.first_due_ms is None:
        if open_ or later is not None:
            yield Fault("turn", batch, "", f"is {state} with nothing to feed, and stands in the line of the feeder")
        return
    at_ms = max(facts.first_due_ms, number(facts.fields, "send_at"), number(facts.fields, "wait_until"))
    if open_ == (later is not None):
        yield Fault("turn", batch, "", "stands twice in the feeder's line" if open_ else "no feeder would find it")
    elif open_ and at_ms > facts.now_ms:
        yield Fault("turn", batch, "", "stands in the feeder's line before its time")
    elif later is not None and later > max(at_ms, facts.now_ms) + _LATER_MS:
        yield Fault("turn", batch, "", "its next turn lies behind its time")


def expected(fields: Mapping[str, str], rows: int, fold: Fold) -> dict[str, int]:
    """The counters that follow from rows and outcomes; a closed batch counts all that is not final as its verdict."""
    counts = {"total": rows, **{f"n_{name}": getattr(fold, name, 0) for name in COUNTERS}}
    if fields.get("state") == "closed":
        counts |= {"n_deferred": 0, "n_claimed": 0, f"n_{fields.get('verdict', '')}": rows - fold.final}
    return counts


def drift(fields: Mapping[str, str], rows: int, fold: Fold) -> dict[str, int]:
    """What each counter that is wrong stands above what it should."""
    found = {name: number(fields, name) - count for name, count in expected(fields, rows, fold).items()}
    return {name: by for name, by in found.items() if by}


def judge_counters(batch: str, fields: Mapping[str, str], rows: int, fold: Fold) -> Iterator[Fault]:
    """total = queued + sent + deferred + failed + expired + cancelled + suppressed + uncertain, each as written."""
    for name, count in expected(fields, rows, fold).items():
        stored = fields.get(name) or "0"
        if stored != str(count):
            word = name.removeprefix("n_")
            yield Fault("counter", batch, word, f"{word} stands at {stored[:20]}, and the records hold {count}")
