"""The one task that writes. It commits whatever is queued, as soon as it is free, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import aiosqlite
import anyio
from sqlalchemy import Connection

from jobworkerp_standalone.backends.sql.sqlite import BATCH, OPERATION
from jobworkerp_standalone.backends.sql.writes import Step, Write
from jobworkerp_standalone.jobs.errors import StorageError

T = TypeVar("T")
_LARGEST_BATCH: Final = 512
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Operation:
    """A function over a connection."""

    function: Callable[[Connection], Any]
    durable: bool


@dataclass(frozen=True, slots=True)
class _Queued:
    """Something to be written, and who waits for it."""

    work: Write | _Operation
    done: asyncio.Future[Any]

    def answer(self, outcome: object) -> None:
        if self.done.done():
            return  # the caller was cancelled; what it asked for is written all the same
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class Writer:
    """Serialises all writes of this process.

    Two kinds come in. A ``Write`` is a few prepared statements; all that are queued go to the driver's thread in
    one call and share one transaction, where each stands or falls alone. An operation is a function over a
    connection that reads before it writes; it runs in that thread too, in a transaction of its own between two batches.

    Args:
        driver: the connection that nobody else uses.
        translate: turns an exception of driver or toolkit into ours.
    """

    def __init__(self, driver: aiosqlite.Connection, translate: Callable[[Exception], Exception]) -> None:
        self._driver = driver
        self._translate = translate
        self._queue: deque[_Queued] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    async def write(self, *steps: Step, durable: bool = True) -> None:
        """Do all steps or none; returns when they are committed.

        Raises:
            Conflict: a unique value or an id is taken.
            RowMissing: a step that had to change one row found none.
            StorageError: the database did not take it.
        """
        await self._submit(Write(steps, durable))

    async def transact(self, function: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run ``function`` in a transaction of its own and commit it. It must not touch what belongs to the loop."""
        return await self._submit(_Operation(function, durable))

    async def serve(self) -> None:
        """Write until closed and nothing is left. A cancellation from outside does not stop it."""
        with anyio.CancelScope(shield=True):
            while self._queue or not self._closing:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                elif isinstance(self._queue[0].work, Write):
                    await self._commit(self._next_batch())
                else:
                    await self._operate(self._queue.popleft())

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken; every call raises then."""
        return self._closing

    def close(self) -> None:
        """Take nothing more; ``serve`` ends once everything queued is written."""
        self._closing = True
        self._wake.set()

    async def _submit(self, work: Write | _Operation) -> Any:
        if self._closing:
            raise StorageError("the store is closed")
        done = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(work, done))
        self._wake.set()
        try:
            return await done
        except Exception as error:
            raise self._translate(error) from error

    def _next_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        while self._queue and len(batch) < _LARGEST_BATCH and isinstance(self._queue[0].work, Write):
            batch.append(self._queue.popleft())
        return batch

    async def _commit(self, batch: list[_Queued]) -> None:
        try:
            outcomes = list(await self._driver.execute_fetchall(BATCH, [queued.work for queued in batch]))
        except Exception as error:
            _log.debug("a batch of %d writes failed", len(batch), exc_info=error)
            outcomes = [error] * len(batch)
        for queued, outcome in zip(batch, outcomes, strict=True):
            queued.answer(outcome)

    async def _operate(self, queued: _Queued) -> None:
        operation = cast("_Operation", queued.work)
        outcome: object
        try:
            (outcome,) = await self._driver.execute_fetchall(OPERATION, (operation.function, operation.durable))
        except Exception as error:
            outcome = error
        queued.answer(outcome)
