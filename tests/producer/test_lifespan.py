"""`Spool.lifespan`: opened with an application, closed with it, and ready before its first request."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mailspool import Message, Settings, Spool

HELLO = Message(from_="Shop <shop@x.test>", to="ali@x.test", subject="Hello", text="Salaam!\n")


def test_lifespan_loads_what_the_first_request_would_wait_for(settings: Settings) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from mailspool import Settings, Spool

async def main():
    async with Spool(Settings(data_dir=Path({str(settings.data_dir)!r}))).lifespan(None):
        print("jinja2" in sys.modules, "arq" in sys.modules)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


async def test_lifespan_opens_and_closes_again_and_again(settings: Settings) -> None:
    spool = Spool(settings)
    for _ in range(2):
        async with spool.lifespan(object()) as state:
            assert state is None  # Starlette takes anything else for the app's state
            assert (await spool.send(HELLO)).added == 1
        with pytest.raises(RuntimeError, match=r"closed"):
            await spool.status()
