"""Why a relay, a domain, the spool has not sent yet: from facts to sentences. Pure; the clock is part of the facts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mailspool.client.relays import RelayStatus
from mailspool.client.why.facts import (
    DomainFacts,
    HeldSender,
    ReplyGroup,
    SpoolFacts,
)
from mailspool.client.why.others import of_domain, of_relay, of_spool
from mailspool.client.why.report import Why
from mailspool.contract.routenotes import Slowed
from mailspool.contract.talks import Line, Talk, talk_text
from mailspool.settings.relays import CHECK_LOGIN
from mailspool.status import PauseStatus, utc
from tests.producer.client.why_facts import (
    BROKEN,
    BY_HAND,
    HOUR,
    NONE,
    NOW,
    REFUSED,
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


# -- a relay

TALK = talk_text(
    Talk(NOW - HOUR, "main", "", (Line(0, "<", "220 hi"), Line(9, ">", "EHLO x"), Line(40, "<", "554 no")))
)
RELAYS: list[tuple[RelayStatus, list[str]]] = [
    (relay(), ["Nothing keeps mail for main: it is well; 1 worker with 3 open sessions."]),
    (relay(told={"talk": TALK}), ["Nothing keeps mail for main: it is well; 1 worker with 3 open sessions.",
                                  "Its last failed opening, 19:00: 554 no"]),
    (relay(told={"talk": "{}"}), ["Nothing keeps mail for main: it is well; 1 worker with 3 open sessions."]),
    (relay(workers=0), ["No running worker has the relay main, so nothing leaves by it."]),
    (relay(told=REFUSED, workers=0),
     [f"The relay main has stopped by itself: 535 5.7.8 bad credentials; it looks again at 20:05:00. {CHECK_LOGIN}"]),
    (relay(told={"slow": Slowed(NOW - 1, NOW + HOUR, 4, 2.5, "421 less").encode()}),
     ["The relay main goes slower, as it asked for less: 421 less; "
      "it is back to all of its sessions and rate by 21:00."]),
    (relay(told={"slow": Slowed(NOW - 9, NOW - 1, 4, 2.5, "421 less").encode()}),
     ["Nothing keeps mail for main: it is well; 1 worker with 3 open sessions."]),
    (relay(told={**BROKEN, **BY_HAND}), ["The relay main is paused by you since 18:00."]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "sentences"), RELAYS)
def test_a_relay(found: RelayStatus, sentences: list[str]) -> None:
    why = of_relay(found, (), (), NOW)
    assert (why.kind, why.about) == ("relay", "main")
    assert str(why).splitlines() == sentences


def test_a_relay_under_a_paused_spool_and_with_held_senders() -> None:
    pause = PauseStatus("spool", utc(NOW - HOUR))
    why = of_relay(relay(), (HeldSender("main", "shop.test", "550 SPF", NOW + HOUR),), (pause,), NOW)
    assert why.waiting_for == (
        "The spool is paused by you since 19:00.",
        "It takes no mail from shop.test for now: 550 SPF; next try 21:00.",
    )
    assert why.next_try is None


def test_a_relay_and_a_paused_class() -> None:
    """The other class goes on over it."""
    pause = PauseStatus("bulk", utc(NOW - HOUR))
    why = of_relay(relay(), (), (pause,), NOW)
    assert [(cause.code, cause.words, cause.do) for cause in why.causes] == [
        ("partly", "Bulk mail is paused by you since 19:00.", "mailspool resume --class bulk")
    ]
    closed = of_relay(relay(told=REFUSED), (), (pause,), NOW)
    assert closed.next_try == datetime(2026, 11, 23, 20, 5, tzinfo=UTC)


# -- a domain


def domain(*groups: ReplyGroup, **more: Any) -> Why:
    given: dict[str, Any] = {"batches": 2, "of_batches": 2, "looked": 3, "of_chunks": 3, **more}
    return of_domain(DomainFacts(NOW, "y.test", groups, **given))


def test_a_domain() -> None:
    why = domain(group(), group(2, letter="u"), group(1, letter="f", reply="550 5.1.1 no such user", batch="b2"))
    assert str(why).splitlines() == [
        "14 messages of b1 wait after 450 4.2.0 greylisted by main, next try 21:00.",
        "2 messages of b1 are uncertain: the final reply was lost. You decide: retry, or resolve.",
        "1 message of b2 failed for good: 550 5.1.1 no such user by main.",
    ]
    assert why.next_try == utc(NOW + HOUR)
    assert why.do == ("mailspool show b1 --state uncertain", "mailspool show b2 --state failed")


def test_a_domain_says_what_it_did_not_look_at() -> None:
    assert str(domain()) == "No mail to y.test waits for a later try."
    lines = str(domain(looked=200, of_chunks=900, of_batches=60)).splitlines()
    assert lines[-1] == "Looked at 200 of 900 chunks with replies in 2 of 60 live batches."
    queued = domain(untried=306)
    assert str(queued).splitlines()[1:] == ["306 mails were never tried yet; some may go there."]
    assert queued.do == ("mailspool why",)
    alone = of_domain(DomainFacts(NOW, "ann@y.test", (), 2, 2, 3, 3))
    assert alone.do == ("mailspool show last --to ann@y.test",)


def test_a_domain_in_a_batch_that_is_kept_as_a_whole() -> None:
    why = domain(group(), group(2, reply="451 later"), blocked={"b1": "held by you"})
    assert str(why).count("The batch b1 waits as a whole: held by you.") == 1
    assert why.next_try is None
    assert domain(group(), group(2, NOW + 9_000, batch="b2"), blocked={"b2": "held by you"}).next_try == utc(NOW + HOUR)


# -- the spool


def spool(**more: Any) -> Why:
    given: dict[str, Any] = {
        "pauses": (), "workers": 1, "relays": (relay(),), "batches": (), "live": 0, "queued": 0, "deferred": 0,
        "uncertain": 0, **more,
    }  # fmt: skip
    return of_spool(SpoolFacts(NOW, **given))


def live(name: str, batch: Mapping[str, object], seen: Mapping[str, Any] | None = None) -> Any:
    fields = facts({"name": name, **batch}, seen)
    return replace(fields.status, id=f"b-{name}")


@pytest.mark.parametrize(("doubtful", "words", "do"), [
    ((), "2 messages are uncertain: a person must decide.", "mailspool status --all"),
    (("b7",), "2 messages are uncertain (in b7): a person must decide.", "mailspool show b7 --state uncertain"),
    (("b7", "b3", "b1"), "2 messages are uncertain (in b7 and 2 other batches): a person must decide.",
     "mailspool show b7 --state uncertain"),
])  # fmt: skip
def test_where_uncertain_messages_are(doubtful: tuple[str, ...], words: str, do: str) -> None:
    why = spool(uncertain=2, doubtful=doubtful)
    assert words in str(why).splitlines()
    assert why.do == (do,)


def test_an_empty_spool() -> None:
    assert str(spool()) == "Nothing waits: the spool has no mail to send."
    assert str(spool(workers=0, relays=())) == "Nothing waits: the spool has no mail to send."


def test_a_spool_at_work() -> None:
    assert str(spool(queued=19_471)) == "19,471 mails wait for nothing but a turn: workers take chunk after chunk."
    assert str(spool(queued=1, workers=0)) == "No worker is running, so nothing leaves."


def test_what_keeps_everything_stands_first_and_once() -> None:
    batches = (live("a", {}, {**NONE}), live("b", {"state": "held"}), live("c", {"send_at": NOW + HOUR}))
    why = spool(pauses=(PauseStatus("spool", utc(NOW - HOUR)),), workers=0, batches=batches, live=40, queued=9)
    assert str(why).splitlines() == [
        "The spool is paused by you since 19:00.",
        "No worker is running, so nothing leaves.",
        "b-b (b): 50,000 mails held by you.",
        "b-c (c): starts 21:00.",
        "Looked at 3 of 40 live batches: those that expire first.",
    ]
    assert why.do[:3] == ("mailspool resume", "mailspool worker", "mailspool release b-b")
    assert why.next_try is None


def test_the_spool_tells_rates_and_senders_of_single_batches() -> None:
    sender = live("s", {"wait_until": NOW + 9, "wait_why": "closed", "closed_why": "relay main does not take a@b: 550"})
    why = spool(batches=(live("r", {}), sender, live("n", {})), rated=frozenset(("b-r",)), live=3, queued=150_000)
    assert str(why).splitlines() == [
        "b-r (r): 50,000 mails wait for the rate of its relay.",
        "b-s (s): relay main does not take a@b: 550.",
    ]
    closed = (relay(told=REFUSED),)
    kept = live("k", {}, {"routes": {"main": {key: str(value) for key, value in REFUSED.items()}}})
    assert (kept.waiting_for or "").startswith("relay main paused")
    assert len(spool(relays=closed, batches=(kept,), live=1, queued=50_000).causes) == 1


def test_the_spool_tells_batches_of_a_class_that_nobody_serves() -> None:
    why = spool(batches=(live("t", {}, {"live_workers": 0, "all_workers": 1}),), live=1, queued=50_000)
    assert str(why) == "b-t (t): no worker is running for bulk mail."
    assert why.do == ("mailspool worker --class bulk",)
    why = spool(
        batches=tuple(live(name, {}, {"live_workers": 0, "all_workers": 1}) for name in "tuv"),
        live=40,
        queued=50_000,
        unserved={"bulk": 50_000},
    )
    assert str(why).splitlines() == [
        "No worker is running for bulk mail, so none of it leaves.",
        "Looked at 3 of 40 live batches: those that expire first.",
    ]


def test_the_spool_tells_relays_and_later_tries() -> None:
    deferred = live("d", {"n_deferred": 50_000}, {"earliest_due_ms": NOW + HOUR, "next_due_ms": NOW + HOUR})
    why = spool(relays=(relay(told=REFUSED),), batches=(deferred,), live=1, deferred=50_000, uncertain=2)
    assert str(why).splitlines() == [
        f"The relay main has stopped by itself: 535 5.7.8 bad credentials; it looks again at 20:05:00. {CHECK_LOGIN}",
        "b-d (d): 50,000 messages wait for a later try, next 21:00.",
        "2 messages are uncertain: a person must decide.",
    ]
    assert why.next_try == datetime(2026, 11, 23, 20, 5, tzinfo=UTC)
    due = live("d", {"n_deferred": 2}, {"earliest_due_ms": NOW - 1, "next_due_ms": None})
    assert "b-d (d): 2 messages are due for another try." in str(spool(batches=(due,), live=1, deferred=2))
