"""Runner kinds that came at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, Row, delete, insert, select

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.tables import runner as table
from jobworkerp_standalone.backends.sql.writes import Conflict
from jobworkerp_standalone.ports import KnownRunner

_all = select(table).order_by(table.c.id)


class SqlRunnerStore(StorePart):
    """``ports.RunnerStore``."""

    async def all_runners(self) -> Sequence[KnownRunner]:
        """Return every remembered runner, oldest first."""
        return await self._database.read(lambda connection: [_runner_from(row) for row in connection.execute(_all)])

    async def put_runner(self, runner: KnownRunner) -> None:
        """Remember a runner; one with the same name is replaced.

        Raises:
            AlreadyExists: the id is taken by a runner of another name.
        """

        def put(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.name == runner.name))
            connection.execute(insert(table), {**asdict(runner), "created": int(runner.created)})

        try:
            await self._database.transact(put)
        except Conflict as error:
            raise refusals.runner_id_taken(runner.id) from error

    async def remove_runner(self, runner_id: int) -> bool:
        """Forget a runner; whether it was there."""
        removal = delete(table).where(table.c.id == runner_id)
        return await self._database.transact(lambda connection: connection.execute(removal).rowcount > 0)


def _runner_from(row: Row[tuple[object, ...]]) -> KnownRunner:
    return KnownRunner(
        id=row.id,
        name=row.name,
        type=row.type,
        created_at_ms=row.created_at_ms,
        created=bool(row.created),
        description=row.description,
        definition=row.definition,
    )
