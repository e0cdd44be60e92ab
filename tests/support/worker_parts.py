"""Parts of a worker for tests without sockets and without Redis: a clock to turn, runs with items, a recorder by hand.

`Desk` stands for the recorder: it keeps what is recorded, and answers when a test says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from mailspool.content.mime import Compiled
from mailspool.contract.codec import decode_outcome
from mailspool.contract.records import Outcome, Row, Spec
from mailspool.contract.states import Class
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.recorder import Listener, Recorder
from mailspool_worker.runs import Item, Means, Run

LONG_MS = 4_000_000_000_000
LINE = "It was a bright cold day in April, and the clocks were striking thirteen all over again.\n"


class TestClock:
    """Seconds since boot, as a test says."""

    __test__ = False

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def spec(text: str = "Hello {{ name }}\n", *, from_: str = "News <news@sender.test>", lines: int = 0) -> Spec:
    return Spec(v=1, kind="template", from_=from_, subject="News", text=text + LINE * lines)


def compiled(given: Spec | None = None) -> Compiled:
    return Compiled(given or spec(), {}, batch="btest", date_ms=1_700_000_000_000)


def rows(addresses: Iterable[str]) -> list[Row]:
    return [Row(address, {"name": address.partition("@")[0]}) for address in addresses]


class Desk:
    """A recorder whose answers a test gives. `notes`: what waits; `written`: all outcomes by index, in order."""

    def __init__(self) -> None:
        self.notes: deque[tuple[Item, bytes, Listener]] = deque()
        self.written: dict[int, list[Outcome | None]] = {}
        self.answers_at_once = False

    def add(self, item: Item, value: bytes, listener: Listener) -> None:
        self.written.setdefault(item.index, []).append(decode_outcome(value) if value else None)
        self.notes.append((item, value, listener))
        if self.answers_at_once:
            self.answer()

    def answer(self, *, accepted: bool = True) -> None:
        """The oldest note is recorded (or refused)."""
        item, _, listener = self.notes.popleft()
        listener.recorded(item, accepted)

    def answer_all(self) -> None:
        while self.notes:
            self.answer()

    def states(self) -> dict[int, str]:
        """The last letter of each message; "" for a claim that was taken back."""
        return {index: kept[-1].state if kept[-1] else "" for index, kept in self.written.items()}

    def outcome(self, index: int) -> Outcome:
        last = self.written[index][-1]
        assert last is not None
        return last

    @property
    def as_recorder(self) -> Recorder:
        """For parts that are typed to have the real one."""
        return cast("Recorder", self)


class _Back:
    def recorded(self, item: Item, accepted: bool) -> None:
        item.claimed = item.claim_asked = False
        item.run.came_back(item)


def means(clock: TestClock, desk: Desk | None = None, memory: RenderedMemory | None = None) -> Means:
    """`take_back` goes to the desk, or is true at once."""

    def take_back(item: Item) -> None:
        if desk is None:
            _Back().recorded(item, accepted=True)
        else:
            desk.add(item, b"", _Back())

    return Means(clock, memory or RenderedMemory(1 << 20), take_back, lambda _run, _state: None)


def make_run(
    clock: TestClock,
    *,
    batch: str = "btest",
    k: int = 0,
    class_: Class = "bulk",
    content: Compiled | None = None,
    holds_doubts: bool = False,
    suspect: bool = False,
    given: Means | None = None,
) -> Run:
    return Run(
        batch,
        k,
        f"1:worker.{k}",
        class_,
        content or compiled(),
        first_number=k * 100 + 1,
        holds_doubts=holds_doubts,
        suspect=suspect,
        expires_ms=LONG_MS,
        means=given or means(clock),
    )


def make_items(
    run: Run, addresses: Sequence[str], previous: Mapping[int, Outcome] | None = None, *, out: bool = True
) -> list[Item]:
    """Items of a run; `out`: counted as handed out, as a route gets them."""
    known = previous or {}
    items = [Item(run, index, row, known.get(index)) for index, row in enumerate(rows(addresses))]
    if out:
        run.hand_out(items)
    return items
