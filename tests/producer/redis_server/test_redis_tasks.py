"""Ending tasks: also one that swallows a cancellation, as `asyncio.wait_for` does on Python 3.11."""

from __future__ import annotations

import asyncio

from mailspool.redis_server.tasks import end


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end((task,))
    assert task.cancelled()
    assert swallowed == 3


async def test_a_cancellation_in_the_turn_in_which_a_command_is_done() -> None:
    """How a stopped worker once ticked for ever."""
    done = asyncio.get_running_loop().create_future()

    async def tick() -> None:
        while True:
            await asyncio.wait_for(asyncio.shield(done), 10)
            await asyncio.sleep(0.001)

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)
    done.set_result(None)
    async with asyncio.timeout(5):
        await end((task,))
    assert task.done()


async def test_errors_are_looked_at_and_nothing_is_nothing() -> None:
    async def fails() -> None:
        raise ValueError("seen")

    task = asyncio.create_task(fails())
    await asyncio.wait((task,))
    await end((task,))
    await end(())
