"""A relay that refuses our login (535): no mail fails, the status says so, and with the right password it goes on."""

from __future__ import annotations

from collections import Counter

from tests.support.edition import show
from tests.support.ground import Ground, ReceiverProcess
from tests.support.mailing import letter, recipient, rows
from tests.support.waiting import until, until_async

MAILS = 500
LOGINS = 2
"""Two sessions may open at once, and each tries one mechanism."""
LATER_LIMIT_S = 5.0
"""A batch whose relays are all closed looks again after at most a minute; here sooner."""


def with_password(receiver: ReceiverProcess, password: str) -> str:
    """On loopback a login may go without TLS, if asked for."""
    return f"{receiver.url.replace('smtp://', f'smtp://billing:{password}@')}?tls=off"


async def test_mail_waits_until_the_password_is_right(ground: Ground) -> None:
    receiver = ground.receiver(user="billing", password="right")
    faults = {"later_limit_s": LATER_LIMIT_S}
    ground.relay_url = with_password(receiver, "wrong")
    worker = ground.worker("wrong", faults)
    async with ground.spool() as spool:
        batch = await spool.send_batch(letter(), rows(MAILS))

        async def says_so() -> bool:
            return "535" in ((await batch.status()).waiting_for or "")

        await until_async(says_so, "the status names the refused login")
        refused = await batch.status()
        whole = await spool.status()
        logins = [record.reply for record in receiver.log.read() if record.stage == "auth"]
        assert worker.alive
        ground.relay_url = with_password(receiver, "right")
        worker.kill()
        ground.worker("right", faults)
        await until(lambda: receiver.log.count() > 0, "the mail goes on")
        status = await batch.wait(60)

        async def is_well() -> bool:
            return [(route.name, route.state) for route in (await spool.status()).routes] == [("main", "ok")]

        await until_async(is_well, "the status says that the relay is well", limit_s=10)
    attempts = [reply for reply in logins if reply.startswith("535")]
    show(
        "535", waiting_for=repr(refused.waiting_for), logins_refused=len(attempts), sent_with_the_right_one=status.sent
    )
    assert (refused.queued, refused.failed, refused.deferred) == (MAILS, 0, 0)
    assert refused.waiting_for is not None
    assert refused.waiting_for.startswith("relay main paused: 535")
    assert "wrong" not in refused.waiting_for
    assert [(route.name, route.state) for route in whole.routes] == [("main", "paused")]
    assert 1 <= len(attempts) <= LOGINS, "it does not lock the account by trying again and again"
    assert status.sent == MAILS
    assert receiver.log.receipts() == Counter(recipient(n) for n in range(1, MAILS + 1))
