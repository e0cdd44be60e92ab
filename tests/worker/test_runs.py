"""Runs and items: each that was handed out comes to one end, however the ends meet; leases, states, claims, memory."""

from __future__ import annotations

import asyncio
import gc
import weakref

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.content.mime import Compiled
from mailspool.contract.records import Row
from mailspool.contract.states import LEASE_MARGIN_S, LEASE_MS
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.runs import Item, Place, Run
from tests.support.worker_parts import Desk, TestClock, compiled, make_items, make_run, means, spec

LEASE_S = LEASE_MS / 1000


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


def quiet(run: Run) -> bool:
    """Would `await run.quiet()` return now?"""
    return run._quiet.is_set()


def test_a_run_is_quiet_when_all_that_went_out_has_ended(clock: TestClock) -> None:
    run = make_run(clock)
    first, second = make_items(run, ["a@x.test", "b@x.test"])
    assert not quiet(run)
    run.finished(first)
    assert not quiet(run)
    run.give_back(second)
    assert quiet(run)
    assert [item.index for item in run.take_given_back()] == [1]
    assert run.take_given_back() == []


@pytest.mark.parametrize("ends", [("finished", "finished"), ("give_back", "finished"), ("finished", "give_back")])
def test_the_second_end_of_an_item_changes_nothing(clock: TestClock, ends: tuple[str, str]) -> None:
    run = make_run(clock)
    first, _ = make_items(run, ["a@x.test", "b@x.test"])
    for end in ends:
        getattr(run, end)(first)
    assert run.pending == 1


def test_what_came_back_goes_out_as_a_new_object(clock: TestClock) -> None:
    """A session that still holds the old one must not be able to send it."""
    run = make_run(clock)
    (item,) = make_items(run, ["a@x.test"])
    item.place, item.plain, item.requeued, item.unfit = Place.ENVELOPE, True, 2, frozenset(("main",))
    run.withdraw()
    (again,) = run.take_given_back()
    assert again is not item
    assert (again.plain, again.requeued, again.unfit, again.row) == (True, 2, frozenset(("main",)), item.row)
    assert (again.place, item.place) == (Place.QUEUED, Place.DONE)


@pytest.mark.parametrize(
    ("place", "comes_back"),
    [
        (Place.QUEUED, True),
        (Place.ENVELOPE, True),
        (Place.WIRE, False),
        (Place.DECIDED, False),
        (Place.DONE, False),
    ],
)
def test_withdraw_takes_back_what_is_not_on_the_wire(clock: TestClock, place: Place, comes_back: bool) -> None:
    run = make_run(clock)
    (item,) = make_items(run, ["a@x.test"])
    item.place = place
    run.withdraw()
    assert bool(run.take_given_back()) is comes_back
    assert run.withdrawn is comes_back


@pytest.mark.parametrize("state", ["asked", "claimed"])
def test_a_claimed_item_is_back_only_when_its_claim_is_void(clock: TestClock, state: str) -> None:
    desk = Desk()
    run = make_run(clock, given=means(clock, desk), holds_doubts=True)
    (item,) = make_items(run, ["a@x.test"])
    item.place, item.claim_asked, item.claimed = Place.ENVELOPE, state == "asked", state == "claimed"
    run.withdraw()
    assert not quiet(run), "settle would read the claim as uncertain"
    run.withdraw()
    assert len(desk.notes) == 1
    desk.answer()
    assert quiet(run)
    (again,) = run.take_given_back()
    assert not again.claimed


@pytest.mark.parametrize(
    ("said", "stops"),
    [
        (["live"], ""),
        (["held"], "held"),
        (["held", "live"], ""),
        (["closing", "held"], "held"),
        (["LOST", "live"], "LOST"),
        (["stopping", "live"], "stopping"),
        (["stopping", "held"], "stopping"),
        (["stopping", "LOST"], "LOST"),
        (["LOST", "stopping"], "LOST"),
        (["expired"], "expired"),
    ],
)
def test_a_hold_may_end_but_a_stop_or_a_lost_run_does_not(clock: TestClock, said: list[str], stops: str) -> None:
    run = make_run(clock)
    for state in said:
        run.take_state(state)
    assert run.stop == stops
    assert run.may_start_body() is (stops == "")


def test_what_one_run_hears_of_its_batch_the_others_learn(clock: TestClock) -> None:
    """Those that have nothing under way would hear it with the next renewal, up to 5 s later."""
    runs: list[Run] = []

    def spread(run: Run, state: str) -> None:
        for other in runs:
            other.learn_from(run, state)

    shared = means(clock)._replace(spread=spread)
    runs += [make_run(clock, k=k, given=shared) for k in range(3)]
    runs.append(make_run(clock, batch="other", given=shared))
    runs[0].take_state("held")
    assert [run.stop for run in runs] == ["held", "held", "held", ""]
    runs[1].take_state("live")
    assert [run.stop for run in runs] == ["", "", "", ""]
    runs[2].take_state("LOST")
    assert [run.stop for run in runs] == ["", "", "LOST", ""], "a lost run says nothing about the batch"
    runs[1].take_state("held")
    runs[0].take_state("stopping")
    assert [run.stop for run in runs] == ["stopping", "held", "LOST", ""]


@pytest.mark.parametrize("claimed", [False, True])
def test_a_swapped_item_is_the_same_message_and_counted_once(clock: TestClock, claimed: bool) -> None:
    desk = Desk()
    run = make_run(clock, given=means(clock, desk), suspect=claimed)
    (item,) = make_items(run, ["a@x.test"])
    item.place, item.claimed, item.requeued = Place.ENVELOPE, claimed, 1
    item.render()
    fresh = run.swap(item)
    assert (item.place, item.claimed, item.rendered) == (Place.DONE, False, None)
    assert (fresh.place, fresh.claimed, fresh.requeued) == (Place.QUEUED, claimed, 1)
    assert run.pending == 1
    run.withdraw()
    desk.answer_all()
    assert run.pending == 0
    assert len(run.take_given_back()) == 1


def test_no_body_starts_with_too_little_of_the_lease_left(clock: TestClock) -> None:
    run = make_run(clock)
    asked_at_s = clock.now_s
    clock.now_s = asked_at_s + LEASE_S - LEASE_MARGIN_S - 0.01
    assert run.may_start_body()
    clock.now_s += 0.02
    assert not run.may_start_body()
    run.renewed(asked_at_s + 5)
    assert run.may_start_body()


def test_no_body_starts_after_the_deadline(clock: TestClock) -> None:
    run = make_run(clock)
    run.expires_boot_s = clock.now_s + 1
    assert run.may_start_body()
    clock.now_s += 1
    assert not run.may_start_body()


def test_rendered_bytes_are_counted_until_they_are_dropped(clock: TestClock) -> None:
    memory = RenderedMemory(1 << 20)
    run = make_run(clock, given=means(clock, memory=memory))
    first, second = make_items(run, ["a@x.test", "b@x.test"])
    size = first.render().size
    assert memory.used == size
    assert first.render() is first.render()
    second.render()
    run.finished(first)
    assert memory.used == second.render().size
    run.give_back(second)
    assert memory.used == 0
    second.drop()
    assert memory.used == 0


def test_what_a_batch_shares_is_not_counted(clock: TestClock) -> None:
    memory = RenderedMemory(1 << 20)
    long_text = spec("The same for all.\n", lines=400)
    run = make_run(clock, content=compiled(long_text), given=means(clock, memory=memory))
    (item,) = make_items(run, ["a@x.test"])
    assert item.render().size > 30_000
    assert memory.used < 2_000


def test_the_domain_that_a_relay_is_chosen_by_costs_no_memory(clock: TestClock) -> None:
    memory = RenderedMemory(1 << 20)
    content = compiled(spec(from_="News <news@{{ name }}.test>"))
    run = make_run(clock, content=content, given=means(clock, memory=memory))
    (item,) = make_items(run, ["blue@x.test"])
    assert item.from_domain() == "blue.test"
    assert item.rendered is None
    assert memory.used == 0


def test_the_domain_of_what_cannot_be_rendered_is_empty(clock: TestClock) -> None:
    run = make_run(clock, content=compiled(spec("{{ nothing }}")))
    (item,) = make_items(run, ["blue@x.test"])
    assert item.from_domain() == ""


def test_the_sender_is_from_where_it_varies_and_else_the_return_path(clock: TestClock) -> None:
    def sender(content: Compiled, mail_from: str | None = None) -> tuple[str, bool]:
        row = Row("a@x.test", {"name": "blue"}, mail_from=mail_from)
        item = Item(make_run(clock, content=content), 0, row, None)
        return item.sender(), item.shares_sender

    varies = "News <News@{{ name }}.test>"
    assert sender(compiled(spec())) == ("news@sender.test", True)
    assert sender(compiled(spec()), mail_from="b+1@sender.test") == ("b+1@sender.test", False)
    assert sender(compiled(spec(from_=varies))) == ("news@blue.test", False)
    common = msgspec.structs.replace(spec(from_=varies), return_path="b@sender.test")
    assert sender(compiled(common)) == ("news@blue.test", False)
    assert sender(compiled(spec(from_="News <news@{{ nothing }}.test>"))) == ("", False)


ENDS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(("finished", "give_back", "withdraw", "wire", "decided", "again"))),
    max_size=40,
)


@given(ends=ENDS, claiming=st.booleans())
def test_pending_always_equals_what_has_not_ended(ends: list[tuple[int, str]], claiming: bool) -> None:
    clock, desk = TestClock(), Desk()
    run = make_run(clock, given=means(clock, desk), holds_doubts=claiming)
    items = make_items(run, [f"u{i}@x.test" for i in range(5)])
    seen = list(items)

    def act(item: Item, what: str) -> None:
        if what == "wire" and item.place is Place.QUEUED:
            item.place = Place.WIRE
        elif what == "decided" and item.place is not Place.DONE:
            item.place = Place.DECIDED
        elif what == "withdraw":
            run.withdraw()
        elif what == "again":
            desk.answer_all()
            fresh = run.take_given_back()
            run.hand_out(fresh)
            seen.extend(fresh)
            for one in fresh:
                items[one.index] = one
        elif what in ("finished", "give_back"):
            item.claimed = claiming and what == "give_back"
            getattr(run, what)(item)

    for index, what in ends:
        act(items[index], what)
        open_ones = sum(item.place is not Place.DONE for item in seen)
        assert run.pending == open_ones + len(desk.notes)
        assert quiet(run) is (run.pending == 0)


def test_a_run_that_is_through_is_gone_at_once_with_its_rows(clock: TestClock) -> None:
    """Not when Python next looks for circles: until then thousands of rows would lie in memory."""
    run = make_run(clock)
    seen = weakref.ref(run)
    first, second = make_items(run, ["a@x.test", "b@x.test"])
    run.finished(run.swap(first))
    run.finished(second)
    gc.disable()
    try:
        del run, first, second
        assert seen() is None
    finally:
        gc.enable()


async def test_quiet_wakes_who_waits(clock: TestClock) -> None:
    run = make_run(clock)
    (item,) = make_items(run, ["a@x.test"])
    waiting = asyncio.create_task(run.quiet())
    await asyncio.sleep(0)
    assert not waiting.done()
    run.finished(item)
    async with asyncio.timeout(1):
        await waiting
