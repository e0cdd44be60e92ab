"""Verdicts in words: one sentence for people, from our reason and the server's own line.

Called by status screens, `why` and the log. The reply is cleaned but not masked: logs mask addresses themselves.
"""

from __future__ import annotations

import re
from typing import Final

from mailspool_worker.smtp.replies import Reply
from mailspool_worker.verdicts.words import Action, Loss, Reason, Verdict

_BY_ACTION: Final[dict[Action, str]] = {
    "ok": "Accepted",
    "ignore": "Follows from an earlier refusal",
    "plain": "The server does not take the parameters of MAIL; trying once more without them",
    "helo": "The server does not take EHLO; trying HELO",
    "clear": "TLS failed and is not required here; trying once more without it",
    "reconnect": "The server closed an idle session; opening a new one",
}
_BY_REASON: Final[dict[Reason, str]] = {
    "mailbox_unknown": "The mailbox does not exist",
    "mailbox_disabled": "The mailbox is disabled",
    "mailbox_full": "The mailbox is full",
    "domain_unknown": "The recipient's domain cannot be reached by mail",
    "address_invalid": "The receiver says that the address is malformed",
    "greylisted": "The receiver asks strangers to come again later (greylisting)",
    "policy": "The receiver refuses this message by its policy",
    "rate": "The receiver asks for a slower pace",
    "quota": "The sending quota of this account is used up",
    "blocked": "The receiver blocks this server, not this message",
    "sender": "The receiver does not accept this sender address",
    "relay_denied": "The server does not relay for us; check login, network and the domains it allows",
    "too_many_recipients": "Too many recipients for one transaction",
    "too_big": "The message is too big for the receiver",
    "smtputf8": "The address needs SMTPUTF8, which the server does not offer",
    "receiver_busy": "The receiver has a problem of its own",
    "temporary": "Refused for now",
    "refused": "Refused",
    "connect": "No connection to the server",
    "connection_lost": "The connection was lost before the message was handed over",
    "dns": "The server's name cannot be looked up",
    "tls": "No secure connection to the server",
    "auth": "The server does not accept our login",
    "protocol": "The server does not keep to the protocol",
    "lost_reply": "The message was handed over but the final reply was lost; it may have been accepted",
    "route_paused": "The route is paused",
    "render": "The message could not be rendered",
    "expired": "The message is past its deadline",
    "suppressed": "The address is suppressed",
}
_LOSSES: Final[dict[Loss, str]] = {
    Loss.REFUSED: "the connection was refused",
    Loss.TIMEOUT: "no answer in time",
    Loss.RESET: "the connection was reset",
    Loss.CLOSED: "the server closed the connection",
    Loss.TLS: "the TLS handshake failed or the certificate is not valid",
    Loss.NO_TLS: "TLS is required and the server does not offer it",
    Loss.NO_MECHANISM: "the server offers no login that we can use",
    Loss.PROTOCOL: "the server sent something that is no proper reply",
    Loss.DNS: "the resolver did not answer",
    Loss.NO_DOMAIN: "the domain does not exist",
    Loss.NULL_MX: "the domain says that it accepts no mail",
    Loss.NO_ADDRESS: "the mail server's name has no address",
    Loss.MX_LOOP: "the domain's mail server is this one",
    Loss.TOO_BIG: "the message is larger than the server's limit",
    Loss.NO_SMTPUTF8: "the server does not offer SMTPUTF8",
}

_CHECKS: Final = (
    ("SPF", re.compile(r"\bspf\b", re.IGNORECASE)),
    ("DKIM", re.compile(r"\bdkim\b", re.IGNORECASE)),
    ("DMARC", re.compile(r"\bdmarc\b|\balign", re.IGNORECASE)),
    ("reverse DNS", re.compile(r"\bptr\b|reverse (?:dns|hostname|lookup)", re.IGNORECASE)),
    ("TLS", re.compile(r"\btls\b", re.IGNORECASE)),
)
_CHECK_OF: Final = {
    20: "DKIM",
    21: "DKIM",
    22: "DKIM",
    23: "SPF",
    24: "SPF",
    25: "reverse DNS",
    26: "SPF, DKIM, DMARC",
    27: "SPF",
    28: "pace",
    29: "TLS",
    30: "DKIM",
    40: "DMARC",
    515: "SPF, DKIM, DMARC",
}
"""Last number of x.7.n. RFC 7372 and Gmail disagree about 27, 29 and 30: Gmail's meaning, as the text comes first."""


def failed_check(reply: Reply) -> str:
    """Which check of the sender failed: what the text names, else what the code means."""
    body = reply.body
    named = [name for name, pattern in _CHECKS if pattern.search(body)]
    if named:
        return ", ".join(named)
    enhanced = reply.enhanced
    return _CHECK_OF.get(enhanced[2], "authentication") if enhanced else "authentication"


def explain(verdict: Verdict, event: Reply | Loss) -> str:
    """`The mailbox does not exist: 550 5.1.1 No such user`"""
    said = event.text if isinstance(event, Reply) else _LOSSES[event]
    if verdict.action in _BY_ACTION:
        head = _BY_ACTION[verdict.action]
    elif verdict.reason == "sender_check":
        check = failed_check(event) if isinstance(event, Reply) else "authentication"
        head = f"The sender does not pass the receiver's checks ({check})"
    else:
        head = _BY_REASON[verdict.reason]
    return f"{head}: {said}"
