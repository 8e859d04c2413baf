"""The store as a whole."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from jobworkerp_standalone.backends.sql.database import Access, open_database
from jobworkerp_standalone.backends.sql.instance_store import SqlInstanceStore
from jobworkerp_standalone.backends.sql.job_store import SqlJobStore
from jobworkerp_standalone.backends.sql.note_store import SqlNoteStore
from jobworkerp_standalone.backends.sql.owner_lock import OwnerLock
from jobworkerp_standalone.backends.sql.ownership import Owner, StoreParts
from jobworkerp_standalone.backends.sql.result_store import SqlResultStore
from jobworkerp_standalone.backends.sql.runner_store import SqlRunnerStore
from jobworkerp_standalone.backends.sql.worker_store import SqlWorkerStore
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.ports import Clock
from jobworkerp_standalone.settings import Settings

_BUSY_TIMEOUT_MS = 5000


class SqlStore(SqlJobStore, SqlResultStore, SqlWorkerStore, SqlRunnerStore, SqlNoteStore, SqlInstanceStore):
    """``ports.Store`` on one SQL database."""

    @property
    def node(self) -> int:
        """The slot of this process: below 1024, and no other living process on this database has it."""
        return self._owner.slot


@asynccontextmanager
async def open_store(
    settings: Settings, clock: Clock, *, busy_timeout_ms: int = _BUSY_TIMEOUT_MS
) -> AsyncGenerator[SqlStore, None]:
    """Open the store of ``settings``: lock a slot, open the database, bring its schema up to date.

    At the end everything queued is written, the database closed and the slot given back.

    Args:
        settings: path, durability, length of a lease.
        clock: tells what is due and which leases ran out.
        busy_timeout_ms: how long to wait for another program's lock on the database.

    Raises:
        SchemaTooNew: a newer version of this program wrote the database.
        StorageError: it cannot be opened or used; the text says why and what to do.
    """
    async with AsyncExitStack() as stack:
        lock = await anyio.to_thread.run_sync(_lock, settings.sqlite_path)
        stack.callback(lock.release)
        owner = Owner(settings.job_lease_sec * 1000, lock.slot)
        access = Access(lock.database, settings.sqlite_synchronous, busy_timeout_ms)
        database = await stack.enter_async_context(open_database(access))
        yield SqlStore(StoreParts(database, owner, clock))


def _lock(path: str) -> OwnerLock:
    path = os.path.realpath(path)  # one file under two names has one set of locks
    if os.path.isdir(path):
        raise StorageError(f"{path} is a directory; SQLITE_URL needs the path of a file")
    return OwnerLock.acquire(path)
