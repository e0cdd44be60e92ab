"""The receiver as a whole: listening and not, limits, the log file, the folder, and who waits for news."""

from __future__ import annotations

import asyncio
import email
import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import uvloop

from mailspool.errors import ConfigError
from mailspool.sandbox import IndexLine, Receiver, ReceiverOptions, read_log, serve
from mailspool.sandbox.desk import Desk
from mailspool.sandbox.records import ReceivedMail
from mailspool.sandbox.session import Session
from tests.producer.sandbox.conftest import Certificate
from tests.producer.sandbox.wire import say, stuffed, wire_to

RUNNERS = [asyncio.run, uvloop.run]
DIFFICULT = (
    b"Message-ID: <1@client.test>\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\n.\r\n..\r\n.a\r\n"
    + b"x" * 998
    + b"\r\n\n.\n\r.\r\0\xff\r\n"
)


async def test_what_is_kept_in_memory_equals_what_was_sent() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("anna@a.test", DIFFICULT)).startswith("250 ")
        assert receiver.mails[0].data == DIFFICULT
        orders = [record.order for record in receiver.log]
        assert orders == list(range(1, len(orders) + 1))
        assert repr(receiver).endswith("listening <received 1, sessions 1 open of 1>>")


async def test_a_large_mail_in_many_pieces() -> None:
    content = b"0123456789abcdef" * 4 + b"\r\n"
    content *= 100_000
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.mail("anna@a.test", content)).startswith("250 ")
        assert receiver.mails[0].sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("run", RUNNERS)
def test_stop_and_listen_again_on_the_same_port(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with Receiver() as receiver:
            port = receiver.port
            for _ in range(3):
                async with wire_to(receiver) as wire:
                    await wire.hello()
                    await receiver.stop_listening()
                    with pytest.raises(ConnectionRefusedError):
                        await asyncio.open_connection(receiver.host, receiver.port)
                    assert (await wire.mail("anna@a.test")).startswith("250 "), "an open session goes on"
                    receiver.drop_sessions()
                    assert await wire.closed()
                    await receiver.listen()
                    await receiver.listen()
                    assert receiver.port == port
            assert receiver.received == 3
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(receiver.host, receiver.port)

    run(scenario())


async def test_a_port_that_is_taken_is_named() -> None:
    async with Receiver() as receiver:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{receiver.port}"):
            async with Receiver(port=receiver.port):
                pass


async def test_waiting_ends_by_an_event_or_says_how_far_it_came() -> None:
    async with Receiver() as receiver, wire_to(receiver) as wire:
        await wire.hello()
        waiting = asyncio.create_task(receiver.wait_for(2))
        await wire.mail("anna@a.test")
        assert not waiting.done()
        await wire.mail("bert@a.test")
        assert [mail.recipient for mail in await waiting] == ["anna@a.test", "bert@a.test"]
        assert len(await receiver.wait_for(1)) == 2
        with pytest.raises(TimeoutError, match="3 mails; <received 2"):
            await receiver.wait_for(3, timeout_s=0.01)


async def test_one_connection_too_many() -> None:
    async with Receiver(options=ReceiverOptions(max_sessions=1)) as receiver:
        async with wire_to(receiver) as first:
            await first.hello()
            async with wire_to(receiver) as second:
                assert (await second.reply()).startswith("421 4.7.0 too many connections")
                assert await second.closed()
        await receiver.wait_until(lambda: receiver.sessions == 0)
        async with wire_to(receiver) as third:
            await third.hello()


@pytest.mark.parametrize(
    ("banner", "reply", "ends"), [("mx.test", "220 mx.test", False), ("554 5.7.1 no", "554 5.7.1 no", True)]
)
async def test_banners(banner: str, reply: str, ends: bool) -> None:
    async with Receiver(options=ReceiverOptions(banner=banner)) as receiver, wire_to(receiver) as wire:
        assert await wire.reply() == reply
        assert (await wire.ask("NOOP") if not ends else await wire.closed()) in ("250 2.0.0 ok", True)


async def test_a_late_banner_answers_early_talkers_in_order() -> None:
    async with Receiver(options=ReceiverOptions(banner_delay_s=0.02)) as receiver, wire_to(receiver) as wire:
        await wire.send(say("NOOP", "QUIT"))
        assert [reply[:3] for reply in await wire.replies(4)] == ["220", "250", "250", "221"]


async def test_silence_is_ended() -> None:
    async with Receiver(options=ReceiverOptions(idle_timeout_s=0.05)) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        assert (await wire.reply()).startswith("421 4.4.2")
        assert await wire.closed()


class Recorder(asyncio.Transport):
    """A transport that notes what is asked of it."""

    def __init__(self, *, closing: bool = False) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._closing = closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked.append("write")

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self.asked.append("abort")


async def test_a_reply_to_a_broken_connection_is_not_flushed() -> None:
    for closing in (False, True):
        desk = Desk(ReceiverOptions(), None)
        session = Session(desk)
        session.connection_made(Recorder(closing=closing))
        session.data_received(say("MAIL FROM:<>", "RCPT TO:<anna@a.test>", "DATA") + stuffed(DIFFICULT))
        records = [record for record in desk.journal.records if record.stage in ("connect", "rcpt", "dot")]
        assert [record.reply_flushed for record in records] == [not closing] * 3
        assert len(desk.mails) == 1
        session.connection_lost(None)


async def test_nothing_more_is_read_in_clear_after_starttls(localhost_certificate: Certificate) -> None:
    made = localhost_certificate
    desk = Desk(ReceiverOptions(certificate=made.certificate, key=made.key), None)
    session, transport = Session(desk), Recorder()
    session.connection_made(transport)
    session.data_received(say("STARTTLS"))
    assert transport.asked == ["write", "write", "pause"], "before the loop has turned"
    session.abort()
    session.connection_lost(None)
    assert not desk.sessions


async def test_a_client_that_never_reads_its_replies_is_held_back() -> None:
    session, transport = Session(Desk(ReceiverOptions(), None)), Recorder()
    session.connection_made(transport)
    session.pause_writing()
    session.resume_writing()
    assert transport.asked == ["write", "pause", "resume"]
    session.connection_lost(None)


async def test_a_client_that_sends_on_during_a_late_reply_is_held_back() -> None:
    desk, transport = Desk(ReceiverOptions(), None), Recorder()
    session = Session(desk)
    session.connection_made(transport)
    session.data_received(say("MAIL FROM:<>", "RCPT TO:<slow-1ms-x@a.test>", "DATA") + stuffed(DIFFICULT))
    session.data_received(b"NOOP\r\n" * 200_000)
    assert transport.asked[-1] == "pause"
    answered = sum(record.stage == "dot" for record in desk.journal.records)
    assert answered == 0
    await desk.wait_until(lambda: desk.journal.records[-1].stage == "dot", "the late reply", 10)
    assert transport.asked[-1] in ("write", "resume")
    session.connection_lost(None)


async def test_the_log_file_holds_every_event_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for round_ in (1, 2):
        async with Receiver(options=ReceiverOptions(log=path)) as receiver:
            async with wire_to(receiver) as wire:
                await wire.hello()
                await wire.mail("anna@a.test", DIFFICULT)
                assert read_log(path)[-1].stage == "dot", "the line is there as soon as the reply is"
            await receiver.wait_until(lambda: receiver.sessions == 0)
            assert read_log(path)[-len(receiver.log) :] == receiver.log
            assert len(read_log(path)) == len(receiver.log) * round_
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    fields = msgspec.json.decode(path.read_bytes().splitlines()[3])
    assert list(fields) == [
        *("order", "at_ms", "session", "stage", "reply", "reply_flushed"),
        *("mail_from", "recipient", "message_id", "sha256", "size"),
    ]


async def test_a_kept_folder_holds_the_bytes_that_were_sent(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kept"
    contents = [DIFFICULT, b"", b"Message-ID: <2@client.test>\r\n\r\n\r\n"]
    for _ in range(2):
        options = ReceiverOptions(keep=folder, remember_mails=False, remember_log=False)
        async with Receiver(options=options) as receiver, wire_to(receiver) as wire:
            await wire.hello()
            for content in contents:
                await wire.send(
                    say("MAIL FROM:<s@b.test>", "RCPT TO:<a@b.test>", "RCPT TO:<b@b.test>", "DATA", hello=False)
                )
                await wire.send(stuffed(content))
                assert (await wire.replies(5))[-1].startswith("250 ")
            assert (receiver.mails, receiver.log, receiver.received) == ([], [], 3)
    lines = [msgspec.json.decode(line, type=IndexLine) for line in (folder / "index.jsonl").read_bytes().splitlines()]
    assert [line.recipient for line in lines] == ["a@b.test", "b@b.test"] * 6
    assert [line.message_id for line in lines][::2] == ["<1@client.test>", None, "<2@client.test>"] * 2
    assert [(folder / line.path).read_bytes() for line in lines][::2] == contents * 2
    assert all(hashlib.sha256((folder / line.path).read_bytes()).hexdigest() == line.sha256 for line in lines)
    assert {line.path for line in lines} == {path.name for path in folder.glob("*.eml")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_a_folder_that_vanishes_acknowledges_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with Receiver(options=ReceiverOptions(keep=folder)) as receiver, wire_to(receiver) as wire:
        await wire.hello()
        (folder / "index.jsonl").unlink()
        folder.rmdir()
        assert (await wire.mail("anna@a.test")).startswith("451 4.3.0")
        assert (receiver.received, receiver.mails) == (0, [])


def test_a_folder_or_a_log_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ConfigError, match=r"cannot keep mail in .*file"):
        Receiver(options=ReceiverOptions(keep=blocker / "kept"))
    with pytest.raises(ConfigError, match=r"cannot write the log .*file"):
        Receiver(options=ReceiverOptions(log=blocker / "log"))


async def test_serve_calls_back_until_it_is_cancelled() -> None:
    ready: asyncio.Future[Receiver] = asyncio.get_running_loop().create_future()
    seen: list[ReceivedMail] = []
    task = asyncio.create_task(serve(ReceiverOptions(), seen.append, port=0, on_ready=ready.set_result))
    receiver = await ready
    async with wire_to(receiver) as wire:
        await wire.hello()
        await wire.mail("anna@a.test", DIFFICULT)
        await wire.mail("550-x@a.test")
    assert [mail.data for mail in seen] == [DIFFICULT]
    assert email.message_from_bytes(seen[0].data)["Message-ID"] == "<1@client.test>"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(receiver.host, receiver.port)


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    receiver = Receiver(options=ReceiverOptions(keep=tmp_path, log=tmp_path / "log"))
    await receiver.listen()
    async with wire_to(receiver) as wire:
        await wire.hello()
        await wire.send(say("MAIL FROM:<>", "RCPT TO:<slow-10m-x@a.test>", "DATA", hello=False) + stuffed(DIFFICULT))
        await receiver.wait_for(1)
        await receiver.close()
        await receiver.close()
        assert receiver.sessions == 0
        assert receiver.log[-1].stage == "close"
        assert len(await wire.replies(3)) == 3
        assert await wire.closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}
