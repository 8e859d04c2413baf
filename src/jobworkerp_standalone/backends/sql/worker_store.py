"""Worker definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.rows import worker_from, worker_params
from jobworkerp_standalone.backends.sql.tables import worker as table
from jobworkerp_standalone.backends.sql.writes import Conflict
from jobworkerp_standalone.jobs.errors import AlreadyExists
from jobworkerp_standalone.jobs.model import Worker

_all = select(table).order_by(table.c.id)


class SqlWorkerStore(StorePart):
    """``ports.WorkerStore``. Every write is one statement."""

    async def all_workers(self) -> Sequence[Worker]:
        """Return every definition, oldest first."""
        return await self._database.read(lambda connection: [worker_from(row) for row in connection.execute(_all)])

    async def add_worker(self, worker: Worker) -> Worker:
        """Insert; the returned value carries the new id: one more than any id ever given.

        Raises:
            AlreadyExists: the name is taken.
        """

        def add(connection: Connection) -> int:
            inserted = connection.execute(insert(table), worker_params(worker)).inserted_primary_key
            assert inserted is not None, "an insert of one row has a key"
            return inserted[0]

        try:
            return replace(worker, id=await self._database.transact(add))
        except Conflict as error:
            raise _taken(worker.name) from error

    async def replace_worker(self, worker: Worker) -> bool:
        """Write every field of an existing definition but its creation time; whether it was there.

        Raises:
            AlreadyExists: the name is taken by another worker.
        """
        values = worker_params(worker)
        del values["created_at_ms"]
        change = update(table).where(table.c.id == worker.id).values(values)
        try:
            return await self._database.transact(lambda connection: connection.execute(change).rowcount > 0)
        except Conflict as error:
            raise _taken(worker.name) from error

    async def remove_worker(self, worker_id: int) -> bool:
        """Delete; whether it was there."""
        removal = delete(table).where(table.c.id == worker_id)
        return await self._database.transact(lambda connection: connection.execute(removal).rowcount > 0)


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"worker name {name!r} is taken; choose another name, or update that worker")
