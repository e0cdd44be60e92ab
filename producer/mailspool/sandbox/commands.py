"""The SMTP commands (RFC 5321, 3207, 4954), one function each: an argument in, a changed Conversation out.

Called by dialogue.py through `obey`. A handler says its reply itself or raises Refused, which `obey` turns into a
reply and a log event; so a refused command can change nothing by accident. Known limit: EXPN, HELP and BDAT are not
implemented.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from mailspool.sandbox import sasl
from mailspool.sandbox.body import BodyReader
from mailspool.sandbox.conversation import GARBAGE, Conversation, Then, Transaction
from mailspool.sandbox.grammar import Refused, parse_mail, parse_rcpt
from mailspool.sandbox.options import BrokenStartTls
from mailspool.sandbox.records import Event, Stage

Handler = Callable[[Conversation, str], None]


def obey(talk: Conversation, line: bytes) -> None:
    """One command line, or one line of an AUTH exchange, without its CR LF."""
    stage: Stage = "other" if talk.exchange is None else "auth"
    try:
        text = _text(line)
        if talk.exchange is not None:
            _sasl_answer(talk, talk.exchange.step(text))
            return
        verb, _, argument = text.partition(" ")
        command = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        if command is None:
            raise Refused("500 5.5.2 command not recognised")
        stage, handler = command
        handler(talk, argument)
    except Refused as refused:
        talk.exchange = None
        talk.say(refused.reply, stage)


def _text(line: bytes) -> str:
    if b"\r" in line or b"\0" in line:
        raise Refused("500 5.5.2 bare CR or NUL in a command")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("500 5.5.2 a command must be ASCII or UTF-8") from None


def _ehlo(talk: Conversation, argument: str) -> None:
    options = talk.policy.options
    _hello(talk, argument)
    talk.esmtp = True
    lines = [options.hostname, *options.extensions(tls=talk.tls)]
    talk.out += [f"250-{line}" for line in lines[:-1]]
    talk.say(f"250 {lines[-1]}", "ehlo")


def _helo(talk: Conversation, argument: str) -> None:
    _hello(talk, argument)
    talk.esmtp = False
    talk.say(f"250 {talk.policy.options.hostname}", "ehlo")


def _hello(talk: Conversation, argument: str) -> None:
    if not argument.strip():
        raise Refused("501 5.5.4 a host name is missing")
    talk.greeted = True
    talk.transaction = None


def _starttls(talk: Conversation, argument: str) -> None:
    broken = talk.policy.options.broken_starttls
    if (talk.policy.options.certificate is None and broken is None) or talk.tls:
        raise Refused("502 5.5.1 STARTTLS is not offered")
    if argument:
        raise Refused("501 5.5.4 STARTTLS takes no parameters")
    if talk.behind:
        # They came in clear and would be obeyed as if TLS had protected them.
        talk.end("503 5.5.0 nothing may follow STARTTLS before TLS is up", "starttls")
        return
    if broken is not None:
        _break_starttls(talk, broken)
        return
    talk.say("220 2.0.0 ready for TLS", "starttls")
    talk.then = Then.STARTTLS


def _break_starttls(talk: Conversation, broken: BrokenStartTls) -> None:
    if broken == "refused":
        raise Refused("454 4.7.0 TLS is not available now")
    talk.say("220 2.0.0 ready for TLS", "starttls")
    if broken == "dropped":
        talk.then = Then.CLOSE
    elif broken == "garbage":
        talk.raw, talk.then = GARBAGE, Then.STALL
    else:
        # What an attacker in between would add: a client that takes it for an answer inside TLS can be led astray.
        talk.raw, talk.then = b"250 2.0.0 injected\r\n", Then.STALL


def _auth(talk: Conversation, argument: str) -> None:
    options = talk.policy.options
    if options.auth and not options.auth_now(tls=talk.tls):
        raise Refused("538 5.7.11 STARTTLS first")
    if not options.auth or not talk.esmtp:
        raise Refused("502 5.5.1 AUTH is not offered")
    if talk.user is not None or talk.transaction is not None:
        raise Refused("503 5.5.1 AUTH once, and before MAIL")
    talk.exchange, answer = sasl.Exchange.begin(argument)
    _sasl_answer(talk, answer)


def _sasl_answer(talk: Conversation, answer: str | sasl.Credentials) -> None:
    if isinstance(answer, str):
        talk.say(answer)
        return
    talk.exchange = None
    options = talk.policy.options
    # Without a user of our own there is nothing to match: AUTH is then offered only to be refused.
    good = options.user is not None and options.password is not None and answer.match(options.user, options.password)
    if options.refuse_auth or not good:
        raise Refused("535 5.7.8 authentication failed")
    talk.user = answer.user
    talk.say("235 2.7.0 authenticated", "auth")


def _mail(talk: Conversation, argument: str) -> None:
    options = talk.policy.options
    if not talk.greeted:
        raise Refused("503 5.5.1 EHLO first")
    if talk.transaction is not None and options.nested_mail == "dropped":
        talk.end("421 4.7.0 nested MAIL", "mail")
        return
    if talk.transaction is not None and options.nested_mail == "refused":
        raise Refused("503 5.5.1 nested MAIL")
    if options.user is not None and talk.user is None:
        raise Refused("530 5.7.0 authentication required")
    if options.session_messages and talk.accepted >= options.session_messages:
        talk.end("421 4.7.0 too many messages in this session", "mail")
        return
    if talk.policy.over_quota():
        raise Refused("450 4.7.1 you have exceeded your daily message quota")
    talk.transaction = Transaction(parse_mail(argument, options.offer(esmtp=talk.esmtp, tls=talk.tls)))
    talk.say("250 2.1.0 sender ok")


def _rcpt(talk: Conversation, argument: str) -> None:
    transaction, policy = talk.transaction, talk.policy
    if transaction is None:
        raise Refused("503 5.5.1 MAIL first")
    recipient = parse_rcpt(argument, smtputf8=transaction.command.smtputf8)
    order = policy.order_for(recipient)
    reply = _refusal(talk, transaction, recipient)
    if (
        reply is not None
        or order is None
        or order.stage != "rcpt"
        or not policy.obeyed(order, recipient, talk.accepted)
    ):
        order = None
    if reply is None:
        reply = "250 2.1.5 recipient ok" if order is None or order.reply is None else order.reply
    if reply.startswith("2"):
        transaction.add(recipient, policy.order_for(recipient))
    then = Then.READ if order is None or not order.close else Then.CLOSE
    events = [Event("rcpt", reply, transaction.command.address, recipient)]
    talk.answer(order, reply, events, then, 0.0 if order is None else order.delay_s)


def _refusal(talk: Conversation, transaction: Transaction, recipient: str) -> str | None:
    """What this server says to everybody in such a case."""
    policy = talk.policy
    if policy.options.max_recipients and len(transaction.recipients) >= policy.options.max_recipients:
        return "452 4.5.3 too many recipients"
    if policy.refused_by_count():
        return "550 5.1.1 no such mailbox (every N-th is refused)"
    wait_s = policy.greylisted_for_s(talk.client, transaction.command.address, recipient, talk.now_ms)
    return f"450 4.7.1 greylisted, try again in {math.ceil(wait_s)} seconds" if wait_s else None


def _data(talk: Conversation, argument: str) -> None:
    transaction = talk.transaction
    if argument:
        raise Refused("501 5.5.4 DATA takes no parameters")
    if transaction is None:
        raise Refused("503 5.5.1 MAIL first")
    if not transaction.recipients:
        raise Refused("554 5.5.1 no valid recipients")
    transaction.reader = BodyReader(talk.policy.options.size_limit_bytes)
    transaction.drop = talk.in_force(transaction, "body") is not None
    talk.say("354 end with CR LF . CR LF")


def _rset(talk: Conversation, argument: str) -> None:
    if argument:
        raise Refused("501 5.5.4 RSET takes no parameters")
    talk.transaction = None
    talk.say("250 2.0.0 ok")


def _noop(talk: Conversation, _: str) -> None:
    talk.say("250 2.0.0 ok")


def _vrfy(talk: Conversation, argument: str) -> None:
    if not argument:
        raise Refused("501 5.5.4 VRFY what?")
    talk.say("252 2.1.5 not verified, try RCPT")


def _not_here(_: Conversation, __: str) -> None:
    raise Refused("502 5.5.1 not implemented")


def _quit(talk: Conversation, argument: str) -> None:
    if argument:
        raise Refused("501 5.5.4 QUIT takes no parameters")
    talk.end("221 2.0.0 bye", "quit")


_COMMANDS: Final[dict[str, tuple[Stage, Handler]]] = {
    "EHLO": ("ehlo", _ehlo),
    "HELO": ("ehlo", _helo),
    "STARTTLS": ("starttls", _starttls),
    "AUTH": ("auth", _auth),
    "MAIL": ("mail", _mail),
    "RCPT": ("rcpt", _rcpt),
    "DATA": ("data", _data),
    "RSET": ("other", _rset),
    "NOOP": ("other", _noop),
    "VRFY": ("other", _vrfy),
    "EXPN": ("other", _not_here),
    "HELP": ("other", _not_here),
    "BDAT": ("other", _not_here),
    "QUIT": ("quit", _quit),
}
