"""Producers: they reserve, load, sign, commit, die, fall silent and come back as zombies; two may hold one key.

A producer is a small state machine: `advance` makes its next call and says whether it goes on. Called by storm.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mailspool.contract.codec import encode_spec
from mailspool.contract.moves import Arg, Loaded
from mailspool.contract.records import Spec
from mailspool.contract.states import CLASSES, Class
from tests.storm import ops
from tests.storm.case import class_of, must
from tests.storm.records import row_of
from tests.storm.world import World

CHUNK = 4
"""Rows a chunk: small, so that a few rows make several chunks."""
KEYS = ("A", "B")
UNIVERSE = 14
"""Identities that lists of one key draw from, so that they overlap."""
SPECS = {
    "D": encode_spec(Spec(v=1, kind="literal", from_="Acme <a@acme.example>", subject="D", text="a secret")),
    "E": encode_spec(Spec(v=1, kind="template", from_="Acme <a@acme.example>", subject="E", text="for {{ n }}")),
}
BLOBS = {hashlib.sha256(data).hexdigest(): data for data in (b"leaflet", b"\x00\xff invoice", b"logo")}
SHAS = tuple(BLOBS)
PATIENCE = 12
TEN_MINUTES, AN_HOUR = 600_000, 3_600_000
LIFETIMES = (30_000, 30_000, 120_000, TEN_MINUTES, TEN_MINUTES, AN_HOUR)


def fields_of(world: World, c: Class, digest: str, **given: Arg) -> Mapping[str, Arg]:
    """A batch's fields, all of them, as a client sends them."""
    plain: dict[str, Arg] = {"class": c, "digest": digest, "send_at": 0, "lifetime": TEN_MINUTES, "expires": 0}
    plain |= {"hold": "0", "claim": "1" if world.claiming else "0", "relay": "", "v": "1"}
    return {**plain, "keep": 40_000, "keep_bad": 90_000, **given}


def random_fields(world: World, digest: str) -> Mapping[str, Arg]:
    """Any class, start, lifetime or absolute deadline, hold, pin, record version."""
    lifetime = AN_HOUR if world.sulky else world.pick(LIFETIMES)
    absolute = world.chance(0.2)
    return fields_of(
        world,
        world.pick(("transactional", "bulk", "bulk")),
        digest,
        send_at=world.now + world.pick((1000, 20_000)) if world.chance(0.3) else 0,
        lifetime=0 if absolute else lifetime,
        expires=world.now + lifetime if absolute else 0,
        hold=world.pick("00001"),
        relay=world.pick(("", "", "", "", "alt", "alt", "al")),
        v=world.pick("1112"),
    )


@dataclass
class Producer:
    """One call of send_batch."""

    op: ops.Begin
    rows: list[str]
    shas: tuple[str, ...]
    b: str = ""
    k: int = 0
    loaded: int = 0
    attached: int = 0
    tries: int = 0
    last: ops.Load | None = None
    step: Callable[[World, Producer], bool] | None = None
    committed: Loaded | None = None

    @property
    def key(self) -> str:
        return self.op.key

    @property
    def u(self) -> str:
        return self.op.u

    @property
    def loads(self) -> bool:
        return self.step is loads


def new_producer(world: World, key: str | None = None) -> Producer:
    key = world.pick((*KEYS, "", "")) if key is None else key
    n = world.number()
    size = world.pick((0, 1, 5, 9, UNIVERSE))
    rows = [f"{key or f'n{n}-'}{i:02d}" for i in world.dice.sample(range(UNIVERSE), size)]
    digest = world.pick("DDDDDE")
    count = {"D": 1, "E": 2}[digest] if key else world.pick((0, 0, 1, 3))
    op = ops.Begin(f"b{n}", f"u{n}", key, SPECS[digest], random_fields(world, digest))
    return Producer(op, rows, SHAS[:count])


def advance(world: World, producer: Producer) -> bool:
    """The next call. False: this producer is through, or gave up."""
    return (producer.step or begins)(world, producer)


def begins(world: World, producer: Producer) -> bool:
    answer = world.do(producer.op)
    if answer.kind == "LOAD":
        producer.b, producer.k = answer.batch, answer.base
        producer.step = attaches
        return True
    producer.tries += 1
    return answer.kind == "WAIT" and producer.tries < PATIENCE


def attaches(world: World, producer: Producer) -> bool:
    if producer.attached == len(producer.shas):
        producer.step = loads
        return loads(world, producer)
    sha = producer.shas[producer.attached]
    answer = world.do(ops.Attach(producer.b, producer.u, sha))
    if answer == "SEND":
        answer = world.do(ops.Attach(producer.b, producer.u, sha, BLOBS[sha]))
    producer.attached += 1
    return _goes_on(world, producer, answer)


def loads(world: World, producer: Producer) -> bool:
    if world.chance(0.02):
        return _goes_on(world, producer, "TAKEN" if world.do(ops.Abandon(producer.b, producer.u)) == "OK" else "")
    if world.chance(0.1):
        return _goes_on(world, producer, world.do(ops.SignOfLife(producer.b, producer.u)).kind)
    if world.chance(0.03):
        world.do(producer.op)
    if producer.last and world.chance(0.06):
        return _goes_on(world, producer, world.do(producer.last).kind)
    if producer.loaded == len(producer.rows):
        return commits(world, producer)
    if world.chance(0.02):
        world.do(ops.Close(producer.b, "cancelled"))
    part = producer.rows[producer.loaded : producer.loaded + CHUNK]
    ids = tuple(identity.encode() for identity in part) if producer.key else None
    op = ops.Load(producer.b, producer.u, producer.k, tuple(map(row_of, part)), ids)
    answer = world.do(op)
    if answer.kind == "OK":
        producer.last = op
        producer.loaded += len(part)
        producer.k += 1
    return _goes_on(world, producer, answer.kind)


def commits(world: World, producer: Producer) -> bool:
    total = len(producer.rows)
    if world.chance(0.06):
        short = world.do(ops.Commit(producer.b, producer.u, total + 1, producer.shas))
        must(short.kind != "OK", "committed an incomplete upload", producer)
    if world.chance(0.06):
        world.do(ops.Commit(producer.b, producer.u, total, (*producer.shas, "0" * 64)))
    if world.chance(0.04):
        world.do(ops.Close(producer.b, "cancelled"))
    answer = world.do(ops.Commit(producer.b, producer.u, total, producer.shas), again=0.4)
    producer.step = is_over
    if answer.kind != "OK":
        return _goes_on(world, producer, answer.kind)
    producer.committed = answer
    if world.chance(0.7):
        world.feed(class_of(world.db.batch(producer.b)))
    return world.chance(0.3)


def is_over(world: World, producer: Producer) -> bool:
    """Its connection hands the last calls over once more, much later."""
    purged = producer.op.b in world.records.batches and producer.op.b not in world.db.batches
    if world.chance(0.3) and not purged:
        world.do(producer.op)
        return False
    answer = world.do(ops.Commit(producer.b, producer.u, len(producer.rows), producer.shas))
    there = world.db.batch(producer.b).get("state", "purging") != "purging"
    if producer.committed and there:
        must(answer == producer.committed, "committed again, and another answer", answer, producer)
    else:
        must(answer.kind != "OK", "a zombie committed", answer, producer)
    return False


def _goes_on(world: World, producer: Producer, answer: str) -> bool:
    """Refused: some begin anew under another upload, some do not notice for a while, most stop."""
    if answer not in {"TAKEN", "CLOSED", "EXPIRED"}:
        return True
    if answer == "TAKEN" and world.chance(0.5):
        n = world.number()
        producer.op = replace(producer.op, b=f"b{n}", u=f"u{n}")
        producer.loaded = producer.attached = producer.tries = 0
        producer.last, producer.step, producer.committed = None, None, None
        return True
    return world.chance(0.3)


def takes_over(world: World, silent: Producer) -> Producer | None:
    """A second caller with the key of one that fell silent; the first goes on as a zombie."""
    for _ in range(world.pick((0, 5))):
        if silent.loads and silent.loaded < len(silent.rows):
            advance(world, silent)
    n = world.number()
    rows = [f"{silent.key}{i:02d}" for i in world.dice.sample(range(UNIVERSE), world.pick((1, 5, 9)))]
    op = ops.Begin(f"b{n}", f"u{n}", silent.key, SPECS["D"], random_fields(world, "D"))
    second = Producer(op, rows, SHAS[:1], tries=-9)
    world.now += world.pick((0, 5000, 14_999, 15_000, 16_000, 16_000))
    return second if advance(world, second) else None


def sends_one(world: World) -> None:
    """A single mail, or a chunk of copies with their own attachments, in one call."""
    n = world.number()
    key = world.pick(("", world.pick(KEYS), f"s{n}"))
    b = f"b{n}"
    rows = [f"{key or b}{i:02d}" for i in range(world.pick((1, 1, 3)))]
    late = world.chance(0.1)
    fields = fields_of(
        world,
        world.pick(CLASSES),
        "D",
        send_at=world.pick((0, 0, 0, world.now + 4000)),
        lifetime=0 if late else TEN_MINUTES,
        expires=world.now if late else 0,
        hold=world.pick("0001"),
    )
    blobs = {sha: BLOBS[sha] for sha in SHAS[: world.pick((0, 0, 1, 2))]}
    pairs = tuple((identity.encode(), row_of(identity)) for identity in rows)
    answer = world.do(ops.SendOne(b, f"u{n}", key, SPECS["D"], blobs, pairs, fields), again=0.5)
    for job in answer.ids:
        if world.chance(0.8):
            world.enqueue(class_of(fields_text(fields)), job)


def fields_text(fields: Mapping[str, Arg]) -> Mapping[str, str]:
    return {name: str(value) for name, value in fields.items()}
