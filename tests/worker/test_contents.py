"""Batches ready to be rendered: fetched once, kept for a while, and what cannot be read said as such."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from mailspool.contract.codec import DecodeError, encode_spec
from mailspool.contract.keys import Keys
from mailspool.contract.records import AttachmentRef, Row, Spec
from mailspool.redis_server.link import Link
from mailspool_worker import contents as module
from mailspool_worker import steady
from mailspool_worker.contents import Contents
from mailspool_worker.events import Events
from tests.support.worker_parts import spec

KEYS = Keys("t")
FIELDS: Mapping[str, str] = {"created": "1700000000000", "send_at": "0"}


class Store:
    """Link and Redis: keys, a count of what was fetched, and outages."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.errors: list[Exception] = []
        self.redis = self

    async def get(self, key: str) -> bytes | None:
        self.fetched.append(key)
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return self.kept.get(key)

    async def recover(self, limit_s: float | None) -> None: ...

    def add(self, batch: str, given: Spec | None = None) -> None:
        self.kept[KEYS.spec(batch)] = encode_spec(given or spec())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(steady, "_PAUSE_S", 0.001)
    return Store()


def contents(store: Store) -> Contents:
    return Contents(cast("Link", store), KEYS, Events(None))


async def test_one_fetch_however_many_ask(store: Store) -> None:
    store.add("b1")
    one = contents(store)
    found = await asyncio.gather(*(one.of("b1", FIELDS) for _ in range(5)))
    assert len({id(content) for content in found}) == 1
    assert store.fetched == [KEYS.spec("b1")]
    assert found[0].render(Row("a@x.test", {"name": "Ali"}), 1).mail_from == "news@sender.test"


async def test_attachments_come_with_it(store: Store) -> None:
    ref = AttachmentRef("ab" * 32, "invoice.pdf", "application/pdf", 4)
    store.add("b1", Spec(v=1, kind="literal", from_="a@x.test", subject="S", text="T", attachments=(ref,)))
    store.kept[KEYS.blob(ref.sha)] = b"%PDF"
    mail = (await contents(store).of("b1", FIELDS)).render(Row("a@x.test", {}), 1)
    assert b"JVBERg==" in b"".join(mail.pieces)


@pytest.mark.parametrize("case", ["no spec", "garbage", "no attachment", "no template"])
async def test_what_cannot_be_read_is_a_decode_error(store: Store, case: str) -> None:
    if case == "garbage":
        store.kept[KEYS.spec("b1")] = b"\xc1what"
    elif case == "no attachment":
        ref = AttachmentRef("ab" * 32, "invoice.pdf", "application/pdf", 4)
        store.add("b1", Spec(v=1, kind="literal", from_="a@x.test", attachments=(ref,)))
    elif case == "no template":
        store.add("b1", spec("{% if %}"))
    with pytest.raises(DecodeError, match=r"b1|spec"):
        await contents(store).of("b1", FIELDS)


async def test_an_outage_is_waited_out(store: Store) -> None:
    store.add("b1")
    store.errors = [RedisConnectionError("gone"), RedisConnectionError("gone")]
    await contents(store).of("b1", FIELDS)
    assert len(store.fetched) == 3


async def test_a_failure_is_not_remembered(store: Store) -> None:
    one = contents(store)
    with pytest.raises(DecodeError):
        await one.of("b1", FIELDS)
    store.add("b1")
    await one.of("b1", FIELDS)
    assert one._fetching == {}


async def test_the_ones_used_longest_ago_are_fetched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 2)
    one = contents(store)
    for batch in ("b1", "b2", "b3"):
        store.add(batch)
    for batch in ("b1", "b2", "b1", "b3"):
        await one.of(batch, FIELDS)
    store.fetched.clear()
    await one.of("b1", FIELDS)
    assert store.fetched == []
    await one.of("b2", FIELDS)
    assert store.fetched == [KEYS.spec("b2")]


async def test_a_batch_that_is_larger_than_what_is_kept_is_kept_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 10)
    one = contents(store)
    store.add("b1")
    store.add("b2")
    for batch in ("b1", "b1", "b2"):
        await one.of(batch, FIELDS)
    assert store.fetched == [KEYS.spec("b1"), KEYS.spec("b2")]
    assert list(one._kept) == ["b2"]
