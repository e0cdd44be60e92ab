"""Batches ready to be rendered: spec and attachments fetched and compiled once a batch, the last few kept.

Raises DecodeError for a spec that is none of ours; waits while Redis is away.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mailspool.content.mime import Compiled
from mailspool.contract.codec import DecodeError, decode_spec
from mailspool.contract.keys import Keys
from mailspool.errors import InputError
from mailspool.redis_server.link import Link
from mailspool_worker.events import Events
from mailspool_worker.steady import AWAY, wait_out

_KEPT = 64
_KEPT_BYTES = 64 * 1024 * 1024
"""Attachments of batches at hand; beyond it the ones that were used longest ago are fetched again when needed."""


class Contents:
    """`of(batch)` -> Compiled, with one fetch at a time per batch."""

    def __init__(self, link: Link, keys: Keys, events: Events) -> None:
        self._link = link
        self._keys = keys
        self._events = events
        self._kept: OrderedDict[str, tuple[Compiled, int]] = OrderedDict()
        self._fetching: dict[str, asyncio.Lock] = {}

    async def of(self, batch: str, fields: Mapping[str, str]) -> Compiled:
        lock = self._fetching.setdefault(batch, asyncio.Lock())
        try:
            async with lock:
                found = self._kept.get(batch)
                if found is None:
                    found = await self._fetch(batch, fields)
                    self._keep(batch, found)
                else:
                    self._kept.move_to_end(batch)
                return found[0]
        finally:
            if not lock.locked():
                self._fetching.pop(batch, None)

    def _keep(self, batch: str, found: tuple[Compiled, int]) -> None:
        self._kept[batch] = found
        while len(self._kept) > 1 and (
            len(self._kept) > _KEPT or sum(size for _, size in self._kept.values()) > _KEPT_BYTES
        ):
            self._kept.popitem(last=False)

    async def _fetch(self, batch: str, fields: Mapping[str, str]) -> tuple[Compiled, int]:
        data = await self._get(self._keys.spec(batch))
        if data is None:
            raise DecodeError(f"batch {batch} has no spec")
        spec = decode_spec(data)
        if spec.erased:  # an older client added rows, and did not bring it again: never an empty mail
            raise DecodeError(f"batch {batch} was erased after it was sent; there is nothing to send to new receivers")
        blobs = {}
        for attachment in spec.attachments:
            content = await self._get(self._keys.blob(attachment.sha))
            if content is None:
                raise DecodeError(f"batch {batch} lacks an attachment ({attachment.sha[:12]})")
            blobs[attachment.sha] = content
        size = len(data) + sum(len(content) for content in blobs.values())
        try:
            date_ms = max(int(fields["created"]), int(fields.get("send_at") or 0))
            # base64 of a large attachment takes 6 ms a MB: not in the loop that the sessions live in.
            compiled = await asyncio.to_thread(Compiled, spec, blobs, batch=batch, date_ms=date_ms)
        except (InputError, KeyError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise DecodeError(f"batch {batch} has a spec that cannot be compiled: {type(error).__name__}") from error
        return compiled, size

    async def _get(self, key: str) -> bytes | None:
        redis: Redis = self._link.redis
        while True:
            try:
                get = cast("Callable[[str], Awaitable[bytes | None]]", redis.get)
                return await get(key)
            except (*AWAY, ResponseError) as error:
                if str(error).startswith("WRONGTYPE"):
                    raise DecodeError("somebody else has written where its content was") from error
                await wait_out(self._link, self._events, error)
