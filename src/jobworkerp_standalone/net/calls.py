"""A call of grpclib that leaves the task it ran in as it was.

grpclib wakes whoever waits for a connection that is gone by cancelling the task, and raises an error in place of that
cancellation. The request to cancel stays counted on the task: a time limit or a cancelled scope around the call would
then take its own cancellation for one of somebody else, and let it through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Any, Self, TypeVar

from grpclib.client import Stream
from grpclib.utils import DeadlineWrapper, Wrapper

Sent = TypeVar("Sent")
Received = TypeVar("Received")


class Waits(Wrapper):
    """Where a call waits; whoever was woken there has its cancellation taken back."""

    def __init__(self) -> None:
        super().__init__()
        self._woken: Counter[asyncio.Task[Any]] = Counter()

    def cancel(self, error: Exception) -> None:
        """Wake all that wait; ``error`` is raised in them."""
        self._woken.update(self._tasks)
        super().cancel(error)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None, "it was entered in one"
        for _ in range(self._woken.pop(task, 0)):
            task.uncancel()
        super().__exit__(exc_type, exc_val, exc_tb)


class _WaitsUntil(Waits, DeadlineWrapper):
    """The same, with a deadline."""


class TidyStream(Stream[Sent, Received]):
    """One call."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._deadline is None:
            self._wrapper = Waits()
        else:
            assert self._wrapper_ctx is not None, "it was just begun"
            self._wrapper_ctx.__exit__(None, None, None)
            self._wrapper = _WaitsUntil()
            self._wrapper_ctx = self._wrapper.start(self._deadline)
            self._wrapper_ctx.__enter__()
        return self
