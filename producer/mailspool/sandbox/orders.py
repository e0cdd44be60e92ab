"""What a recipient's local part orders the sandbox to do: `550-5.1.1-ali@...` is refused, `450-3-ali@...` three times.

`orders(local_part)` is pure and knows nothing of SMTP sessions; policy.py counts the tries, dialogue.py obeys. A new
kind of misbehaviour is one more row of RULES (and a field of Order where none fits); `order_help()` is made from the
rows, so the command line's help cannot drift from them. Raises nothing: a local part that matches no row orders
nothing. Known limit: an address gives one order; of a mail to several recipients the first one with a body or dot
order decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, cast

OrderStage = Literal["rcpt", "body", "dot"]
Manner = Literal["plain", "garbage", "flood", "drip"]

_TEXT: Final = "as ordered by the local part"
"""Neutral on purpose: a sender that judges replies by their words must find none here, only the codes."""


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do at one stage.

    `reply`: None is the ordinary reply, "" is no reply at all. `close`: close the connection after it (or instead).
    `tries`: only the first N tries of this recipient, None is always. `after`: only once N mails of this session were
    accepted. `manner`: how the reply is said: as it should be, as no SMTP reply at all, as one that does not end, or
    octet by octet.
    """

    stage: OrderStage
    reply: str | None = None
    close: bool = False
    delay_s: float = 0.0
    tries: int | None = None
    after: int = 0
    manner: Manner = "plain"


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: how it is written, an example that the tests try, what it means, and how it is read."""

    form: str
    example: str
    meaning: str
    heads: tuple[str, ...]
    pattern: re.Pattern[str]
    build: Callable[[re.Match[str]], Order]


_CODE_HEADS: Final = ("code",)
_CODE: Final = r"(?P<code>[2-5][0-9]{2})(?:-(?P<enhanced>[0-9]\.[0-9]{1,3}\.[0-9]{1,3}))?"
_TAIL: Final = r"(?:-(?P<tries>[0-9]{1,6}))?-.+"
DRIP_EVERY_S: Final = 1.0
_TIME: Final = r"(?P<number>[0-9]{1,5}(?:\.[0-9]{1,3})?)(?P<unit>ms|s|m)"
TARPIT_S: Final = 20.0
"""Long for a reply, and far below the five minutes that a client must wait for one."""
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def _tries(match: re.Match[str]) -> int | None:
    return None if match["tries"] is None else int(match["tries"])


def _reply(match: re.Match[str]) -> str:
    return " ".join(part for part in (match["code"], match["enhanced"], _TEXT) if part)


def _after(match: re.Match[str]) -> Order:
    return Order("rcpt", _reply(match), close=match["code"] == "421", after=int(match["after"]))


def _at_rcpt(match: re.Match[str]) -> Order:
    return Order("rcpt", _reply(match), close=match["code"] == "421", tries=_tries(match))


def _at_dot(match: re.Match[str]) -> Order:
    return Order("dot", _reply(match), close=match["code"] == "421", tries=_tries(match))


def _tarpit(match: re.Match[str]) -> Order:
    delay_s = float(match["number"]) * _UNIT_S[match["unit"].lower()] if match["number"] else TARPIT_S
    return Order("rcpt", delay_s=delay_s, tries=_tries(match))


def _manner(match: re.Match[str]) -> Order:
    manner = match["manner"].lower().removesuffix("-reply")
    stage: OrderStage = "dot" if match["dot"] else "rcpt"
    return Order(stage, tries=_tries(match), manner=cast("Manner", manner))


def _slow(match: re.Match[str]) -> Order:
    return Order("dot", delay_s=float(match["number"]) * _UNIT_S[match["unit"].lower()], tries=_tries(match))


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "CODE-after-N-x",
        "421-after-5-x",
        "RCPT is answered with CODE once this session has N accepted mails (421 also closes)",
        _CODE_HEADS,
        _pattern(_CODE + r"-after-(?P<after>[0-9]{1,6})-.+"),
        _after,
    ),
    Rule(
        "CODE[-E.E.E][-N]-x",
        "550-5.1.1-x",
        "RCPT is answered with CODE and E.E.E; with N only the first N tries (421 also closes)",
        _CODE_HEADS,
        _pattern(_CODE + _TAIL),
        _at_rcpt,
    ),
    Rule(
        "dot-CODE[-E.E.E][-N]-x",
        "dot-451-2-x",
        "the same for the reply to the final dot",
        ("dot",),
        _pattern("dot-" + _CODE + _TAIL),
        _at_dot,
    ),
    Rule(
        "greylist-x",
        "greylist-x",
        "450 4.7.1 at the first RCPT, then accepted",
        ("greylist",),
        _pattern("greylist-.+"),
        lambda match: Order("rcpt", "450 4.7.1 greylisted, try again later", tries=1),
    ),
    Rule(
        "quota-x",
        "quota-x",
        "452 4.2.2 mailbox full, for ever",
        ("quota",),
        _pattern("quota-.+"),
        lambda match: Order("rcpt", "452 4.2.2 mailbox full"),
    ),
    Rule(
        "close-after-rcpt[-N]-x",
        "close-after-rcpt-x",
        "RCPT is accepted, then the connection is closed",
        ("close",),
        _pattern("close-after-rcpt" + _TAIL),
        lambda match: Order("rcpt", close=True, tries=_tries(match)),
    ),
    Rule(
        "drop-in-data[-N]-x",
        "drop-in-data-2-x",
        "the connection is closed in the middle of the body",
        ("drop",),
        _pattern("drop-in-data" + _TAIL),
        lambda match: Order("body", close=True, tries=_tries(match)),
    ),
    Rule(
        "close-after-dot[-N]-x",
        "close-after-dot-1-x",
        "the mail is taken, the connection is closed before the reply",
        ("close",),
        _pattern("close-after-dot" + _TAIL),
        lambda match: Order("dot", "", close=True, tries=_tries(match)),
    ),
    Rule(
        "stall[-N]-x",
        "stall-x",
        "the mail is taken, the final dot is never answered",
        ("stall",),
        _pattern("stall" + _TAIL),
        lambda match: Order("dot", "", tries=_tries(match)),
    ),
    Rule(
        "slow-30s[-N]-x",
        "slow-200ms-x",
        "the mail is taken, the final dot is answered after that time (ms, s, m)",
        ("slow",),
        _pattern("slow-" + _TIME + _TAIL),
        _slow,
    ),
    Rule(
        "tarpit[-30s][-N]-x",
        "tarpit-200ms-x",
        f"RCPT is accepted after that time ({TARPIT_S:.0f} s by default)",
        ("tarpit",),
        _pattern(f"tarpit(?:-{_TIME})?" + _TAIL),
        _tarpit,
    ),
    Rule(
        "[dot-]garbage-reply[-N]-x",
        "garbage-reply-x",
        "RCPT (or the final dot, the mail being taken) is answered with octets that are no SMTP reply",
        ("garbage", "dot"),
        _pattern("(?P<dot>dot-)?(?P<manner>garbage-reply)" + _TAIL),
        _manner,
    ),
    Rule(
        "[dot-]flood[-N]-x",
        "flood-x",
        "the same with a reply of endless lines: half a megabyte, and no last one",
        ("flood", "dot"),
        _pattern("(?P<dot>dot-)?(?P<manner>flood)" + _TAIL),
        _manner,
    ),
    Rule(
        "[dot-]drip[-N]-x",
        "drip-x",
        f"the same with a reply that comes octet by octet, one in {DRIP_EVERY_S:g} s",
        ("drip", "dot"),
        _pattern("(?P<dot>dot-)?(?P<manner>drip)" + _TAIL),
        _manner,
    ),
)

_BY_HEAD: Final[dict[str, tuple[Rule, ...]]] = {
    head: tuple(rule for rule in RULES if head in rule.heads)
    for head in {head for rule in RULES for head in rule.heads}
}


def orders(local_part: str) -> Order | None:
    """The order in a local part, or None. Case does not matter; the `x` at the end is any text, but not empty."""
    head, dash, rest = local_part.partition("-")
    if not dash or not rest:
        return None
    key = "code" if len(head) == 3 and head.isdigit() else head.lower()
    for rule in _BY_HEAD.get(key, ()):
        match = rule.pattern.fullmatch(local_part)
        if match is not None:
            return rule.build(match)
    return None


def order_help() -> str:
    """The table as text, one line a rule, for help screens."""
    width = max(len(rule.form) for rule in RULES)
    return "\n".join(f"{rule.form:<{width}}  {rule.meaning}" for rule in RULES)
