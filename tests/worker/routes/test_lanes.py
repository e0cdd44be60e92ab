"""Lanes: transactional first, then batches in turn, each in its own order; what was withdrawn is skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailspool.contract.states import Class
from mailspool_worker.routes.lanes import Lanes
from mailspool_worker.runs import Item, Place, Run
from tests.support.worker_parts import TestClock, make_items, make_run


def run_of(batch: str, k: int = 0, class_: Class = "bulk") -> Run:
    return make_run(TestClock(), batch=batch, k=k, class_=class_)


def some(run: Run, count: int) -> list[Item]:
    return make_items(run, [f"u{i}@x.test" for i in range(count)])


def pulled(lanes: Lanes) -> list[tuple[str, int]]:
    found = []
    while (item := lanes.pull()) is not None:
        found.append((item.run.batch, item.index))
    return found


def test_batches_take_turns_and_keep_their_order() -> None:
    lanes = Lanes()
    lanes.put(some(run_of("a"), 3))
    lanes.put(some(run_of("b"), 1))
    assert pulled(lanes) == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]
    assert len(lanes) == 0


def test_one_mail_is_never_behind_a_hundred_thousand() -> None:
    lanes = Lanes()
    lanes.put(some(run_of("big"), 100))
    lanes.put(some(run_of("one", class_="transactional"), 1))
    assert lanes.pull() is not None
    lanes.put(some(run_of("two"), 1))
    assert [batch for batch, _ in pulled(lanes)[:2]] == ["big", "two"]


def test_transactional_goes_first() -> None:
    lanes = Lanes()
    lanes.put(some(run_of("bulk"), 2))
    lanes.put(some(run_of("login", class_="transactional"), 2))
    assert [batch for batch, _ in pulled(lanes)] == ["login", "login", "bulk", "bulk"]


def test_what_comes_back_goes_first() -> None:
    lanes = Lanes()
    items = some(run_of("a"), 2)
    lanes.put(items)
    lanes.put(some(run_of("b"), 1))
    first = lanes.pull()
    assert first is items[0]
    lanes.put_first(first)
    assert pulled(lanes) == [("a", 0), ("b", 0), ("a", 1)]


def test_what_was_withdrawn_is_skipped() -> None:
    lanes = Lanes()
    run = run_of("a")
    items = some(run, 3)
    lanes.put(items)
    run.finished(items[0])
    run.withdraw()
    assert lanes.pull() is None
    assert len(lanes) == 0


def test_forget_lets_go_of_what_was_withdrawn_from_one_run() -> None:
    lanes = Lanes()
    gone, stays = run_of("a", 0), run_of("a", 1)
    lanes.put(some(gone, 5))
    lanes.put(some(stays, 2))
    gone.withdraw()
    lanes.forget(gone)
    assert (len(lanes), lanes.waiting_of("bulk", "a"), lanes.batches) == (2, 2, 1)
    stays.withdraw()
    lanes.forget(stays)
    assert (len(lanes), lanes.batches) == (0, 0)
    lanes.forget(stays)


def test_take_all_empties_everything() -> None:
    lanes = Lanes()
    lanes.put(some(run_of("a"), 2))
    lanes.put(some(run_of("b", class_="transactional"), 1))
    assert len(lanes.take_all()) == 3
    assert (len(lanes), lanes.batches) == (0, 0)


@given(
    ops=st.lists(
        st.tuples(
            st.sampled_from(("put", "first", "pull", "withdraw", "forget")), st.integers(0, 2), st.integers(1, 4)
        ),
        max_size=50,
    )
)
def test_each_item_is_pulled_at_most_once_and_the_size_is_right(ops: list[tuple[str, int, int]]) -> None:
    lanes = Lanes()
    runs = [run_of("a", 0), run_of("a", 1), run_of("b", 2)]
    inside: list[Item] = []
    last: Item | None = None
    for what, number, count in ops:
        run = runs[number]
        if what == "put":
            fresh = some(run, count)
            lanes.put(fresh)
            inside += fresh
        elif what == "first" and last is not None:
            lanes.put_first(last)
            inside.append(last)
            last = None
        elif what == "withdraw":
            run.withdraw()
        elif what == "forget":
            lanes.forget(run)
        elif what == "pull":
            last = lanes.pull()
            if last is None:
                assert not [item for item in inside if item.place is Place.QUEUED]
            else:
                inside.remove(last)
        queued = [item for item in inside if item.place is Place.QUEUED]
        assert len(lanes) >= len(queued)
    assert sorted(map(id, lanes.take_all())) == sorted(id(item) for item in inside if item.place is Place.QUEUED)
    assert len(lanes) == 0
