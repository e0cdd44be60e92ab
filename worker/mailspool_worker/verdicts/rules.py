"""The table of refusals: which 4xx or 5xx reply means what, in the order of whose fault it is.

Data only, but for the matching: `first_match` answers the first rule that fits. The order is us (login, quota), the
site's view of us, the sender, our pace, our dialect, then the recipient and the message; inside each, codes
before texts. Every stage ends in a rule that fits anything, so there is always an answer. Each rule has at least one
sample in tests/worker/reply_samples.py, and a test says so.
Texts are matched in lower case with all addresses masked: a recipient named `relay-access-denied@` pauses nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from mailspool_worker.smtp.replies import EnhancedCode, Reply, mask_addresses
from mailspool_worker.verdicts.words import Action, Reason, Stage, Verdict

MINUTE_S: Final = 60.0
HOUR_S: Final = 3_600.0
FLOOD_PAUSE_S: Final = 10 * MINUTE_S
"""Gmail's 4.7.28: shorter pauses are counted as more of the same."""
RECIPIENT_PACE_S: Final = 15 * MINUTE_S
"""A mailbox that gets mail too quickly: Gmail's limits for one mailbox are counted by minutes and by the hour."""

REMEMBERED: Final = 256
"""Refusals come in masses of the same words once the address is masked; a look-up is a fifth of a search."""

SETUP: Final = frozenset((Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH))
GREETING: Final = frozenset((Stage.CONNECT, Stage.BANNER, Stage.EHLO))
TRANSACTION: Final = frozenset((Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.DOT))
COMMANDS: Final = frozenset((Stage.MAIL, Stage.RCPT, Stage.DATA))
MESSAGE: Final = TRANSACTION - {Stage.MAIL}
ANY: Final = SETUP | TRANSACTION


class Rule(msgspec.Struct, frozen=True):
    """One row: fits if stage, class, code, enhanced code and text all fit; what is empty fits everything."""

    name: str
    stages: frozenset[Stage]
    verdict: Verdict
    first_digit: int = 0
    codes: frozenset[int] = frozenset()
    enhanced: frozenset[EnhancedCode] = frozenset()
    text: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    vague: bool = False
    """Only where the enhanced code is missing or says nothing (`VAGUE`)."""


def _enhanced(words: str) -> frozenset[EnhancedCode]:
    """`5.1.1 x.7.20-27`: x is both classes, a range is of the last number, `*` any number."""
    codes = []
    for word in words.split():
        status_class, subject, detail = word.split(".")
        first, _, last = ("0-999" if detail == "*" else detail).partition("-")
        for digit in "45" if status_class == "x" else status_class:
            codes += [(int(digit), int(subject), number) for number in range(int(first), int(last or first) + 1)]
    return frozenset(codes)


def _rule(
    name: str,
    stages: frozenset[Stage],
    verdict: Verdict,
    *,
    code: str = "",
    enhanced: str = "",
    text: str = "",
    unless: str = "",
    vague: bool = False,
) -> Rule:
    """`code` is `4xx`, `5xx` or a list of codes."""
    digit = int(code[0]) if code.endswith("xx") else 0
    return Rule(
        name,
        stages,
        verdict,
        digit,
        frozenset() if digit else frozenset(map(int, code.split())),
        _enhanced(enhanced),
        re.compile(text) if text else None,
        re.compile(unless) if unless else None,
        vague,
    )


def _later(reason: Reason, *, slow_route: bool = False, min_delay_s: float | None = None) -> Verdict:
    return Verdict("later", "message", reason, counts_attempt=True, slow_route=slow_route, min_delay_s=min_delay_s)


def _fail(reason: Reason, action: Action = "fail") -> Verdict:
    return Verdict(action, "message", reason, counts_attempt=True)


PAUSED_AUTH: Final = Verdict("pause-route", "route", "auth", pause_s=5 * MINUTE_S, pause_limit_s=HOUR_S)
PAUSED_SHORT: Final = Verdict("pause-route", "route", "auth", pause_s=MINUTE_S, pause_limit_s=30 * MINUTE_S)
"""Too many logins, or a login service that is away: as the breaker, which is what would notice otherwise."""
PAUSED_TLS: Final = Verdict("pause-route", "route", "tls", pause_s=5 * MINUTE_S, pause_limit_s=HOUR_S)
PAUSED_QUOTA: Final = Verdict("pause-route", "route", "quota", pause_s=HOUR_S)
PAUSED_RELAY: Final = Verdict("pause-route", "route", "relay_denied", pause_s=5 * MINUTE_S, pause_limit_s=HOUR_S)
BLOCKED: Final = Verdict("blocked", "site", "blocked", pause_s=HOUR_S, pause_limit_s=6 * HOUR_S)
HELD_SENDER: Final = Verdict("hold-sender", "sender", "sender", pause_s=HOUR_S)
HELD_CHECK: Final = Verdict("hold-sender", "sender", "sender_check", pause_s=HOUR_S)
SLOW: Final = Verdict("slow", "route", "rate", slow_route=True)
GOES_AWAY: Final = msgspec.structs.replace(SLOW)
"""A 421 that says no more. At MAIL of a session that has served others it ends that session and means nothing else."""
FLOOD: Final = Verdict("slow", "route", "rate", slow_route=True, one_session=True, pause_s=FLOOD_PAUSE_S)
NEXT_HOST: Final = Verdict("next-host", "route", "connect", slow_route=True)
DIALECT: Final = Verdict("later", "session", "protocol", session_usable=False)
SPLIT: Final = Verdict("split", "message", "too_many_recipients")
SUPPRESS: Final = _fail("mailbox_unknown", "fail+suppress")
SUSPECT: Final = _fail("mailbox_unknown", "fail+suspect")

_GREY: Final = (
    r"gr[ae]y[ -]?list|(?:try|retry|come|back) ?(?:again|back)? (?:in|after) (?:at least |about )?\d|"
    r"wait (?:at least |about )?\d"
)
_FULL: Final = (
    r"mailbox (?:is |size )?(?:full|limit|exceed)|over[ -]?quota|over (?:its|their) quota|quota (?:is )?exceeded|"
    r"out of storage|storage (?:allocation|limit|quota)"
)
_WE_LACK_LOGIN: Final = (
    r"authentication (?:is )?required|(?:must|need to|please) (?:be )?authenticate|not authenticated|"
    r"requires authentication|\bauth first|log ?in required"
)
_ANOTHER_LOGIN: Final = r"\b(?:spf|dkim|dmarc)\b|resolver\.rst|for (?:this )?(?:group|mailbox|recipient)"
"""Checks of the sender's domain; or an Exchange mailbox that takes internal mail only, as one recipient wishes."""
_BAD_SENDER: Final = (
    r"sender address rejected|sender verif(?:y|ication) failed|(?<!recipient address )(?<!recipient )not verified|"
    r"same as authori[sz]ation user|must equal authori[sz]ed user|(?:unknown|invalid|bad) sender|"
    r"sender (?:is )?(?:unknown|rejected|denied|not allowed)"
)
_RELAYING: Final = (
    r"relay(?:ing)? (?:access )?(?:is )?(?:denied|not permitted|not allowed|prohibited|refused)|"
    r"(?:unable to|(?:can|do|will) ?not|don't|can't) relay|allowed rcpthosts"
)
_BAD_SITE: Final = (
    r"\bs31[45]0\b|client host .{0,80}?blocked|\[bl\d*\]|ipcheck\.proofpoint|poor reputation|"
    r"\[tss?\d+\]|frequency limited"
)
_UNKNOWN_USER: Final = (
    r"no such (?:user|mailbox|recipient|person|address|account)|(?:user|recipient|mailbox|address|account) (?:is )?"
    r"(?:unknown|not found|doesn't exist)|unknown (?:local )?(?:user|recipient|mailbox)|does(?: not|n't) exist|"
    r"not a valid (?:recipient|mailbox|user)|doesn't have an? .{0,60}?account|"
    r"invalid (?:recipient|mailbox)|no mailbox here"
)
_SENDER_WORD: Final = r"\bsender\b|\bmail from\b|return.path"
_POLICY_WORD: Final = (
    r"\bblock(?:ed|ing|list)|black ?list|polic(?:y|ies)|\bspam\b|unsolicited|reputation|content rejected"
)

_US: Final = (
    _rule(
        "quota by text",
        ANY,
        PAUSED_QUOTA,
        text=r"daily (?:message|sending|user sending|smtp relay) (?:sending )?(?:quota|limit)|submissionquota|"
        r"recipientratelimit|maximum credits|\bmi:stc\b",
    ),
    _rule("quota by code", TRANSACTION, PAUSED_QUOTA, code="5xx", enhanced="5.4.5 5.1.90 5.7.233 5.7.705"),
    _rule("flood", ANY - {Stage.AUTH}, FLOOD, enhanced="4.7.28"),
    _rule("too many logins", frozenset({Stage.AUTH}), PAUSED_SHORT, text=r"too many log ?ins?"),
    _rule("thread limit", TRANSACTION | {Stage.AUTH}, SLOW, code="432", enhanced="4.3.2"),
    _rule("thread limit, bare", TRANSACTION, SLOW, code="432"),
    _rule("starttls first", ANY, PAUSED_TLS, code="530", text="starttls"),
    _rule("login first", ANY, PAUSED_AUTH, code="530"),
    _rule("login refused by enhanced code", ANY, PAUSED_AUTH, code="5xx", enhanced="5.7.8 5.7.57"),
    _rule("login refused", frozenset({Stage.AUTH}), PAUSED_AUTH, code="432 534 535 538"),
    _rule("login first, by text", ANY, PAUSED_AUTH, code="5xx", text=_WE_LACK_LOGIN, unless=_ANOTHER_LOGIN),
)
_SITE: Final = (
    _rule("blocked by code", ANY - {Stage.AUTH}, BLOCKED, enhanced="5.7.511 5.7.606-649 5.7.708 4.7.650"),
    _rule("blocked by text", GREETING | TRANSACTION, BLOCKED, text=_BAD_SITE),
    _rule("client refused", TRANSACTION, BLOCKED, code="5xx", text=r"client host .{0,80}?rejected"),
)
_SENDER: Final = (
    _rule("checks of the sender", TRANSACTION, HELD_CHECK, enhanced="5.7.20-40 4.7.20-27 4.7.29-40 x.7.515"),
    _rule("too big at MAIL", frozenset({Stage.MAIL}), _fail("too_big"), code="552"),
    _rule("too big at MAIL, by code", frozenset({Stage.MAIL}), _fail("too_big"), enhanced="5.3.4"),
    _rule("sender by code", TRANSACTION, HELD_SENDER, code="5xx", enhanced="5.1.7 5.1.8 5.7.60 5.2.252"),
    _rule("sender by text", TRANSACTION, HELD_SENDER, code="5xx", text=_BAD_SENDER),
    _rule(
        "checks of the sender, by text",
        TRANSACTION,
        HELD_CHECK,
        code="5xx",
        text=r"\bdmarc\b|\bspf (?:check|fail|validation)|(?:fail\w*|pass\w*) (?:the )?(?:spf|dkim)\b|"
        r"\bdkim\b.{0,40}fail",
    ),
    _rule("sender for now", TRANSACTION, _later("sender"), code="4xx", text=_BAD_SENDER, unless=_GREY),
    _rule("sender for now, by code", TRANSACTION, _later("sender"), enhanced="4.1.7 4.1.8"),
    _rule("relaying refused", TRANSACTION, PAUSED_RELAY, text=_RELAYING),
    _rule("relaying refused by code", TRANSACTION, PAUSED_RELAY, enhanced="5.7.54"),
)
_PACE: Final = (
    _rule("too many recipients", MESSAGE, SPLIT, enhanced="4.5.3 5.5.3"),
    _rule("too many recipients, by text", MESSAGE, SPLIT, text=r"too many recipients"),
    _rule(
        "too fast",
        TRANSACTION | {Stage.AUTH},
        SLOW,
        text=r"maximum sending rate|sending rate|\brate limit|\bthrottl(?:ed|ing)\b|"
        r"sending .{0,30}?too (?:quickly|fast)|"
        r"too many (?:concurrent )?(?:smtp )?(?:connections|sessions)",
    ),
    _rule("dialect by text", TRANSACTION, DIALECT, text=r"synchroni[sz]ation|improper use of .{0,20}?pipelining"),
    _rule("dialect", COMMANDS, DIALECT, code="500 502 503 504"),
    _rule("parameters", frozenset({Stage.MAIL}), Verdict("plain", "message", "protocol"), code="501 555"),
    _rule("other sender", frozenset({Stage.MAIL}), HELD_SENDER, code="5xx"),
)
_RECIPIENT: Final = (
    _rule("greylisted by text", TRANSACTION, _later("greylisted"), code="4xx", text=_GREY),
    _rule("goes away", TRANSACTION, GOES_AWAY, code="421"),
    _rule(
        "mailbox gets too much",
        MESSAGE,
        _later("rate", min_delay_s=RECIPIENT_PACE_S),
        enhanced="4.2.1 5.2.1",
        text=r"at a rate|too quickly",
    ),
    _rule("mailbox full for now", MESSAGE, _later("mailbox_full"), enhanced="4.2.2"),
    _rule("mailbox full for now, by text", MESSAGE, _later("mailbox_full"), code="4xx", text=_FULL),
    _rule("receiver busy", TRANSACTION, _later("receiver_busy", slow_route=True), code="451 452", enhanced="4.3.*"),
    _rule("greylisted", MESSAGE, _later("greylisted"), code="450", enhanced="4.2.0"),
    _rule("greylisted, 451", MESSAGE, _later("greylisted"), code="451", enhanced="4.7.1"),
    _rule("for now", TRANSACTION, _later("temporary"), code="4xx"),
    _rule("mailbox full", MESSAGE, _fail("mailbox_full"), enhanced="5.2.2"),
    _rule("message too big", MESSAGE, _fail("too_big"), enhanced="5.2.3 5.3.4"),
    _rule("unknown by code", MESSAGE, SUPPRESS, enhanced="5.1.1 5.1.6 5.1.10"),
    _rule("accepts no mail", MESSAGE, SUPPRESS, code="556"),
    _rule(
        "disabled",
        MESSAGE,
        _fail("mailbox_disabled", "fail+suppress"),
        enhanced="5.2.1",
        text=r"disabled|inactive|deactivated|suspended",
    ),
    _rule("disabled, perhaps", MESSAGE, _fail("mailbox_disabled", "fail+suspect"), enhanced="5.2.1"),
    _rule("unavailable", MESSAGE, SUPPRESS, code="550", enhanced="5.5.0", text="mailbox unavailable"),
    _rule("address rejected", MESSAGE, SUPPRESS, code="550", enhanced="5.1.0", text="address rejected"),
    _rule(
        "edge block", MESSAGE, SUSPECT, code="550", enhanced="5.4.1", text="recipient address rejected: access denied"
    ),
    _rule("domain", MESSAGE, _fail("domain_unknown", "fail+suspect"), enhanced="5.1.2"),
    _rule("syntax of the address", MESSAGE, _fail("address_invalid", "fail+suspect"), enhanced="5.1.3"),
    _rule("policy by code", MESSAGE, _fail("policy"), enhanced="5.7.*"),
    _rule("mailbox full, by text", MESSAGE, _fail("mailbox_full"), code="5xx", text=_FULL, unless=_POLICY_WORD),
    _rule(
        "message too big, by text",
        MESSAGE,
        _fail("too_big"),
        code="5xx",
        text=r"(?:message|mail) (?:size|is too|too) ?(?:big|large|exceeds?|limit)|exceeds .{0,30}?(?:size|maximum)",
    ),
    _rule("unrouteable", MESSAGE, _fail("domain_unknown", "fail+suspect"), code="5xx", text=r"unrout(?:e)?able"),
    _rule("policy by text", MESSAGE, _fail("policy"), code="5xx", text=_POLICY_WORD),
    _rule(
        "unknown by text",
        MESSAGE,
        SUPPRESS,
        code="550 551 552 553 554",
        text=_UNKNOWN_USER,
        unless=_SENDER_WORD,
        vague=True,
    ),
    _rule("unknown, perhaps", MESSAGE, SUSPECT, enhanced="5.1.0"),
    _rule("refused", MESSAGE, _fail("refused"), code="5xx"),
)
_SETUP: Final = (
    _rule("greeting for now", GREETING, NEXT_HOST, code="4xx"),
    _rule("goes away early", SETUP, NEXT_HOST, code="421"),
    _rule("EHLO refused", frozenset({Stage.EHLO}), Verdict("helo", "session", "protocol"), code="5xx"),
    _rule("greeting", GREETING, BLOCKED, code="5xx"),
    _rule("TLS refused", frozenset({Stage.STARTTLS}), Verdict("next-host", "route", "tls")),
    _rule("login for now", frozenset({Stage.AUTH}), PAUSED_SHORT, code="4xx"),
    _rule("login", frozenset({Stage.AUTH}), PAUSED_AUTH, code="5xx"),
)

RULES: Final[tuple[Rule, ...]] = _US + _SITE + _SENDER + _PACE + _RECIPIENT + _SETUP

VAGUE: Final = _enhanced("5.0.0 5.1.0 5.2.0 5.3.0 5.4.0 5.5.0")
"""Codes that only repeat the class or a subject: then the text may speak."""

_AT: Final = {
    (stage, digit): tuple(
        rule
        for rule in RULES
        if stage in rule.stages
        and rule.first_digit in (0, digit)
        and (not rule.codes or any(code // 100 == digit for code in rule.codes))
        and (not rule.enhanced or any(status[0] == digit for status in rule.enhanced))
    )
    for stage in ANY
    for digit in (4, 5)
}
"""Only the rules that can fit: about twenty of them have to be tried for the worst reply."""


def first_match(stage: Stage, reply: Reply) -> Rule:
    """The row that decides a 4xx or 5xx reply at a stage before QUIT."""
    return _search(stage, reply.code, reply.enhanced, mask_addresses(reply.body).lower())


@lru_cache(maxsize=REMEMBERED)
def _search(stage: Stage, code: int, enhanced: EnhancedCode | None, text: str) -> Rule:
    for rule in _AT[stage, code // 100]:
        if rule.codes and code not in rule.codes:
            continue
        if rule.enhanced and enhanced not in rule.enhanced:
            continue
        if rule.vague and enhanced is not None and enhanced not in VAGUE:
            continue
        if rule.text is not None and rule.text.search(text) is None:
            continue
        if rule.unless is not None and rule.unless.search(text) is not None:
            continue
        return rule
    raise LookupError(f"no rule for {code} at {stage.name}")
