"""What waits in a route, in fair order: transactional first, then batch after batch, each batch in its own order. Pure.

Within a batch the order of its chunks is kept, so that a group of outcomes touches one or two of them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from mailspool.contract.states import CLASSES, Class
from mailspool_worker.runs import Item, Place, Run


class Lanes:
    """A lane a batch; `pull` takes from each in turn."""

    def __init__(self) -> None:
        self._by_class: dict[Class, OrderedDict[str, deque[Item]]] = {name: OrderedDict() for name in CLASSES}
        self._size = 0

    def __len__(self) -> int:
        """Items that wait; those that were withdrawn meanwhile are counted until their turn comes, or `forget`."""
        return self._size

    @property
    def batches(self) -> int:
        return sum(len(lanes) for lanes in self._by_class.values())

    def waiting_of(self, class_: Class, batch: str) -> int:
        return len(self._by_class[class_].get(batch, ()))

    def put(self, items: Iterable[Item]) -> None:
        for item in items:
            lanes = self._by_class[item.run.class_]
            lane = lanes.get(item.run.batch)
            if lane is None:
                lane = lanes[item.run.batch] = deque()
            lane.append(item)
            self._size += 1

    def put_first(self, item: Item) -> None:
        """Back to the head: it was pulled, and nothing happened to it."""
        lanes = self._by_class[item.run.class_]
        lanes.setdefault(item.run.batch, deque()).appendleft(item)
        lanes.move_to_end(item.run.batch, last=False)
        self._size += 1

    def pull(self) -> Item | None:
        for lanes in self._by_class.values():
            while lanes:
                batch, lane = next(iter(lanes.items()))
                item = lane.popleft()
                self._size -= 1
                if lane:
                    lanes.move_to_end(batch)
                else:
                    del lanes[batch]
                if item.place is Place.QUEUED:
                    return item
        return None

    def forget(self, run: Run) -> None:
        """Lets go of what was withdrawn from this run: a slow route may not come to it for long."""
        lanes = self._by_class[run.class_]
        lane = lanes.get(run.batch)
        if lane is None:
            return
        kept = deque(item for item in lane if item.run is not run or item.place is Place.QUEUED)
        self._size -= len(lane) - len(kept)
        if kept:
            lanes[run.batch] = kept
        else:
            del lanes[run.batch]

    def take_all(self) -> list[Item]:
        """Empties everything (the route closes)."""
        taken = []
        while (item := self.pull()) is not None:
            taken.append(item)
        return taken
