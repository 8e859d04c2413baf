"""Which store the settings mean."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from jobworkerp_standalone.backends.memory.store import MemoryStore
from jobworkerp_standalone.ports import Clock, Store
from jobworkerp_standalone.settings import MEMORY, Settings


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncGenerator[Store, None]:
    """Open the store of ``settings``; at the end everything is written and it is closed.

    Raises:
        SchemaTooNew: a newer version of this program wrote the database.
        StorageError: it cannot be opened or used; the text says why and what to do.
    """
    if settings.sqlite_path == MEMORY:
        yield MemoryStore(clock)
        return
    from jobworkerp_standalone.backends.sql import store  # noqa: PLC0415 - a third of the start, where nothing is kept

    async with store.open_store(settings, clock) as opened:
        yield opened
