"""Which route a message takes, what nobody takes, and for how long who waits."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mailspool.contract.records import Outcome
from mailspool.contract.states import DEFERRED
from mailspool_worker.routes.choice import Blocked, Routes
from mailspool_worker.routes.plan import Health
from mailspool_worker.routes.route import Route
from mailspool_worker.runs import Item, Run
from tests.support.routing import Yard
from tests.support.worker_parts import compiled, make_items, make_run, spec


class Town:
    """Routes by name, and a run of items that are not handed out."""

    def __init__(self, **relays: dict[str, object]) -> None:
        self.yard = Yard()
        self.by_name: dict[str, Route] = {
            name: self.yard.route(name, changes=fields) for name, fields in relays.items()
        }
        self.routes = Routes(self.by_name, random.Random(7))
        self.run: Run = make_run(self.yard.boot, content=compiled(spec(from_="N <n@{{ name }}.test>")))

    def items(self, *names: str, relay: str = "") -> list[Item]:
        previous = {i: Outcome(DEFERRED, 0, 1, relay=relay) for i in range(len(names))} if relay else {}
        return make_items(self.run, [f"{name}@x.test" for name in names], previous, out=False)

    def close(self, name: str, for_s: float = 90.0) -> None:
        self.by_name[name].health = Health("waiting", self.yard.boot.now_s + for_s, "refused", 1)

    def chosen(self, item: Item) -> str | None:
        route = self.routes.choose(item)
        return route.relay.name if route else None


def test_by_weight_at_the_first_attempt() -> None:
    town = Town(big={"weight": 3.0}, small={"weight": 1.0})
    counted = Counter(town.chosen(item) for item in town.items(*["a"] * 400))
    assert 250 < counted["big"] < 350
    assert counted["small"] == 400 - counted["big"]


def test_retries_stay_where_the_4xx_came_from() -> None:
    town = Town(one={"weight": 1000.0}, two={})
    assert {town.chosen(item) for item in town.items(*["a"] * 20, relay="two")} == {"two"}
    town.close("two")
    assert {town.chosen(item) for item in town.items(*["a"] * 20, relay="two")} == {"one"}


def test_a_backup_is_used_only_while_no_other_is_open() -> None:
    town = Town(main={}, spare={"backup": True})
    (item,) = town.items("a")
    assert town.chosen(item) == "main"
    town.close("main")
    assert town.chosen(item) == "spare"
    town.close("spare")
    assert town.chosen(item) is None


def test_a_batch_pinned_to_a_relay_goes_nowhere_else() -> None:
    town = Town(one={}, two={})
    town.run.relay = "two"
    (item,) = town.items("a")
    assert town.chosen(item) == "two"
    town.close("two")
    assert town.chosen(item) is None


def test_the_senders_domain_decides_where_relays_have_domains() -> None:
    town = Town(blue={"from_domains": ("blue.test",)}, red={"from_domains": ("red.test",)})
    assert [town.chosen(item) for item in town.items("blue", "red", "green")] == ["blue", "red", None]


def test_what_a_relay_cannot_take_goes_to_another_or_nowhere() -> None:
    town = Town(one={}, two={})
    (item,) = town.items("a")
    item.unfit = frozenset(("one",))
    assert town.chosen(item) == "two"
    assert town.routes.has_another(item)
    item.unfit = frozenset(("one", "two"))
    assert not town.routes.has_another(item)
    assert town.by_name["one"].has_another == town.routes.has_another


def test_without_a_rate_everything_is_placed() -> None:
    town = Town(main={})
    items = town.items("a", "b", "c")
    placed, stay, blocked = town.routes.assign(town.run, items, 30.0)
    assert placed == [(town.by_name["main"], items)]
    assert (stay, blocked) == ([], None)
    assert town.run.pending == 0, "assign hands nothing out"


@pytest.mark.parametrize(("for_s", "later_ms"), [(90.0, 90_000), (0.2, 1_000)])
def test_closed_routes_block_the_batch_for_as_long_as_the_first_sleeps(for_s: float, later_ms: int) -> None:
    town = Town(one={}, two={})
    town.close("one", 1_000.0)
    town.close("two", for_s)
    placed, stay, blocked = town.routes.assign(town.run, town.items("a", "b"), 30.0)
    assert (placed, len(stay)) == ([], 2)
    assert blocked == Blocked(later_ms, "closed", "batch")


def test_a_sender_without_a_relay_does_not_hold_up_the_others() -> None:
    """The wait is reckoned by what stays, and only its chunk waits."""
    town = Town(blue={"from_domains": ("blue.test",)}, red={"from_domains": ("red.test",)})
    town.close("red", 45.0)
    placed, stay, blocked = town.routes.assign(town.run, town.items("blue", "red"), 30.0)
    assert [route.relay.name for route, _ in placed] == ["blue"]
    assert [item.index for item in stay] == [1]
    assert blocked == Blocked(45_000, "closed", "chunk")


def test_a_rate_grants_a_share_and_says_when_to_come_again() -> None:
    town = Town(main={"rate_per_s": 0.1})
    placed, stay, blocked = town.routes.assign(town.run, town.items(*"abcdef"), 30.0)
    ((_, taken),) = placed
    assert (len(taken), len(stay)) == (3, 3)
    assert blocked == Blocked(1_000, "rate", "chunk")
    town.run.hand_out(taken)
    town.by_name["main"].lanes.put(taken)
    placed, stay, blocked = town.routes.assign(town.run, town.items(*"abc"), 30.0)
    assert (placed, len(stay)) == ([], 3)
    assert blocked == Blocked(15_000, "rate", "batch")


def test_forget_reaches_every_lane() -> None:
    town = Town(one={}, two={})
    for route in town.routes:
        items = town.items("a", "b")
        town.run.hand_out(items)
        route.lanes.put(items)
    town.run.withdraw()
    town.routes.forget(town.run)
    assert [len(route.lanes) for route in town.routes] == [0, 0]
    assert town.routes.names == ("one", "two")
