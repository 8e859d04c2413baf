"""Worker definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Delete, Update, delete, insert, select, update

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.rows import worker_from, worker_params
from jobworkerp_standalone.backends.sql.tables import change_count
from jobworkerp_standalone.backends.sql.tables import worker as table
from jobworkerp_standalone.backends.sql.writes import Conflict
from jobworkerp_standalone.jobs.model import Worker

_all = select(table).order_by(table.c.id)
_ours = change_count.c.subject == table.name
_changes = select(change_count.c.number).where(_ours)
_count = update(change_count).where(_ours).values(number=change_count.c.number + 1)


class SqlWorkerStore(StorePart):
    """``ports.WorkerStore``. Every write is one transaction, and counted."""

    async def all_workers(self) -> Sequence[Worker]:
        """Return every definition, oldest first."""
        return await self._database.read(lambda connection: [worker_from(row) for row in connection.execute(_all)])

    async def worker_changes(self) -> int:
        """Return how often any definition was written, by any process; 0 for never."""
        return await self._database.read(lambda connection: connection.scalar(_changes) or 0)

    async def add_worker(self, worker: Worker) -> Worker:
        """Insert; the returned value carries the new id: one more than any id ever given.

        Raises:
            AlreadyExists: the name is taken.
        """

        def add(connection: Connection) -> int:
            inserted = connection.execute(insert(table), worker_params(worker)).inserted_primary_key
            assert inserted is not None, "an insert of one row has a key"
            _note_change(connection)
            return inserted[0]

        try:
            return replace(worker, id=await self._database.transact(add))
        except Conflict as error:
            raise refusals.name_taken(worker.name) from error

    async def replace_worker(self, worker: Worker) -> bool:
        """Write every field of an existing definition but its creation time; whether it was there.

        Raises:
            AlreadyExists: the name is taken by another worker.
        """
        values = worker_params(worker)
        del values["created_at_ms"]
        change = update(table).where(table.c.id == worker.id).values(values)
        try:
            return await self._database.transact(lambda connection: _changed(connection, change))
        except Conflict as error:
            raise refusals.name_taken(worker.name) from error

    async def remove_worker(self, worker_id: int) -> bool:
        """Delete; whether it was there."""
        removal = delete(table).where(table.c.id == worker_id)
        return await self._database.transact(lambda connection: _changed(connection, removal))


def _changed(connection: Connection, change: Update | Delete) -> bool:
    changed = connection.execute(change).rowcount > 0
    if changed:
        _note_change(connection)
    return changed


def _note_change(connection: Connection) -> None:
    if not connection.execute(_count).rowcount:
        connection.execute(insert(change_count).values(subject=table.name, number=1))
