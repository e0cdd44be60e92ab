"""What the tests of a Link share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from mailspool.redis_server.link import Link, RedisSettings
from mailspool.redis_server.safety import Asked

KEEPS = ("--appendonly", "yes", "--bind", "127.0.0.1")


@dataclass(frozen=True)
class Settings:
    data_dir: Path
    redis_url: str | None = None
    redis_password: SecretStr | None = None
    embedded_server: str = "auto"
    durability: Asked = "auto"
    redis_reserve: float = 0.1


@asynccontextmanager
async def opened(settings: RedisSettings) -> AsyncIterator[Link]:
    one = Link(settings)
    await one.open()
    try:
        yield one
    finally:
        await one.close()
