"""Every order of a local part, obeyed over a real connection, and what the log says of it."""

from __future__ import annotations

from mailspool.sandbox import LogRecord, Receiver, ReceiverOptions
from tests.producer.sandbox.wire import say, stuffed, wire_to

CONTENT = b"Message-ID: <1@client.test>\r\nSubject: x\r\n\r\n" + b"hello\r\n" * 100
FINAL = "as ordered by the local part"


def told(receiver: Receiver, *stages: str) -> list[tuple[str, str, bool]]:
    return [(record.stage, record.reply, record.reply_flushed) for record in receiver.log if record.stage in stages]


def one(receiver: Receiver, stage: str) -> LogRecord:
    (record,) = [record for record in receiver.log if record.stage == stage]
    return record


async def test_refused_at_rcpt_for_ever() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        for _ in range(5):
            assert await wire.envelope("550-5.1.1-x@a.test") == f"550 5.1.1 {FINAL}"
            assert (await wire.ask("DATA")).startswith("554 5.5.1 no valid recipients")
            await wire.ask("RSET")
        assert await wire.envelope("452-x@a.test") == f"452 {FINAL}"
        assert receiver.mails == []
        assert told(receiver, "rcpt")[0] == ("rcpt", f"550 5.1.1 {FINAL}", True)


async def test_the_first_tries_are_counted_by_recipient_over_sessions() -> None:
    async with Receiver() as receiver:
        replies = []
        for recipient in ["450-3-x@a.test", "450-3-X@A.test", "450-3-y@a.test", "450-3-x@a.test", "450-3-x@a.test"]:
            async with wire_to(receiver) as wire:
                await wire.hello()
                replies.append((await wire.mail(recipient))[:3])
            if len(replies) == 2:
                await receiver.stop_listening()
                receiver.drop_sessions()
                await receiver.listen()
        assert replies == ["450", "450", "450", "450", "250"]
        assert [mail.recipient for mail in receiver.mails] == ["450-3-x@a.test"]


async def test_another_2xx_at_rcpt_is_an_acceptance() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("251-x@a.test")).startswith("250 2.0.0 taken as 1")


async def test_greylisting_and_quota() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("greylist-x@a.test")).startswith("450 4.7.1 greylisted")
        await wire.ask("RSET")
        assert (await wire.mail("greylist-x@a.test")).startswith("250 ")
        for _ in range(3):
            assert await wire.mail("quota-x@a.test") == "452 4.2.2 mailbox full"
            await wire.ask("RSET")
        assert len(receiver.mails) == 1


async def test_421_at_rcpt_closes() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(say("MAIL FROM:<>", "RCPT TO:<421-x@a.test>", "DATA", "NOOP", hello=False))
        assert [reply[:3] for reply in await wire.replies(2)] == ["250", "421"]
        assert await wire.closed()
        await receiver.wait_until(lambda: receiver.sessions == 0)
        assert receiver.log[-1].stage == "close"


async def test_421_after_some_mails_of_the_session() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("421-after-2-x@a.test")).startswith("250 ")
        assert (await wire.mail("anna@a.test")).startswith("250 ")
        assert await wire.mail("421-after-2-x@a.test") == f"421 {FINAL}"
        assert await wire.closed()


async def test_a_reply_at_the_dot_for_ever_and_for_some_tries() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert await wire.mail("dot-554-5.7.1-x@a.test", CONTENT) == f"554 5.7.1 {FINAL}"
        assert await wire.mail("dot-451-2-x@a.test", CONTENT) == f"451 {FINAL}"
        assert await wire.mail("dot-451-2-x@a.test", CONTENT) == f"451 {FINAL}"
        assert (await wire.mail("dot-451-2-x@a.test", CONTENT)).startswith("250 ")
        assert [mail.recipient for mail in receiver.mails] == ["dot-451-2-x@a.test"]
        dots = [record for record in receiver.log if record.stage == "dot"]
        assert [record.reply[:3] for record in dots] == ["554", "451", "451", "250"]
        assert {record.sha256 for record in dots} == {receiver.mails[0].sha256}, "refused ones were read as well"
        assert await wire.mail("dot-421-x@a.test") == f"421 {FINAL}"
        assert await wire.closed()


async def test_closes_after_rcpt_was_accepted() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(say("MAIL FROM:<>", "RCPT TO:<close-after-rcpt-x@a.test>", "DATA", hello=False))
        assert [reply[:3] for reply in await wire.replies(2)] == ["250", "250"]
        assert await wire.closed()
        assert told(receiver, "rcpt", "body", "dot") == [("rcpt", "250 2.1.5 recipient ok", True)]


async def test_closes_in_the_middle_of_the_body() -> None:
    async with Receiver() as receiver:
        for attempt in range(3):
            async with wire_to(receiver) as wire:
                await wire.hello()
                assert (await wire.envelope("drop-in-data-2-x@a.test")).startswith("250 ")
                assert (await wire.ask("DATA")).startswith("354 ")
                if attempt < 2:
                    await wire.send(stuffed(CONTENT)[:300])
                    assert await wire.closed()
                else:
                    await wire.send(stuffed(CONTENT))
                    assert (await wire.reply()).startswith("250 ")
        assert len(receiver.mails) == 1
        lost = [record for record in receiver.log if record.stage == "body"]
        assert [
            (record.recipient, record.size, record.sha256, record.reply, record.reply_flushed) for record in lost
        ] == [("drop-in-data-2-x@a.test", 256, None, "", False)] * 2


async def test_a_body_that_came_whole_is_dropped_all_the_same() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        envelope = say("MAIL FROM:<>", "RCPT TO:<drop-in-data-x@a.test>", "DATA", hello=False)
        await wire.send(envelope + stuffed(b"short\r\n") + envelope)
        assert [reply[:3] for reply in await wire.replies(3)] == ["250", "250", "354"]
        assert await wire.closed()
        assert receiver.mails == []
        assert one(receiver, "body").size == len(b"short\r\n")


async def test_has_the_mail_and_closes_before_the_reply() -> None:
    async with Receiver() as receiver:
        async with wire_to(receiver) as wire:
            await wire.hello()
            assert await wire.mail("close-after-dot-1-x@a.test", CONTENT) == ""
        record = one(receiver, "dot")
        assert (record.reply, record.reply_flushed, record.message_id) == ("", False, "<1@client.test>")
        assert [mail.data for mail in receiver.mails] == [CONTENT]
        assert receiver.mails[0].sha256 == record.sha256
        async with wire_to(receiver) as wire:
            await wire.hello()
            assert (await wire.mail("close-after-dot-1-x@a.test", CONTENT)).startswith("250 ")
        assert [record.reply_flushed for record in receiver.log if record.stage == "dot"] == [False, True]


async def test_answers_the_dot_late_and_what_was_sent_meanwhile_after_it() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(
            say("MAIL FROM:<>", "RCPT TO:<slow-50ms-x@a.test>", "DATA", hello=False) + stuffed(CONTENT) + b"NOOP\r\n"
        )
        await receiver.wait_for(1)
        assert told(receiver, "dot") == [], "nothing is logged before it is said"
        assert [reply[:3] for reply in await wire.replies(5)] == ["250", "250", "354", "250", "250"]
        assert one(receiver, "dot").reply_flushed
        assert one(receiver, "dot").at_ms - receiver.mails[0].received_ms >= 49


async def test_a_sender_that_leaves_before_the_late_reply() -> None:
    async with Receiver() as receiver:
        async with wire_to(receiver) as wire:
            await wire.hello()
            await wire.send(say("MAIL FROM:<>", "RCPT TO:<slow-10m-x@a.test>", "DATA", hello=False) + stuffed(CONTENT))
            await receiver.wait_for(1)
        await receiver.wait_until(lambda: receiver.sessions == 0)
        record = one(receiver, "dot")
        assert (record.reply[:3], record.reply_flushed, record.sha256) == ("250", False, receiver.mails[0].sha256)


async def test_never_answers_the_dot_nor_anything_after_it() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(
            say("MAIL FROM:<>", "RCPT TO:<stall-x@a.test>", "DATA", hello=False) + stuffed(CONTENT) + b"NOOP\r\n"
        )
        await receiver.wait_for(1)
        assert len(await wire.replies(3)) == 3
        await wire.send(b"QUIT\r\n" * 1000)
        wire.close()
        await receiver.wait_until(lambda: receiver.sessions == 0)
        assert (one(receiver, "dot").reply, one(receiver, "dot").reply_flushed) == ("", False)
        assert told(receiver, "quit", "other") == []
        assert await wire.reader.read() == b""


async def test_a_sender_that_leaves_in_the_body() -> None:
    async with Receiver() as receiver:
        async with wire_to(receiver) as wire:
            await wire.hello()
            await wire.envelope("anna@a.test")
            await wire.ask("DATA")
            await wire.send(b"half a mail\r\n.\r")
            wire.writer.close()
            await receiver.wait_until(lambda: receiver.sessions == 0)
        record = one(receiver, "body")
        assert (record.recipient, record.size, record.sha256) == ("anna@a.test", len(b"half a mail\r\n.\r"), None)
        assert receiver.mails == []


async def test_of_several_recipients_the_first_order_decides_the_dot() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.ask("MAIL FROM:<>")
        recipients = ["anna", "dot-450-x", "dot-550-x", "550-x"]
        replies = [await wire.ask(f"RCPT TO:<{name}@a.test>") for name in recipients]
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "550"]
        await wire.ask("DATA")
        await wire.send(stuffed(CONTENT))
        assert (await wire.reply()).startswith("450 ")
        assert [record.recipient for record in receiver.log if record.stage == "dot"] == [
            f"{name}@a.test" for name in recipients[:3]
        ]


async def test_nothing_of_a_local_part_counts_when_it_is_in_the_domain() -> None:
    async with Receiver(options=ReceiverOptions()) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("anna@550-x.test")).startswith("250 ")
        assert (await wire.mail('"550-5.1.1-x"@a.test')).startswith("250 "), "a quoted local part is another name"
