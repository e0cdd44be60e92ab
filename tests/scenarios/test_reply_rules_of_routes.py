"""Every row of the reply rules that is about more than one message, through a whole worker: login, rate, quota, sender,
site, dialect, and what happens before MAIL.

One worker with a relay a row; each relay says its reply, and gets a batch of three mails that may take no other. What
must become of them, of the relay and of the sender is judged for all rows together, then told row by row.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from redis.asyncio import Redis

from mailspool import Batch, Message, Spool
from mailspool.contract.routenotes import sleeping_in
from mailspool_worker.app import Engine
from mailspool_worker.classify import Stage
from tests.scenarios.test_reply_rules import is_of_a_message
from tests.support.embedded import plain_server
from tests.support.rules import LETTER, Mail, Silence, Speaker, mails, settings_of, speaking
from tests.support.waiting import until_async
from tests.support.working import working
from tests.worker.reply_samples import LOSSES, REPLIES, LossSample, Sample

MAILS = 3
LONG = Message(from_=LETTER.from_, subject="Long", text="It was a bright cold day in April.\n" * 240_000)
"""Longer than all buffers between two processes: a reply can come in its middle. One such mail is enough."""
PLAYED = frozenset(("refused", "no banner", "lost at RCPT", "closed in the body",
                    "dot: protocol", "dot: closed", "no mechanism", "handshake", "handshake, opportunistic",
                    "SMTPUTF8, no other route", "SIZE, no other route"))  # fmt: skip
"""Rows without a reply; the others are the same to the worker, need a resolver, or (sessions that die before their
first reply) are the breaker's, of which tests/worker/routes tells."""


def is_of_a_route(sample: Sample) -> bool:
    context = sample.context
    if context.mode == "direct" or context.many_rcpt or context.after_refusal or context.chunking:
        return False  # direct mode and BDAT are not there; a mail has one recipient here
    if context.credentials:
        return False  # with a login TLS is required, which is a row of its own
    if sample.action in ("ok", "ignore"):
        return False  # of all other rows
    return sample.stage is not Stage.CONNECT and not is_of_a_message(sample)


SAMPLES = [sample for sample in REPLIES if is_of_a_route(sample)]
ROWS: dict[str, Sample | LossSample] = {f"r{n}": sample for n, sample in enumerate(SAMPLES)}
ROWS |= {f"l{n}": sample for n, sample in enumerate(LOSSES) if sample.row in PLAYED}


class Seen(NamedTuple):
    """What is known of one row: its mails, what the worker tells of the relay, what its receiver did."""

    mails: list[Mail]
    state: str
    why: str
    senders: list[str]
    waiting_for: str
    width: int
    accepted: int

    @property
    def states(self) -> Counter[str]:
        return Counter(mail.state for mail in self.mails)

    def tried(self) -> list[Mail]:
        return [mail for mail in self.mails if mail.state != "queued"]


def problems(sample: Sample | LossSample, seen: Seen) -> list[str]:
    """What is not as the rules say."""
    found = [] if seen.states["failed"] == 0 or sample.action == "fail" else ["a mail failed"]
    if any(mail.reason != sample.reason for mail in seen.tried() if mail.state in ("deferred", "failed", "uncertain")):
        found.append("another reason")
    expected = _OF_AN_ACTION[sample.action](sample, seen)
    return found + [words for words, good in expected.items() if not good]


Checks = dict[str, bool]


def _keeps_all(sample: Sample | LossSample, seen: Seen) -> Checks:
    """Nothing failed, nothing counted, nothing sent; before MAIL nothing was even tried."""
    before_mail = sample.stage < Stage.MAIL
    return {
        "all are kept": seen.states["deferred"] + seen.states["queued"] == len(seen.mails),
        "no attempt is counted": all(mail.attempts == 0 for mail in seen.mails),
        "before MAIL it is about no message": (not seen.tried()) == before_mail,
    }


def _paused(sample: Sample | LossSample, seen: Seen) -> Checks:
    said = sample.said if isinstance(sample, Sample) else ""
    return _keeps_all(sample, seen) | {
        "the relay is paused": seen.state == "paused",
        "the operator is told why": said[:3] in seen.why and said[:3] in seen.waiting_for,
    }


def _sender_held(sample: Sample | LossSample, seen: Seen) -> Checks:
    who = "sender.test" if sample.reason == "sender_check" else "news@sender.test"
    return _keeps_all(sample, seen) | {
        "the relay stays open": seen.state == "ok",
        "its sender sleeps": seen.senders == [who],
        "the batch says why": f"does not take the sender {who}" in seen.waiting_for
        or seen.states["deferred"] == len(seen.mails),
    }


def _no_host(sample: Sample | LossSample, seen: Seen) -> Checks:
    if sample.reason in ("too_big", "smtputf8"):
        return {"there is no other": seen.states["failed"] == len(seen.mails)}
    return _keeps_all(sample, seen) | {"the breaker is open": seen.state == "waiting", "in words": len(seen.why) > 5}


def _slow(sample: Sample | LossSample, seen: Seen) -> Checks:
    if sample.stage < Stage.MAIL:
        return {"nothing was tried": not seen.tried()}
    counted = isinstance(sample, Sample) and sample.stage is Stage.DOT and sample.said.startswith("421")
    flood = isinstance(sample, Sample) and "4.7.28" in sample.said
    return {
        "they come again": seen.states["deferred"] == len(seen.mails) - seen.accepted
        or (flood and seen.states["deferred"] > 0),
        "421 at the dot counts, nothing else": all(mail.attempts == counted for mail in seen.tried() if mail.reason),
        "fewer sessions": seen.width == 1,
        "ten minutes of silence, or none": seen.state == ("waiting" if flood else "ok"),
    }


def _later(sample: Sample | LossSample, seen: Seen) -> Checks:
    dialect = sample.reason == "protocol" and isinstance(sample, Sample) and sample.said[0] in "45"
    return {
        "they come again": seen.states["deferred"] == len(seen.mails),
        "an attempt, but for our dialect": all(mail.attempts == (not dialect) for mail in seen.mails),
        "the relay stays open": seen.state == "ok",
    }


def _failed(_: Sample | LossSample, seen: Seen) -> Checks:
    return {
        "final": seen.states["failed"] == len(seen.mails),
        "an attempt": all(mail.attempts in (0, 1) for mail in seen.mails),
        "the relay stays open": seen.state == "ok",
    }


def _uncertain(_: Sample | LossSample, seen: Seen) -> Checks:
    return {
        "once more, counted": [(mail.state, mail.attempts) for mail in seen.mails]
        == [("deferred", 1)] * len(seen.mails)
    }


def _all_sent(_: Sample | LossSample, seen: Seen) -> Checks:
    return {"all are sent": seen.states["sent"] == len(seen.mails), "the relay is well": seen.state == "ok"}


_OF_AN_ACTION = {
    "pause-route": _paused, "blocked": _paused, "hold-sender": _sender_held, "next-host": _no_host, "slow": _slow,
    "later": _later, "fail": _failed, "uncertain": _uncertain,
    "ok": _all_sent, "helo": _all_sent, "plain": _all_sent, "clear": _all_sent, "reconnect": _all_sent,
}  # fmt: skip


def speaker_of(sample: Sample | LossSample) -> Speaker:
    if isinstance(sample, Sample):
        return Speaker(sample.stage, sample.said, sample.context)
    return Silence(sample.stage, sample.loss, sample.context)


class Watch:
    """The worker, and what is known of each row."""

    def __init__(self, engine: Engine, redis: Redis, batches: dict[str, Batch], speakers: dict[str, Speaker]) -> None:
        self.engine, self.redis, self.batches, self.speakers = engine, redis, batches, speakers

    async def look(self, name: str) -> Seen:
        hgetall = cast("Callable[[str], Awaitable[dict[bytes, bytes]]]", self.redis.hgetall)
        told = {key.decode(): value.decode() for key, value in (await hgetall(f"ms:route:{name}")).items()}
        batch, route = self.batches[name], self.engine.routes.by_name[name]
        senders = [who.removeprefix("@") for who in sleeping_in(told)]
        return Seen(
            await mails(batch), told.get("state", "ok"), told.get("why", ""), senders,
            (await batch.status()).waiting_for or "", route._width.allowed, self.speakers[name].accepted,
        )  # fmt: skip

    async def judged(self, names: list[str]) -> dict[str, list[str]]:
        found = {}
        for name in names:
            seen = await self.look(name)
            if wrong := problems(ROWS[name], seen):
                found[name] = [*wrong, repr(seen)]
        return found


async def play(redis_url: str, folder: Path) -> dict[str, list[str]]:
    speakers = {name: speaker_of(sample) for name, sample in ROWS.items()}
    redis = Redis.from_url(redis_url)
    async with speaking(speakers) as relays:
        settings = settings_of(redis_url, folder, relays=relays)
        async with working(settings) as engine, Spool(settings) as spool:
            batches = {}
            for name, sample in ROWS.items():
                letter = LONG if sample.stage is Stage.BODY else LETTER
                local = "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n" if sample.reason == "smtputf8" else "u"
                rows = [{"email": f"{local}{i}@x.test", "name": "A"} for i in range(1 if letter is LONG else MAILS)]
                batches[name] = await spool.send_batch(letter, rows, relay=name)
            watch, left = Watch(engine, redis, batches, speakers), {name: [""] for name in ROWS}

            async def as_they_should() -> bool:
                nonlocal left
                left = await watch.judged(list(left))
                return not left

            try:
                await until_async(as_they_should, "every row is as it should be", limit_s=12)
            except AssertionError:
                return left
            left = await watch.judged(list(ROWS))  # and they stay so
    await redis.aclose()
    return left


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("rules")
    with plain_server(folder, "--save", "", "--appendonly", "no") as socket:
        yield asyncio.run(play(f"unix://{socket}", folder))


@pytest.mark.parametrize("name", ROWS, ids=lambda name: f"{ROWS[name].stage.name} {ROWS[name].row}")
def test_a_row(wrong: dict[str, list[str]], name: str) -> None:
    assert wrong.get(name, []) == []


def test_every_row_without_a_reply_is_known() -> None:
    assert {sample.row for sample in ROWS.values() if isinstance(sample, LossSample)} == PLAYED
