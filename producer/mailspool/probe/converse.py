"""The steps of a probe, in order: connect, EHLO, TLS, login, envelope, test mail."""

from __future__ import annotations

import contextlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, replace
from email.utils import formatdate, make_msgid
from typing import Final

from mailspool.errors import ConfigError, InputError
from mailspool.probe.report import LOGIN_REFUSED, OK, ProbeReport, Stop, TlsFailed, harmless
from mailspool.probe.talk import MASK, Talk
from mailspool.settings import Relay, Settings, did_you_mean, format_size, relay_from_url
from mailspool.settings.hosts import host_name
from mailspool.settings.relays import CHECK_LOGIN

CONNECT_TIMEOUT_S: Final = 15.0
REPLY_TIMEOUT_S: Final = 60.0
"""For a whole reply. RFC 5321 grants 5 minutes, but a person waits here; receivers that greet late take up to 30 s."""
_BAD_ADDRESS: Final = re.compile(r"[\x00-\x20\x7f<>]")
_HOST_PORT: Final = re.compile(r"[^@/]*:[0-9]{1,5}", re.ASCII)


async def probe(
    relay: Relay,
    *,
    ehlo_name: str,
    to: str | None = None,
    send: bool = False,
    mail_from: str | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    reply_timeout_s: float = REPLY_TIMEOUT_S,
) -> ProbeReport:
    """Talk to `relay` up to EHLO, TLS and login; with `to` up to RCPT; with `send` deliver a small test mail."""
    if send and to is None:
        raise InputError("a test mail needs a receiver: --to you@example.org --send")
    if relay.user is not None and relay.password is None:
        raise ConfigError(f'relay {relay.name} logs in as "{relay.user}", but there is no password: set one.')
    login = relay.user if relay.user and "@" in relay.user else None
    sender = mail_from if mail_from is not None else login or to or ""
    errand = _Errand(_address(sender), None if to is None else _address(to), send)
    talk = Talk(relay, reply_timeout_s)
    try:
        verdict = await _converse(talk, ehlo_name, connect_timeout_s, errand)
        exit_code = OK
    except Stop as stop:
        verdict, exit_code = stop.verdict, stop.exit_code
    finally:
        talk.close()
    return ProbeReport(
        steps=tuple(talk.steps),
        tls=talk.tls,
        auth=talk.auth,
        size=talk.size_limit,
        features=tuple(talk.features),
        verdict=verdict[:1].upper() + verdict[1:],
        exit_code=exit_code,
    )


def probe_relay(settings: Settings, target: str | None) -> Relay:
    """What a person names to be probed: a relay's NAME, a URL, HOST:PORT; None = the first relay."""
    if target is not None and "://" in target:
        return relay_from_url(target, name="probe")
    if target is not None and (_HOST_PORT.fullmatch(target) or "." in target):
        return relay_from_url(f"{'smtps' if target.endswith(':465') else 'smtp'}://{target}", name="probe")
    table = settings.relay_table()
    if target is None:
        if not table:
            raise ConfigError(settings.no_relay_words())
        return next(iter(table.values()))
    if target in table:
        return table[target]
    near = did_you_mean(target, table) or " Give a relay's name, a URL or HOST:PORT."
    raise ConfigError(f'there is no relay "{harmless(target)[:60]}".{near}')


@dataclass(frozen=True, slots=True)
class _Errand:
    sender: str
    to: str | None
    send: bool


def _address(text: str) -> str:
    """`text` as MAIL and RCPT take it, its domain in A-labels; "" is the null sender."""
    local, sign, domain = text.rpartition("@")
    try:
        if _BAD_ADDRESS.search(text) or (text and not (sign and local)):
            raise ValueError("not one mailbox")
        return f"{local}@{domain if domain.startswith('[') else host_name(domain)}" if text else ""
    except ValueError:
        raise InputError(f'"{harmless(text)[:60]}" is no address that can stand in an envelope.') from None


async def _converse(talk: Talk, ehlo_name: str, timeout_s: float, errand: _Errand) -> str:
    try:
        await _open(talk, ehlo_name, timeout_s)
    except TlsFailed as failed:
        if talk.relay.security != "opportunistic":
            raise
        talk.close()
        talk.add("-", f"{failed.verdict} Without a login the mail would go in clear, so once more without TLS:")
        talk.relay = replace(talk.relay, security="none")
        await _open(talk, ehlo_name, timeout_s)
    if talk.relay.user is not None:
        await _login(talk, talk.relay.user)
    result = await _envelope(talk, errand) if errand.to is not None else ""
    with contextlib.suppress(Stop):
        # The answer is known; a server that dislikes QUIT changes nothing about it.
        await talk.command("QUIT")
    parts = [talk.tls.version if talk.tls else "no TLS", "login accepted" if talk.auth == "ok" else "no login"]
    if talk.size_limit is not None:
        parts.append(f"up to {format_size(talk.size_limit)} a mail")
    return result or f"Ready: {', '.join(parts)}."


async def _open(talk: Talk, ehlo_name: str, timeout_s: float) -> None:
    await talk.connect(timeout_s)
    greeting = await talk.reply("greeting")
    if not greeting.ok:
        raise Stop(f"the server turns us away at once: {greeting}")
    await _ehlo(talk, ehlo_name)
    if talk.relay.security not in ("starttls", "opportunistic"):
        return
    if "STARTTLS" not in talk.features:
        if talk.relay.security == "starttls":
            raise Stop("TLS is required here, and the server offers no STARTTLS. Perhaps it is smtps:// (port 465).")
        return
    answer = await talk.command("STARTTLS")
    if not answer.ok:
        raise TlsFailed(f"STARTTLS is offered and refused: {answer}")
    await talk.start_tls(timeout_s)
    await _ehlo(talk, ehlo_name)


async def _ehlo(talk: Talk, ehlo_name: str) -> None:
    answer = await talk.command(f"EHLO {ehlo_name}")
    if answer.ok:
        words = (harmless(line).split(maxsplit=1) for line in answer.lines[1:])
        talk.features = {word[0].upper(): word[1] if len(word) > 1 else "" for word in words if word}
        return
    talk.features = {}
    answer = await talk.command(f"HELO {ehlo_name}")
    if not answer.ok:
        raise Stop(f"the server refuses our name {ehlo_name}: {answer} Set ehlo_name.")


async def _login(talk: Talk, user: str) -> None:
    secret = talk.relay.password.get_secret_value() if talk.relay.password else ""
    plain = b64encode(f"\0{user}\0{secret}".encode()).decode()
    talk.secrets += [plain, b64encode(secret.encode()).decode(), secret]
    offered = talk.features.get("AUTH", "").upper().split()
    if "PLAIN" in offered:
        answer = await talk.command(f"AUTH PLAIN {plain}")
    elif "LOGIN" in offered:
        answer = await talk.command("AUTH LOGIN")
        for part in (user, secret):
            if answer.code == 334:
                answer = await talk.command(b64encode(part.encode()).decode(), shown=MASK)
    elif "CRAM-MD5" in offered:
        answer = await talk.command("AUTH CRAM-MD5")
        if answer.code == 334:
            answer = await talk.command(_cram(user, secret, answer.lines[0]), shown=MASK)
    else:
        talk.auth = "refused"
        kinds = f"only {', '.join(offered)}" if offered else "no login at all"
        raise Stop(f"the server offers {kinds}, so a password is of no use here.", LOGIN_REFUSED)
    talk.auth = "ok" if answer.ok else "refused"
    if 400 <= answer.code < 500:
        raise Stop(f"login refused for now, try again later: {answer}", LOGIN_REFUSED)
    if not answer.ok:
        raise Stop(f"login refused. {talk.relay.login_hint or CHECK_LOGIN}", LOGIN_REFUSED)


def _cram(user: str, secret: str, challenge: str) -> str:
    try:
        digest = hmac.new(secret.encode(), b64decode(challenge), "md5").hexdigest()
    except Base64Error:
        raise Stop("the server's CRAM-MD5 challenge is no base64.") from None
    return b64encode(f"{user} {digest}".encode()).decode()


async def _envelope(talk: Talk, errand: _Errand) -> str:
    wide = not (errand.sender + (errand.to or "")).isascii()
    if wide and "SMTPUTF8" not in talk.features:
        raise Stop("the address is not ASCII, and the server offers no SMTPUTF8.")
    answer = await talk.command(f"MAIL FROM:<{errand.sender}>{' SMTPUTF8' if wide else ''}")
    if answer.code == 530:
        raise Stop(f"the server wants a login before it takes mail: {answer}", LOGIN_REFUSED)
    if not answer.ok:
        raise Stop(f"the sender {errand.sender} is refused: {answer}")
    answer = await talk.command(f"RCPT TO:<{errand.to}>")
    if not answer.ok:
        raise Stop(f"the receiver {errand.to} is refused: {answer}")
    if not errand.send:
        await talk.command("RSET")
        return f"Ready: {errand.to} would be accepted: {answer}"
    answer = await talk.command("DATA")
    if answer.code != 354:
        raise Stop(f"the server takes no mail: {answer}")
    mail = _test_mail(errand.sender, errand.to or "")
    talk.write(mail)
    talk.add("-", f"a test mail of {len(mail)} bytes")
    answer = await talk.command(".")
    if not answer.ok:
        raise Stop(f"the test mail is refused: {answer}")
    return f"Sent: {answer}"


def _test_mail(sender: str, to: str) -> bytes:
    domain = sender.rpartition("@")[2]
    headers = [
        f"From: <{sender or to}>",
        f"To: <{to}>",
        "Subject: Mailspool test mail",
        f"Date: {formatdate()}",
        f"Message-ID: {make_msgid(domain=domain if domain.isascii() and domain else 'localhost')}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
    ]
    return "\r\n".join([*headers, "", "This mail was sent by mailspool probe --send. It works.", ""]).encode()
