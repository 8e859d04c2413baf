"""Work that belongs to the engine although a caller waits for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class OwnedTasks:
    """Runs a step to its end even if its caller hangs up in the middle.

    A gRPC handler is cancelled when its client goes away; a step that writes and then makes the write known must
    not stop between the two.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks

    async def run(self, step: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run ``step`` in the engine's task group and wait for its outcome."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.start_soon(self._run, step, args, outcome)
        return await asyncio.shield(outcome)

    @staticmethod
    async def _run(step: Callable[..., Awaitable[T]], args: tuple[object, ...], outcome: asyncio.Future[T]) -> None:
        try:
            outcome.set_result(await step(*args))
        except Exception as error:
            _fail(outcome, error)
        except asyncio.CancelledError:
            if is_being_cancelled():
                outcome.cancel()
                raise
            _fail(outcome, RuntimeError("something that this step waited for was cancelled"))


def is_being_cancelled() -> bool:
    """Whether the running task itself is to end, and not something that it waited for.

    The engine ends its tasks by their scopes. Requests to cancel that a library left behind on the task are none of it.
    """
    return anyio.current_effective_deadline() == -math.inf


@contextmanager
def tidy_task() -> Iterator[None]:
    """Take back the requests to cancel that are left behind on the running task within.

    Libraries cancel a task to wake it. What they do not take back would make every scope and time limit around let its
    own cancellation through.
    """
    task = asyncio.current_task()
    assert task is not None, "the engine runs in tasks"
    before = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > before and not is_being_cancelled():
            for _ in range(task.cancelling() - before):
                task.uncancel()


def _fail(outcome: asyncio.Future[T], error: Exception) -> None:
    outcome.set_exception(error)
    outcome.exception()  # a caller that hung up does not read it
