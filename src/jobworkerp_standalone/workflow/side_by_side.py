"""Pieces of work that run at the same time, so many at once, until one of them ends the whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def side_by_side(one: Callable[[int], Awaitable[tuple[T, bool]]], count: int, at_once: int) -> list[T | None]:
    """Run ``one(0)`` to ``one(count - 1)``, at most ``at_once`` of them at a time, and return what each returned.

    Where one returns True beside its result, or fails, the others are cancelled and waited for. None stands for those
    that did not end.

    Raises:
        Exception: the first failure.
    """
    results: list[T | None] = [None] * count
    failures: list[Exception] = []
    numbers = iter(range(count))

    async def work(scope: anyio.CancelScope) -> None:
        for number in numbers:
            try:
                results[number], over = await one(number)
            except Exception as error:
                failures.append(error)
                over = True
            if over:
                scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(min(count, at_once)):
            tasks.start_soon(work, tasks.cancel_scope)
    if failures:
        raise failures[0]
    return results
