"""`python -m tests.crash.judge FOLDER`: what became of every mail, judged from what others have written down.

It imports the standard library alone, and nothing of the queue's code. It reads three kinds of witness:

receiver*.jsonl     the receivers' logs: one line an event, with the reply (a receipt: a dot that was not refused)
told-*.jsonl        what the producers asked for, and what they were told
                    {"asked": KEY, "order": LOCAL-PART, "rows": N}, then {"acknowledged": KEY, "at_ms"} or
                    {"given_up": KEY}
accounts.jsonl      what the queue says: {"key", "status": {...}, "messages": [[recipient, state, attempts], ...]}
blows.jsonl         when which blow fell: {"what", "at_ms", "until_ms", "receivers": [...], "doubt": [...] or null,
                    "repeats": bool, "fresh": bool}
expect.json         {"states", "again_limit_s"}: which ends a mail may have besides sent; how soon mail goes again;
                    {"attempts", "gap_limit_s"} or null: how many a sent mail has; how long nothing may come while
                    something acknowledged waits

A repeat is allowed where a blow may cause repeats at all, for the last mail of each session that the blow met, once;
`doubt` narrows that to the mails whose outcome was not recorded then. A verdict's fields are the table's columns.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

Record = dict[str, object]

OUTCOMES = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")
RECIPIENTS = "{order}-{number:07d}@y{domain}.test"
DOMAINS = 50


@dataclass
class Verdict:
    """One row of the table. Good when `faults` is empty."""

    mails: int = 0
    blows: int = 0
    lost: int = 0
    allowed: int = 0
    repeats: int = 0
    unasked: int = 0
    uncertain: int = 0
    accounts: str = "add up"
    again_s: float = 0.0
    """p99 of the time from a blow's end to the next mail over a new session (`fresh`) or any session."""
    gap_s: float = 0.0
    """The longest time without a mail while something that was acknowledged had not come."""
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.faults


def lines(path: Path) -> Iterator[Record]:
    """The whole lines of a file; a last one without its end (its writer was killed) is left out."""
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield cast("Record", json.loads(line))


def recipients(order: str, rows: int) -> Iterator[str]:
    return (RECIPIENTS.format(order=order, number=n, domain=n % DOMAINS) for n in range(1, rows + 1))


def number(record: Record, name: str) -> int:
    value = record[name]
    assert isinstance(value, int), f"{name} is {value!r}"
    return value


@dataclass
class Told:
    """The producers' side: who was acknowledged, who was asked for, who was given up for good."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Told:
        told = cls()
        lists: dict[str, set[str]] = {}
        for path in sorted(paths):
            for line in lines(path):
                if "asked" in line:
                    names = set(recipients(str(line["order"]), number(line, "rows")))
                    lists[str(line["asked"])] = names
                    told.asked |= names
                elif "acknowledged" in line:
                    key = str(line["acknowledged"])
                    told.keys.add(key)
                    told.acknowledged.update(dict.fromkeys(lists[key], key))
                elif "given_up" in line:
                    told.given_up |= lists[str(line["given_up"])]
        return told


@dataclass(frozen=True)
class Receipt:
    recipient: str
    at_ms: int
    sha256: str | None


@dataclass
class Session:
    """One connection to a receiver."""

    began_ms: int
    closed_ms: float = math.inf
    receipts: list[Receipt] = field(default_factory=list)

    def last(self, until_ms: float) -> str | None:
        """The last mail that it had brought by then."""
        return next((receipt.recipient for receipt in reversed(self.receipts) if receipt.at_ms <= until_ms), None)


@dataclass
class Received:
    """All receivers' sides: sessions by receiver."""

    sessions: dict[str, list[Session]] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Received:
        found = cls()
        for path in sorted(paths):
            by_number: dict[int, Session] = {}
            for line in lines(path):
                at_ms = number(line, "at_ms")
                session = by_number.setdefault(number(line, "session"), Session(at_ms))
                if line["stage"] == "dot" and str(line["reply"])[:1] in ("2", ""):
                    sha256 = line.get("sha256")
                    session.receipts.append(Receipt(str(line["recipient"]), at_ms, str(sha256) if sha256 else None))
                elif line["stage"] == "close":
                    session.closed_ms = at_ms
            # `cold.2.jsonl` is the second life of `cold`.
            found.sessions.setdefault(path.name.split(".")[0], []).extend(by_number.values())
        return found

    def of(self, names: Iterable[str] | None) -> list[Session]:
        """The sessions of these receivers; None: of all."""
        wanted = self.sessions if names is None else [name for name in names if name in self.sessions]
        return [session for name in wanted for session in self.sessions[name]]

    def receipts(self) -> Iterator[Receipt]:
        return (receipt for session in self.of(None) for receipt in session.receipts)


def allowed(blow: Record, received: Received) -> Counter[str]:
    """Whose mail may come once more because of this blow."""
    if not blow["repeats"]:
        return Counter()
    at_ms, until_ms = number(blow, "at_ms"), number(blow, "until_ms")
    names = cast("list[str] | None", blow["receivers"])
    met = [session for session in received.of(names) if session.began_ms <= until_ms and session.closed_ms >= at_ms]
    last = Counter(name for session in met if (name := session.last(until_ms)) is not None)
    doubt = cast("list[str] | None", blow["doubt"])
    return last if doubt is None else Counter({name: min(times, last[name]) for name, times in Counter(doubt).items()})


def again_s(blow: Record, received: Received) -> float | None:
    """From the blow's end to the next mail; None when no more mail came at all."""
    until_ms = number(blow, "until_ms")
    fresh = bool(blow["fresh"])
    sessions = received.of(cast("list[str] | None", blow["receivers"]))
    later = (
        receipt.at_ms
        for session in sessions
        if not fresh or session.began_ms >= number(blow, "at_ms")
        for receipt in session.receipts
        if receipt.at_ms >= until_ms
    )
    first = min(later, default=None)
    return None if first is None else (first - until_ms) / 1000


def p99(values: list[float]) -> float:
    return sorted(values)[max(0, math.ceil(len(values) * 0.99) - 1)] if values else 0.0


def judge(folder: Path) -> Verdict:
    """Everything at once."""
    told = Told.read(folder.glob("told-*.jsonl"))
    received = Received.read(folder.glob("receiver*.jsonl"))
    blows = list(lines(folder / "blows.jsonl"))
    expect = json.loads((folder / "expect.json").read_text())
    ends = {"sent", *expect["states"]}
    times = Counter(receipt.recipient for receipt in received.receipts())
    verdict = Verdict(len(told.acknowledged), len(blows))
    states = _accounts(folder, told, times, ends, verdict)
    _mails(told, times, states, verdict)
    may = sum((allowed(blow, received) for blow in blows), Counter[str]())
    _repeats(received, times, may, verdict)
    _again([again_s(blow, received) for blow in blows], expect["again_limit_s"], verdict)
    _attempts(folder, expect.get("attempts"), verdict)
    _gap(folder, told, received, expect.get("gap_limit_s"), verdict)
    return verdict


def _accounts(folder: Path, told: Told, times: Counter[str], ends: set[str], verdict: Verdict) -> dict[str, str]:
    """Each message's state by the queue; faults where its sums, states and the receivers' logs do not agree."""
    states: dict[str, str] = {}
    keys: set[str] = set()
    wrong: list[str] = []
    for account in lines(folder / "accounts.jsonl"):
        key, status = str(account["key"]), cast("Record", account["status"])
        keys.add(key)
        messages = cast("list[tuple[str, str, int]]", account["messages"])
        counted = Counter(state for _, state, _ in messages)
        if any(counted[name] != status[name] for name in OUTCOMES) or len(messages) != status["total"]:
            wrong.append(f"{key}: status says {status}, its messages {dict(counted)}")
        states.update((recipient, state) for recipient, state, _ in messages)
    if missing := told.keys - keys:
        wrong.append(f"{len(missing)} acknowledged uploads have no account, as {min(missing)}")
    strange = Counter(state for state in states.values() if state not in ends)
    if strange:
        wrong.append(f"false ends: {dict(strange)}")
    liars = [name for name, state in states.items() if state == "sent" and not times[name]]
    if liars:
        wrong.append(f"{len(liars)} called sent were never received, as {liars[0]}")
    silent = [name for name in times if states.get(name, "sent") not in ("sent", "uncertain")]
    if silent:
        wrong.append(f"{len(silent)} were received and are called {states[silent[0]]}, as {silent[0]}")
    verdict.uncertain = sum(state == "uncertain" for state in states.values())
    if wrong:
        verdict.accounts = "WRONG"
        verdict.faults += wrong
    return states


def _mails(told: Told, times: Counter[str], states: dict[str, str], verdict: Verdict) -> None:
    lost = [name for name in told.acknowledged if not times[name] and states.get(name, "sent") == "sent"]
    # What was asked for and never acknowledged may be there all the same; what was given up must not.
    unasked = [name for name in times if name not in told.asked or name in told.given_up]
    verdict.lost, verdict.unasked = len(lost), len(unasked)
    if lost:
        verdict.faults.append(f"lost: {len(lost)}, as {lost[0]}")
    if unasked:
        verdict.faults.append(f"nobody asked for {len(unasked)} mails, as {unasked[0]}")


def _repeats(received: Received, times: Counter[str], may: Counter[str], verdict: Verdict) -> None:
    repeats = Counter({name: count - 1 for name, count in times.items() if count > 1})
    verdict.repeats, verdict.allowed = repeats.total(), may.total()
    if surplus := repeats - may:
        name = next(iter(surplus))
        verdict.faults.append(f"{surplus.total()} repeats that no blow allows, as {name} ({times[name]} times)")
    contents: dict[str, set[str]] = {}
    for receipt in received.receipts():
        if receipt.recipient in repeats and receipt.sha256 is not None:
            contents.setdefault(receipt.recipient, set()).add(receipt.sha256)
    if changed := [name for name, hashes in contents.items() if len(hashes) > 1]:
        verdict.faults.append(f"{len(changed)} repeats differ from their first copy, as {changed[0]}")


def _again(found: list[float | None], limit_s: float, verdict: Verdict) -> None:
    verdict.again_s = p99([seconds for seconds in found if seconds is not None])
    if verdict.again_s > limit_s:
        verdict.faults.append(f"going again took {verdict.again_s:.1f} s (p99), and {limit_s:g} s are promised")


def _attempts(folder: Path, wanted: int | None, verdict: Verdict) -> None:
    """A mail that was given back before its body went out has not been tried."""
    if wanted is None:
        return
    told = (cast("list[tuple[str, str, int]]", account["messages"]) for account in lines(folder / "accounts.jsonl"))
    strange = Counter(tries for messages in told for _, state, tries in messages if state == "sent" and tries != wanted)
    if strange:
        verdict.faults.append(f"sent, but not with {wanted} attempts: {strange.total()}, as with {min(strange)}")


def longest_gap_s(queued: Iterable[tuple[int, int]], receipts: Iterable[int]) -> float:
    """`queued`: when how many mails were acknowledged. Counts from the last mail, or from when one waits again."""
    steps = sorted([*queued, *((at_ms, -1) for at_ms in receipts)])
    waiting, since_ms, longest_ms = 0, 0, 0
    for at_ms, change in steps:
        if waiting > 0 and change < 0:
            longest_ms = max(longest_ms, at_ms - since_ms)
        if change < 0 or waiting <= 0:
            since_ms = at_ms
        waiting += change
    return longest_ms / 1000


def _gap(folder: Path, told: Told, received: Received, limit_s: float | None, verdict: Verdict) -> None:
    if limit_s is None:
        return
    rows = Counter(told.acknowledged.values())
    said = [line for path in folder.glob("told-*.jsonl") for line in lines(path) if "acknowledged" in line]
    queued = {str(line["acknowledged"]): number(line, "at_ms") for line in reversed(said)}
    receipts = [receipt.at_ms for receipt in received.receipts()]
    verdict.gap_s = longest_gap_s([(at_ms, rows[key]) for key, at_ms in queued.items()], receipts)
    if verdict.gap_s >= limit_s:
        verdict.faults.append(
            f"nothing came for {verdict.gap_s:.1f} s while mail was queued; {limit_s:g} s are promised"
        )


COLUMNS = ("disaster", "mails", "blows", "lost", "repeats allowed/seen", "unasked", "uncertain", "accounts")


def table(rows: list[tuple[str, Verdict]]) -> str:
    """For people; faults are below it."""
    cells = [[*COLUMNS, "going again p99", "verdict"]]
    for name, v in rows:
        repeats = f"{v.allowed}/{v.repeats}"
        cells.append([name, f"{v.mails:,}", str(v.blows), str(v.lost), repeats, str(v.unasked), str(v.uncertain)])
        cells[-1] += [v.accounts, f"{v.again_s:.1f} s", "good" if v.good else "BAD"]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    text.insert(1, "  ".join("-" * width for width in widths))
    text += [f"  {name}: {fault}" for name, v in rows for fault in v.faults]
    return "\n".join(text)


if __name__ == "__main__":
    seen = judge(Path(sys.argv[1]))
    sys.stdout.write(table([(Path(sys.argv[1]).name, seen)]) + "\n")
    sys.exit(0 if seen.good else 1)
