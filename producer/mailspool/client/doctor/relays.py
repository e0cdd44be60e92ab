"""Each relay: reached, secured, logged in. By the conversation of `probe`, which never goes on to a mail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from mailspool.client.doctor.report import Check, failed
from mailspool.errors import MailspoolError
from mailspool.probe import ProbeReport, probe
from mailspool.settings import Relay, Settings

_REPLY_S: Final = 30.0
"""Receivers that greet late take up to this."""
_CERTIFICATE_ENDS: Final = timedelta(days=14)


async def of_relays(settings: Settings, relays: Mapping[str, Relay], of_workers: Sequence[str]) -> list[Check]:
    """All at once. `of_workers`: relays that live workers have: a machine that only queues needs none itself."""
    if not relays:
        if of_workers:
            return [Check("relay", True, f"none in these settings; the workers have {', '.join(of_workers)}")]
        return failed("relay", settings.no_relay_words())
    found = await asyncio.gather(*(_relay(settings, relay) for relay in relays.values()))
    strange = [name for name in relays if of_workers and name not in of_workers]
    if strange:
        words = f"no running worker has {', '.join(strange)}; they have {', '.join(of_workers)}"
        found.append(Check("relays", True, words, "restart the workers with these settings"))
    return found


async def _relay(settings: Settings, relay: Relay) -> Check:
    name = f"relay {relay.name}"
    try:
        report = await probe(
            relay,
            ehlo_name=await asyncio.to_thread(settings.ehlo),
            connect_timeout_s=settings.connect_timeout.total_seconds(),
            reply_timeout_s=_REPLY_S,
        )
    except MailspoolError as error:
        return failed(name, error.message, error.hint)[0]
    return judge_probe(relay, report, datetime.now(UTC))


def judge_probe(relay: Relay, report: ProbeReport, now: datetime) -> Check:
    """Pure."""
    name, look = f"relay {relay.name}", f"mailspool probe {relay.name}"
    if report.exit_code:
        return Check(name, False, f"{relay.url_shown}: {report.verdict.rstrip('.')}", look)
    tls = report.tls
    ends = datetime.fromisoformat(tls.expires_at) if tls is not None and tls.expires_at else None
    parts = [tls.version if tls is not None else "no TLS", "login ok" if report.auth == "ok" else "no login"]
    parts += [word for word in ("PIPELINING",) if word in report.features]
    if ends is not None:
        parts.append(f"certificate until {ends:%Y-%m-%d}")
    if (took_ms := round_trip_ms(report)) is not None:
        parts.append(f"250 in {took_ms} ms")
    fix = None
    if ends is not None and ends - now < _CERTIFICATE_ENDS:
        fix = f"the certificate of {relay.host} ends in {max(0, (ends - now).days)} days: have it renewed"
    elif tls is not None and not tls.verified:
        fix = "its certificate is not verified: anybody in between could read the mail"
    return Check(name, True, ", ".join(parts), fix)


def round_trip_ms(report: ProbeReport) -> int | None:
    """The quickest answer to a command: a way there and back, and next to no work."""
    found, asked_ms = [], None
    for step in report.steps:
        if step.dir == ">":
            asked_ms = step.at_ms
        elif step.dir == "<" and asked_ms is not None:
            found.append(step.at_ms - asked_ms)
            asked_ms = None
    return min(found, default=None)


def opening_ms(report: ProbeReport) -> int:
    """What a new connection costs, up to the login."""
    return max((step.at_ms for step in report.steps if not step.line.startswith(("QUIT", "221"))), default=0)
