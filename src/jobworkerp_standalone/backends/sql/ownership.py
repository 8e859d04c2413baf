"""Who holds which rows: what all parts of the store share, and how rows of dead owners become free."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import anyio
from sqlalchemy import BigInteger, Connection, Integer, Row, cast, delete, null, select, union_all, update

from jobworkerp_standalone.backends.sql.database import Database
from jobworkerp_standalone.backends.sql.owner_lock import free_slots
from jobworkerp_standalone.backends.sql.tables import job, worker_instance
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.ports import Clock, Instance

_NOBODY: Final = 0
"""No owner has this id."""


@dataclass(slots=True)
class Owner:
    """This process as a holder of rows."""

    lease_ms: int
    slot: int = 0
    instance: Instance | None = None
    """None until it registered."""

    @property
    def id(self) -> int:
        """Its id as an owner.

        Raises:
            StorageError: it has not registered.
        """
        if self.instance is None:
            raise StorageError("this process holds no rows before it registered itself as an instance")
        return self.instance.id


@dataclass(frozen=True, slots=True)
class StoreParts:
    """What every part of the store works with."""

    database: Database
    owner: Owner
    clock: Clock


class StorePart:
    """Base of the parts of the store."""

    def __init__(self, parts: StoreParts) -> None:
        self._database = parts.database
        self._owner = parts.owner
        self._clock = parts.clock

    async def reclaim_dead_owners(self) -> int:
        """Free the rows of owners that are gone, in one transaction; how many.

        Gone is an owner whose lease ran out, whose process let go of its lock file, or that is not registered. A
        row whose run had begun counts one delivery more. Never touches the rows of this process.
        """
        own_id = self._owner.instance.id if self._owner.instance else _NOBODY
        suspects = await self._database.read(lambda connection: _others(connection, own_id))
        if not suspects:
            return 0
        now_ms = self._clock.now_ms()
        gone = {row.id for row in suspects if row.lease_until_ms is None}
        gone |= await self._without_process(suspects)
        if not gone and all(row.lease_until_ms >= now_ms for row in suspects):
            return 0
        return await self._database.transact(lambda connection: free_rows_of_dead(connection, gone, now_ms, own_id))

    async def _without_process(self, suspects: Collection[Row[*tuple[Any, ...]]]) -> set[int]:
        slots = {row.slot for row in suspects if row.slot is not None}
        if self._database.access.in_memory or not slots:
            return set()
        free = await anyio.to_thread.run_sync(free_slots, self._database.access.path, slots)
        return {row.id for row in suspects if row.slot in free or row.slot == self._owner.slot}


def free_rows_of_dead(connection: Connection, gone: Collection[int], now_ms: int, own_id: int) -> int:
    """Take ``gone`` and all whose lease ran out off the list and free their rows; how many rows.

    An owner that renewed itself since ``gone`` was found by its lease alone is left alone.
    """
    expired = select(worker_instance.c.id).where(worker_instance.c.lease_until_ms < now_ms)
    dead = {*gone, *connection.scalars(expired)} - {own_id}
    if not dead:
        return 0
    connection.execute(delete(worker_instance).where(worker_instance.c.id.in_(dead)))
    freed = connection.execute(
        update(job)
        .where(job.c.owner_id.in_(dead))
        .values(owner_id=None, rescued=1, deliveries=job.c.deliveries + job.c.running, running=0)
    )
    return freed.rowcount


_held_by_strangers = (
    select(job.c.owner_id, cast(null(), Integer), cast(null(), BigInteger))
    .where(job.c.owner_id.is_not(None), job.c.owner_id.not_in(select(worker_instance.c.id)))
    .distinct()
)
_owners = union_all(
    select(worker_instance.c.id, worker_instance.c.slot, worker_instance.c.lease_until_ms), _held_by_strangers
)


def _others(connection: Connection, own_id: int) -> list[Row[*tuple[Any, ...]]]:
    """Return all owners but one: registered ones, and those that only rows still name (lease_until_ms NULL)."""
    return [row for row in connection.execute(_owners) if row.id != own_id]
