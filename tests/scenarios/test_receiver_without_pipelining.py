"""Receivers that offer little: without PIPELINING a session goes step by step, without the rest it leaves it out.

The sandbox refuses and drops whoever sends ahead where PIPELINING was not offered, and whoever names a parameter of
MAIL that was not offered; so its log shows that neither happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from mailspool import Attachment, Message
from mailspool.sandbox import LogRecord, ReceivedMail, Receiver, ReceiverOptions
from mailspool.sandbox.grammar import NOTHING_OFFERED, Offer
from mailspool_worker import Worker
from tests.support.edition import show
from tests.support.ground import Ground
from tests.support.mailing import letter, recipient, rows

MAILS = 500
ARABIC = "السلام عليكم يا علي،\nرقم فاتورتك ١٢٣.\n"
PDF = b"%PDF-1.7\r\n.\r\n\x00\xff" * 200


class Bare(ReceiverOptions):
    """EHLO is understood, and answered without a single extension."""

    def extensions(self, *, tls: bool) -> list[str]:
        return []

    def offer(self, *, esmtp: bool, tls: bool) -> Offer:
        return NOTHING_OFFERED


def bare() -> ReceiverOptions:
    return Bare(pipelining=False, eight_bit_mime=False, smtputf8=False)


def violations(log: Sequence[LogRecord]) -> list[str]:
    """Refusals that only a client earns who does what was not offered (the log has no other refusals of commands)."""
    return [record.reply for record in log if record.stage in ("mail", "data", "other")]


def value_of(mail: ReceivedMail) -> tuple[str, str, bytes]:
    """Subject, text and attachment as a mail program shows them."""
    parsed = message_from_bytes(mail.data, policy=default)
    assert isinstance(parsed, EmailMessage)
    body, attached = parsed.get_body(("plain",)), next(parsed.iter_attachments())
    assert body is not None
    return str(parsed["Subject"]), str(body.get_content()).replace("\r\n", "\n"), attached.get_content()


@pytest.mark.parametrize("options", [ReceiverOptions(pipelining=False), bare()], ids=["no-pipelining", "bare"])
async def test_all_of_it_goes_step_by_step(ground: Ground, options: ReceiverOptions) -> None:
    table = [*rows(MAILS), *rows(20, "550-5.1.1", start=MAILS + 1), *rows(20, "dot-450-1", start=MAILS + 21)]
    async with Receiver(options=options) as receiver:
        settings = ground.settings(relay_url=receiver.url, retry_schedule="1s*")
        async with ground.spool() as spool, Worker(settings):
            batch = await spool.send_batch(letter(), table)
            status = await batch.wait(60)
        receipts = Counter(mail.recipient for mail in receiver.mails)
        sessions = len({record.session for record in receiver.log})
        refused = violations(receiver.log)
    show("step by step", sent=status.sent, failed=status.failed, sessions=sessions, sent_ahead=len(refused))
    assert (status.sent, status.failed) == (MAILS + 20, 20)
    assert receipts == Counter(str(row["email"]) for row in [*table[:MAILS], *table[-20:]])
    assert refused == []


async def test_a_bare_receiver_gets_every_character(ground: Ground) -> None:
    """Nothing above 127 goes over its wire, and yet everything arrives."""
    message = Message(
        from_="أخبار <news@sender.test>",
        subject="فاتورة {{ name }}",
        text=ARABIC,
        attachments=[Attachment(PDF, name="فاتورة.pdf")],
    )
    async with Receiver(options=bare()) as receiver:
        async with ground.spool() as spool, Worker(ground.settings(relay_url=receiver.url)):
            status = await (await spool.send_batch(message, rows(50))).wait(60)
        mails, refused = list(receiver.mails), violations(receiver.log)
    show("without 8BITMIME", sent=status.sent, octets_above_127=sum(not mail.data.isascii() for mail in mails))
    assert status.sent == 50
    assert refused == []
    assert all(mail.data.isascii() for mail in mails)
    numbers = {recipient(n): n for n in range(1, 51)}
    assert {value_of(mail) for mail in mails} == {(f"فاتورة Anna {n}", ARABIC, PDF) for n in numbers.values()}


async def test_what_cannot_be_said_to_it_fails_and_the_rest_goes(ground: Ground) -> None:
    """A local part in Arabic, and a finished mail with octets above 127: a full receiver takes both."""
    finished = EmailMessage()
    finished["From"], finished["To"], finished["Subject"] = "news@sender.test", "raw@y.test", "Eight bits"
    finished.set_content(ARABIC, cte="8bit")
    raw = finished.as_bytes()
    assert not raw.isascii()
    seen: dict[str, list[tuple[str, str | None, str | None]]] = {}
    for name, options in (("bare", bare()), ("full", ReceiverOptions())):
        async with Receiver(options=options) as receiver:
            async with ground.spool() as spool, Worker(ground.settings(relay_url=receiver.url)):
                table = [{"email": "علي@y.test", "name": "Ali", "code": "1"}, *rows(20)]
                batches = [await spool.send_batch(letter(), table), await spool.send(raw)]
                for batch in batches:
                    await batch.wait(60)
                strange = [await batch.message(1) for batch in batches]
            seen[name] = [(message.state, message.reason, message.reply) for message in strange]
            assert violations(receiver.log) == []
            assert receiver.received == (20 if name == "bare" else 22)
    show("not to be said", **seen)
    assert [found[0] for found in seen["bare"]] == ["failed", "failed"]
    assert [found[1] for found in seen["bare"]] == ["smtputf8", "eight_bit"]
    assert all(found[2] for found in seen["bare"]), "no sentence says why"
    assert [found[0] for found in seen["full"]] == ["sent", "sent"]
