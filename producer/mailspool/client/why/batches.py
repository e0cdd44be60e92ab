"""Why a batch, or one message of it, has not gone yet. Pure: facts in, sentences out; the time is in the facts.

What ends by itself has a time; what only a person can end names the command that does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailspool.client.relays import RelayStatus
from mailspool.client.why.facts import BatchFacts, HeldSender, MessageFacts, ReplyGroup, RunFact
from mailspool.client.why.report import (
    Cause,
    Code,
    Why,
    counted,
    earliest,
    moment,
    ms_of,
    span,
    subject,
    verb,
    when,
)
from mailspool.contract.states import CHUNK_SIZE, DEFERRED, LEASE_MS
from mailspool.settings.relays import CHECK_LOGIN
from mailspool.status import PauseStatus, held_words, utc

_GROUPS_SHOWN = 8
_LOGIN_REFUSED = re.compile(r"53[0458]\b|5\d\d[ -]5\.7\.(?:8|57)\b", re.ASCII)
"""What servers answer to a wrong user or password."""
UNCERTAIN_WORDS = "uncertain: the final reply was lost. You decide: retry, or resolve."
_COUNTS = ("sent", "failed", "expired", "cancelled", "suppressed", "uncertain")


def of_batch(facts: BatchFacts) -> Why:
    """The whole batch."""
    status = facts.status
    blocked = [] if status.done else blocking(facts)
    whole = any(cause.code not in ("partly", "rate", "slow") for cause in blocked)
    moving = [] if status.done else [*_runs(facts), *([] if whole else _turn(facts)), *_replies(facts), *_ends(facts)]
    causes = _at_rest(facts) if status.done else [*blocked, *moving]
    if not status.done and not any(cause.code not in ("uncertain", "slow", "expiry", "bound") for cause in causes):
        causes.insert(0, Cause("ok", "Nothing keeps it: its chunks are given out within a second or so."))
    counted_all = facts.groups and facts.looked >= facts.odd  # else only the chunks' own times are known
    next_ms = facts.seen.next_due_ms if status.deferred and not counted_all else None
    next_try = None if status.done else earliest(causes, facts.seen.now_ms, next_ms)
    if not status.done and not whole:
        causes += _speed(facts, any(cause.code == "rate" for cause in blocked))
    return Why("batch", status.id, tuple(causes), next_try)


def of_message(facts: MessageFacts) -> Why:
    """One message: what happened to it, then what keeps its batch."""
    message, now_ms = facts.message, facts.batch.seen.now_ms
    final = message.state not in ("queued", "deferred")
    causes = [_message_end(facts)] if final else [*_message_waits(facts), *_ends(facts.batch, alone=True)]
    return Why("message", message.id, tuple(causes), None if final else earliest(causes, now_ms))


# -- a batch


def blocking(facts: BatchFacts) -> list[Cause]:
    """What keeps all of it: a person, a date, nobody there to send it, relays, a rate."""
    return [*_by_people(facts), *_by_workers(facts), *_by_relays(facts)]


def _waiting(facts: BatchFacts) -> int:
    return facts.status.queued + facts.status.deferred


def _at_most(facts: BatchFacts, chunks: int) -> int:
    """Mails of so many chunks that have not come to an end."""
    return min(_waiting(facts), chunks * CHUNK_SIZE)


def _by_people(facts: BatchFacts) -> list[Cause]:
    seen, status = facts.seen, facts.status
    state, mails = seen.batch["state"], _waiting(facts)
    if state == "loading":
        return [Cause("loading", "Its rows are still being loaded; nothing of it is queued before the commit.")]
    found = []
    if state == "held":
        words = f"{subject(mails, 'mail', 'is', 'are')} {held_words(seen.batch.get('held_why', ''))}."
        found.append(Cause("held", words, mails, do=f"mailspool release {status.id}"))
    for what, since_ms in seen.pauses:
        resume = "mailspool resume" if what == "spool" else f"mailspool resume --class {what}"
        words = f"{_capital(str(PauseStatus(what, None)))} since {moment(since_ms, seen.now_ms)}."
        found.append(Cause("paused", words, mails, do=resume))
    send_at = int(seen.batch.get("send_at") or 0)
    if send_at > seen.now_ms:
        found.append(Cause("send_at", f"It starts {moment(send_at, seen.now_ms)}.", mails, until=utc(send_at)))
    return found


def _by_workers(facts: BatchFacts) -> list[Cause]:
    seen, class_ = facts.seen, facts.status.class_
    if not facts.workers:
        words = "No worker is running, so nothing leaves."
        return [Cause("no_worker", words, _waiting(facts), do="mailspool worker")]
    running = f"{subject(len(facts.workers), 'worker', 'is', 'are')} running"
    if seen.live_workers == 0:
        words = f"{running}, but none serves {class_} mail."
        return [Cause("no_worker", words, _waiting(facts), do=f"mailspool worker --class {class_}")]
    if seen.able_to_serve:
        return []
    relay, version = seen.batch.get("relay"), seen.batch.get("v", "?")
    offered = sorted({name for worker in facts.workers for name in worker.relays if name})
    if relay and relay not in offered:
        words = f"It is pinned to the relay {relay}, and {running}, but none has it (they have {', '.join(offered)})."
        return [Cause("no_worker", words, _waiting(facts), do="mailspool relay list")]
    words = f"{running}, but none reads its record version {version}: upgrade the workers."
    return [Cause("no_worker", words, _waiting(facts), do="mailspool doctor")]


def _by_relays(facts: BatchFacts) -> list[Cause]:
    seen, now_ms = facts.seen, facts.seen.now_ms
    if not facts.workers:
        return []
    pinned = seen.batch.get("relay")
    usable = [relay for relay in facts.relays if relay.workers and (not pinned or relay.name == pinned)]
    closed = [relay for relay in usable if relay.state != "ok"]
    found = _closed(closed, [relay.name for relay in usable if relay.state == "ok"], now_ms)
    found += [_held_sender(one, now_ms) for one in facts.held_senders if not pinned or one.relay == pinned]
    wait_ms, why = int(seen.batch.get("wait_until") or 0), seen.batch.get("wait_why")
    if not found:
        found += _put_off(facts, wait_ms if why == "closed" else 0)
    rate_ms = max(int(seen.batch.get("rate_until") or 0), wait_ms if why == "rate" else 0)
    found += [slow_cause(relay, now_ms) for relay in usable if relay.slowed is not None]
    if rate_ms > now_ms:
        words = f"The rate of {pinned or 'its relay'} is used up; its next share is at {moment(rate_ms, now_ms)}."
        found.append(Cause("rate", words, until=utc(rate_ms)))
    return found


def _put_off(facts: BatchFacts, wait_ms: int) -> list[Cause]:
    """What the last run met, where no relay says so of itself: all of the batch until `wait_ms`, or rows of it."""
    batch, now_ms = facts.seen.batch, facts.seen.now_ms
    told, part_ms = batch.get("closed_why", ""), int(batch.get("closed_until") or 0)
    if wait_ms > now_ms:
        words = _capital(told) or "No relay that it may use was open"
        code: Code = "sender" if told else "relay"
        words = f"{words}; it is tried again at {moment(wait_ms, now_ms)}."
        return [Cause(code, words, until=utc(wait_ms), do="mailspool relay list")]
    if told and part_ms > now_ms:
        words = f"{_capital(told)}; those rows are tried again by {moment(part_ms, now_ms)}."
        return [Cause("partly", words, do="mailspool relay list")]
    return []


def _closed(closed: Sequence[RelayStatus], others: Sequence[str], now_ms: int) -> list[Cause]:
    """Relays that take nothing now; `others` that it may use are open, and carry it meanwhile."""
    rest = f"; {', '.join(others)} {verb(len(others), 'is', 'are')} open" if others else ""
    endless = all(relay.since is not None for relay in closed)
    found = []
    for relay in closed:
        code: Code = "partly" if others else "paused" if endless else "relay"
        found.append(relay_cause(relay, now_ms, code, rest))
    return found


def relay_cause(relay: RelayStatus, now_ms: int, code: Code, rest: str = "") -> Cause:
    """Why a relay takes nothing, and until when."""
    if relay.since is not None:
        words = f"The relay {relay.name} is paused by you since {when(relay.since, now_ms)}{rest}."
        return Cause(code, words, do=f"mailspool relay resume {relay.name}")
    until = relay.until if relay.until is not None and ms_of(relay.until) > now_ms else None
    # Its own doing is told in other words than a person's: `relay resume` ends both.
    state = "has stopped by itself" if relay.state == "paused" else f"is {relay.state}"
    looks = f"looks again at {when(until, now_ms)}" if until else "looks again with the next mail"
    words = f"The relay {relay.name} {state}: {relay.why or 'no reason known'}; it {looks}{rest}."
    if _LOGIN_REFUSED.match(relay.why or ""):
        words = f"{words} {CHECK_LOGIN}"
    return Cause(code, words, until=until, do=f"mailspool probe {relay.name}")


def slow_cause(relay: RelayStatus, now_ms: int) -> Cause:
    """It is open, and was asked for less."""
    until = relay.slowed_until
    whole = f"; it is back to all of its sessions and rate by {when(until, now_ms)}" if until else ""
    words = f"The relay {relay.name} goes slower, as it asked for less: {relay.slowed}{whole}."
    return Cause("slow", words)  # mail goes on meanwhile


def _held_sender(one: HeldSender, now_ms: int) -> Cause:
    again = f"next try {moment(one.until_ms, now_ms)}"
    words = f"The relay {one.relay} takes no mail from {one.sender} for now: {one.why}; {again}."
    return Cause("sender", words, until=utc(one.until_ms), do=f"mailspool relay resume {one.relay}")


def _turn(facts: BatchFacts) -> list[Cause]:
    """What may go and stands behind others."""
    queue = facts.queue
    if not queue.due_chunks:
        return []
    words = f"{subject(queue.due_chunks, 'chunk', 'waits for its', 'wait for their')} turn"
    if queue.ahead:
        words += f" behind {counted(queue.ahead, 'batch')} of its class (one chunk of each in turn)"
    if queue.window and queue.given_out >= queue.window:
        words += f"; the workers have all they take at once ({counted(queue.given_out, 'chunk')})"
    return [Cause("turn", f"{words}.", _at_most(facts, queue.due_chunks))]


def _runs(facts: BatchFacts) -> list[Cause]:
    now_ms = facts.seen.now_ms
    running = [run for run in facts.runs if run.kind == "running" and run.alive]
    lost = [run for run in facts.runs if run.kind == "running" and not run.alive]
    fed = [run for run in facts.runs if run.kind == "fed"]
    found = []
    if running:
        workers = {run.worker for run in running}
        lease_ms = min((run.until_ms for run in running if run.until_ms), default=None)
        lease = f", leased until {moment(lease_ms, now_ms)} and renewed every 5 s" if lease_ms else ""
        start = f"; the batch started {when(facts.status.started_at, now_ms)}" if facts.status.started_at else ""
        words = f"{counted(len(running), 'chunk')} in flight now with {counted(len(workers), 'worker')}{lease}{start}."
        found.append(Cause("in_flight", words, _at_most(facts, len(running))))
    if lost:
        found.append(_lost(lost, now_ms, _at_most(facts, len(lost))))
    if fed and facts.workers:
        words = f"{subject(len(fed), 'chunk', 'is', 'are')} given out and not begun yet."
        found.append(Cause("in_flight", words, _at_most(facts, len(fed))))
    return found


def _lost(lost: list[RunFact], now_ms: int, mails: int) -> Cause:
    """Nobody takes them before their lease is over: a frozen worker may come back."""
    until_ms = max((run.until_ms for run in lost if run.until_ms), default=now_ms)
    silent_ms = min((run.silent_since_ms for run in lost if run.silent_since_ms), default=None)
    silent = f" since {moment(silent_ms, now_ms)}" if silent_ms else f" for {LEASE_MS // 1000} s or more"
    back = f"taken back at {moment(until_ms, now_ms)}" if until_ms > now_ms else "taken back by the next worker's tick"
    words = f"{counted(len(lost), 'chunk')} in the hands of a worker that is silent{silent}; {back}."
    return Cause("lost_worker", words, mails, until=utc(until_ms) if until_ms > now_ms else None)


def _replies(facts: BatchFacts) -> list[Cause]:
    groups = [group for group in facts.groups if group.letter == DEFERRED]
    found = [reply_cause(group, facts.seen.now_ms) for group in groups[:_GROUPS_SHOWN]]
    if more := groups[_GROUPS_SHOWN:]:
        mails = sum(group.mails for group in more)
        words = f"{counted(mails, 'message')} more for {counted(len(more), 'other kind')} of reply."
        found.append(Cause("reply", words, mails, do=f"mailspool show {facts.status.id} --state deferred"))
    if facts.looked < facts.odd:
        words = f"Replies were counted in {facts.looked:,} of its {counted(facts.odd, 'chunk')} that hold any."
        found.append(Cause("bound", words))
    return found


def reply_cause(group: ReplyGroup, now_ms: int, *, of: str = "") -> Cause:
    """`14 messages wait after 450 4.2.0 greylisted by main, next try 21:11`."""
    by = f" by {group.relay}" if group.relay else ""
    due = f"next try {moment(group.next_ms, now_ms)}" if group.next_ms > now_ms else "due now"
    waits = f"after {group.reply}" if group.reply[:1].isdecimal() else f"for a later try: {group.reply}"
    words = f"{counted(group.mails, 'message')}{of} {verb(group.mails, 'waits', 'wait')} {waits}{by}, {due}."
    return Cause("reply", words, group.mails, until=utc(group.next_ms) if group.next_ms > now_ms else None)


def _ends(facts: BatchFacts, *, alone: bool = False) -> list[Cause]:
    """The last chance, what a person must decide, and the speed."""
    status, now_ms = facts.status, facts.seen.now_ms
    found = []
    if status.uncertain and not alone:
        found.append(_uncertain(facts))
    if not alone and (lost := status.failed + status.expired + status.suppressed):
        words = f"{counted(lost, 'message')} will not arrive: failed, expired or suppressed for good."
        found.append(Cause("failed", words, lost, do=f"mailspool show {status.id} --unsent"))
    expires_ms = int(facts.seen.batch.get("expires") or 0)
    if expires_ms and facts.seen.batch["state"] != "loading":
        words = f"Last chance {moment(expires_ms, now_ms)}: what has not gone by then expires."
        if expires_ms <= now_ms:
            words = f"Its last chance was {moment(expires_ms, now_ms)}: what has not gone expires now."
        found.append(Cause("expiry", words, until=utc(expires_ms)))
    return found


def _speed(facts: BatchFacts, by_rate: bool) -> list[Cause]:
    """`At 812/s the rest (19,471) takes 24 s.`"""
    status = facts.status
    words = [f"{subject(status.queued, 'mail', 'waits', 'wait')} for that limit."] if by_rate else []
    if status.eta_s is not None and status.rate_per_s:
        rate = f"{status.rate_per_s:,.0f}" if status.rate_per_s >= 10 else f"{status.rate_per_s:.1f}"
        words.append(f"At {rate}/s the rest ({status.queued:,}) takes {span(status.eta_s)}.")
    return [Cause("ok", " ".join(words))] if words else []


def _uncertain(facts: BatchFacts) -> Cause:
    number, batch = facts.status.uncertain, facts.status.id
    words = f"{subject(number, 'message', 'is', 'are')} {UNCERTAIN_WORDS}"
    return Cause("uncertain", words, number, do=f"mailspool show {batch} --state uncertain")


def _at_rest(facts: BatchFacts) -> list[Cause]:
    status, now_ms = facts.status, facts.seen.now_ms
    counts = [f"{getattr(status, name):,} {name}" for name in _COUNTS if getattr(status, name) or name == "sent"]
    at = f" since {when(status.finished_at, now_ms)}" if status.finished_at else ""
    verdict = "cancelled" if status.state == "cancelled" else "done"
    unsent = status.failed + status.expired + status.suppressed
    do = f"mailspool show {status.id} --unsent" if unsent else None
    words = f"Nothing waits: it is {verdict}{at}: {', '.join(counts)} of {status.total:,}."
    return [Cause("done", words, 0, do=do), *([_uncertain(facts)] if status.uncertain else [])]


# -- a message


def _message_end(facts: MessageFacts) -> Cause:
    message, now_ms = facts.message, facts.batch.seen.now_ms
    at = f" {when(message.last_try, now_ms)}" if message.last_try else ""
    said = (
        f": {message.reply}"
        if message.reply
        else f": {(message.reason or '').replace('_', ' ')}"
        if message.reason
        else ""
    )
    by = f" by {message.relay}" if message.relay else ""
    batch = message.batch
    if not message.reply and message.reason == "lost_reply" and message.state in ("sent", "failed"):
        words = (
            f"A person has decided that it {message.state.replace('sent', 'was sent')}: its final reply was lost{at}."
        )
        return Cause("done", f"Nothing waits. {words}", 0)
    match message.state:
        case "uncertain":
            words = (
                f"It is uncertain since{at}: the final reply of {message.relay or 'the relay'} was lost. You decide."
            )
            return Cause("uncertain", words, 1, do=f"mailspool resolve {batch} --as sent --to {message.recipient}")
        case "failed":
            words = f"It failed{at}{by} after {counted(message.attempts, 'try').replace('trys', 'tries')}{said}."
            return Cause("failed", words, 1, do=f"mailspool retry {batch} --state failed --to {message.recipient}")
        case "sent":
            return Cause("done", f"Nothing waits: it was sent{at}{by}{said}.", 0)
        case state:
            return Cause("done", f"Nothing waits: it is {state}{said if state != message.reason else ''}.", 0)


def _message_waits(facts: MessageFacts) -> list[Cause]:
    message, now_ms = facts.message, facts.batch.seen.now_ms
    found = []
    if message.state == "deferred":
        found.append(_deferred(facts))
    if facts.run is not None:
        run = facts.run
        if run.kind == "running" and not run.alive:
            found.append(_lost([run], now_ms, 1))
        else:
            lease = f", leased until {moment(run.until_ms, now_ms)}" if run.kind == "running" and run.until_ms else ""
            who = f"with worker {run.worker}" if run.kind == "running" else "given out, and not begun yet"
            found.append(Cause("in_flight", f"Its chunk is {who}{lease}.", 1))
    found += blocking(facts.batch)
    if facts.due_ms is not None and facts.due_ms <= now_ms and not found:
        ahead = facts.ahead or 0
        batches = facts.batch.queue.ahead or 0
        behind = [counted(ahead, "chunk") + " of its batch"] if ahead else []
        behind += [counted(batches, "batch")] if batches else []
        words = f"It waits for its turn behind {' and '.join(behind)}." if behind else "It is next in its batch."
        found.append(Cause("turn", words, 1))
    elif facts.due_ms is not None and facts.due_ms > now_ms and message.state == "queued":
        found.append(
            Cause("turn", f"Its chunk is looked at again at {moment(facts.due_ms, now_ms)}.", 1, utc(facts.due_ms))
        )
    return found


def _deferred(facts: MessageFacts) -> Cause:
    message, now_ms = facts.message, facts.batch.seen.now_ms
    at = when(message.last_try, now_ms)
    reply, by = f"was answered {message.reply}", f" by {message.relay}" if message.relay else ""
    if not message.reply:
        reply, by = "got no final reply", f" from {message.relay}" if message.relay else ""
        by += f" ({(message.reason or 'no reason known').replace('_', ' ')})"
    next_ms = max(ms_of(message.next_try) if message.next_try else 0, facts.due_ms or 0)
    due = f"next try {moment(next_ms, now_ms)}" if next_ms > now_ms else "it is due now"
    what = f"Try {message.attempts}" if message.attempts else "A try that does not count"
    words = f"{what}{f' at {at}' if at else ''} {reply}{by}; {due}."
    return Cause("reply", words, 1, utc(next_ms) if next_ms > now_ms else None)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
