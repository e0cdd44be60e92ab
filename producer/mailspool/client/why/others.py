"""Why mail does not go: of a relay, to a domain, in the whole spool. Pure: facts in, sentences out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mailspool.client.relays import UNSERVED, RelayStatus
from mailspool.client.why.batches import UNCERTAIN_WORDS, relay_cause, reply_cause, slow_cause
from mailspool.client.why.facts import DomainFacts, HeldSender, ReplyGroup, SpoolFacts
from mailspool.client.why.report import Cause, Why, counted, earliest, moment, ms_of, subject, verb, when
from mailspool.contract.states import DEFERRED, FAILED, UNCERTAIN
from mailspool.status import NO_WORKER, BatchStatus, PauseStatus, no_worker_for, start_worker, utc

_GROUPS_SHOWN = 10


# -- a relay


def of_relay(relay: RelayStatus, senders: tuple[HeldSender, ...], pauses: tuple[PauseStatus, ...], now_ms: int) -> Why:
    """One relay."""
    causes = [_pause_of_some(pause, now_ms) for pause in pauses]
    if relay.state == UNSERVED:
        words = f"No running worker has the relay {relay.name}, so nothing leaves by it."
        causes.append(Cause("no_worker", words, do="mailspool worker"))
    elif relay.state != "ok":
        causes.append(relay_cause(relay, now_ms, "paused" if relay.since is not None else "relay"))
    for sender in senders:
        words = (
            f"It takes no mail from {sender.sender} for now: {sender.why}; next try {moment(sender.until_ms, now_ms)}."
        )
        causes.append(Cause("sender", words, until=utc(sender.until_ms), do=f"mailspool relay resume {relay.name}"))
    if relay.slowed is not None:
        causes.append(slow_cause(relay, now_ms))
    if not causes:
        crew = f"{counted(relay.workers, 'worker')} with {counted(relay.sessions, 'open session')}"
        causes.append(Cause("ok", f"Nothing keeps mail for {relay.name}: it is well; {crew}."))
    if relay.last_failure and relay.last_failure_at and relay.last_failure not in causes[0].words:
        words = f"Its last failed opening, {when(relay.last_failure_at, now_ms)}: {relay.last_failure}"
        causes.append(Cause("failed", words))
    return Why("relay", relay.name, tuple(causes), earliest(causes, now_ms))


def _pause_of_some(pause: PauseStatus, now_ms: int) -> Cause:
    """For a relay, a class that is paused is a part: it carries the other one."""
    cause = pause_cause(pause, now_ms)
    return cause if pause.what == "spool" else replace(cause, code="partly")


def pause_cause(pause: PauseStatus, now_ms: int) -> Cause:
    """What a person has paused, and how to go on."""
    words = str(pause)
    do = "mailspool resume" if pause.what == "spool" else f"mailspool resume --class {pause.what}"
    since = f" since {when(pause.since, now_ms)}" if pause.since else ""
    return Cause("paused", f"{words[:1].upper()}{words[1:]}{since}.", do=do)


# -- a domain


def of_domain(facts: DomainFacts) -> Why:
    """Mail to one domain or address that was tried and has not gone."""
    now_ms, causes = facts.now_ms, []
    for group in facts.groups[:_GROUPS_SHOWN]:
        causes.append(_of_group(group, now_ms))
        if why := facts.blocked.get(group.batch):
            words = f"The batch {group.batch} waits as a whole: {why}."
            causes.append(Cause("batch", words, do=f"mailspool why {group.batch}"))
    causes = list(dict.fromkeys(causes))
    if more := facts.groups[_GROUPS_SHOWN:]:
        words = f"{counted(sum(group.mails for group in more), 'message')} more in {len(more):,} other groups."
        causes.append(Cause("reply", words, sum(group.mails for group in more)))
    if not facts.groups:
        show = f"mailspool show last --to {facts.wanted}" if "@" in facts.wanted else None
        causes.append(Cause("ok", f"No mail to {facts.wanted} waits for a later try.", do=show))
    if facts.looked < facts.of_chunks or facts.batches < facts.of_batches:
        chunks, batches = counted(facts.of_chunks, "chunk"), counted(facts.of_batches, "live batch")
        words = f"Looked at {facts.looked:,} of {chunks} with replies in {facts.batches:,} of {batches}."
        causes.append(Cause("bound", words))
    if facts.untried:
        words = f"{subject(facts.untried, 'mail', 'was', 'were')} never tried yet; some may go there."
        causes.append(Cause("bound", words, do="mailspool why"))
    free = [group.next_ms for group in facts.groups if group.letter == DEFERRED and group.batch not in facts.blocked]
    next_ms = min((next_ms for next_ms in free if next_ms > now_ms), default=None)
    return Why("domain", facts.wanted, tuple(causes), utc(next_ms))


def _of_group(group: ReplyGroup, now_ms: int) -> Cause:
    show = f"mailspool show {group.batch}"
    if group.letter == DEFERRED:
        return reply_cause(group, now_ms, of=f" of {group.batch}")
    by = f" by {group.relay}" if group.relay else ""
    if group.letter == UNCERTAIN:
        are = verb(group.mails, "is", "are")
        words = f"{counted(group.mails, 'message')} of {group.batch} {are} {UNCERTAIN_WORDS}"
        return Cause("uncertain", words, group.mails, do=f"{show} --state uncertain")
    words = f"{counted(group.mails, 'message')} of {group.batch} failed for good: {group.reply}{by}."
    return Cause("failed", words, group.mails, do=f"{show} --state failed" if group.letter == FAILED else None)


# -- the spool


def of_spool(facts: SpoolFacts) -> Why:
    """All of it: what keeps everything, then the batches that wait for something of their own."""
    now_ms = facts.now_ms
    waiting = facts.queued + facts.deferred
    causes = [pause_cause(pause, now_ms) for pause in facts.pauses]
    if not facts.workers and waiting:
        causes.append(Cause("no_worker", "No worker is running, so nothing leaves.", waiting, do="mailspool worker"))
    for class_, mails in facts.unserved.items():
        why = no_worker_for(class_)
        words = f"{why.partition(': ')[0]}, so none of it leaves."
        causes.append(Cause("no_worker", words[:1].upper() + words[1:], mails, do=start_worker(why)))
    closed = [relay for relay in facts.relays if relay.state not in ("ok", UNSERVED)]
    others = any(relay.state == "ok" and relay.workers for relay in facts.relays)
    for relay in closed:
        person = relay.since is not None and not others
        causes.append(relay_cause(relay, now_ms, "partly" if others else "paused" if person else "relay"))
    names = frozenset(relay.name for relay in closed)
    causes += [cause for batch in facts.batches if (cause := _of_its_own(batch, facts, names)) is not None]
    if facts.live > len(facts.batches):
        words = f"Looked at {len(facts.batches):,} of {counted(facts.live, 'live batch')}: those that expire first."
        causes.append(Cause("bound", words))
    if facts.uncertain:
        first = facts.doubtful[0] if facts.doubtful else None
        more = len(facts.doubtful) - 1
        others_too = f" and {counted(more, 'other batch')}" if more > 0 else ""
        where = f" (in {first}{others_too})" if first else ""
        words = f"{subject(facts.uncertain, 'message', 'is', 'are')} uncertain{where}: a person must decide."
        do = f"mailspool show {first} --state uncertain" if first else "mailspool status --all"
        causes.append(Cause("uncertain", words, facts.uncertain, do=do))
    if not waiting and not causes:
        causes.append(Cause("done", "Nothing waits: the spool has no mail to send.", 0))
    elif not any(cause.code not in ("uncertain", "bound") for cause in causes):
        words = f"{subject(waiting, 'mail', 'waits', 'wait')} for nothing but a turn: workers take chunk after chunk."
        causes.insert(0, Cause("ok", words, waiting))
    return Why("spool", "spool", tuple(causes), _next_of_spool(causes, facts))


def _of_its_own(batch: BatchStatus, facts: SpoolFacts, closed: frozenset[str]) -> Cause | None:
    """What only this batch waits for; nothing for what the spool says of itself above."""
    why, now_ms, rated = batch.waiting_for or "", facts.now_ms, batch.id in facts.rated
    of_a_relay = why.startswith("relay ") and why.split()[1] in closed
    unserved = why == NO_WORKER or (batch.class_ in facts.unserved and start_worker(why))
    if unserved or " is paused by you" in why or of_a_relay:
        why = ""
    if not why and not batch.deferred and not rated:
        return None
    name = f" ({batch.name})" if batch.name else ""
    waiting = batch.queued + batch.deferred
    do = f"mailspool why {batch.id}"
    if command := start_worker(why):
        words = f"{batch.id}{name}: {why.partition(': ')[0]}."
        return Cause("no_worker", words, waiting, do=command)
    if batch.state == "held":
        return Cause(
            "held", f"{batch.id}{name}: {counted(waiting, 'mail')} {why}.", waiting, do=f"mailspool release {batch.id}"
        )
    if batch.state == "scheduled":
        return Cause("send_at", f"{batch.id}{name}: {why}.", waiting, until=batch.send_at, do=do)
    if rated and not why:
        words = f"{batch.id}{name}: {subject(batch.queued, 'mail', 'waits', 'wait')} for the rate of its relay."
        return Cause("rate", words, batch.queued, do=do)
    if batch.deferred and (not why or why.startswith("a later try")):
        words = f"{batch.id}{name}: {subject(batch.deferred, 'message', 'is', 'are')} due for another try."
        if batch.next_try:
            waits = subject(batch.deferred, "message", "waits", "wait")
            words = f"{batch.id}{name}: {waits} for a later try, next {when(batch.next_try, now_ms)}."
        return Cause("reply", words, batch.deferred, until=batch.next_try, do=do)
    return Cause("turn", f"{batch.id}{name}: {why}.", waiting, do=do)


def _next_of_spool(causes: list[Cause], facts: SpoolFacts) -> datetime | None:
    """A held batch says nothing about the others; a paused spool, or nobody to send, about all."""
    if any(pause.what == "spool" for pause in facts.pauses) or not facts.workers:
        return None
    times = [cause.until for cause in causes if cause.until is not None and cause.code != "partly"]
    return min((at for at in times if ms_of(at) > facts.now_ms), default=None)
