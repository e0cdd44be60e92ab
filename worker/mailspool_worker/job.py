"""`deliver`: one fed chunk's way through the worker, as a list of hops.

Called by arq (arq_side.py), once for every feed of a chunk; it always returns. Everything that lasts is in Redis: a
run that dies anywhere in here is found by the sweep when its lease ends.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from mailspool.contract.codec import DecodeError, decode_outcome, decode_rows
from mailspool.contract.moves import Leased, Moves, run_token
from mailspool.contract.states import CHUNK_SIZE, DEFERRED, SUSPECT_RUNS
from mailspool_worker.clock import RedisClock
from mailspool_worker.contents import Contents
from mailspool_worker.events import Events
from mailspool_worker.feeder import Feeder
from mailspool_worker.routes.choice import Blocked, Routes
from mailspool_worker.runs import Item, Run

BUDGET_S = 30.0
"""How long a run may hold a job slot; what is on the wire then goes on without it."""


class Parts(NamedTuple):
    """What deliver works with; made by app.py."""

    moves: Moves
    contents: Contents
    routes: Routes
    clock: RedisClock
    events: Events
    feeder: Feeder
    worker: str


class Delivery:
    """The job function and the runs of this process."""

    def __init__(self, parts: Parts) -> None:
        self.runs: set[Run] = set()
        self._moves, self._contents, self._routes = parts[:3]
        self._clock, self._events, self._feeder, self._worker = parts[3:]
        self._detached: set[asyncio.Task[None]] = set()
        self._one_suspect = asyncio.Lock()
        self._stopping = False

    # -- the list of hops

    async def deliver(self, batch: str, k: int, gen: int) -> None:
        """Lease, choose, hand out to routes, wait, settle."""
        if self._stopping:
            return  # the chunk stays fed; the sweep gives it to somebody else
        token = f"{self._worker}.{secrets.token_hex(4)}"
        asked_at_s = self._clock.boot_s()
        leased = await self._moves.lease(batch, k, gen, token, self._routes.names)
        if not isinstance(leased, Leased):
            return
        try:
            run, items = await self._open_run(batch, k, run_token(gen, token), leased)
        except DecodeError as error:
            self._events.chunk_unreadable(batch, k, str(error))
            await self._moves.settle(batch, k, run_token(gen, token), 60_000, "closed", "chunk")
            return
        run.renewed(asked_at_s)
        self.runs.add(run)
        try:
            if leased.lost_runs >= SUSPECT_RUNS:
                self._events.chunk_suspect(batch, k, leased.lost_runs)
                async with self._one_suspect:  # two at once would share the blame for a crash
                    blocked = await self._work(run, items)
            else:
                blocked = await self._work(run, items)
            if run.pending:
                await self._detach(run, blocked)
            else:
                await self._settle(run, blocked)
        except asyncio.CancelledError:
            # arq's Worker died, or the job's time is over. Left as it is, its lease would be renewed for ever.
            run.take_state("stopping")
            self._go_on_apart(run, None)
            raise
        except Exception:
            run.take_state("stopping")
            self.runs.discard(run)  # no renewal: the sweep counts a lost run
            raise

    # -- the hops

    async def _open_run(self, batch: str, k: int, token: str, leased: Leased) -> tuple[Run, list[Item]]:
        """The run, and its items without an outcome or due by Redis' clock."""
        self._clock.observe(leased.now_ms)
        fields = leased.batch
        content = await self._contents.of(batch, fields)
        holds_doubts = fields.get("claim") == "1"
        run = Run(
            batch,
            k,
            token,
            "bulk" if fields["class"] == "bulk" else "transactional",
            content,
            first_number=k * CHUNK_SIZE + 1,
            claiming=holds_doubts or leased.lost_runs >= SUSPECT_RUNS,
            holds_doubts=holds_doubts,
            expires_ms=int(fields["expires"]),
            boot_s=self._clock.boot_s,
        )
        run.relay = fields.get("relay", "")
        run.expires_boot_s = self._clock.to_boot_s(run.expires_ms)
        run.take_state(leased.state)
        items = []
        for index, row in enumerate(decode_rows(leased.rows)):
            stored = leased.outcomes.get(index)
            previous = decode_outcome(stored) if stored is not None else None
            if previous is None or (previous.state == DEFERRED and previous.at_ms <= leased.now_ms):
                items.append(Item(run, index, row, previous))
        self._events.chunk_leased(batch, k, len(items))
        return run, items

    async def _work(self, run: Run, items: Sequence[Item]) -> Blocked | None:
        """Hands items to routes until all are through, the budget is over, or no route takes more. Why it ended."""
        ends_s = self._clock.boot_s() + BUDGET_S
        todo, blocked = list(items), None
        while todo and not run.stop:
            left_s = ends_s - self._clock.boot_s()
            todo, blocked, handed = self._routes.hand_out(run, todo, left_s)
            if not handed:
                break
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await run.quiet()
            except TimeoutError:
                run.withdraw()
                break
            todo += run.take_given_back()
        if run.stop and run.pending:
            await self._until_quiet(run, ends_s)
        return blocked

    async def _until_quiet(self, run: Run, ends_s: float) -> None:
        """A run that may start nothing more waits for what is on the wire, within its budget."""
        try:
            async with asyncio.timeout(max(0.0, ends_s - self._clock.boot_s())):
                await run.quiet()
        except TimeoutError:
            return

    async def _detach(self, run: Run, blocked: Blocked | None) -> None:
        """What is on the wire goes on without the job slot; the process keeps the lease and settles later."""
        run.detached = True
        await self._moves.detach(*run.ref)
        self._go_on_apart(run, blocked)

    def _go_on_apart(self, run: Run, blocked: Blocked | None) -> None:
        task = asyncio.create_task(self._finish_detached(run, blocked), name=f"detached {run.batch}:{run.k}")
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)

    async def _finish_detached(self, run: Run, blocked: Blocked | None) -> None:
        await run.quiet()
        await self._settle(run, blocked)

    async def _settle(self, run: Run, blocked: Blocked | None) -> None:
        if run.stop == "LOST":
            self._events.run_lost(run.batch, run.k)
        elif blocked is None or run.stop:
            answer = await self._moves.settle(*run.ref)
            self._events.chunk_settled(run.batch, run.k, answer)
        else:
            answer = await self._moves.settle(*run.ref, blocked.later_ms, blocked.why, blocked.scope)
            self._events.chunk_settled(run.batch, run.k, f"{answer} {blocked.why}")
        self.runs.discard(run)
        if not self._stopping:
            self._feeder.wish(run.class_)

    # -- the process

    async def renew(self) -> None:
        """All leases of this process; called every 5 s, and after an outage before anything else."""
        runs = tuple(self.runs)
        if not runs:
            return
        asked_at_s = self._clock.boot_s()
        states = await self._moves.renew([run.ref for run in runs])
        for run, state in zip(runs, states, strict=True):
            if state != "LOST":
                run.renewed(asked_at_s)
            run.take_state(state)
            if state == "LOST" and not run.pending:
                self.runs.discard(run)

    def stop_starting(self) -> None:
        self._stopping = True
        for run in self.runs:
            run.take_state("stopping")

    async def finished(self) -> None:
        """Until no run of this process has anything on the wire."""
        while self.runs:
            await asyncio.gather(*(run.quiet() for run in tuple(self.runs)))
            await asyncio.gather(*tuple(self._detached))
            await asyncio.sleep(0)
            if all(not run.pending for run in self.runs) and not self._detached:
                return

    async def close(self) -> None:
        for task in tuple(self._detached):
            task.cancel()
        await asyncio.gather(*self._detached, return_exceptions=True)
