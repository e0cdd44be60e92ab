"""`deliver`: one fed chunk's way through the worker, as a list of hops.

Called by arq (arq_side.py), once for every feed of a chunk; it returns, or is cancelled, but never leaves a run behind:
`_finish` settles what it could not. Everything that lasts is in Redis: a run that dies anywhere in here is found by the
sweep when its lease ends.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import NamedTuple

from redis.exceptions import ResponseError

from mailspool.contract.codec import DecodeError, decode_outcome, decode_rows, encode_outcome
from mailspool.contract.moves import Leased, Moves, run_token
from mailspool.contract.states import CHUNK_SIZE, DEFERRED, RENEW_EVERY_S, SUSPECT_RUNS
from mailspool.redis_server.tasks import end
from mailspool_worker.attempts import Attempt, claim
from mailspool_worker.bounces import Bounces
from mailspool_worker.clock import RedisClock
from mailspool_worker.contents import Contents
from mailspool_worker.events import Events
from mailspool_worker.feeder import Feeder
from mailspool_worker.memory import RenderedMemory
from mailspool_worker.recorder import Recorder
from mailspool_worker.routes.choice import Blocked, Routes
from mailspool_worker.runs import Item, Means, Place, Run

BUDGET_S = 30.0
"""How long a run may hold a job slot; what is on the wire then goes on without it."""
_UNREADABLE = Blocked(60_000, "closed", "chunk")
_AFTER_THE_OTHER = Blocked(2_000, "rate", "chunk")
"""A suspect chunk while another one is in work here: two at once would share the blame for a crash."""


class Parts(NamedTuple):
    """What deliver works with; made by app.py."""

    moves: Moves
    contents: Contents
    routes: Routes
    recorder: Recorder
    memory: RenderedMemory
    clock: RedisClock
    events: Events
    feeder: Feeder
    worker: str
    bounces: Bounces


class Delivery:
    """The job function and the runs of this process."""

    def __init__(self, parts: Parts) -> None:
        self.runs: set[Run] = set()
        self._moves, self._contents, self._routes, self._recorder = parts[:4]
        self._clock, self._events, self._feeder, self._worker, self._bounces = parts[5:]
        self._means = Means(self._clock.boot_s, parts.memory, self._take_back, self._spread)
        self._finishing: set[asyncio.Task[None]] = set()
        self._stopping = False

    # -- the list of hops

    async def deliver(self, batch: str, k: int, gen: int) -> None:
        """Lease, choose, leave out suppressed addresses, hand out to routes, wait, settle."""
        token = f"{self._worker}.{secrets.token_hex(4)}"
        ref = (batch, k, run_token(gen, token))
        asked_at_s = self._clock.boot_s()
        run = None
        try:
            leased = await self._moves.lease(batch, k, gen, token, self._routes.names)
            if not isinstance(leased, Leased):
                if leased.why == "broken":
                    self._events.set_aside(batch, leased.words)
                return
            if self._stopping:
                await self._moves.settle(*ref)  # given back; left fed it would wait for the sweep, 10 s
                return
            run, items = await self._open_run(ref, leased)
            self.runs.add(run)
            run.renewed(asked_at_s)
            if self._clock.boot_s() - asked_at_s > RENEW_EVERY_S:
                await self.renew()  # Redis or the attachments took long: does the lease still hold?
            blocked = await self._work(run, await self._bounces.sift(run, items))
            if run.pending:
                await self._moves.detach(*ref)
                self._finish_later(run, blocked)
                self._feeder.wish(run.class_)  # its place in the window is free
            else:
                await self._settle(run, blocked)
        except DecodeError as error:
            self._events.chunk_unreadable(batch, k, str(error))
            await self._put_off(ref, _UNREADABLE)
        except BaseException:
            # arq's time limit, its worker's death, our own stop, or a bug: what is on the wire comes to its end, and
            # the chunk is given back. Without this its lease would be renewed for ever.
            if run is not None:
                run.take_state("stopping")
                self._finish_later(run, None)
            else:
                self._later(self._settle_unopened(ref), f"give back {batch}:{k}")
            raise

    # -- the hops

    async def _open_run(self, ref: tuple[str, int, str], leased: Leased) -> tuple[Run, list[Item]]:
        """The run, and its items without an outcome or due by Redis' clock."""
        batch, k, token = ref
        self._clock.observe(leased.now_ms)
        fields = leased.batch
        content = await self._contents.of(batch, fields)
        run = Run(
            batch,
            k,
            token,
            "bulk" if fields.get("class") == "bulk" else "transactional",
            content,
            first_number=k * CHUNK_SIZE + 1,
            holds_doubts=fields.get("claim") == "1",
            suspect=leased.lost_runs >= SUSPECT_RUNS,
            expires_ms=_deadline(fields),
            means=self._means,
        )
        run.relay = fields.get("relay", "")
        run.expires_boot_s = self._clock.to_boot_s(run.expires_ms)
        run.take_state("stopping" if self._stopping else leased.state)
        items = []
        for index, row in enumerate(decode_rows(leased.rows)):
            stored = leased.outcomes.get(index)
            previous = decode_outcome(stored) if stored is not None else None
            if previous is None or (previous.state == DEFERRED and previous.at_ms <= leased.now_ms):
                items.append(Item(run, index, row, previous))
        self._events.chunk_leased(batch, k, len(items))
        if run.suspect:
            # Who was there at a crash goes last: it keeps nobody waiting, and is not met by the next one as well.
            items.sort(key=lambda item: item.previous.doubts if item.previous else 0)
            self._events.chunk_suspect(batch, k, leased.lost_runs)
        return run, items

    async def _work(self, run: Run, items: Sequence[Item]) -> Blocked | None:
        """Hands items to routes until all are through, the budget is over, or no route takes more. Why it ended."""
        if run.suspect and any(other.suspect for other in self.runs if other is not run):
            return _AFTER_THE_OTHER
        ends_s = self._clock.boot_s() + BUDGET_S
        todo, blocked, handed = list(items), None, False
        while todo and run.may_start_body():
            left_s = ends_s - self._clock.boot_s()
            share = todo[:1] if run.suspect else todo
            placed, stay, blocked = self._routes.assign(run, share, left_s)
            if not placed:
                break
            handed = True
            for route, taken in placed:
                run.hand_out(taken)
                if not run.suspect or await self._claim(taken[0]):
                    route.put(taken)
            if not await self._quiet(run, ends_s):
                run.withdraw()
                break
            todo = run.take_given_back() + stay + todo[len(share) :]
            blocked = None
            await asyncio.sleep(0)  # whatever gives items back at once must not keep the loop to itself
        if run.stop and run.pending:
            await self._quiet(run, ends_s)
        if run.withdrawn:
            self._routes.forget(run)
        if run.stop or blocked is None:
            return None
        return blocked._replace(scope="chunk") if handed else blocked

    async def _quiet(self, run: Run, ends_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, ends_s - self._clock.boot_s())):
                await run.quiet()
        except TimeoutError:
            return False
        return True

    async def _settle(self, run: Run, blocked: Blocked | None) -> None:
        if run.stop == "LOST":
            self._events.run_lost(run.batch, run.k)
        elif blocked is None:
            self._events.chunk_settled(run.batch, run.k, await self._moves.settle(*run.ref))
        else:
            answer = await self._put_off(run.ref, blocked)
            self._events.chunk_settled(run.batch, run.k, f"{answer} {blocked.why}")
        self.runs.discard(run)
        if not self._stopping:
            self._feeder.wish(run.class_)

    async def _put_off(self, ref: tuple[str, int, str], why: Blocked) -> str:
        return await self._moves.settle(*ref, why.later_ms, why.why, why.scope, why.words)

    # -- what goes on without a job slot

    def _finish_later(self, run: Run, blocked: Blocked | None) -> None:
        self._later(self._finish(run, blocked), f"finish {run.batch}:{run.k}")

    def _later(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, run: Run, blocked: Blocked | None) -> None:
        """What is on the wire goes on; the process keeps the lease, and settles when the last reply is in.

        What was taken back meanwhile need not wait for that: it is handed out again.
        """
        try:
            while run.pending:
                if (back := run.take_given_back()) and run.may_start_body():
                    blocked = await self._work(run, back)
                else:
                    await run.quiet()
            await self._settle(run, blocked)
        except ResponseError as error:
            self._events.set_aside(run.batch, str(error))  # by the sweep, when the lease is over
        except Exception as error:  # noqa: BLE001 - the lease runs out, and the sweep gives the chunk to somebody
            self._events.bug("settle", error)
        finally:
            self.runs.discard(run)

    async def _settle_unopened(self, ref: tuple[str, int, str]) -> None:
        try:
            await self._moves.settle(*ref)  # LOST where the lease was never granted
        except ResponseError as error:
            self._events.set_aside(ref[0], str(error))
        except Exception as error:  # noqa: BLE001 - as above
            self._events.bug("settle", error)

    # -- claims

    async def _claim(self, item: Item) -> bool:
        """For a suspect chunk, before the message is even rendered. False: it has come to its end already."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        item.claim_asked = True
        note = claim(item.previous, Attempt(self._clock.now_ms(), "", 0, ""), suspect=True)
        self._recorder.add(item, encode_outcome(note), _Claim(answer))
        ours = await answer
        item.claim_asked = False
        item.claimed = ours
        if item.run.stop:
            item.run.give_back(item)
        elif not ours:
            item.run.finished(item)  # something final is known of it
        return item.place is Place.QUEUED

    def _take_back(self, item: Item) -> None:
        """Provably not sent: what was known of it before stands again."""
        value = encode_outcome(item.previous) if item.previous is not None else b""
        self._recorder.add(item, value, _TAKEN_BACK)

    # -- the process

    def _spread(self, run: Run, state: str) -> None:
        """So that a hold acts within one mail a session, not one a session and chunk."""
        for other in tuple(self.runs):
            other.learn_from(run, state)

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

    def stop_starting(self) -> None:
        self._stopping = True
        for run in self.runs:
            run.take_state("stopping")

    async def finished(self) -> None:
        """Until no run of this process has anything on the wire, and those without a job slot are settled."""
        while self._finishing or any(run.pending for run in self.runs):
            await asyncio.gather(*(run.quiet() for run in tuple(self.runs)))
            if self._finishing:
                await asyncio.wait(tuple(self._finishing))

    async def close(self) -> None:
        await end(tuple(self._finishing))


def _deadline(fields: Mapping[str, str]) -> int:
    try:
        return int(fields["expires"])
    except (KeyError, ValueError) as error:
        raise DecodeError("its batch has no deadline that can be read") from error


class _Claim:
    """Passes the recorder's answer on to whoever waits for it."""

    def __init__(self, answer: asyncio.Future[bool]) -> None:
        self._answer = answer

    def recorded(self, item: Item, accepted: bool) -> None:
        if not self._answer.done():
            self._answer.set_result(accepted)


class _TakenBack:
    def recorded(self, item: Item, accepted: bool) -> None:
        item.claimed = item.claim_asked = False
        item.run.came_back(item)


_TAKEN_BACK = _TakenBack()
