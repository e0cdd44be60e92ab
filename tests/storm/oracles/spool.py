"""What must hold between batches: indexes, totals, keys, uploads, attachments, and that every key has an owner.

Called by audit.py after every step. Each oracle raises Violation by `must`.
"""

from __future__ import annotations

from collections import Counter

from mailspool.contract.states import CLASSES, UPLOAD_ABANDONED_MS
from tests.storm.case import Step, must
from tests.storm.records import payload
from tests.storm.snapshot import PREFIX, Snapshot

OF_BATCH = frozenset({"spec", "due", "run", "rows", "lost", "odd", "uploads", "empty", "blobs"})
OF_CLASS = frozenset({"flight", "apart", "open", "later", "totals"})
SINGLE = frozenset(
    {
        "deadline",
        "retire",
        "batches",
        "ids",
        "loading",
        "workers",
        "paused",
        "turn",
        "suppressed",
        "suspects",
        "erase",
        "chores",
    }
)


def every_key_has_an_owner(step: Step) -> None:
    db, before = step.post, step.pre.raw.keys()
    # What had an owner still has it, unless some key went: it may have been the owner.
    names = db.raw.keys() if before - db.raw.keys() else db.raw.keys() - before
    for name in names:
        kind, _, rest = name.partition(":")
        if kind == "arq":
            must(rest.partition(":")[0] in {"job", "in-progress", "retry"}, "a stranger in arq", name)
        else:
            must(kind == PREFIX and _owned(db, rest), "a key without an owner", name)


def _owned(db: Snapshot, name: str) -> bool:
    kind, _, rest = name.partition(":")
    of, _, k = rest.partition(":")
    if kind in OF_BATCH or kind == "batch":
        return bool(db.batch(rest))
    if kind == "chunk":
        return k in db.rows(of) or any(
            db.hash(f"upload:{u}").get("batch") == of and k in db.hash(f"up:rows:{u}") for u in db.scores("loading")
        )
    if kind == "out":
        return k in db.rows(of)
    if kind == "upload":
        return rest in db.scores("loading")
    if kind == "up":
        return of in {"due", "rows"} and bool(db.hash(f"upload:{k}"))
    if kind == "ids" and rest:
        return bool(db.hash(f"upload:{rest}")) or any(rest in db.hash(f"uploads:{b}") for b in db.batches)
    if kind == "key":
        return db.batch(db.text(name) or "").get("key") == rest
    if kind == "blob":
        return bool(db.members(f"blob:{of}:refs")) and db.text(f"blob:{of}") is not None
    return (kind in OF_CLASS and rest in CLASSES) or kind in {"q", "route", "worker"} or (kind in SINGLE and not rest)


def every_lease_has_a_run(step: Step) -> None:
    db = step.post
    for c in CLASSES:
        for zset in ("flight", "apart"):
            for member in db.scores(f"{zset}:{c}"):
                b, _, k = member.partition(":")
                run = db.runs(b).get(k, "")
                must(
                    run[:3] == "run" or (run[:3] == "fed" and zset == "flight"), "a lease of nobody", zset, member, run
                )
                must(db.batch(b)["class"] == c, "a lease in the other class", member)


def every_turn_has_a_batch(step: Step) -> None:
    db = step.post
    for c in CLASSES:
        turns = db.scores(f"open:{c}")
        must(len(set(turns.values())) == len(turns), "equal turns", turns)
        for b in {*turns, *db.scores(f"later:{c}")}:
            must(db.batch(b).get("class") == c, "a turn of nobody", b)
    for index in ("batches", "ids", "deadline", "retire"):
        must(all(map(db.batch, db.scores(index))), "an index entry of nobody", index)


def class_totals_are_the_sum(step: Step) -> None:
    db = step.post
    for c in CLASSES:
        total: Counter[str] = Counter()
        for b in db.batches:
            fields = db.batch(b)
            if fields["class"] == c and fields["state"] != "purging":
                total.update({name: int(v) for name, v in fields.items() if name == "total" or name[:2] == "n_"})
        stored = {name: int(value) for name, value in db.hash(f"totals:{c}").items() if value != "0"}
        must(stored == {name: n for name, n in total.items() if n}, "class totals", c, stored, total)


def keys_lead_to_their_batch(step: Step) -> None:
    """A committed batch holds its key until its purge begins; a loading one may have lost it."""
    db = step.post
    for b in db.batches:
        fields = db.batch(b)
        if fields["key"] and fields["state"] not in {"loading", "purging"}:
            must(db.text(f"key:{fields['key']}") == b, "a key was lost", b, fields["key"])
        if fields["state"] == "purging" and fields["key"]:
            must(db.text(f"key:{fields['key']}") != b, "a key of a batch that goes", b)


def one_loads_for_a_key(step: Step) -> None:
    db = step.post
    loaders = Counter(db.batch(b)["key"] for b in db.batches if db.batch(b).get("upload"))
    loaders.pop("", 0)
    must(all(n == 1 for n in loaders.values()), "two may load for one key", loaders)


def uploads_hold_what_was_loaded(step: Step) -> None:
    db = step.post
    for b in db.batches:
        if u := db.batch(b).get("upload"):
            must(db.hash(f"upload:{u}").get("batch") == b, "a reservation without its upload", b, u)
    for u in db.scores("loading"):
        stored, told = db.hash(f"upload:{u}"), step.records.uploads.get(u)
        must(stored and told, "an upload that nobody began", u)
        if told is None or told.going:
            continue
        must((int(stored["rows"]), int(stored["known"])) == (told.added, told.known), "rows of an upload", u, stored)
        rows = {str(k): str(len(kept)) for k, kept in told.chunks.items() if kept}
        must(db.hash(f"up:rows:{u}") == rows, "chunks of an upload", u)
        must(db.scores(f"up:due:{u}") == {k: told.loaded_at[int(k)] for k in rows}, "due times of an upload", u)
        ids = {identity for kept in told.chunks.values() for identity in kept} if told.keyed else set()
        must(db.members(f"ids:{u}") == ids, "identities of an upload", u)
        for k in rows:
            must(db.text(f"chunk:{told.b}:{k}") == payload(told.chunks[int(k)]), "a loaded chunk", told.b, k)


def committed_uploads_are_remembered(step: Step) -> None:
    """Their answers and their rows' identities stay until the purge, so that the same row is never taken twice; of
    one that added nothing, for an hour."""
    db = step.post
    for b, batch in step.records.batches.items():
        if db.batch(b).get("state", "purging") == "purging":
            continue
        stored = {u: f"{added},{known}" for u, (added, known) in batch.uploads.items()}
        found_there = db.hash(f"uploads:{b}")
        gone = {
            u
            for u in stored.keys() - found_there.keys()
            if batch.empty_at.get(u, step.now) <= step.now - UPLOAD_ABANDONED_MS
        }
        must(found_there == {u: told for u, told in stored.items() if u not in gone}, "committed uploads", b)
        must(db.scores(f"empty:{b}").keys() == batch.empty_at.keys() - gone, "uploads that added nothing", b)
        if batch.key:
            found = frozenset().union(*(db.members(f"ids:{u}") for u in stored))
            must(found == batch.ids, "identities of a committed batch", b)


def attachments_have_users(step: Step) -> None:
    db = step.post
    for name in db.raw:
        if name.startswith(f"{PREFIX}:blob:") and name.endswith(":refs"):
            sha = name.split(":")[2]
            data = db.text(f"blob:{sha}")
            must(data == step.records.blobs[sha].decode("latin-1"), "an attachment is another", sha)
            for b in db.members(f"blob:{sha}:refs"):
                must(sha in db.members(f"blobs:{b}"), "a reference that its batch does not know", sha, b)
    for b in db.batches:
        if db.batch(b)["state"] != "purging":
            attached = step.records.attached.get(b, set())
            stored = db.members(f"blobs:{b}")
            erased = "erased" in db.batch(b)
            must(stored == attached or (erased and stored < attached), "attachments of a batch", b)
            must(all(b in db.members(f"blob:{sha}:refs") for sha in stored), "an attachment without its user", b)
            must(not stored or "bare" not in db.batch(b) or "upload" in db.batch(b), "erased, and still attached", b)


ALWAYS = (
    every_key_has_an_owner,
    every_lease_has_a_run,
    every_turn_has_a_batch,
    class_totals_are_the_sum,
    keys_lead_to_their_batch,
    one_loads_for_a_key,
    uploads_hold_what_was_loaded,
    committed_uploads_are_remembered,
    attachments_have_users,
)


def check(step: Step) -> None:
    for oracle in ALWAYS:
        oracle(step)
