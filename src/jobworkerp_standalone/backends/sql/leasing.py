"""Which free rows an owner gets next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select, union_all, update

from jobworkerp_standalone.backends.sql.rows import lease_from
from jobworkerp_standalone.backends.sql.tables import job as table
from jobworkerp_standalone.jobs.model import Priority
from jobworkerp_standalone.ports import Lease


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an owner asks for."""

    owner_id: int
    limits: Mapping[str, int]
    """Most rows of each channel."""
    now_ms: int
    until_ms: int
    besides: Collection[int] = ()


def take_rows(connection: Connection, wanted: Wanted) -> list[Lease]:
    """Hand free rows to the owner, each under its next fencing number.

    Within a channel: due ones by priority and due time, then the others by due time.
    """
    rows = [
        row
        for channel, limit in wanted.limits.items()
        for row in connection.execute(
            _next_rows,
            {
                "channel": channel,
                "until_ms": wanted.until_ms,
                "now_ms": wanted.now_ms,
                "besides": list(wanted.besides),
                "most": limit,
            },
        )
    ]
    leases = [lease_from(row) for row in rows]
    if rows:
        connection.execute(_take, {"owner": wanted.owner_id, "rows": [row.id for row in rows]})
    if damaged := [{"row": each.job.id, "number": each.job.fence} for each in leases if each.damage]:
        connection.execute(_number_anew, damaged)  # theirs may be what no number follows
    return leases


def next_due_ms(connection: Connection, channels: Collection[str]) -> int | None:
    """Return the earliest due time of a free row."""
    found = (each for name in channels for each in connection.scalars(_earliest, {"channel": name}))
    due = [each for each in found if isinstance(each, int)]  # None without a row; a damaged one may have anything
    return min(due, default=None)


def _free(query: Select[*tuple[Any, ...]], priority: Priority) -> Select[*tuple[Any, ...]]:
    """Narrow to one range of the queue index."""
    return query.where(
        table.c.channel == bindparam("channel"), table.c.owner_id.is_(None), table.c.priority == int(priority)
    )


def _first_with(priority: Priority) -> Select[*tuple[Any, ...]]:
    rows = _free(select(table), priority).where(
        table.c.due_ms <= bindparam("until_ms"), table.c.id.not_in(bindparam("besides", expanding=True))
    )
    return select(rows.order_by(table.c.due_ms, table.c.id).limit(bindparam("most")).subquery())


def _first_of_all() -> Select[*tuple[Any, ...]]:
    """Select the next rows of a channel: they are among the first of each priority."""
    rows = union_all(*(_first_with(priority) for priority in Priority)).subquery()
    waits = case((rows.c.due_ms > bindparam("now_ms"), 1), else_=0)
    rank = case((rows.c.due_ms > bindparam("now_ms"), 0), else_=-rows.c.priority)
    return select(rows).order_by(waits, rank, rows.c.due_ms, rows.c.id).limit(bindparam("most"))


_next_rows = _first_of_all()
_earliest = union_all(*(_free(select(func.min(table.c.due_ms)), priority) for priority in Priority))
_number_anew = update(table).where(table.c.id == bindparam("row")).values(fence=bindparam("number"))
_take = (
    update(table)
    .where(table.c.id.in_(bindparam("rows", expanding=True)))
    .values(owner_id=bindparam("owner"), fence=table.c.fence + 1)
)
