"""Processes, as owners of rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from jobworkerp_standalone.backends.sql.ownership import StorePart, free_rows_of
from jobworkerp_standalone.backends.sql.rows import instance_from, instance_params
from jobworkerp_standalone.backends.sql.tables import job, opened_channel, worker_instance
from jobworkerp_standalone.backends.sql.writes import RowMissing, Step
from jobworkerp_standalone.ports import Instance

_renew = (
    update(worker_instance)
    .where(worker_instance.c.id == bindparam("owner"))
    .values(last_heartbeat_ms=bindparam("now_ms"), lease_until_ms=bindparam("until_ms"))
)
_free_all = update(job).where(job.c.owner_id == bindparam("owner")).values(owner_id=None, running=0)
_unlist = delete(worker_instance).where(worker_instance.c.id == bindparam("owner"))
_all = select(worker_instance).order_by(worker_instance.c.id)


class SqlInstanceStore(StorePart):
    """``ports.InstanceStore``."""

    async def register(self, instance: Instance) -> None:
        """Announce this process; from now on it can hold rows. Rows of dead predecessors in its slot become free.

        One transaction. A second call replaces the first instance; under the same id it goes on holding its rows.
        """
        until_ms = self._clock.now_ms() + self._owner.lease_ms
        in_slot = select(worker_instance.c.id).where(worker_instance.c.slot == self._owner.slot)

        def enter(connection: Connection) -> None:
            free_rows_of(connection, set(connection.scalars(in_slot)) - {instance.id})
            connection.execute(_unlist, {"owner": instance.id})
            connection.execute(insert(worker_instance), instance_params(instance, self._owner.slot, until_ms))

        await self._database.transact(enter)
        self._owner.instance = instance

    async def heartbeat(self, instance_id: int, now_ms: int, lease_ms: int) -> bool:
        """Renew this owner and all its leases until ``now_ms + lease_ms``; one write.

        False where others have already declared it dead: its former rows are free then, and it is registered anew,
        so what it leases from now on is its own.
        """
        times = {"owner": instance_id, "now_ms": now_ms, "until_ms": now_ms + lease_ms}
        try:
            await self._database.write(Step(_renew, times, one_row=True), durable=False)
        except RowMissing:
            if self._owner.instance is not None and self._owner.instance.id == instance_id:
                await self.register(replace(self._owner.instance, last_heartbeat_ms=now_ms))
            return False
        return True

    async def unregister(self, instance_id: int) -> None:
        """Take a process off the list; its rows become free, no delivery counted. One transaction."""
        owner = {"owner": instance_id}
        await self._database.write(Step(_free_all, owner), Step(_unlist, owner), durable=False)
        if self._owner.instance is not None and self._owner.instance.id == instance_id:
            self._owner.instance = None

    async def note_channel(self, name: str) -> None:
        """Remember a channel that was opened at run time; on disk when this returns."""

        def note(connection: Connection) -> None:
            connection.execute(delete(opened_channel).where(opened_channel.c.name == name))
            connection.execute(insert(opened_channel), {"name": name})

        await self._database.transact(note)

    async def noted_channels(self) -> Collection[str]:
        """Return the channels that any process ever opened at run time."""
        return await self._database.read(lambda connection: set(connection.scalars(select(opened_channel.c.name))))

    async def instances(self) -> Sequence[Instance]:
        """Return the registered processes, oldest first."""
        return await self._database.read(lambda connection: [instance_from(row) for row in connection.execute(_all)])
