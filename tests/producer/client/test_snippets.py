"""The scripts of the first page, as they stand there: with a worker inside the program and the sandbox as the relay.

Known limit: the attachment is one shared file, not one for each row. FastAPI is not installed here: what it does with
`lifespan` and with a route is done by hand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailspool import Attachment, Message, Settings, Spool, SyncSpool
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool_worker import Worker

HERO = """
import asyncio
from pathlib import Path
from mailspool import Attachment, Message, Spool

invoice = Message(from_="Acme Billing <billing@acme.example>", subject="Invoice {{ number }}",
                  text="Dear {{ name }},\\n\\nyour invoice over {{ amount }} is attached.\\n",
                  attachments=[Attachment("invoices/terms.pdf")])

async def main():
    async with Spool() as spool:
        batch = await spool.send_batch(invoice, Path("customers.csv"), key="invoices-2026-11")
        print(await batch.wait())                                      # 50000: 49988 sent, 9 failed, 3 suppressed
        async for m in batch.unsent():
            print(m.recipient, m.state, m.reply)
"""


@pytest.fixture
async def receiver(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """The relay that `Spool()` and `Worker()` find in the environment."""
    async with Receiver(options=ReceiverOptions()) as receiver:
        monkeypatch.setenv("MAILSPOOL_RELAY_URL", receiver.url)
        monkeypatch.setenv("MAILSPOOL_DATA_DIR", str(home / "spool"))
        monkeypatch.setenv("MAILSPOOL_EHLO_NAME", "sender.test")
        yield receiver


async def test_the_first_script(receiver: Receiver, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "invoices").mkdir()
    (home / "invoices" / "terms.pdf").write_bytes(b"%PDF-1.4 terms")
    rows = [f"u{n}@x.test,Anna {n},{n}.50,{n}" for n in range(1, 6)]
    table = home / "customers.csv"
    table.write_text("\n".join(["email,name,amount,number", *rows, "550-6@x.test,Bad,6.50,6"]) + "\n", "utf-8")
    script: dict[str, object] = {}
    exec(HERO, script)  # noqa: S102 - our own first page
    main = script["main"]
    assert callable(main)
    async with Worker():
        await main()
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "6: 5 sent, 1 failed"
        assert said[1].startswith("550-6@x.test failed 550")
        table.write_text(table.read_text("utf-8") + "u7@x.test,Anna 7,7.50,7\n", "utf-8")
        await main()
        assert capsys.readouterr().out.splitlines()[0] == "7: 6 sent, 1 failed"
    assert receiver.received == 6
    mail = receiver.mails[0].data
    assert b"Subject: Invoice 1\r\n" in mail
    assert b"your invoice over 1.50 is attached." in mail
    assert b'filename="terms.pdf"' in mail


async def test_the_web_service(receiver: Receiver) -> None:
    spool = Spool()

    async def reset(email: str, token: str) -> dict[str, str]:
        mail = Message(
            from_="Acme <no-reply@acme.example>",
            to=email,
            subject="Your reset link",
            text=f"https://acme.example/r/{token}\n",
        )
        batch = await spool.send(mail, expires_after=timedelta(minutes=15), key=f"reset:{token}")
        return {"id": batch.id}

    async with Worker(), spool.lifespan(object()):
        answers = await asyncio.gather(*(reset(f"u{n}@x.test", f"{n}{{{{ 7 * 7 }}}}") for n in range(20)))
        again = await reset("u3@x.test", "3{{ 7 * 7 }}")
        assert again in answers
        for answer in answers:
            batch = await spool.batch(answer["id"])
            assert (await batch.wait(30)).ok
            assert batch.class_ == "transactional"
    texts = sorted(mail.data for mail in receiver.mails)
    assert len(texts) == 20
    assert all(b"{{ 7 * 7 }}" in text for text in texts)


def test_the_plain_script(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is somebody else's: here one in a thread of its own."""
    ready, over = threading.Event(), threading.Event()
    received: list[bytes] = []

    async def relay_and_worker() -> None:
        async with Receiver(options=ReceiverOptions()) as receiver:
            settings = Settings(data_dir=home / "spool", relay_url=receiver.url, ehlo_name="sender.test")
            async with Worker(settings):
                ready.set()
                await asyncio.to_thread(over.wait)
            received.extend(mail.data for mail in receiver.mails)

    thread = threading.Thread(target=lambda: asyncio.run(relay_and_worker()))
    thread.start()
    try:
        assert ready.wait(30)
        monkeypatch.setenv("MAILSPOOL_DATA_DIR", str(home / "spool"))
        with SyncSpool() as spool:
            batch = spool.send(
                Message(from_="me@acme.example", to="ali@example.org", subject="Hello", text="Salaam!\n")
            )
            assert batch.wait(timeout=60).sent == 1
    finally:
        over.set()
        thread.join()
    assert b"Salaam!" in received[0]


async def test_several_kinds_of_mail_at_once(receiver: Receiver) -> None:
    """Attachments too big to go with the mail, three hundred receivers, values: through the real worker."""
    big = Attachment(b"\x00\xff" * 500_000, name="big.bin")
    mail = Message(from_="a@acme.example", to="b@x.test", subject="S {{ n }}", text="T {{ n }}\n", attachments=[big])
    async with Spool() as spool, Worker(spool):
        batches = [
            await spool.send(mail, values={"n": 7}),
            await spool.send(mail.replace(attachments=[]), to=[f"u{n}@x.test" for n in range(250)], key="k"),
            await spool.send_batch(mail.replace(to=None), [{"email": f"v{n}@x.test", "n": n} for n in range(5)]),
        ]
        totals = [(await batch.wait(60)).sent for batch in batches]
    assert totals == [1, 250, 5]
    assert receiver.received == 256
