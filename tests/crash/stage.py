"""A disaster's stage: receivers, workers and producers on a ground of their own, and the history that the judge reads.

    async with Stage(folder, size, seed) as stage:
        await stage.begin(...)            # receivers, then workers, then producers
        ... blows; `stage.struck(...)` writes each of them down
        await stage.finish()              # everything drains; the accounts are written

What goes wrong without being a mail's matter (a process that exits, a spool that never drains) is in `faults`.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mailspool import Batch, MailspoolError, NotFound, OnUncertain, Spool, SpoolUnavailable
from tests.crash.judge import lines
from tests.support.blows import freeze_worker, kill_server, kill_worker
from tests.support.embedded import plain_server
from tests.support.ground import Background, Ground, ReceiverProcess, now_ms
from tests.support.mailing import row_of
from tests.support.waiting import until, until_async

FSYNC = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
"""A server of one's own that promises what the embedded one does."""


@dataclass(frozen=True)
class Size:
    """How large one edition of a disaster is. `pace`: mails a second that the receivers take in all."""

    mails: int
    blows: int = 1
    lease_s: float | None = None
    pace: float = 1_000.0
    rows: int = 100
    ahead: int = 20
    away_s: float = 6.0
    drain_s: float = 120.0
    on_uncertain: OnUncertain = "resend"
    gap_limit_s: float | None = None
    """How long nothing may come while mail is queued. The short editions' machine may be busy with something else."""


@dataclass
class Stage:
    folder: Path
    size: Size
    seed: int
    ground: Ground = field(init=False)
    chance: random.Random = field(init=False)
    receivers: list[ReceiverProcess] = field(default_factory=list)
    workers: dict[int, Background] = field(default_factory=dict)
    producers: list[Background] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)
    again_limit_s: float = 30.0
    attempts: int | None = None
    """That each sent mail must have."""
    faults: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    rest: ExitStack = field(default_factory=ExitStack)
    socket: Path | None = None
    lives: int = 0
    fresh: defaultdict[int, bool] = field(default_factory=lambda: defaultdict(bool))
    spool: Spool | None = None
    finished: bool = False
    past: list[ReceiverProcess] = field(default_factory=list)
    """Receivers that were killed."""
    _offered: dict[str, object] = field(default_factory=dict)
    wear: dict[int, Mapping[str, str]] = field(default_factory=dict)
    """What a worker's lives have in their environment, beside settings."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.ground = Ground(self.folder)

    async def __aenter__(self) -> Stage:
        self.ground.__enter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.spool is not None:
            await self.spool.close()
        self.ground.__exit__(*exc)
        self.rest.close()

    # -- who plays

    @contextmanager
    def wearing(self, variables: Mapping[str, str]) -> Iterator[None]:
        """Processes that are started meanwhile have these variables."""
        before = dict(self.ground.inherited)
        self.ground.inherited |= variables
        try:
            yield
        finally:
            self.ground.inherited = before

    def own_server(self, *options: str, env: Mapping[str, str] | None = None) -> Path:
        """A Redis that is not ours to start again; its socket."""
        self.socket = self.rest.enter_context(plain_server(self.folder / "redis", *(options or FSYNC), env=env))
        self.ground.shared["redis_url"] = f"unix://{self.socket}"
        return self.socket

    def receive(self, count: int = 2, **options: object) -> None:
        """A receiver for each worker, so that their sessions can be told apart. Together they keep the pace."""
        sessions = 20 * count
        for number in range(count):
            given = {"dot_delay_s": sessions / self.size.pace, **options}
            self._offered = given
            self.receivers.append(self.ground.receiver(f"receiver{number}", **given))

    async def work(self, number: int, faults: dict[str, object] | None = None, **changes: object) -> Background:
        """Worker `number`, in its first or a further life."""
        self.lives += 1
        given: dict[str, object] = {"lease_s": self.size.lease_s, "breaker_s": 1.0, **(faults or {})}
        changes = {"relay_url": self.receivers[number % len(self.receivers)].url, **changes}
        with self.wearing(self.wear.get(number, {})):
            worker = self.ground.start_worker(f"worker{number}-{self.lives}", given, **changes)
        self.workers[number] = worker
        await until(lambda: "worker_started" in worker.first_words() or not worker.alive, f"{worker.name} works")
        if not worker.alive:
            raise AssertionError(worker.words())
        return worker

    def produce(self, names: Sequence[str] = ("north", "south"), **changes: object) -> None:
        """So many uploads that all mails of this size are asked for; every eighth is given up."""
        size = self.size
        uploads = max(1, size.mails * 8 // 7 // len(names) // size.rows)
        for name in names:
            task: dict[str, object] = {"name": name, "uploads": uploads, "rows": size.rows, "ahead": size.ahead}
            task["on_uncertain"] = size.on_uncertain
            words = json.dumps({**task, **changes})
            self.producers.append(self.ground.module(name, "tests.crash.producer", str(self.folder), words))

    async def begin(self, **task: object) -> None:
        """Two of each. `task`: fields of the producers' Task."""
        self.receive(2)
        for number in range(2):
            await self.work(number)
        self.produce(("north", "south"), **task)

    # -- what is known

    def received(self) -> int:
        return sum(receiver.log.count() for receiver in (*self.past, *self.receivers))

    async def until_received(self, count: int, *, limit_s: float = 300.0) -> None:
        await until(lambda: self.received() >= count, f"{count} mails received", limit_s=limit_s)

    async def going_on(self, mails: int = 30, *, limit_s: float = 60.0) -> None:
        """Until so many more have come."""
        await self.until_received(self.received() + mails, limit_s=limit_s)

    def share(self, number: int) -> int:
        """Mails received when blow `number` (from 0) falls: evenly over the whole mailing."""
        return int(self.size.mails * 0.85 * (number + self.chance.uniform(0.2, 1)) / (self.size.blows + 0.2))

    async def opened(self) -> Spool:
        if self.spool is None:
            self.spool = self.ground.spool()
            await self.spool.open()
        return self.spool

    async def is_sent(self, name: str) -> bool:
        """By the spool; asked again while it is away."""
        key = name.partition("-")[0]
        found: list[bool] = []

        async def answered() -> bool:
            try:
                spool = await self.opened()
                found.append((await (await spool.batch(f"key:{key}")).message(row_of(name))).state == "sent")
            except SpoolUnavailable:
                return False
            return True

        await until_async(answered, "the spool answers")
        return found[0]

    # -- blows

    def struck(
        self,
        what: str,
        at_ms: int,
        receivers: Sequence[str] | None = None,
        doubt: Sequence[str] | None = None,
        *,
        repeats: bool = False,
        fresh: bool = False,
        until_ms: int | None = None,
    ) -> None:
        """Writes a blow down, when it is over. The fields are the judge's."""
        blow = {"what": what, "at_ms": at_ms, "until_ms": until_ms or now_ms(), "receivers": receivers}
        blow |= {"doubt": doubt, "repeats": repeats, "fresh": fresh}
        with (self.folder / "blows.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(blow) + "\n")

    async def kill_worker(self, number: int) -> None:
        """-9 while it sends, and another one at once."""
        receiver = self.receivers[number]
        began = receiver.log.count() if self.fresh[number] else -1
        await until(lambda: receiver.log.count() > began, f"{receiver.name} gets mail")
        blow = await kill_worker(self.workers[number], receiver, self.is_sent)
        names, ended_ms = [receiver.name], blow.ended_ms
        self.struck("worker killed", blow.at_ms, names, blow.holding, repeats=True, fresh=True, until_ms=ended_ms)
        await self.work(number)
        self.fresh[number] = True

    async def stop_worker(self, number: int, moment: float = 0.0) -> float:
        """SIGTERM; it must leave within its `stop_timeout`, with 0. Answers how many seconds that took."""
        worker, limit_s = self.workers[number], self.ground.settings().stop_timeout.total_seconds()
        at_ms, asked_s = now_ms(), time.monotonic()
        worker.send(signal.SIGTERM)
        await until(lambda: not worker.alive, f"{worker.name} leaves", limit_s=limit_s)
        took_s = time.monotonic() - asked_s
        if worker.wait() != 0:
            self.faults.append(f"{worker.name} exited with {worker.wait()}: {worker.words()[-300:]}")
        self.struck("worker stopped", at_ms)
        return took_s

    async def freeze_worker(self, number: int) -> tuple[int, list[str]]:
        """SIGSTOP; when, and what it held."""
        at_ms = now_ms()
        return at_ms, await freeze_worker(self.workers[number], self.receivers[number], self.is_sent)

    async def restart_receiver(self, number: int) -> None:
        """-9; its next life listens on the same port."""
        receiver = self.receivers[number]
        options = {**self._offered, "port": receiver.port}
        at_ms = now_ms()
        receiver.kill()
        self.past.append(receiver)
        name = f"{receiver.name.partition('.')[0]}.{len(self.past)}"
        self.receivers[number] = self.ground.receiver(name, **options)
        self.struck("receiver restarted", at_ms, [receiver.name.partition(".")[0]], repeats=True, fresh=True)

    async def kill_redis(self) -> None:
        """The embedded server, which whoever needs it starts again."""
        at_ms = now_ms()
        await kill_server(self.ground.data_dir)
        self.struck("redis killed", at_ms)

    # -- the end

    async def finish(self) -> None:
        """Producers come to their end, everything acknowledged is done, nobody has exited; the accounts are written.

        A disaster whose ground ends with it (a proxy) calls it itself.
        """
        self.finished = True
        try:
            await until(lambda: not self.loading(), "the producers end", limit_s=self.size.drain_s)
        except AssertionError as error:
            self.faults.append(str(error))
            (self.folder / "stop").touch()
            for producer in self.producers:
                producer.wait()
        for producer in self.producers:
            if producer.wait() != 0:
                self.faults.append(f"{producer.name} exited with {producer.wait()}: {producer.words()[-300:]}")
        self.faults += [
            f"{worker.name} exited: {worker.words()[-300:]}" for worker in self.workers.values() if not worker.alive
        ]
        # A short edition's machine may be busy with something else.
        again_limit_s = self.again_limit_s if self.size.lease_s is None else 30.0
        expect = {"states": sorted(self.ends), "again_limit_s": again_limit_s, "attempts": self.attempts}
        expect["gap_limit_s"] = self.size.gap_limit_s
        (self.folder / "expect.json").write_text(json.dumps(expect))
        (self.folder / "blows.jsonl").touch()
        spool = await self.opened()
        with (self.folder / "accounts.jsonl").open("w", encoding="utf-8") as file:
            ends_s = time.monotonic() + self.size.drain_s
            for key in self.acknowledged():
                try:
                    batch = await spool.batch(f"key:{key}")
                except NotFound:
                    continue  # the judge misses its account
                await self._account(file.write, key, batch, max(1.0, ends_s - time.monotonic()))

    async def _account(self, write: Callable[[str], int], key: str, batch: Batch, limit_s: float) -> None:
        try:
            status = await batch.wait(limit_s)
        except MailspoolError as error:
            self.faults.append(f"{key} is not done within {self.size.drain_s:g} s: {error}")
            status = await batch.status()
        messages = [[message.recipient, message.state, message.attempts] async for message in batch.messages()]
        write(json.dumps({"key": key, "status": status.to_dict(), "messages": messages}) + "\n")

    def loading(self) -> bool:
        return any(producer.alive for producer in self.producers)

    def acknowledged(self) -> list[str]:
        told = (line for path in sorted(self.folder.glob("told-*.jsonl")) for line in lines(path))
        return list(dict.fromkeys(str(line["acknowledged"]) for line in told if "acknowledged" in line))

    def refusals(self) -> list[str]:
        """What producers were told instead, in words."""
        told = (line for path in sorted(self.folder.glob("told-*.jsonl")) for line in lines(path))
        return [f"{line['error']}: {line['words']}" for line in told if "refused" in line]
