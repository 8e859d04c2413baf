"""Rows of jobs: added, leased, settled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, union_all, update

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.leasing import Wanted, next_due_ms, take_rows
from jobworkerp_standalone.backends.sql.note_store import forget_run, insertion
from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.result_store import insert_result
from jobworkerp_standalone.backends.sql.rows import job_from, job_params, result_params
from jobworkerp_standalone.backends.sql.tables import job as table
from jobworkerp_standalone.backends.sql.tables import job_result, runner
from jobworkerp_standalone.backends.sql.writes import Conflict, RowMissing, Step
from jobworkerp_standalone.jobs.errors import DuplicateKey
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.ports import Lease, Settlement

_ADD_TRIES: Final = 3
_OF_A_RUN: Final = ("channel", "response_type", "store_success", "store_failure", "broadcast_results", "retry_policy")
"""What a run of a schedule takes from its worker, kept for the retries of that run."""
_ours = (table.c.id == bindparam("row"), table.c.fence == bindparam("held_under"))
_insert = insert(table)
_start = update(table).where(*_ours, table.c.owner_id == bindparam("owner")).values(running=1)
_finish = delete(table).where(*_ours)
_move = (
    update(table)
    .where(*_ours)
    .values(
        run_after_ms=bindparam("next_due_ms"),
        due_ms=bindparam("next_due_ms"),
        retried=bindparam("next_retried"),
        owner_id=bindparam("owner"),
        deliveries=table.c.deliveries * bindparam("keep_deliveries"),
        running=0,
        **{name: bindparam(f"run_{name}") for name in _OF_A_RUN},
    )
)
_retime = (
    update(table)
    .where(*_ours, table.c.owner_id.is_(None), table.c.run_after_ms == bindparam("known_ms"))
    .values(run_after_ms=bindparam("next_due_ms"), due_ms=bindparam("next_due_ms"))
)
_give_back = update(table).where(*_ours, table.c.owner_id == bindparam("owner")).values(owner_id=None, running=0)


class SqlJobStore(StorePart):
    """``ports.JobStore``. Nothing waits for anything but the disk: every write joins the next commit."""

    async def add(self, jobs: Sequence[Job], *, held: bool) -> None:
        """Insert rows, all or none; on disk when this returns. ``held``: this process runs them from memory.

        Raises:
            DuplicateKey: a row with the same ``uniq_key`` exists.
            StorageError: not written; or a row with the same id exists.
        """
        refusals.refuse_twins(jobs)
        owner_id = self._owner.id if held else None
        steps = [Step(_insert, job_params(job, owner_id)) for job in jobs]
        for _ in range(_ADD_TRIES):
            try:
                await self._database.write(*steps)
            except Conflict:
                await self._raise_duplicate(jobs)
            else:
                return
        raise refusals.not_added(jobs)

    async def lease_due(
        self, until_ms: int, limits: Mapping[str, int], *, besides: Collection[int] = ()
    ) -> Sequence[Lease]:
        """Take free rows due at or before ``until_ms``, per channel at most its limit; one transaction.

        Order within a channel: rows already due by priority, then due time; after them the others by due time. Rows of
        dead owners are freed first, with ``deliveries`` raised by one if they were running. All in
        the driver's thread, with few statements: each costs a turn at the interpreter's lock.
        """
        wanted = Wanted(self._owner.id, limits, self._clock.now_ms(), until_ms, frozenset(besides))

        def take(connection: Connection) -> list[Lease]:
            self._reclaim(connection)
            return take_rows(connection, wanted)

        return await self._database.transact(take, durable=False)

    async def next_due_ms(self, channels: Collection[str]) -> int | None:
        """Return the earliest due time of a free row of these channels, None without one.

        Rows of a dead owner count once they were reclaimed.
        """
        return await self._database.read(lambda connection: next_due_ms(connection, channels))

    async def mark_running(self, job: Job) -> None:
        """Note that the run begins; survives the death of the process, maybe not a power cut.

        Raises:
            LeaseLost: the row is not held by this process any more, or gone; nothing was written.
        """
        try:
            await self._database.write(Step(_start, self._held_key(job), one_row=True), durable=False)
        except RowMissing as error:
            raise refusals.not_held(job) from error

    async def settle(self, settlement: Settlement) -> None:
        """Write a settlement: row deleted or moved, result and new jobs inserted, all or nothing; on disk after.

        A recurring row that moves to its next run starts with no deliveries counted.

        Raises:
            LeaseLost: the row is held under another fencing number, or gone; nothing was written.
            DuplicateKey: a new job's ``uniq_key`` is taken; nothing was written.
        """
        try:
            await self._database.write(*self._steps(settlement))
        except RowMissing as error:
            raise refusals.not_held(settlement.job) from error
        except Conflict as error:
            await self._raise_duplicate(settlement.new_jobs)
            raise refusals.not_settled(settlement.job, error) from error

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give rows back unchanged, in one transaction. Rows that are no longer ours are skipped."""
        if steps := [Step(_give_back, self._held_key(job)) for job in jobs]:
            await self._database.write(*steps, durable=False)

    async def retime(self, moves: Sequence[tuple[Job, int]]) -> None:
        """Move rows that wait for their time to another, in one transaction; on disk when this returns.

        One that is held, or has moved since, stays as it is.
        """
        steps = [
            Step(_retime, {**_key(job), "known_ms": job.run_after_ms, "next_due_ms": due_ms}) for job, due_ms in moves
        ]
        await self._database.write(*steps)

    async def delete(self, job_id: int) -> Job | None:
        """Remove a row that no running attempt holds and return its job; None where there is none.

        One transaction. A run of an owner that is gone does not count.
        """
        await self.reclaim_dead_owners()
        idle = select(table).where(table.c.id == job_id, table.c.running == 0)

        def remove(connection: Connection) -> Job | None:
            row = connection.execute(idle).one_or_none()
            if row is None:
                return None
            connection.execute(delete(table).where(table.c.id == job_id))
            return job_from(row)

        return await self._database.transact(remove)

    async def find(self, job_id: int) -> Job | None:
        """Return the job of a row."""
        found = await self._fetch_jobs(select(table).where(table.c.id == job_id))
        return found[0] if found else None

    async def listing(self, limit: int | None, offset: int) -> Sequence[Job]:
        """Return jobs of rows, newest (largest id) first."""
        query = select(table).order_by(table.c.id.desc())
        if limit is not None:
            query = query.limit(limit)
        return await self._fetch_jobs(query.offset(offset) if offset else query)

    async def count(self) -> int:
        """Return the number of rows."""
        query = select(func.count()).select_from(table)
        return await self._database.read(lambda connection: connection.scalar(query) or 0)

    async def rows_by_channel(self) -> Mapping[str, int]:
        """Return the number of rows of each channel that has any."""
        query = select(table.c.channel, func.count()).group_by(table.c.channel)
        return await self._database.read(partial(_counts, query=query))

    async def of_worker(self, worker_id: int) -> Sequence[Job]:
        """Return all jobs with a row that belong to a worker, oldest first."""
        return await self._fetch_jobs(select(table).where(table.c.worker_id == worker_id).order_by(table.c.id))

    async def recoverable(self, limit: int | None, *, include_held: bool) -> Sequence[Job]:
        """Return rows whose run was meant to start at once, oldest first.

        ``include_held``: also those that a living process holds.
        """
        await self.reclaim_dead_owners()
        query = select(table).where(table.c.run_after_ms == 0).order_by(table.c.id)
        if not include_held:
            query = query.where(table.c.owner_id.is_(None))
        return await self._fetch_jobs(query if limit is None else query.limit(limit))

    async def keys(self) -> Mapping[str, int]:
        """Return every held ``uniq_key`` with its job id."""
        query = select(table.c.uniq_key, table.c.id).where(table.c.uniq_key.is_not(None))
        return await self._database.read(partial(_pairs, query=query))

    async def max_id(self) -> int:
        """Return the largest id of a job, a result or a runner that is still there; 0 without any."""
        largest = union_all(*(select(func.max(each.c.id)) for each in (table, job_result, runner)))
        return await self._database.read(
            lambda connection: max((each for each in connection.scalars(largest) if each is not None), default=0)
        )

    def _steps(self, settlement: Settlement) -> Iterator[Step]:
        job = settlement.job
        if job.stored and settlement.next_due_ms is None:
            yield Step(_finish, _key(job), one_row=True)
        elif job.stored:
            yield Step(_move, self._move_values(settlement), one_row=True)
        if settlement.result is not None:
            yield Step(insert_result, result_params(settlement.result))
        for each in settlement.over:
            yield Step(forget_run, {"of_run": each.run})
            if each.left is not None:
                yield insertion(each.run, each.left)
        for new in settlement.new_jobs:
            yield Step(_insert, job_params(new, None))

    def _held_key(self, job: Job) -> dict[str, Any]:
        return {**_key(job), "owner": self._owner.id}

    def _move_values(self, settlement: Settlement) -> dict[str, Any]:
        next_run = settlement.job.recurring and settlement.next_retried == 0
        row = job_params(settlement.job, None)
        return {
            **{f"run_{name}": row[name] for name in _OF_A_RUN},
            **_key(settlement.job),
            "next_due_ms": settlement.next_due_ms,
            "next_retried": settlement.next_retried,
            "owner": self._owner.id if settlement.keep_lease else None,
            "keep_deliveries": 0 if next_run else 1,
        }

    async def _fetch_jobs(self, query: Select[Any]) -> list[Job]:
        return await self._database.read(lambda connection: [job_from(row) for row in connection.execute(query)])

    async def _raise_duplicate(self, jobs: Iterable[Job]) -> None:
        """Name the holder of a key that one of ``jobs`` wants; return if there is none (any more)."""
        wanted = [job.uniq_key for job in jobs if job.uniq_key]
        query = select(table.c.uniq_key, table.c.id).where(table.c.uniq_key.in_(wanted)).limit(1)
        for key, holder in (await self._database.read(partial(_pairs, query=query))).items():
            raise DuplicateKey(key, holder)


def _pairs(connection: Connection, query: Select[str | None, int]) -> dict[str, int]:
    return {key: job_id for key, job_id in connection.execute(query) if key is not None}


def _counts(connection: Connection, query: Select[str, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _key(job: Job) -> dict[str, Any]:
    return {"row": job.id, "held_under": job.fence}
