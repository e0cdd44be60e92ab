"""Senders that a receiver refuses: who sleeps, for how long, who probes, who wakes."""

from __future__ import annotations

import pytest

from mailspool.contract.records import Row
from mailspool_worker.routes import senders as module
from mailspool_worker.routes.senders import Senders
from mailspool_worker.runs import Item, Place
from tests.support.worker_parts import TestClock, compiled, make_run, spec

HOUR_S = 3_600.0


def mail(sender: str = "news@one.test") -> Item:
    run = make_run(TestClock(), content=compiled(spec(from_=f"News <{sender}>")))
    return Item(run, 0, Row("a@x.test", {"name": "Ali"}), None)


def refused(senders: Senders, sender: str = "news@one.test", now_s: float = 0.0, *, whole: bool = False) -> str:
    return senders.refused(sender, now_s, "553 no", sleep_s=HOUR_S, whole_domain=whole)


def test_one_address_sleeps_and_the_others_of_its_domain_do_not() -> None:
    senders = Senders()
    assert refused(senders) == "news@one.test"
    assert senders.sleeps(mail(), 1.0)
    assert not senders.sleeps(mail("bills@one.test"), 1.0)
    assert senders.left_s(mail(), 600.0) == 3_000.0
    assert senders.left_s(mail("bills@one.test"), 600.0) == 0.0
    assert senders.why(mail()) == "news@one.test: 553 no"


def test_a_failed_check_is_about_the_domain() -> None:
    senders = Senders()
    assert refused(senders, whole=True) == "@one.test"
    assert senders.sleeps(mail("bills@one.test"), 1.0)
    assert not senders.sleeps(mail("news@sub.one.test"), 1.0)
    assert senders.why(mail()) == "one.test: 553 no"


def test_return_paths_of_each_row_are_one_domain_in_the_end() -> None:
    senders = Senders()
    names = [refused(senders, f"bounce+{n}@one.test") for n in range(3)]
    assert names == ["bounce+0@one.test", "bounce+1@one.test", "@one.test"]
    assert list(senders.by_name) == ["@one.test"]
    assert senders.sleeps(mail("bounce+9@one.test"), 1.0)


def test_what_was_under_way_lengthens_nothing() -> None:
    senders = Senders()
    refused(senders)
    assert refused(senders, now_s=10.0) == ""
    assert senders.left_s(mail(), 10.0) == HOUR_S - 10.0


def test_one_probes_and_the_others_wait_for_it() -> None:
    senders = Senders()
    refused(senders)
    first, second = mail(), mail()
    assert not senders.admit(first, HOUR_S - 1)
    assert senders.admit(first, HOUR_S)
    assert senders.admit(first, HOUR_S), "it stays the probe"
    assert not senders.admit(second, HOUR_S)
    assert senders.sleeps(second, HOUR_S)
    assert not senders.sleeps(first, HOUR_S)
    assert senders.admit(mail("other@two.test"), HOUR_S)


def test_a_probe_that_was_refused_sleeps_as_long_again() -> None:
    senders = Senders()
    refused(senders)
    assert senders.admit(mail(), HOUR_S)
    assert refused(senders, now_s=HOUR_S) == "news@one.test"
    assert senders.left_s(mail(), HOUR_S) == HOUR_S


def test_a_probe_that_came_to_another_end_makes_room_for_the_next() -> None:
    senders = Senders()
    refused(senders)
    first, second = mail(), mail()
    senders.admit(first, HOUR_S)
    first.place = Place.DONE
    assert senders.admit(second, HOUR_S + 1)


def test_a_probe_that_nobody_heard_of_does_not_keep_its_sender() -> None:
    senders = Senders()
    refused(senders)
    senders.admit(mail(), HOUR_S)
    assert not senders.admit(mail(), HOUR_S + 900)
    assert senders.admit(mail(), HOUR_S + 901)


def test_an_accepted_mail_wakes_its_sender() -> None:
    senders = Senders()
    refused(senders)
    refused(senders, "a@two.test", whole=True)
    assert senders.accepted("b@two.test") == "@two.test"
    assert senders.accepted("b@two.test") == ""
    assert list(senders.by_name) == ["news@one.test"]


def test_a_person_may_say_that_it_is_worth_a_try() -> None:
    senders = Senders()
    refused(senders)
    senders.probe_now(5.0)
    assert senders.admit(mail(), 5.0)
    assert not senders.admit(mail(), 5.0)


def test_another_worker_s_word_counts_as_one_s_own() -> None:
    senders = Senders()
    senders.learn("news@one.test", HOUR_S, "553 elsewhere")
    assert senders.sleeps(mail(), 1.0)
    assert senders.why(mail()) == "news@one.test: 553 elsewhere"
    senders.learn("news@one.test", 10.0, "553 sooner")
    assert senders.left_s(mail(), 0.0) == 10.0
    senders.forget("news@one.test")
    senders.forget("unknown@one.test")
    assert not senders.by_name


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    senders = Senders()
    for n in range(5):
        refused(senders, f"a@d{n}.test")
    assert list(senders.by_name) == ["a@d2.test", "a@d3.test", "a@d4.test"]


def test_the_empty_sender_is_one_too() -> None:
    senders = Senders()
    assert refused(senders, "") == ""
    assert senders.by_name == {}
