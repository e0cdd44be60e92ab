"""What a reply, or the lack of one, means: (stage, what happened, context) -> verdict. Pure.

Called by the session and the route for every reply that decides something; nothing else in the worker looks at codes.
`classify` decides in this order: stage, whose fault, code, text last; the table is `verdicts/rules.py`. It never raises
for anything a server can say. Nothing about us (`ABOUT_US`) ends a message, a 4xx never does, and before MAIL
nothing is about a message unless mail goes directly to an MX.
Everything of `verdicts/` that others need is exported here.
Known limits: text rules know English and the field's best known receivers; `Context.uncounted` is the caller's memory.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mailspool_worker.smtp.replies import Reply
from mailspool_worker.verdicts.named_time import NAMED_LIMIT_S, named_delay_s
from mailspool_worker.verdicts.rules import BLOCKED, GOES_AWAY, HELD_SENDER, HOUR_S, NEXT_HOST, PAUSED_AUTH, first_match
from mailspool_worker.verdicts.sentences import explain, failed_check
from mailspool_worker.verdicts.words import (
    ABOUT_US,
    DISABLE_S,
    FINAL,
    UNCOUNTED_IN_A_ROW,
    Action,
    Context,
    Loss,
    Reason,
    Scope,
    Stage,
    Verdict,
)

__all__ = [
    "ABOUT_US",
    "DISABLE_S",
    "FINAL",
    "NAMED_LIMIT_S",
    "OK",
    "UNCERTAIN",
    "UNCOUNTED_IN_A_ROW",
    "Action",
    "Context",
    "Loss",
    "Reason",
    "Reply",
    "Scope",
    "Stage",
    "Verdict",
    "classify",
    "explain",
    "failed_check",
    "named_delay_s",
]

GREYLIST_DELAY_S: Final = 300.0
"""The usual embargo of greylisting; a shorter first step of the schedule is the user's wish and wins."""
RELAY_DENIED_GRACE_S: Final = 86_400.0
"""Direct mode: a receiver that refuses to relay may be an MX in the middle of a move; a day is enough for that."""
DIALECT_CODES: Final = frozenset((500, 502, 503, 504))

OK: Final = Verdict("ok", "message")
UNCERTAIN: Final = Verdict("uncertain", "message", "lost_reply", counts_attempt=True, session_usable=False)
_IGNORED: Final = Verdict("ignore", "message")
_IGNORED_GONE: Final = Verdict("ignore", "session", session_usable=False)
_LOST: Final = Verdict("later", "session", "connection_lost", counts_attempt=True, session_usable=False)
_GARBLED: Final = Verdict("later", "session", "protocol", counts_attempt=True, session_usable=False)
_RECONNECT: Final = Verdict("reconnect", "session", session_usable=False)
_CLEAR: Final = Verdict("clear", "session", "tls", session_usable=False)
_ALONE: Final = Verdict("later", "message", "too_many_recipients", counts_attempt=True, slow_route=True)
_DEFAULTS: Final = Context()


def classify(stage: Stage, event: Reply | Loss, context: Context = _DEFAULTS) -> Verdict:
    """What to do about it. A refusal that follows from an earlier one (`context.after_refusal`) is only counted."""
    if isinstance(event, Loss):
        return _after_loss(stage, event, context)
    if context.after_refusal or stage is Stage.QUIT:
        gone = event.code == 421 or stage in (Stage.BODY, Stage.QUIT)
        return _IGNORED_GONE if gone else _IGNORED
    digit = event.code // 100
    if digit == 2 and stage is not Stage.DATA and stage is not Stage.BODY:
        return OK
    if digit == 3 and stage is Stage.DATA:
        return OK
    if digit in (4, 5):
        return _refused(stage, event, context)
    return _after_loss(stage, Loss.PROTOCOL, context)


def _refused(stage: Stage, reply: Reply, context: Context) -> Verdict:
    """A 4xx or 5xx: the table's verdict, fitted to the context and the place."""
    bdat = context.chunking and stage in (Stage.BODY, Stage.DOT) and reply.code in DIALECT_CODES
    verdict = _in_context(first_match(Stage.DATA if bdat else stage, reply).verdict, stage, reply, context)
    usable = (
        verdict.session_usable
        and reply.code != 421
        and (stage >= Stage.MAIL or verdict.action == "helo")
        and stage is not Stage.BODY
    )
    scope: Scope = verdict.scope
    if scope == "message" and stage is Stage.RCPT:
        scope = "recipient"
    if usable == verdict.session_usable and scope == verdict.scope:
        return verdict
    return msgspec.structs.replace(verdict, session_usable=usable, scope=scope)


def _in_context(verdict: Verdict, stage: Stage, reply: Reply, context: Context) -> Verdict:
    match verdict.action, verdict.reason:
        case "split", _ if not context.many_rcpt:
            return _ALONE
        case "plain", _ if context.plain:
            return HELD_SENDER
        case (("helo" | "blocked" | "next-host" as action), reason):
            if action == "helo" and not context.helo_tried:
                return verdict
            if reason == "tls":
                return _without_tls(stage, context)
            return _other_host(BLOCKED if action == "helo" else verdict, reply.code, context)
        case "pause-route", "relay_denied" if context.mode == "direct":
            if reply.code >= 500 and context.age_s >= RELAY_DENIED_GRACE_S:
                return Verdict("fail", "message", "refused", counts_attempt=True)
            return Verdict("later", "message", "relay_denied", counts_attempt=True)
        case "slow", _ if verdict is GOES_AWAY and stage is Stage.MAIL and context.reused:
            return _RECONNECT
        case "slow", _:
            counts = stage >= Stage.MAIL and ((stage is Stage.DOT and reply.code == 421) or _third_in_a_row(context))
            return msgspec.structs.replace(verdict, counts_attempt=counts)
        case "later", "protocol":
            chunking = context.chunking and stage >= Stage.DATA
            return msgspec.structs.replace(
                verdict,
                counts_attempt=_third_in_a_row(context),
                disable="chunking" if chunking else "pipelining" if context.pipelined else "",
            )
        case "later", "greylisted":
            delay_s = named_delay_s(reply.body)
            if delay_s is None:
                delay_s = min(GREYLIST_DELAY_S, context.first_step_s)
            return msgspec.structs.replace(verdict, min_delay_s=delay_s)
    return verdict


def _third_in_a_row(context: Context) -> bool:
    return context.uncounted + 1 >= UNCOUNTED_IN_A_ROW


def _other_host(verdict: Verdict, code: int, context: Context) -> Verdict:
    """Before MAIL. A relay's trouble never touches a message; an MX host's does when no other host is left."""
    if context.mode == "relay":
        return verdict
    if code == 521:
        if context.every_host:
            return Verdict("fail", "message", "refused", counts_attempt=True)
        return NEXT_HOST if context.more_hosts else _postponed("refused")
    if verdict.action == "next-host" and not context.more_hosts:
        return _postponed(verdict.reason)
    return verdict


def _without_tls(stage: Stage, context: Context) -> Verdict:
    if stage is Stage.STARTTLS and context.tls == "opportunistic" and not context.credentials:
        return _CLEAR
    if context.mode == "direct":
        return _postponed("tls")
    return Verdict("next-host", "route", "tls", session_usable=False)


def _postponed(reason: Reason, min_delay_s: float | None = None) -> Verdict:
    return Verdict("later", "site", reason, counts_attempt=True, session_usable=False, min_delay_s=min_delay_s)


def _after_loss(stage: Stage, loss: Loss, context: Context) -> Verdict:
    if loss in (Loss.TOO_BIG, Loss.NO_SMTPUTF8):
        reason: Reason = "too_big" if loss is Loss.TOO_BIG else "smtputf8"
        if context.more_hosts:
            return Verdict("next-host", "message", reason)
        return Verdict("fail", "message", reason, counts_attempt=True)
    if context.after_refusal or stage is Stage.QUIT:
        return _IGNORED_GONE
    if stage is Stage.DOT:
        return UNCERTAIN
    if stage < Stage.MAIL:
        return _no_session(stage, loss, context)
    if loss is Loss.PROTOCOL:
        return _GARBLED
    if stage is Stage.MAIL and context.reused and loss in (Loss.CLOSED, Loss.RESET):
        return _RECONNECT
    return _LOST


def _no_session(stage: Stage, loss: Loss, context: Context) -> Verdict:
    """A loss before MAIL: there is no session to talk about."""
    if loss is Loss.NO_MECHANISM:
        return msgspec.structs.replace(PAUSED_AUTH, session_usable=False)
    if loss in (Loss.TLS, Loss.NO_TLS) or stage is Stage.STARTTLS:
        return _without_tls(stage, context)
    lookup = loss in (Loss.DNS, Loss.NO_DOMAIN, Loss.NULL_MX, Loss.NO_ADDRESS, Loss.MX_LOOP)
    if context.mode == "direct" and lookup:
        return _no_site(loss, context)
    verdict = Verdict("next-host", "route", "dns" if lookup else "connect", session_usable=False, slow_route=not lookup)
    return _other_host(verdict, 0, context)


def _no_site(loss: Loss, context: Context) -> Verdict:
    """Direct mode: what the recipient's domain says about itself."""
    match loss:
        case Loss.NO_DOMAIN if not context.missing_before:
            return _postponed("dns", HOUR_S)
        case Loss.NO_DOMAIN if context.own_domain_resolves:
            return Verdict("fail+suspect", "recipient", "domain_unknown", counts_attempt=True, session_usable=False)
        case Loss.NULL_MX:
            return Verdict("fail+suppress", "recipient", "domain_unknown", counts_attempt=True, session_usable=False)
        case Loss.NO_ADDRESS | Loss.MX_LOOP:
            return Verdict("fail", "recipient", "domain_unknown", counts_attempt=True, session_usable=False)
    return _postponed("dns")
