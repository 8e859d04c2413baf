"""A bounded number of threads that may be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future as Outcome
from contextlib import suppress
from threading import Thread
from typing import Final, TypeVar

import anyio

T = TypeVar("T")
_MOST: Final = 16


class Threads:
    """Runs calls that block in threads of their own.

    Whoever is cancelled leaves at once; the thread counts until its call is over, so that no more than a few can be
    stuck. They do not keep the process from ending.
    """

    def __init__(self) -> None:
        self._free = anyio.Semaphore(_MOST)

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or raise what it raises."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(outcome: Outcome[T]) -> None:
            self._free.release()
            if future.done():
                return
            failure = outcome.exception()
            if failure is None:
                future.set_result(outcome.result())
            else:
                future.set_exception(failure)

        def work() -> None:
            outcome: Outcome[T] = Outcome()
            try:
                outcome.set_result(call())
            except Exception as error:
                outcome.set_exception(error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, outcome)

        Thread(target=work, name="slack", daemon=True).start()
        return await future
