"""An open database: one connection that writes, a few that read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import aiosqlite
import anyio
from anyio.abc import TaskGroup
from sqlalchemy import Connection, Engine

from jobworkerp_standalone.backends.sql.migrate import bring_up_to_date
from jobworkerp_standalone.backends.sql.sqlite import (
    OPERATION,
    READERS,
    open_for_writing,
    reading_engine,
    translate,
)
from jobworkerp_standalone.backends.sql.writer import Writer
from jobworkerp_standalone.backends.sql.writes import Step

T = TypeVar("T")
_ROWS_AT_ONCE: Final = 64
"""Of aiosqlite's iteration, which nothing here uses."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a SQLite database.

    Args:
        path: of the file.
        synchronous: FULL, NORMAL or OFF, for durable writes.
        busy_timeout_ms: how long to wait for another program's lock.
    """

    path: str
    synchronous: str = "FULL"
    busy_timeout_ms: int = 5000


class Database:
    """What the stores work with. Driver errors end here: only ours leave it.

    Args:
        access: names the database in messages.
        writer: all writes.
        readers: connections for reads.
        tasks: where reads run to their end, also when whoever asked went away: breaking one off costs its connection.
    """

    def __init__(self, access: Access, writer: Writer, readers: Engine, tasks: TaskGroup) -> None:
        self.access = access
        self._writer = writer
        self._readers = readers
        self._reading = anyio.CapacityLimiter(READERS)
        self._tasks = tasks

    async def write(self, *steps: Step, durable: bool = True) -> None:
        """Do all steps or none, in the next commit. Raises as ``Writer.write``."""
        await self._writer.write(*steps, durable=durable)

    async def transact(self, operation: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run a function that reads and writes in one transaction that excludes other writers, in another thread."""
        return await self._writer.transact(operation, durable=durable)

    async def read(self, operation: Callable[[Connection], T]) -> T:
        """Run a function that only reads. It sees everything whose write was acknowledged before."""
        if self._writer.closed:
            return await self._writer.transact(operation)
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.start_soon(self._read, operation, outcome)
        try:
            return await outcome
        except Exception as error:
            raise translate(error, self.access.path) from error

    async def _read(self, operation: Callable[[Connection], T], outcome: asyncio.Future[T]) -> None:
        def read() -> T:
            with self._readers.connect() as connection:
                return operation(connection)

        with anyio.CancelScope(shield=True):
            try:
                found = await anyio.to_thread.run_sync(read, limiter=self._reading)
            except Exception as error:
                if not outcome.done():
                    outcome.set_exception(error)
            else:
                if not outcome.done():
                    outcome.set_result(found)


@asynccontextmanager
async def open_database(access: Access) -> AsyncGenerator[Database, None]:
    """Open, bring the schema up to date, hand out; at the end write what is queued and close.

    Raises:
        StorageError: it cannot be opened or used, in one sentence.
    """
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        driver = await _connect(access)
        stack.push_async_callback(_shielded, driver.close)
        readers = reading_engine(access.path, access.busy_timeout_ms)
        stack.push_async_callback(_shielded, lambda: anyio.to_thread.run_sync(readers.dispose))
        writer = Writer(driver, partial(translate, path=access.path))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.serve)
            try:
                yield Database(access, writer, readers, tasks)
            except Exception as error:
                failure = error  # raised outside of the group, which would wrap it
            finally:
                writer.close()
    if failure is not None:
        raise failure


async def _connect(access: Access) -> aiosqlite.Connection:
    """Open the connection that writes. Its thread begins when that has succeeded: nobody would wait for its end."""
    try:
        opened = await anyio.to_thread.run_sync(
            open_for_writing, access.path, access.synchronous, access.busy_timeout_ms
        )
        driver = aiosqlite.Connection(lambda: opened, _ROWS_AT_ONCE)
        with anyio.CancelScope(shield=True):
            await driver
        try:
            await driver.execute_fetchall(OPERATION, (partial(bring_up_to_date, where=f"database {access.path}"), True))
        except BaseException:
            await _shielded(driver.close)
            raise
    except Exception as error:
        raise translate(error, access.path) from error
    return driver


async def _shielded(close: Callable[[], Awaitable[None]]) -> None:
    """Close something also while this task is being cancelled: its thread must not outlive it."""
    with anyio.CancelScope(shield=True):
        await close()
