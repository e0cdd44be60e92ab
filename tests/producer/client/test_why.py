"""Why a batch or a message has not gone yet: from facts to sentences. Pure; the clock is part of the facts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mailspool.client.why.batches import of_batch, of_message
from mailspool.client.why.facts import (
    BatchFacts,
    Groups,
    HeldSender,
    MessageFacts,
    RunFact,
    reply_kind,
)
from mailspool.client.why.report import Why, moment, span
from mailspool.contract.codec import encode_outcome
from mailspool.contract.records import Outcome
from mailspool.settings.relays import CHECK_LOGIN
from mailspool.status import message_status, utc
from tests.producer.client.why_facts import (
    BROKEN,
    BUSY,
    BY_HAND,
    DAY,
    HOUR,
    LAST,
    NONE,
    NOW,
    REFUSED,
    WAIT_14,
    WORKER,
    facts,
    group,
    relay,
)


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


TOLD: list[tuple[BatchFacts, list[str], str | None]] = [
    # people
    (facts({"state": "held"}), ["50,000 mails are held by you."], "mailspool release b1"),
    (
        facts({"state": "held", "held_why": "breaker: 31 of the first 100 bounced"}),
        ["50,000 mails are held by the breaker: 31 of the first 100 bounced."],
        "mailspool release b1",
    ),
    (
        facts(seen={"pauses": (("spool", NOW - 2 * HOUR), ("bulk", NOW - DAY))}),
        ["The spool is paused by you since 18:00.", "Bulk mail is paused by you since Sun 22 Nov 20:00."],
        "mailspool resume",
    ),
    (facts(seen={"pauses": (("bulk", NOW - HOUR),)}), ["Bulk mail is paused by you since 19:00."],
     "mailspool resume --class bulk"),
    (facts(relays=(relay(told=BY_HAND),)), ["The relay main is paused by you since 18:00."],
     "mailspool relay resume main"),
    # dates
    (facts({"send_at": NOW + HOUR}), ["It starts 21:00."], None),
    (facts({"state": "loading"}),
     ["Its rows are still being loaded; nothing of it is queued before the commit."], None),
    # workers
    (facts(seen=NONE, workers=()), ["No worker is running, so nothing leaves."], "mailspool worker"),
    (facts(seen=NONE), ["1 worker is running, but none serves bulk mail."], "mailspool worker --class bulk"),
    (
        facts({"relay": "eu"}, {"able_to_serve": False}, workers=(WORKER, replace(WORKER, name="w2"))),
        ["It is pinned to the relay eu, and 2 workers are running, but none has it (they have main)."],
        "mailspool relay list",
    ),
    (facts({"v": 9}, {"able_to_serve": False}),
     ["1 worker is running, but none reads its record version 9: upgrade the workers."], "mailspool doctor"),
    # relays
    (
        facts(relays=(relay(told=REFUSED),)),
        [f"The relay main has stopped by itself: 535 5.7.8 bad credentials; it looks again at 20:05:00. {CHECK_LOGIN}"],
        "mailspool probe main",
    ),
    (
        facts(relays=(relay(told=BROKEN), relay("eu", BY_HAND))),
        ["The relay main is waiting: connection refused; it looks again at 20:01:00.",
         "The relay eu is paused by you since 18:00."],
        "mailspool probe main",
    ),
    (facts({"relay": "eu"}, relays=(relay(told=BROKEN), relay("eu", BY_HAND))),
     ["The relay eu is paused by you since 18:00."], "mailspool relay resume eu"),
    (facts(relays=(relay(told={**BROKEN, "until": NOW - 1}),)),
     ["The relay main is waiting: connection refused; it looks again with the next mail."], "mailspool probe main"),
    (facts({"wait_until": NOW + 60_000, "wait_why": "closed"}),
     ["No relay that it may use was open; it is tried again at 20:01:00."], "mailspool relay list"),
    (facts({"wait_until": NOW + 60_000, "wait_why": "closed", "closed_why": "relay main does not take a: 550"}),
     ["Relay main does not take a: 550; it is tried again at 20:01:00."], "mailspool relay list"),
    (
        facts(held_senders=(HeldSender("main", "shop.test", "550 5.7.1 SPF fail", NOW + HOUR),)),
        ["The relay main takes no mail from shop.test for now: 550 5.7.1 SPF fail; next try 21:00."],
        "mailspool relay resume main",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("found", "sentences", "do"), TOLD)
def test_what_keeps_a_whole_batch(found: BatchFacts, sentences: list[str], do: str | None) -> None:
    """Nothing is said of turns and speed then."""
    why = of_batch(replace(found, queue=BUSY))
    last = [] if found.seen.batch["state"] == "loading" else [LAST]
    assert str(why).splitlines() == [*sentences, *last]
    assert list(why.waiting_for) == sentences
    assert why.do[:1] == ((do,) if do else ())


ON_ITS_WAY: list[tuple[BatchFacts, list[str]]] = [
    (facts(), ["Nothing keeps it: its chunks are given out within a second or so.", LAST]),
    (facts({"n_deferred": 14}, groups=(group(),)), [WAIT_14, LAST]),
    (facts({"n_deferred": 1}, groups=(group(1, NOW - 1),)),
     ["1 message waits after 450 4.2.0 greylisted by main, due now.", LAST]),
    (facts({"n_deferred": 2}, groups=(group(2, NOW + 30_000, "lost reply"),)),
     ["2 messages wait for a later try: lost reply by main, next try 20:00:30.", LAST]),
    (facts({"n_deferred": 14}, groups=(group(),), looked=200, odd=1_234),
     [WAIT_14, "Replies were counted in 200 of its 1,234 chunks that hold any.", LAST]),
    (facts({"n_uncertain": 3}, queue=BUSY), ["2 chunks wait for their turn.",
     "3 messages are uncertain: the final reply was lost. You decide: retry, or resolve.", LAST]),
    (facts(queue=replace(BUSY, ahead=3, given_out=40, due_chunks=1)), [
        "1 chunk waits for its turn behind 3 batches of its class (one chunk of each in turn); "
        "the workers have all they take at once (40 chunks).", LAST]),
    (facts({"started": NOW - 10_000, "n_sent": 10_000}, queue=BUSY), [
        "2 chunks wait for their turn.", LAST, "At 1,000/s the rest (40,000) takes 40 s."]),
    (facts({"started": NOW - 30_000}, runs=(
        RunFact(0, "running", NOW + 12_000, "w1", True, None), RunFact(1, "fed", NOW + 9_000, "", True, None))),
     ["1 chunk in flight now with 1 worker, leased until 20:00:12 and renewed every 5 s; the batch started 19:59:30.",
      "1 chunk is given out and not begun yet.", LAST]),
    (facts(runs=(RunFact(0, "running", NOW + 4_000, "w9", False, NOW - 11_000),)),
     ["1 chunk in the hands of a worker that is silent since 19:59:49; taken back at 20:00:04.", LAST]),
    (facts(runs=(RunFact(0, "running", NOW - 4_000, "w9", False, None),)),
     ["1 chunk in the hands of a worker that is silent for 15 s or more; taken back by the next worker's tick.",
      LAST]),
    (facts(relays=(relay(told=REFUSED), relay("eu")), queue=BUSY), [
        "The relay main has stopped by itself: 535 5.7.8 bad credentials; it looks again at 20:05:00; eu is open. "
        f"{CHECK_LOGIN}",
        "2 chunks wait for their turn.", LAST]),
    (facts({"closed_until": NOW + 60_000, "closed_why": "relay main does not take the sender a: 550"}, queue=BUSY), [
        "Relay main does not take the sender a: 550; those rows are tried again by 20:01:00.",
        "2 chunks wait for their turn.", LAST]),
    (facts({"rate_until": NOW + 5_000}), [
        "The rate of its relay is used up; its next share is at 20:00:05.", LAST,
        "50,000 mails wait for that limit."]),
    (facts({"wait_until": NOW + 5_000, "wait_why": "rate", "relay": "main", "started": NOW - 1_000_000,
            "n_sent": 20_000}), [
        "The rate of main is used up; its next share is at 20:00:05.", LAST,
        "30,000 mails wait for that limit. At 20/s the rest (30,000) takes 25 min."]),
    (facts({"expires": NOW - 1, "n_deferred": 14}, groups=(group(),)), [
        WAIT_14, "Its last chance was 19:59:59: what has not gone expires now."]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "sentences"), ON_ITS_WAY)
def test_a_batch_on_its_way(found: BatchFacts, sentences: list[str]) -> None:
    assert str(of_batch(found)).splitlines() == sentences


def test_what_will_not_arrive_is_told_while_the_rest_waits() -> None:
    why = of_batch(facts({"n_deferred": 14, "n_failed": 2, "n_expired": 1}, groups=(group(),)))
    assert str(why).splitlines() == [
        WAIT_14, "3 messages will not arrive: failed, expired or suppressed for good.", LAST,
    ]  # fmt: skip
    assert (why.waiting_for, why.do) == ((WAIT_14,), ("mailspool show b1 --unsent",))


def test_many_kinds_of_replies_stay_short() -> None:
    groups = tuple(group(3, reply=f"45{n} no {n}") for n in range(10))
    lines = str(of_batch(facts({"n_deferred": 30}, groups=groups))).splitlines()
    assert len(lines) == 10
    assert lines[8] == "6 messages more for 2 other kinds of reply."


DONE: list[tuple[dict[str, object], str, tuple[str, ...]]] = [
    ({"state": "done", "n_sent": 50_000, "finished": NOW - HOUR},
     "Nothing waits: it is done since 19:00: 50,000 sent of 50,000.", ()),
    ({"state": "done", "n_sent": 49_991, "n_failed": 9},
     "Nothing waits: it is done: 49,991 sent, 9 failed of 50,000.", ("mailspool show b1 --unsent",)),
    ({"state": "closed", "verdict": "cancelled", "n_cancelled": 50_000},
     "Nothing waits: it is cancelled: 0 sent, 50,000 cancelled of 50,000.", ()),
    ({"state": "closed", "verdict": "expired", "n_expired": 7, "total": 7},
     "Nothing waits: it is done: 0 sent, 7 expired of 7.", ("mailspool show b1 --unsent",)),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "sentence", "do"), DONE)
def test_a_batch_at_rest(batch: dict[str, object], sentence: str, do: tuple[str, ...]) -> None:
    why = of_batch(facts(batch, NONE, workers=(), queue=BUSY))
    assert (str(why), why.waiting_for, why.next_try, why.do) == (sentence, (), None, do)


def test_what_is_done_may_wait_for_a_decision() -> None:
    why = of_batch(facts({"state": "done", "n_sent": 49_999, "n_uncertain": 1}))
    assert why.waiting_for == ("1 message is uncertain: the final reply was lost. You decide: retry, or resolve.",)
    assert why.do == ("mailspool show b1 --state uncertain",)


NEXT: list[tuple[BatchFacts, int | None]] = [
    (facts(), None),
    (facts({"n_deferred": 14}, {"next_due_ms": NOW + HOUR}, groups=(group(),)), NOW + HOUR),
    # its chunk looks again before, for others of it; where not all was counted, that is all that is known
    (facts({"n_deferred": 14}, {"next_due_ms": NOW + 60_000}, groups=(group(),)), NOW + HOUR),
    (facts({"n_deferred": 14}, {"next_due_ms": NOW + 60_000}, groups=(group(),), looked=1, odd=2), NOW + 60_000),
    (facts({"n_deferred": 14}, {"next_due_ms": NOW + 60_000}), NOW + 60_000),  # no chunk was looked at
    (facts({"n_deferred": 1}, groups=(group(1, NOW - 1),)), None),
    (facts({"send_at": NOW + HOUR}), NOW + HOUR),
    (facts(relays=(relay(told=REFUSED),)), NOW + 300_000),
    (facts(relays=(relay(told=REFUSED), relay("eu"))), None),  # the other carries it
    (facts({"rate_until": NOW + 5_000}), NOW + 5_000),
    (facts(relays=(relay(told=BROKEN), relay("eu", BY_HAND))), NOW + 60_000),
    (facts({"state": "held", "n_deferred": 14}, {"next_due_ms": NOW + HOUR}, groups=(group(),)), None),
    (facts({"n_deferred": 14}, {"next_due_ms": NOW + HOUR, "pauses": (("spool", NOW),)}, groups=(group(),)), None),
    (facts({"n_deferred": 14}, {**NONE, "next_due_ms": NOW + HOUR}, workers=(), groups=(group(),)), None),
    (facts(relays=(relay(told=BY_HAND),)), None),
]


@pytest.mark.parametrize(("found", "at_ms"), NEXT)
def test_the_next_try(found: BatchFacts, at_ms: int | None) -> None:
    assert of_batch(found).next_try == utc(at_ms)


def test_the_json() -> None:
    found = of_batch(facts({"n_deferred": 14}, {"next_due_ms": NOW + HOUR}, groups=(group(),))).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["kind", "about", "waiting_for", "next_try", "causes"]
    assert (found["waiting_for"], found["next_try"]) == ([WAIT_14], "2026-11-23T21:00:00Z")
    causes = found["causes"]
    assert isinstance(causes, list)
    assert causes[0] == {"code": "reply", "words": WAIT_14, "mails": 14, "until": "2026-11-23T21:00:00Z", "do": None}
    assert [cause["code"] for cause in causes] == ["reply", "expiry"]


# -- a message


def message(state: str = "", batch: BatchFacts | None = None, verdict: str | None = None, **more: Any) -> Why:
    stored = None
    if state:
        replies = {"s": "250 2.0.0 Ok", "f": "550 5.1.1 no such user", "d": "450 4.2.0 greylisted"}
        at_ms = NOW + HOUR if state == "d" else NOW - HOUR
        outcome = Outcome(state, at_ms, 2, 0, "main", replies.get(state, ""), "", NOW - 2 * HOUR, NOW - HOUR, 812)
        stored = encode_outcome(outcome)
    status = message_status("b1", 17, "ali@x.test", stored, verdict=verdict, message_id="<b1.17@x.test>")
    return of_message(MessageFacts(status, batch or facts(), **more))


def unanswered(state: str) -> Why:
    """Its last final reply was lost; sent or failed it is by `resolve`."""
    at_ms = NOW + HOUR if state == "d" else NOW - HOUR
    stored = encode_outcome(Outcome(state, at_ms, 2, 0, "main", "", "lost_reply", NOW - 2 * HOUR, NOW - HOUR, 812))
    status = message_status("b1", 17, "ali@x.test", stored, verdict=None, message_id="<b1.17@x.test>")
    return of_message(MessageFacts(status, facts()))


def test_a_try_that_cost_none() -> None:
    stored = encode_outcome(Outcome("d", NOW + HOUR, 0, 0, "main", "550 5.1.8 bad sender", "sender", NOW, NOW))
    status = message_status("b1", 17, "ali@x.test", stored, verdict=None, message_id="<b1.17@x.test>")
    first = of_message(MessageFacts(status, facts())).causes[0].words
    assert first == "A try that does not count at 20:00:00 was answered 550 5.1.8 bad sender by main; next try 21:00."


MESSAGES: list[tuple[Why, list[str], int | None]] = [
    (message("s"), ["Nothing waits: it was sent 19:00 by main: 250 2.0.0 Ok."], None),
    (message("f"), ["It failed 19:00 by main after 2 tries: 550 5.1.1 no such user."], None),
    (message("u"), ["It is uncertain since 19:00: the final reply of main was lost. You decide."], None),
    (unanswered("s"), ["Nothing waits. A person has decided that it was sent: its final reply was lost 19:00."], None),
    (unanswered("f"), ["Nothing waits. A person has decided that it failed: its final reply was lost 19:00."], None),
    (unanswered("d"), ["Try 2 at 19:00 got no final reply from main (lost reply); next try 21:00.", LAST], NOW + HOUR),
    (message(verdict="cancelled"), ["Nothing waits: it is cancelled."], None),
    (message(verdict="expired"), ["Nothing waits: it is expired."], None),
    (message("d"), ["Try 2 at 19:00 was answered 450 4.2.0 greylisted by main; next try 21:00.", LAST], NOW + HOUR),
    (message("d", due_ms=NOW + HOUR + 60_000),  # gathered with the others of its chunk
     ["Try 2 at 19:00 was answered 450 4.2.0 greylisted by main; next try 21:01.", LAST], NOW + HOUR + 60_000),
    (message("d", facts({"state": "held"})),
     ["Try 2 at 19:00 was answered 450 4.2.0 greylisted by main; next try 21:00.", "50,000 mails are held by you.",
      LAST], None),
    (message(due_ms=NOW - 1, ahead=0), ["It is next in its batch.", LAST], None),
    (message(due_ms=NOW - 1, ahead=7, batch=facts(queue=replace(BUSY, ahead=2))),
     ["It waits for its turn behind 7 chunks of its batch and 2 batches.", LAST], None),
    (message(due_ms=NOW + 9_000), ["Its chunk is looked at again at 20:00:09.", LAST], NOW + 9_000),
    (message(run=RunFact(0, "running", NOW + 9_000, "w1", True, None)),
     ["Its chunk is with worker w1, leased until 20:00:09.", LAST], None),
    (message(run=RunFact(0, "fed", NOW + 9_000, "", True, None)),
     ["Its chunk is given out, and not begun yet.", LAST], None),
    (message(run=RunFact(0, "running", NOW + 9_000, "w1", False, NOW - 6_000)),
     ["1 chunk in the hands of a worker that is silent since 19:59:54; taken back at 20:00:09.", LAST], NOW + 9_000),
    (message(batch=facts(seen=NONE, workers=()), due_ms=NOW - 1),
     ["No worker is running, so nothing leaves.", LAST], None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "sentences", "at_ms"), MESSAGES)
def test_a_message(why: Why, sentences: list[str], at_ms: int | None) -> None:
    assert (why.kind, why.about) == ("message", "b1-17")
    assert str(why).splitlines() == sentences
    assert why.next_try == utc(at_ms)


@pytest.mark.parametrize(
    ("state", "do"),
    [("f", "mailspool retry b1 --state failed --to ali@x.test"),
     ("u", "mailspool resolve b1 --as sent --to ali@x.test"),
     ("s", None)],
)  # fmt: skip
def test_what_to_do_about_a_message(state: str, do: str | None) -> None:
    assert message(state).do == ((do,) if do else ())


# -- small words


@pytest.mark.parametrize(
    ("reply", "reason", "kind"),
    [
        ("450 4.2.0 greylisted for 300 s", "greylisted", "450 4.2.0 greylisted"),
        ("450 try later", "", "450 try later"),
        ("", "lost_reply", "lost reply"),
        ("connection reset", "connect", "connect"),
        ("", "", "no reply"),
        ("4.2.0 odd", "", "4.2.0 odd"),
    ],
)
def test_kinds_of_replies(reply: str, reason: str, kind: str) -> None:
    assert reply_kind(reply, reason) == kind


def test_groups_keep_a_reply_that_all_were_told_and_the_first_time() -> None:
    groups = Groups()
    for at_ms, wait in ((NOW + 90_000, 300), (NOW + 60_000, 300)):
        groups.add("b1", Outcome("d", at_ms, 1, 0, "main", f"450 4.2.0 wait {wait} s", "greylisted"), None)
    groups.add("b1", Outcome("s", NOW, 1), None)
    (one,) = groups.found()
    assert (one.mails, one.next_ms, one.reply) == (2, NOW + 60_000, "450 4.2.0 wait 300 s")
    groups.add("b1", Outcome("d", NOW, 1, 0, "main", "450 4.2.0 wait 299 s", "greylisted"), NOW + 70_000)
    (one,) = groups.found()
    assert (one.mails, one.next_ms, one.reply) == (3, NOW + 60_000, "450 4.2.0 greylisted")


def test_times_and_spans() -> None:
    times = [moment(NOW + ms, NOW) for ms in (30_000, HOUR, DAY)]
    assert times == ["20:00:30", "21:00", "Tue 24 Nov 20:00"]
    assert [span(s) for s in (0.2, 24, 600, 9_000)] == ["1 s", "24 s", "10 min", "2.5 h"]
