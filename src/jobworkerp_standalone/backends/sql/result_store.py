"""Stored results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.rows import result_from, result_params
from jobworkerp_standalone.backends.sql.tables import job_result as table
from jobworkerp_standalone.backends.sql.writes import Conflict, Step
from jobworkerp_standalone.jobs.model import JobResult
from jobworkerp_standalone.ports import ResultFilter

insert_result: Final = insert(table)
_SORT_COLUMNS: Final = {
    "id": table.c.id,
    "job_id": table.c.job_id,
    "start_time": table.c.start_time_ms,
    "end_time": table.c.end_time_ms,
    "status": table.c.status,
}


class SqlResultStore(StorePart):
    """``ports.ResultStore``."""

    async def add_result(self, result: JobResult) -> None:
        """Store one result of a job that has no row; on disk when this returns."""
        try:
            await self._database.write(Step(insert_result, result_params(result)))
        except Conflict as error:
            raise refusals.result_exists(result.id) from error

    async def find_result(self, result_id: int) -> JobResult | None:
        """Return a result by its id."""
        found = await self._fetch_results(select(table).where(table.c.id == result_id))
        return found[0] if found else None

    async def results_of_job(self, job_id: int, limit: int) -> Sequence[JobResult]:
        """Return the results of one job, newest end time (then id) first."""
        newest_first = table.c.end_time_ms.desc(), table.c.id.desc()
        return await self._fetch_results(
            select(table).where(table.c.job_id == job_id).order_by(*newest_first).limit(limit)
        )

    async def find_results(
        self, wanted: ResultFilter, *, sort_by: str, ascending: bool, limit: int | None, offset: int
    ) -> Sequence[JobResult]:
        """Return results; ``sort_by`` is id, job_id, start_time, end_time or status; ties by id, same direction."""
        columns = dict.fromkeys([_SORT_COLUMNS[sort_by], table.c.id])
        order = [column.asc() if ascending else column.desc() for column in columns]
        query = select(table).where(*_conditions(wanted)).order_by(*order)
        return await self._fetch_results(_page(query, limit, offset))

    async def count_results(self, wanted: ResultFilter) -> int:
        """Return how many results match."""
        query = select(func.count()).select_from(table).where(*_conditions(wanted))
        return await self._database.read(lambda connection: connection.scalar(query) or 0)

    async def delete_result(self, result_id: int) -> bool:
        """Remove one result; whether it was there. One statement."""
        return await self._delete_where(table.c.id == result_id) > 0

    async def delete_results(self, wanted: ResultFilter) -> int:
        """Remove all that match; how many. One statement."""
        return await self._delete_where(*_conditions(wanted))

    async def _delete_where(self, *conditions: ColumnElement[bool]) -> int:
        removal = delete(table).where(*conditions)
        return await self._database.transact(lambda connection: connection.execute(removal).rowcount)

    async def _fetch_results(self, query: Select[Any]) -> list[JobResult]:
        def fetch(connection: Connection) -> list[JobResult]:
            return [result_from(row) for row in connection.execute(query)]

        return await self._database.read(fetch)


def _conditions(wanted: ResultFilter) -> list[ColumnElement[bool]]:
    times = (
        (table.c.start_time_ms, wanted.start_time_from, wanted.start_time_to),
        (table.c.end_time_ms, wanted.end_time_from, wanted.end_time_to),
    )
    conditions = [column >= low for column, low, _ in times if low is not None]
    conditions += [column <= high for column, _, high in times if high is not None]
    sets = (
        (table.c.worker_id, wanted.worker_ids),
        (table.c.status, wanted.statuses),
        (table.c.priority, wanted.priorities),
    )
    conditions += [column.in_([int(each) for each in chosen]) for column, chosen in sets if chosen]
    if wanted.uniq_key is not None:
        conditions.append(table.c.uniq_key == wanted.uniq_key)
    return conditions


def _page(query: Select[Any], limit: int | None, offset: int) -> Select[Any]:
    query = query if limit is None else query.limit(limit)
    return query.offset(offset) if offset else query
