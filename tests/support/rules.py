"""Rows of the reply rules through a whole worker: who says what, and what must become of the mail.

`Speaker` is a receiver that says one given reply at one given stage and is well-behaved otherwise. `Mail` is what the
records tell afterwards. Used by tests/scenarios/test_reply_rules*.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from mailspool import Batch, Message, Settings
from mailspool.contract.states import STATES
from mailspool_worker.classify import Context, Loss, Stage
from tests.support.scripted_server import Peer, Scripted

LETTER = Message(from_="News <news@sender.test>", subject="For {{ name }}", text="Dear {{ name }},\n")
_VERBS = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA}


class Mail(NamedTuple):
    """One message, as people see it."""

    state: str
    reason: str
    attempts: int
    reply: str


class Speaker:
    """Says it whenever its stage comes. `said` and `accepted` count."""

    def __init__(self, stage: Stage, said: str, context: Context) -> None:
        self.stage = stage
        self.lines = said.split("\n")
        self.context = context
        self.said = 0
        self.accepted = 0

    @property
    def ends(self) -> bool:
        return self.lines[-1].startswith(("421", "521"))

    def wants(self, stage: Stage, *, in_session: int, line: str = "") -> bool:
        """Does it misbehave here? Some rows are about a session that has served a mail, or about a parameter."""
        if self.stage is not stage:
            return False
        if stage is Stage.MAIL and self.context.reused and not in_session:
            return False
        return not (self.lines[-1].startswith(("501 5.5.4", "555")) and not self.context.plain and "SIZE=" not in line)

    def say(self, peer: Peer) -> bool:
        """True: and hangs up."""
        self.said += 1
        peer.say(*self.lines)
        return self.ends

    async def __call__(self, peer: Peer) -> None:
        if self.wants(Stage.BANNER, in_session=0):
            self.say(peer)
            return
        peer.say("220 speaker.test ESMTP")
        in_session, refused = 0, False
        while (line := await peer.line()) not in ("QUIT", ""):
            stage = _VERBS.get(line[:4].upper())
            refused = refused and stage in (Stage.RCPT, Stage.DATA)
            if refused:
                peer.say("503 5.5.1 a command before it was refused")
            elif stage is not None and self.wants(stage, in_session=in_session, line=line):
                refused = not self.lines[-1].startswith("2")
                if self.say(peer):
                    return
            elif stage is Stage.DATA:
                if not await self._body(peer, in_session):
                    return
                in_session += 1
            elif await self._other(peer, line):
                return

    async def _other(self, peer: Peer, line: str) -> bool:
        verb = line[:4].upper()
        if verb in ("EHLO", "HELO"):
            helo_too = self.context.helo_tried
            if (verb == "EHLO" or helo_too) and self.wants(Stage.EHLO, in_session=0):
                return self.say(peer)
            peer.say(
                "250-speaker.test", "250-SIZE 9999999", "250-PIPELINING", *self._offers(), "250 ENHANCEDSTATUSCODES"
            )
        elif verb == "STAR":
            return self.say(peer)
        elif verb == "AUTH":
            if self.wants(Stage.AUTH, in_session=0):
                return self.say(peer)
            peer.say("235 2.7.0 welcome")
        else:
            peer.say("250 2.0.0 ok")
        return False

    def _offers(self) -> list[str]:
        return ["250-SIZE 9999999", "250-STARTTLS" if self.stage is Stage.STARTTLS else "250-AUTH PLAIN"]

    async def _body(self, peer: Peer, in_session: int) -> bool:
        peer.say("354 go")
        if self.wants(Stage.BODY, in_session=in_session):
            await peer.line()
            if not self.say(peer):
                await peer.gone()
            return False
        while (line := await peer.line()) != ".":
            if not line and peer.reader.at_eof():
                return False
        if self.wants(Stage.DOT, in_session=in_session):
            return not self.say(peer)
        self.accepted += 1
        peer.say("250 2.0.0 ok")
        return True


class Silence(Speaker):
    """Does not say what it should: hangs up, talks nonsense, cannot do TLS, offers no login, offers too little."""

    def __init__(self, stage: Stage, loss: Loss, context: Context) -> None:
        super().__init__(stage, "220 go ahead" if loss is Loss.TLS else "", context)
        self.loss = loss

    @property
    def ends(self) -> bool:
        return True

    def say(self, peer: Peer) -> bool:
        self.said += 1
        if self.loss is Loss.TLS:
            peer.say(*self.lines, "this is no TLS")
        elif self.loss is Loss.PROTOCOL:
            peer.say("what?")
        return True

    def wants(self, stage: Stage, *, in_session: int, line: str = "") -> bool:
        limited = self.loss in (Loss.TOO_BIG, Loss.NO_SMTPUTF8, Loss.NO_MECHANISM)
        early = self.stage is Stage.CONNECT and stage is Stage.BANNER
        return not limited and (early or super().wants(stage, in_session=in_session, line=line))

    def _offers(self) -> list[str]:
        if self.loss is Loss.NO_MECHANISM:
            return ["250-AUTH GSSAPI"]
        return ["250-SIZE 10"] if self.loss is Loss.TOO_BIG else super()._offers()


@asynccontextmanager
async def speaking(speakers: dict[str, Speaker]) -> AsyncIterator[dict[str, dict[str, object]]]:
    """Tables of relays, one a speaker. A login where the row is about one; TLS is wanted where it is offered."""
    servers = {name: Scripted(speaker) for name, speaker in speakers.items()}
    try:
        for server in servers.values():
            await server.__aenter__()
        yield {name: _table(server.port, speakers[name]) for name, server in servers.items()}
    finally:
        for server in servers.values():
            await server.__aexit__(None, None, None)


def _table(port: int, speaker: Speaker) -> dict[str, object]:
    where = f"127.0.0.1:{port}"
    if speaker.stage is Stage.AUTH:
        return {"url": f"smtp://user:secret@{where}?tls=off", "max_sessions": 2}
    required = speaker.stage is Stage.STARTTLS and speaker.context.tls == "required"
    return {"url": f"smtp://{where}{'?tls=insecure' if required else ''}", "max_sessions": 2}


async def mails(batch: Batch) -> list[Mail]:
    """In the order of the rows."""
    found = [message async for message in batch.messages(STATES)]
    found.sort(key=lambda message: message.row)
    return [Mail(one.state, one.reason or "", one.attempts, one.reply or "") for one in found]


def settings_of(redis_url: str, folder: Path, **changes: object) -> Settings:
    base: dict[str, object] = {
        "redis_url": redis_url, "durability": "none", "data_dir": folder / "spool", "ehlo_name": "sender.test",
        "stop_timeout": "5s", "retry_jitter": 0,
    }  # fmt: skip
    return Settings(**(base | changes))
