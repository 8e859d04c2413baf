"""Calls that are woken because their connection is gone."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from grpclib.exceptions import StreamTerminatedError

from jobworkerp_standalone.net.calls import Waits


async def test_who_was_woken_is_as_it_was() -> None:
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    with anyio.CancelScope() as scope:
        waits = Waits()
        asyncio.get_running_loop().call_soon(waits.cancel, StreamTerminatedError("gone"))
        with pytest.raises(StreamTerminatedError, match="gone"), waits:
            await anyio.sleep_forever()
        assert task.cancelling() == before
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_who_is_cancelled_while_it_is_woken_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        waits = Waits()

        def both() -> None:
            waits.cancel(StreamTerminatedError("gone"))
            scope.cancel()

        asyncio.get_running_loop().call_soon(both)
        with pytest.raises(StreamTerminatedError), waits:
            await anyio.sleep_forever()
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_all_that_wait_are_woken() -> None:
    waits = Waits()
    left: list[int] = []

    async def wait() -> None:
        with pytest.raises(StreamTerminatedError), waits:
            await anyio.sleep_forever()
        task = asyncio.current_task()
        assert task is not None
        left.append(task.cancelling())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        waits.cancel(StreamTerminatedError("gone"))
    assert left == [0, 0]
