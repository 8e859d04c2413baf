"""Turns at the helpers are shared out fairly."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from jobworkerp_standalone.workflow.expressions.turns import Turns, turns_of
from tests.support.patience import PATIENCE_SEC

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_who_waits_with_much_keeps_nobody_waiting() -> None:
    turns, had = Turns(1), list[str]()

    async def ask(who: str, number: int) -> None:
        with turns_of(who):
            async with turns.turn():
                had.append(f"{who}{number}")
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for who, count in (("a", 5), ("b", 2), ("c", 1)):
            for number in range(count):
                tasks.start_soon(ask, who, number)
    assert had == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]


async def test_who_gave_up_much_is_not_passed_over() -> None:
    """Of what one has waited with, most was cancelled: what is left has its turn before the second one of another."""
    turns, had = Turns(1), list[str]()

    async def ask(who: str, number: int) -> None:
        with turns_of(who):
            async with turns.turn():
                had.append(f"{who}{number}")

    async with anyio.create_task_group() as tasks, turns.turn(), anyio.create_task_group() as cancelled:
        for number in range(5):
            cancelled.start_soon(ask, "a", number)
        await anyio.wait_all_tasks_blocked()
        for who, number in (("a", 5), ("b", 0), ("b", 1)):
            tasks.start_soon(ask, who, number)
        await anyio.wait_all_tasks_blocked()
        cancelled.cancel_scope.cancel()
    assert had == ["a5", "b0", "b1"]


async def test_so_many_at_once_have_a_turn() -> None:
    turns, now, most = Turns(3), 0, 0

    async def ask() -> None:
        nonlocal now, most
        async with turns.turn():
            now += 1
            most = max(most, now)
            await anyio.lowlevel.checkpoint()
            now -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
    assert most == 3


@pytest.mark.parametrize("as_it_comes", [False, True], ids=["while it waits", "as it comes"])
async def test_a_turn_that_is_given_up_is_somebody_elses(as_it_comes: bool) -> None:
    turns, over = Turns(1), asyncio.Event()

    async def hold() -> None:
        async with turns.turn():
            await over.wait()
        if as_it_comes:
            waiter.cancel()

    async def wait() -> None:
        async with turns.turn():
            raise AssertionError("it was cancelled before")

    holder = asyncio.create_task(hold())
    await anyio.lowlevel.checkpoint()
    waiter = asyncio.create_task(wait())
    await anyio.lowlevel.checkpoint()
    if not as_it_comes:
        waiter.cancel()
    over.set()
    with anyio.fail_after(PATIENCE_SEC):
        await asyncio.wait([holder, waiter])
        assert waiter.cancelled()
        async with turns.turn():
            pass
