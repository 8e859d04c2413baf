"""Steps that are done to their end although whoever waits for them is cancelled, and steps that belong together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def to_the_end(step: Coroutine[Any, Any, T]) -> T:
    """Do a step to its end; a cancellation that comes meanwhile is raised after it.

    Both ways to cancel are held back: anyio's scopes and asyncio's tasks.
    """
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # the cancellation comes first
        raise cancelled
    return task.result()


async def together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, None]) -> T:
    """Do both at once and return what the first returns. If one fails, the other is cancelled and waited for.

    Raises:
        Exception: the failure itself, not in a group.
    """
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await to_the_end(_over(tasks))
    for task in tasks:
        if not task.cancelled():
            task.result()
    return tasks[0].result()


async def _over(tasks: Iterable[asyncio.Future[Any]]) -> None:
    await asyncio.wait(tasks)
