"""The budget of rendered mail: nobody pulls near the limit, whoever was sent away is called, one mail always fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailspool_worker.memory import RenderedMemory


class Waiting:
    """Counts how often there was room again."""

    def __init__(self, memory: RenderedMemory) -> None:
        self.called = 0
        memory.on_room = self._call

    def _call(self) -> None:
        self.called += 1


def test_room_ends_before_the_limit_and_comes_back() -> None:
    memory = RenderedMemory(largest_bytes=25, limit_bytes=64)
    waiting = Waiting(memory)
    memory.took(39)
    assert memory.has_room()
    memory.took(1)
    assert not memory.has_room()
    memory.gave(0)
    assert waiting.called == 0
    memory.gave(1)
    assert waiting.called == 1
    memory.gave(39)
    assert waiting.called == 1, "nobody waits any more"


def test_a_mail_larger_than_the_limit_goes_alone() -> None:
    memory = RenderedMemory(largest_bytes=100, limit_bytes=64)
    assert memory.has_room()
    memory.took(100)
    assert not memory.has_room()


@given(st.lists(st.integers(1, 25), max_size=60))
def test_the_limit_holds_when_everybody_asks_first(sizes: list[int]) -> None:
    memory, held = RenderedMemory(largest_bytes=25, limit_bytes=64), list[int]()
    for size in sizes:
        while not memory.has_room():
            memory.gave(held.pop())
        memory.took(size)
        held.append(size)
        assert memory.used == sum(held) <= 64
