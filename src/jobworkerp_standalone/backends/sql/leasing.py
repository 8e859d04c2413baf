"""Which free rows an owner gets next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, func, select, union_all, update

from jobworkerp_standalone.backends.sql.rows import job_from
from jobworkerp_standalone.backends.sql.tables import job as table
from jobworkerp_standalone.jobs.model import Job, Priority
from jobworkerp_standalone.ports import Lease

LeasedRow = Row[*tuple[Any, ...]]
_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an owner asks for."""

    owner_id: int
    limits: Mapping[str, int]
    """Most rows of each channel."""
    now_ms: int
    until_ms: int
    besides: Collection[int] = ()


def take_rows(connection: Connection, wanted: Wanted) -> list[LeasedRow]:
    """Hand free rows to the owner, each under its next fencing number; due ones by priority, then all by due time.

    Returns the rows as they were before.
    """
    found: list[LeasedRow] = []
    for channel, limit in wanted.limits.items():
        found += _next_in(connection, channel, limit, wanted)
    found.sort(key=lambda row: _rank(row, wanted.now_ms))
    ids = [row.id for row in found]
    rows = {row.id: row for row in _rows(connection, ids)}
    if ids:
        connection.execute(_take, [{"owner": wanted.owner_id, "row": each} for each in ids])
    return [rows[each] for each in ids]


def next_due_ms(connection: Connection, channels: Collection[str]) -> int | None:
    """Return the earliest due time of a free row."""
    due = [each for name in channels for each in connection.scalars(_earliest, {"channel": name}) if each is not None]
    return min(due, default=None)


def _next_in(connection: Connection, channel: str, limit: int, wanted: Wanted) -> list[LeasedRow]:
    most = limit + len(wanted.besides)
    rows = connection.execute(_due, {"channel": channel, "until_ms": wanted.until_ms, "most": most}).all()
    free = [row for row in rows if row.id not in wanted.besides]
    return sorted(free, key=lambda row: _rank(row, wanted.now_ms))[:limit]


def _rank(row: LeasedRow, now_ms: int) -> tuple[int, int, int, int]:
    return (0, -row.priority, row.due_ms, row.id) if row.due_ms <= now_ms else (1, 0, row.due_ms, row.id)


def _rows(connection: Connection, ids: list[int]) -> Iterable[LeasedRow]:
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        yield from connection.execute(select(table).where(table.c.id.in_(ids[start : start + _ROWS_AT_ONCE])))


def lease_of(row: LeasedRow) -> Lease:
    """Return the lease under which a row was taken."""
    job: Job = job_from(row, fence=row.fence + 1)
    return Lease(job, rescued=bool(row.rescued))


def _free(query: Select[*tuple[Any, ...]], priority: Priority) -> Select[*tuple[Any, ...]]:
    """Narrow to one range of the queue index."""
    return query.where(
        table.c.channel == bindparam("channel"), table.c.owner_id.is_(None), table.c.priority == int(priority)
    )


def _due_with(priority: Priority) -> Select[*tuple[Any, ...]]:
    keys = _free(select(table.c.id, table.c.priority, table.c.due_ms), priority)
    first = keys.where(table.c.due_ms <= bindparam("until_ms")).order_by(table.c.due_ms, table.c.id)
    return select(first.limit(bindparam("most")).subquery())


_due = union_all(*(_due_with(priority) for priority in Priority))
"""The first ``most`` of each priority: the next rows of a channel in any order are among them."""
_earliest = union_all(*(_free(select(func.min(table.c.due_ms)), priority) for priority in Priority))
_take = (
    update(table)
    .where(table.c.id == bindparam("row"))
    .values(owner_id=bindparam("owner"), fence=table.c.fence + 1, rescued=0)
)
