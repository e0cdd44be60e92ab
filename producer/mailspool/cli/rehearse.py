"""`send --rehearse`: the same batch, checks and all, sent to a receiver on this machine that misbehaves as others do.

A spool of its own in a temporary folder, a worker in this process; the real spool is not opened. Of a hundred receivers
about three are unknown and two greylist once (always the same ones); of 20 mails or more one meets a 421. The report is
the one that the real batch would give, with an estimate of the time through the real relay: that is asked for its
greeting and its login, never for a mail. --at, --hold and --relay do not delay a rehearsal.
Exit: 0; 1 if mails failed by their own fault (a template that does not render); 65, 66, 75, 78, 130 as `send`.
"""

from __future__ import annotations

import asyncio
import secrets
from array import array
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mailspool.cli import screens
from mailspool.cli.content_key import ONCE
from mailspool.cli.demo import steady_rate
from mailspool.cli.estimate import ASSUMED, Estimate, Trip, chosen, estimate
from mailspool.cli.failures import NOT_OK, Interrupted
from mailspool.cli.inline import delivering
from mailspool.cli.live import follow, patience
from mailspool.cli.own_spool import own_settings, sweep
from mailspool.cli.queueing import Common, Queueing
from mailspool.cli.watch import show_report
from mailspool.cli.when import spelled
from mailspool.client.doctor.relays import opening_ms, round_trip_ms
from mailspool.client.specs import template_spec
from mailspool.content.address import AddressError, parse_mailbox
from mailspool.errors import ConfigError, InputError, MailspoolError
from mailspool.probe import probe
from mailspool.redis_server.tasks import end
from mailspool.sandbox import Order, ReceivedMail, Receiver, ReceiverOptions
from mailspool.spool import Spool

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.settings import Relay, Settings
    from mailspool.status import BatchStatus

UNKNOWN: Final = Order("rcpt", "550 5.1.1 no such user (rehearsed)")
GREYLISTED: Final = Order("rcpt", "450 4.7.1 greylisted, try again later (rehearsed)", tries=1)
BUSY: Final = Order("dot", "421 4.3.2 closing for a moment (rehearsed)", close=True, tries=1)
_UNKNOWN_OF_1000: Final = 30
_GREYLISTED_OF_1000: Final = 20
_BUSY_FROM: Final = 20
"""A test to oneself shall not wait for a second try."""
_PROBE_S: Final = 10.0
"""For a relay to be asked: an estimate is not worth waiting longer."""


class Temper:
    """How the receiver treats whom: by the address alone, so that two rehearsals are the same; once it is busy."""

    def __init__(self) -> None:
        self.busy_after: int | None = None
        self._seen = 0
        self._busy: str | None = None

    def __call__(self, recipient: str) -> Order | None:
        share = int.from_bytes(blake2b(recipient.lower().encode(), digest_size=4).digest(), "big") % 1000
        if share < _UNKNOWN_OF_1000:
            return UNKNOWN
        if share < _UNKNOWN_OF_1000 + _GREYLISTED_OF_1000:
            return GREYLISTED
        self._seen += 1
        if self._busy is None and self.busy_after is not None and self._seen > self.busy_after:
            self._busy = recipient
        return BUSY if recipient == self._busy else None


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal shows; its JSON. `own_faults`: mails that would fail whatever the receiver says."""

    status: BatchStatus
    own_faults: int
    estimate: Estimate | None

    def to_dict(self) -> dict[str, object]:
        told = asdict(self.estimate) if self.estimate is not None else None
        return {"status": self.status.to_dict(), "own_faults": self.own_faults, "estimate": told}


class Rehearsal(Queueing):
    """One run; reading, checking and queueing are those of `send`."""

    async def run(self) -> int:
        real = self._ask.settings()
        relays = self._relays(real)
        try:
            return await self._rehearse(real, relays)
        except asyncio.CancelledError:
            words = "Interrupted: it was a rehearsal, nothing was queued and nothing is left behind."
            raise Interrupted(words, self._signals.exit_code) from None

    def _relays(self, real: Settings) -> list[Relay]:
        """Those that would carry it; none where nothing is set (or may be read) here."""
        try:
            table = real.relay_table()
        except ConfigError as error:
            self._say.notice("no_estimate", f"no estimate of time: {error.message}")
            return []
        pinned = self._order.terms.relay
        if table and pinned is not None and pinned not in table:
            raise InputError(f'no relay "{pinned}": the settings have {", ".join(table)}.', code="no_such_relay")
        try:
            spec, _ = template_spec(self._message, real)
            domain = parse_mailbox(spec.from_).address.rpartition("@")[2].lower()
        except AddressError:  # made by a template, another one for each row
            domain = ""
        except InputError as error:
            raise self._in_flags(error) from None
        return chosen(table, pinned, domain)

    def _common(self) -> Common:
        common = super()._common()
        common["send_at"], common["relay"], common["hold"] = None, None, False
        return common

    async def _rehearse(self, real: Settings, relays: list[Relay]) -> int:
        from mailspool.cli.recipients import ListSource

        if isinstance(self._who, ListSource):
            await self._look(self._who)
        temper, received_ms = Temper(), array("q")

        def took(mail: ReceivedMail) -> None:
            received_ms.append(mail.received_ms)

        options = ReceiverOptions(
            hostname="rehearsal.example", size_limit_bytes=real.max_message_bytes, temper=temper,
            remember_mails=False, remember_log=False,
        )  # fmt: skip
        async with AsyncExitStack() as stack:
            receiver = await stack.enter_async_context(Receiver(options=options, on_mail=took))
            settings = stack.enter_context(own_settings("rehearsal", receiver.url, **_kept(real, relays)))
            self._signals.last_chore = lambda: sweep(settings.data_dir)
            spool = await stack.enter_async_context(Spool(settings))
            async with patience(self._say, "every row is checked, then rehearsed; nothing is queued"):
                batch = await self._queue(spool, ONCE + secrets.token_hex(8), None)
            self._note_list(batch.added + batch.skipped_bad + batch.duplicates)
            self._note_subject()
            temper.busy_after = batch.added // 2 if batch.added >= _BUSY_FROM else None
            asking = asyncio.create_task(self._trips(real, relays), name="relays are asked")
            stack.push_async_callback(end, (asking,))
            async with delivering(settings):
                status = await follow(self._say, batch, self._order.after.timeout)
            here = steady_rate(received_ms)
            guess = estimate(status.total, await asking, here, real.schedule_steps_s()[0][0])
            return await self._report(batch, status, receiver.received, guess)

    async def _trips(self, real: Settings, relays: list[Relay]) -> list[tuple[Relay, Trip]]:
        trips = await asyncio.gather(*(self._trip(real, relay) for relay in relays))
        return list(zip(relays, trips, strict=True))

    async def _trip(self, real: Settings, relay: Relay) -> Trip:
        try:
            name = await asyncio.to_thread(real.ehlo)
            report = await probe(relay, ehlo_name=name, connect_timeout_s=_PROBE_S, reply_timeout_s=_PROBE_S)
        except MailspoolError:
            return ASSUMED
        took_ms = round_trip_ms(report)
        if report.exit_code or took_ms is None:
            words = f"the relay {relay.name} is not ready: {report.verdict}   Look:  mailspool probe {relay.name}"
            self._say.notice("relay", words)
            return ASSUMED
        return Trip(took_ms, opening_ms(report), "probed")

    async def _report(self, batch: Batch, status: BatchStatus, received: int, guess: Estimate | None) -> int:
        if received != status.sent:
            raise MailspoolError(
                f"the receiver took {received:,} mails, and the account says {status.sent:,}. That is a bug of "
                "Mailspool's: please report it.",
                code="bug",
            )
        own = 0
        if status.failed:
            async for message in batch.failed():
                own += message.reply is None or not message.reply.startswith("550 5.1.1 ")
        if self._say.json:
            self._say.object(Rehearsed(status, own, guess).to_dict())
        else:
            await show_report(self._ask, batch, status, next_step=False)
            self._say.text("", *_words(status, own, guess))
        return NOT_OK if own else 0


def _kept(real: Settings, relays: list[Relay]) -> dict[str, object]:
    """Settings that decide what the batch is and how many sessions carry it; where it goes is the rehearsal's own."""
    names = ("default_from", "max_message_bytes", "on_uncertain", "max_chunks", "stop_timeout", "embedded_server")
    kept: dict[str, object] = {name: getattr(real, name) for name in names}
    if real.embedded_server == "off":
        del kept["embedded_server"]
    if relays:
        kept["max_sessions"] = max(relay.max_sessions for relay in relays)
        kept["session_messages"] = min(relay.session_messages for relay in relays)
    return kept


def _words(status: BatchStatus, own: int, guess: Estimate | None) -> list[str]:
    mails = screens.counted(status.total, "mail")
    lines = [f"Rehearsed on this machine: {mails} to a receiver that misbehaves. Nothing was queued, nothing left."]
    if own:
        lines.append(f"{screens.counted(own, 'mail')} would fail anyhow: the fault is in the mail or its address.")
    if guess is None:
        return [*lines, "No relay is set here, so there is no estimate of the time."]
    how = "as probed just now" if guess.basis == "probed" else "assumed"
    bound = {
        "rate": "the relay's rate bounds it",
        "sessions": f"{guess.sessions} sessions, {guess.round_trip_ms} ms a round trip, {how}",
        "this machine": f"this machine bounds it; {guess.round_trip_ms} ms a round trip, {how}",
    }[guess.limited_by]
    took = spelled(guess.seconds) if guess.seconds else "a moment"
    lines.append(f"Through {' and '.join(guess.relays)}: about {took} at {guess.rate_per_s:,.0f}/s ({bound}).")
    lines.append(f"Mails that a receiver greylists come back after {spelled(guess.retry_s)}.")
    return lines
