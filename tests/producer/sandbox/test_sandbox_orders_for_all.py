"""Orders for everybody, and the rudest orders of a local part: over a real connection, with what the log says of it."""

from __future__ import annotations

import asyncio

import pytest

from mailspool.errors import ConfigError
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool.sandbox.conversation import FLOOD, GARBAGE
from mailspool.sandbox.options import BrokenStartTls
from mailspool.sandbox.orders import DRIP_EVERY_S, TARPIT_S, orders
from mailspool.sandbox.policy import Policy
from tests.producer.sandbox.wire import Wire, converse, say, stuffed, wire_to

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


async def octets(wire: Wire, count: int) -> bytes:
    async with asyncio.timeout(10):
        return await wire.reader.readexactly(count)


# -- local parts


async def test_garbage_instead_of_a_reply() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(say("MAIL FROM:<a@b.test>", "RCPT TO:<garbage-reply-x@c.test>", hello=False))
        await wire.reply()
        assert await octets(wire, len(GARBAGE)) == GARBAGE
        assert not GARBAGE[:3].isdigit()
        await wire.send(b"RSET\r\nQUIT\r\n")
        await receiver.wait_until(lambda: any(record.stage == "rcpt" for record in receiver.log))
        (record,) = [record for record in receiver.log if record.stage == "rcpt"]
        assert record.reply == ""


async def test_a_flood_ends_with_no_last_line() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(say("MAIL FROM:<a@b.test>", "RCPT TO:<flood-x@c.test>", hello=False))
        await wire.reply()
        assert await octets(wire, len(FLOOD)) == FLOOD
        assert all(line.startswith(b"250-") for line in FLOOD.splitlines())


@pytest.mark.parametrize("order", ["dot-garbage-reply-x", "dot-flood-x", "dot-drip-x"])
async def test_at_the_dot_the_mail_is_taken(order: str) -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.envelope(f"{order}@c.test")
        await wire.ask("DATA")
        await wire.send(stuffed(CONTENT))
        await receiver.wait_for(1)
        wire.close()
        await receiver.wait_until(lambda: any(record.stage == "close" for record in receiver.log))
        (record,) = [record for record in receiver.log if record.stage == "dot"]
        assert record.reply[:1] in ("2", ""), "by the log it is a receipt"


def test_a_dripping_reply_comes_octet_by_octet() -> None:
    outcome = converse([say("MAIL FROM:<a@b.test>", "RCPT TO:<drip-x@c.test>", "NOOP")])
    assert outcome.then == "read", "what came meanwhile is obeyed behind it"
    assert [event.reply for event in outcome.events if event.stage == "rcpt"] == ["250 2.1.5 recipient ok"]
    order = orders("drip-x")
    assert order is not None
    assert (order.manner, DRIP_EVERY_S) == ("drip", 1.0)


async def test_a_tarpit_accepts_in_the_end() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("tarpit-20ms-x@c.test")).startswith("250 ")
    assert [order.delay_s for name in ("tarpit-x", "tarpit-2m-x") if (order := orders(name))] == [TARPIT_S, 120]
    order = orders("tarpit-3-x")
    assert order is not None
    assert order.tries == 3


# -- flags


@pytest.mark.parametrize(
    ("broken", "first", "then"),
    [
        ("refused", "454 4.7.0 TLS is not available now", None),
        ("dropped", "220 2.0.0 ready for TLS", b""),
        ("garbage", "220 2.0.0 ready for TLS", GARBAGE),
        ("injected", "220 2.0.0 ready for TLS", b"250 2.0.0 injected\r\n"),
    ],
)
async def test_broken_starttls(broken: BrokenStartTls, first: str, then: bytes | None) -> None:
    async with Receiver(options=ReceiverOptions(broken_starttls=broken)) as receiver, wire_to(receiver) as wire:
        assert "STARTTLS" in await wire.hello()
        assert await wire.ask("STARTTLS") == first
        if then is None:
            assert (await wire.mail("ali@c.test")).startswith("250 ")
        elif then:
            assert await octets(wire, len(then)) == then
        else:
            assert await wire.closed()


async def test_a_quota_counts_over_sessions() -> None:
    async with Receiver(options=ReceiverOptions(quota=2)) as receiver:
        replies = []
        for _ in range(3):
            async with wire_to(receiver) as wire:
                await wire.hello()
                reply = await wire.ask("MAIL FROM:<a@b.test>")
                if reply.startswith("250"):
                    await wire.ask("RSET")
                    reply = await wire.mail("ali@c.test")
                replies.append(reply)
        assert [reply[:3] for reply in replies] == ["250", "250", "450"]
        assert "daily message quota" in replies[-1]


def test_a_triplet_is_greylisted_until_it_is_old_enough() -> None:
    policy = Policy(ReceiverOptions(greylist_s=300))
    assert policy.greylisted_for_s("::1", "a@b.test", "c@d.test", 1_000) == 300
    assert policy.greylisted_for_s("::1", "A@b.test", "C@d.test", 101_000) == 200
    assert policy.greylisted_for_s("::1", "a@b.test", "c@d.test", 301_000) == 0
    assert policy.greylisted_for_s("::1", "other@b.test", "c@d.test", 301_000) == 300
    assert policy.greylisted_for_s("::2", "a@b.test", "c@d.test", 301_000) == 300


async def test_greylisting_says_how_long() -> None:
    async with Receiver(options=ReceiverOptions(greylist_s=60)) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert await wire.envelope("ali@c.test") == "450 4.7.1 greylisted, try again in 60 seconds"


async def test_an_early_talker_is_dropped_and_a_patient_one_is_not() -> None:
    options = ReceiverOptions(banner_delay_s=0.05, early_talker=True)
    async with Receiver(options=options) as receiver:
        async with wire_to(receiver) as wire:
            assert await wire.ask("EHLO client.test") == "554 5.5.1 you speak before your turn"
            assert await wire.closed()
        async with wire_to(receiver) as wire:
            await wire.hello()
            assert (await wire.mail("ali@c.test")).startswith("250 ")


async def test_nested_mail() -> None:
    found = {}
    for strictness in ("refused", "accepted", "dropped"):
        options = ReceiverOptions(nested_mail=strictness)
        async with Receiver(options=options) as receiver, wire_to(receiver) as wire:
            await wire.hello()
            await wire.envelope("550-x@c.test")
            found[strictness] = (await wire.ask("MAIL FROM:<a@b.test>"))[:3]
    assert found == {"refused": "503", "accepted": "250", "dropped": "421"}


async def test_slow_for_everybody() -> None:
    async with Receiver(options=ReceiverOptions(dot_delay_s=0.02)) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        await wire.envelope("ali@c.test")
        await wire.ask("DATA")
        await wire.send(stuffed(CONTENT))
        await receiver.wait_for(1)
        assert not [record for record in receiver.log if record.stage == "dot"], "taken, and not yet answered"
        assert (await wire.reply()).startswith("250 ")


@pytest.mark.parametrize("wrong", [{"quota": -1}, {"greylist_s": -1.0}, {"dot_delay_s": -1.0}])
def test_contradictions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ReceiverOptions(**wrong)  # type: ignore[arg-type]  # a table's fields
