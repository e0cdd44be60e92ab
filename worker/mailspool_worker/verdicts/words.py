"""The words of a verdict: where it happened, what happened, what to do, what it spoils, and why.

Plain data, used by the rules and by everybody who reads a verdict. Imports nothing of ours.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

import msgspec


class Stage(enum.IntEnum):
    """Where in a session it happened, in order: everything before MAIL is about the route, not about a message."""

    CONNECT = 1
    BANNER = 2
    EHLO = 3
    STARTTLS = 4
    AUTH = 5
    MAIL = 6
    RCPT = 7
    DATA = 8
    BODY = 9
    """The first body byte is written, the terminator is not handed over."""
    DOT = 10
    """The terminator is handed over (or BDAT LAST): a loss is uncertain from here on."""
    QUIT = 11


class Loss(enum.Enum):
    """What happened instead of a reply."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    CLOSED = "closed"
    TLS = "tls"
    """A handshake or a certificate failed."""
    NO_TLS = "no_tls"
    """TLS is required (by us, MTA-STS or DANE) and not offered."""
    NO_MECHANISM = "no_mechanism"
    """The server offers no login, or none that we speak."""
    PROTOCOL = "protocol"
    """Bytes that are no reply, or a reply that cannot be one here."""
    DNS = "dns"
    """SERVFAIL or a timeout of the resolver."""
    NO_DOMAIN = "no_domain"
    NULL_MX = "null_mx"
    NO_ADDRESS = "no_address"
    MX_LOOP = "mx_loop"
    TOO_BIG = "too_big"
    """The message is larger than the SIZE that EHLO names."""
    NO_SMTPUTF8 = "no_smtputf8"
    """A local part is not ASCII and SMTPUTF8 is not offered."""


Action = Literal[
    "ok",
    "ignore",  # follows from an earlier refusal, or came after QUIT: only counted
    "later",  # next try by the schedule
    "slow",  # the same message again; the route halves its rate and uses fewer sessions
    "next-host",  # another MX or relay now; with none left the breaker notices and the chunk waits
    "reconnect",  # the server ended an idle session: a new one at once, no failure
    "split",  # a new transaction now, with fewer recipients
    "plain",  # MAIL once more, now, without SIZE and BODY
    "helo",  # HELO instead of EHLO, on the same connection
    "clear",  # a new connection without STARTTLS
    "fail",
    "fail+suppress",
    "fail+suspect",
    "pause-route",
    "hold-sender",
    "blocked",
    "uncertain",
]

Scope = Literal["recipient", "message", "session", "sender", "site", "route"]

Reason = Literal[
    "",  # nothing to say: accepted, or only counted
    "mailbox_unknown",
    "mailbox_disabled",
    "mailbox_full",
    "domain_unknown",
    "address_invalid",
    "greylisted",
    "policy",
    "rate",
    "quota",
    "blocked",
    "sender",
    "sender_check",
    "relay_denied",
    "too_many_recipients",
    "too_big",
    "smtputf8",
    "receiver_busy",
    "temporary",
    "refused",
    "connect",
    "connection_lost",
    "dns",
    "tls",
    "auth",
    "protocol",
    "lost_reply",
    # never a verdict of classify; said by those who know:
    "route_paused",
    "render",
    "expired",
    "suppressed",
]

ABOUT_US: Final[frozenset[Reason]] = frozenset(
    (
        "auth",
        "blocked",
        "connect",
        "connection_lost",
        "dns",
        "lost_reply",
        "protocol",
        "quota",
        "rate",
        "relay_denied",
        "route_paused",
        "sender",
        "sender_check",
        "tls",
    )
)
"""Credentials, sender, quota, reputation, links: none of these ends a message before its expiry."""

FINAL: Final[frozenset[Action]] = frozenset(("fail", "fail+suppress", "fail+suspect"))

UNCOUNTED_IN_A_ROW: Final = 3
"""Replies about our pace or our dialect cost a message no attempt; the third in a row for one message does."""
DISABLE_S: Final = 86_400.0
"""How long pipelining (or BDAT) stays off for a host that cannot do it: a day, as its software may be mended."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict depends on beside stage and reply. The defaults are those of a relay session's first try."""

    mode: Literal["relay", "direct"] = "relay"
    tls: Literal["required", "opportunistic"] = "required"
    credentials: bool = False
    """A login is configured: never in clear, whatever `tls` says."""
    many_rcpt: bool = False
    pipelined: bool = False
    chunking: bool = False
    """The body goes by BDAT."""
    plain: bool = False
    """MAIL carried no parameters that could be left out."""
    helo_tried: bool = False
    reused: bool = False
    """This session has had a message accepted before."""
    after_refusal: bool = False
    """This transaction was refused already: nothing that follows is about the message."""
    uncounted: int = 0
    """How many uncounted verdicts (slow, protocol) this message has had in a row."""
    more_hosts: bool = True
    """Another MX host or relay is left to try for this message."""
    every_host: bool = False
    """Direct mode: every other host of the site gave the same answer."""
    missing_before: bool = False
    """Direct mode: the domain was missing at an earlier try."""
    own_domain_resolves: bool = True
    age_s: float = 0.0
    """Since the message's first try."""
    first_step_s: float = 300.0
    """First step of the retry schedule."""


class Verdict(msgspec.Struct, frozen=True):
    """What to do, and what is spoiled."""

    action: Action
    scope: Scope
    reason: Reason = ""
    counts_attempt: bool = False
    session_usable: bool = True
    """False: abort it, it must never serve another message."""
    slow_route: bool = False
    """Fewer sessions, half the rate."""
    one_session: bool = False
    """After the pause the route starts with one session and adds one at a time."""
    min_delay_s: float | None = None
    """The message's next try is not earlier than this, whatever the schedule says."""
    pause_s: float | None = None
    """How long the scope (route, site, sender) sleeps before its first probe."""
    pause_limit_s: float | None = None
    """The pause doubles up to this at each failed probe. None: it never grows."""
    disable: Literal["", "pipelining", "chunking"] = ""
    """Off for this host for `DISABLE_S`."""

    @property
    def final(self) -> bool:
        return self.action in FINAL

    @property
    def alarming(self) -> bool:
        """Counts towards the batch's breaker: more than 10 % and more than 50 of these hold the batch."""
        return self.reason == "policy" or self.action in ("fail+suppress", "fail+suspect")
