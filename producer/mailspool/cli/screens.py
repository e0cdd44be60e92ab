"""What a status looks like to a person. Pure: snapshots in, lines out; `now` is passed in.

Counts that are 0 are left out (total and sent are not), so that what is wrong stands out; shown sums always fit.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from mailspool.cli.content_key import ONCE
from mailspool.cli.content_key import PREFIX as CONTENT_KEY
from mailspool.cli.paint import Cell, Line, Span, Style, harmless, line, plain, table, width
from mailspool.cli.when import ago, clock, clock_zone, day, spelled

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.status import BatchStatus, MessageStatus

COUNTERS: Final = ("queued", "sent", "deferred", "failed", "expired", "cancelled", "suppressed", "uncertain")
STYLES: Final[dict[str, Style]] = {
    "sent": "green",
    "deferred": "yellow",
    "failed": "red",
    "expired": "red",
    "uncertain": "red",
    "held": "yellow",
    "scheduled": "yellow",
    "cancelled": "dim",
    "suppressed": "dim",
}
_CODES: Final = re.compile(r"([2-5][0-9]{2})(?:[ -]+([245]\.[0-9]{1,3}\.[0-9]{1,3}))?", re.ASCII)
_REPLY_SHOWN: Final = 60
_GROUPS_SHOWN: Final = 4
_BAR_MOST: Final = 40
_BAR_LEAST: Final = 8
_SOON_S: Final = 90
_RELAY_IN_TROUBLE: Final = re.compile(r"relay ([a-z0-9][a-z0-9_-]*) (?:paused|waiting)\b", re.ASCII)
"""As a RouteStatus calls itself in `waiting_for`."""
_PAUSED_BY_YOU: Final = re.compile(
    r"(?:relay (?P<relay>[a-z0-9][a-z0-9_-]*)|the spool is|(?P<class>[a-z]+) mail is) paused by you", re.ASCII
)

_UNSENT_CSV: Final = " --unsent --csv unsent.csv"
_NO_KEY: Final = (
    "Without --key an edited list is a new mailing to everybody; with --key K only what is missing is queued."
)

Groups = Mapping[str, Counter[str]]
"""State -> how often each kind of reply was the last one."""


def coloured(word: str) -> Span:
    """A state in its colour."""
    return Span(word, STYLES.get(word, "plain"))


def counted(number: int, thing: str, things: str | None = None) -> str:
    """`1 mail`, `1,200 mails`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def reply_kind(message: MessageStatus) -> str:
    """`550 5.1.1 mailbox unknown`: the codes of the reply and our word for it, so that thousands make few kinds."""
    reason = (message.reason or "").replace("_", " ")
    found = _CODES.match(message.reply or "")
    if found is None:
        return harmless(reason or message.reply or "no reply")[:_REPLY_SHOWN]
    codes = " ".join(part for part in found.groups() if part)
    rest = reason or (message.reply or "")[found.end() :].strip(" -")
    return harmless(f"{codes} {rest}".strip())[:_REPLY_SHOWN]


def kinds(found: Counter[str]) -> str:
    """`550 5.1.1 mailbox unknown (7) · 552 5.2.2 mailbox full (2)`."""
    most = found.most_common(_GROUPS_SHOWN)
    more = len(found) - len(most)
    return " · ".join(
        [f"{kind} ({number:,})" for kind, number in most] + ([counted(more, "other kind")] if more else [])
    )


def probe_of(status: BatchStatus) -> str:
    """The command that shows what is wrong with the relay that keeps this batch; nothing if none does."""
    found = _RELAY_IN_TROUBLE.match(status.waiting_for or "")
    return f"mailspool probe {found[1]}" if found else ""


def resume_of(status: BatchStatus) -> str:
    """The command that ends the pause which keeps this batch; nothing if none does."""
    found = _PAUSED_BY_YOU.match(status.waiting_for or "")
    if found is None:
        return ""
    if found["relay"]:
        return f"mailspool relay resume {found['relay']}"
    return f"mailspool resume --class {found['class']}" if found["class"] else "mailspool resume"


def titled(status: BatchStatus) -> str:
    """`b7k2m9q4x invoices`."""
    return f"{status.id} {harmless(status.name)}".strip()


def queued_line(status: BatchStatus, added: int, now: datetime) -> Line:
    """What `send` says when it returns."""
    parts = [f"{added:,} queued   batch {status.id}", status.class_]
    if status.send_at and status.send_at > now:
        parts.append(f"starts {clock_zone(status.send_at, now)}")
    if status.expires_at and not status.done:
        parts.append(f"expires {clock_zone(status.expires_at, now)}")
    return line("  ".join(parts))


def send_notices(batch: Batch, status: BatchStatus, workers: int, *, deliver: bool) -> list[tuple[str, str]]:
    """What a person should know who has just queued this: (code, words)."""
    found = []
    if batch.notices:
        kept = " and ".join(batch.notices)
        found.append(("terms_kept", f"{batch.id} was queued before; the {kept} of then stand."))
    if not batch.created:
        known = f"{counted(batch.skipped_known, 'row')} queued before, {batch.added:,} new"
        found.append(("known_rows", f"{known} (batch {batch.id})."))
    elif status.key and status.key.startswith(CONTENT_KEY):
        found.append(("no_key", _NO_KEY))
    if batch.duplicates:
        stood = "row repeats another and is" if batch.duplicates == 1 else "rows repeat others and are"
        found.append(("duplicates", f"{batch.duplicates:,} {stood} sent once."))
    if batch.skipped_bad:
        skipped = counted(batch.skipped_bad, "bad row")
        where = f": {batch.rejects}. Repair that file and send it" if batch.rejects else ""
        found.append(("skipped_bad", f"{skipped} left out{where}."))
    if status.state == "held":
        found.append(("held", f"It is held.   Let it go:  mailspool release {batch.id}"))
    elif not workers and not deliver and not status.done:
        found.append(
            (
                "no_worker",
                "No worker is running, so nothing leaves yet.   Start one:  mailspool worker      "
                f"Follow:  mailspool watch {batch.id}",
            )
        )
    elif status.waiting_for and workers and not status.waiting_for.startswith("starts "):
        go_on = resume_of(status)
        look = f"   Go on:  {go_on}" if go_on else f"   Look:  {probe}" if (probe := probe_of(status)) else ""
        found.append(("waiting", f"It waits: {harmless(status.waiting_for)}{look}"))
    return found


def already_line(status: BatchStatus, now: datetime) -> str:
    """For the same command again."""
    when = ago(status.created_at, now) if status.created_at else "before"
    far = f"{status.sent:,} of {status.total:,} sent"
    rest = ", ".join(f"{getattr(status, name):,} {name}" for name in COUNTERS[2:] if getattr(status, name))
    if rest:
        far = f"{far}, {rest}"
    return f"Already queued {when} as {status.id} ({far}). To mail everybody again: --again."


def head(status: BatchStatus) -> Line:
    """`b7k2m9q4x  invoices   done in 1 min 2 s`."""
    name = f"  {harmless(status.name)}" if status.name else ""
    return line(Span(status.id, "bold"), name, "   ", *_progress_words(status))


def _progress_words(status: BatchStatus) -> list[Cell]:
    if status.done:
        start = status.started_at or status.created_at
        took = f" in {spelled((status.finished_at - start).total_seconds())}" if start and status.finished_at else ""
        return [coloured(status.state), took]
    words: list[Cell] = [coloured(status.state)]
    if status.waiting_for:
        words.append(f": {harmless(status.waiting_for)}")
    elif status.rate_per_s:
        words.append(f", {speed(status.rate_per_s)}{', ' + left(status.eta_s) if status.eta_s is not None else ''}")
    return words


def speed(rate_per_s: float) -> str:
    return f"{rate_per_s:,.0f}/s" if rate_per_s >= 10 else f"{rate_per_s:.1f}/s"


def left(eta_s: int) -> str:
    return f"about {spelled(eta_s)} left" if eta_s > 0 else "nearly done"


def report(
    status: BatchStatus, groups: Groups, now: datetime, *, advise: bool = True, columns: int | None = None
) -> list[Line]:
    """A batch at a glance, at rest or on its way; `advise`: with the command that fits."""
    rows: list[Sequence[Cell]] = [("total", f"{status.total:,}")]
    for name in COUNTERS:
        number = getattr(status, name)
        if number or name == "sent":
            why = kinds(groups[name]) if groups.get(name) else ""
            rows.append((coloured(name), f"{number:,}", _detail(status, name, why, now)))
    lines = [head(status), *table(rows, right={1}, indent=2, gap=3, columns=columns)]
    if status.expires_at and not status.done:
        lines.append(line(f"  expires {clock_zone(status.expires_at, now)}"))
    if advise and (advice := next_step(status)):
        lines.append(line(Span("next", "dim"), "  ", advice))
        if advice.endswith(_UNSENT_CSV) and (again := correction(status)):
            lines.append(line("      ", again))
    return lines


def _detail(status: BatchStatus, name: str, why: str, now: datetime) -> str:
    if name != "deferred" or not status.next_try:
        return why
    return f"{why}{', ' if why else ''}next try {soon(status.next_try, now)}"


def next_step(status: BatchStatus) -> str:
    """The one command that fits."""
    from mailspool.status import start_worker

    unsent = status.failed + status.expired + status.uncertain + status.suppressed
    if status.state == "held":
        return f"mailspool release {status.id}"
    if command := start_worker(status.waiting_for):
        return command
    if go_on := resume_of(status):
        return go_on
    if probe := probe_of(status):
        return probe
    if status.done and unsent:
        return f"mailspool show {status.id}{_UNSENT_CSV}"
    return f"mailspool watch {status.id}" if not status.done else ""


def correction(status: BatchStatus) -> str:
    """How a wrong address gets its mail after all: by the list that has its values, and the key that knows the rest."""
    if not status.key or status.key.startswith((CONTENT_KEY, ONCE)):
        return ""
    key = shlex.quote(harmless(status.key))
    return f"wrong addresses: correct them in the original list, then  mailspool send ... --key {key}"


def waiting_line(status: BatchStatus, why: Counter[str], now: datetime) -> str:
    """When nothing but later tries is left; what may be cut off at a narrow terminal's edge stands last."""
    following = f", next {soon(status.next_try, now)}" if status.next_try else ""
    last = f", last chance {day(status.expires_at)}" if status.expires_at else ""
    known = f"  ({kinds(why)})" if why else ""
    verb = "waits" if status.deferred == 1 else "wait"
    return f"{status.deferred:,} {verb} for a later try{following}{last}. Ctrl-C is safe.{known}"


def soon(moment: datetime, now: datetime) -> str:
    """`in 12 s`, `at 21:11`."""
    left_s = (moment - now).total_seconds()
    return f"in {max(1, round(left_s))} s" if left_s < _SOON_S else f"at {clock(moment, now)}"


def bar(share: float, columns: int) -> list[Span]:
    """`━━━━╸────`: also without colours it shows how far it is."""
    full = share * columns
    done = int(full)
    half = done < columns and full - done >= 0.5
    return [Span("━" * done + ("╸" if half else ""), "green"), Span("─" * (columns - done - half), "dim")]


def live_line(status: BatchStatus, columns: int) -> Line:
    """One line that fits into `columns`; the bar gives way first."""
    ended = status.total - status.queued - status.deferred
    share = ended / status.total if status.total else 1.0
    percent = 100 if status.done else min(99, int(share * 100))
    tail: list[Cell] = [f"  {percent} %  ", Span(f"{status.sent:,} sent", "green")]
    for name in COUNTERS[2:]:
        if number := getattr(status, name):
            tail += ["  ", Span(f"{number:,} {name}", STYLES.get(name, "plain"))]
    only_later = status.deferred and not status.queued  # a line of its own tells about that
    if status.waiting_for and not only_later:
        tail += ["   ", Span(harmless(status.waiting_for), "yellow")]
    elif status.rate_per_s and not status.done:
        tail.append(f"   {speed(status.rate_per_s)}")
        if status.eta_s is not None:
            tail.append(f"   {left(status.eta_s)}")
    start, end = line(titled(status), "  "), line(*tail)
    room = columns - width(plain(start)) - width(plain(end)) - 1
    if room < _BAR_LEAST:
        return (*start, *end)
    return (*start, *bar(share, min(room, _BAR_MOST)), *end)
