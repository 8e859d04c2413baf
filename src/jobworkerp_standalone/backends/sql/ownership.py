"""Who holds which rows: what all parts of the store share, and how rows of dead owners become free."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import anyio
from sqlalchemy import BigInteger, Connection, Integer, Row, cast, delete, null, select, union_all, update

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.database import Database
from jobworkerp_standalone.backends.sql.owner_lock import free_slots
from jobworkerp_standalone.backends.sql.tables import job, worker_instance
from jobworkerp_standalone.ports import Clock, Instance

_OwnerRow = Row[*tuple[Any, ...]]
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
            raise refusals.not_registered()
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
        own_id = self._own_id
        suspects = await self._database.read(lambda connection: _others(connection, own_id))
        if not suspects or not await anyio.to_thread.run_sync(self._gone_among, suspects):
            return 0
        return await self._database.transact(self._reclaim)

    def _reclaim(self, connection: Connection) -> int:
        """Do so inside a transaction, in the thread of the driver."""
        return free_rows_of(connection, self._gone_among(_others(connection, self._own_id)))

    def _gone_among(self, owners: Collection[_OwnerRow]) -> set[int]:
        """Look at leases and, on one machine, at lock files, which belongs into a thread."""
        now_ms = self._clock.now_ms()
        gone = {row.id for row in owners if not (isinstance(row.lease_until_ms, int) and row.lease_until_ms >= now_ms)}
        slots = {row.slot for row in owners if isinstance(row.slot, int)}
        if not slots:
            return gone
        free = free_slots(self._database.access.path, slots)
        return gone | {row.id for row in owners if row.slot in free or row.slot == self._owner.slot}

    @property
    def _own_id(self) -> int:
        return self._owner.instance.id if self._owner.instance else _NOBODY


def free_rows_of(connection: Connection, gone: Collection[int]) -> int:
    """Take owners off the list and free their rows; how many rows."""
    if not gone:
        return 0
    connection.execute(delete(worker_instance).where(worker_instance.c.id.in_(gone)))
    freed = connection.execute(
        update(job)
        .where(job.c.owner_id.in_(gone))
        .values(owner_id=None, deliveries=job.c.deliveries + job.c.running, running=0)
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


def _others(connection: Connection, own_id: int) -> list[_OwnerRow]:
    """Return all owners but one: registered ones, and those that only rows still name (lease_until_ms NULL)."""
    return [row for row in connection.execute(_owners) if row.id != own_id]
