"""Rows of jobs in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from anyio.lowlevel import cancel_shielded_checkpoint

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.memory.contents import Part, Row
from jobworkerp_standalone.jobs.errors import DuplicateKey
from jobworkerp_standalone.jobs.model import Job, Priority
from jobworkerp_standalone.ports import Lease, Settlement


class MemoryJobStore(Part):
    """``ports.JobStore``. What changes something does so at once, and then lets others have their turn."""

    async def add(self, jobs: Sequence[Job], *, held: bool) -> None:
        """Insert rows, all or none. ``held``: this process runs them from memory.

        Raises:
            DuplicateKey: a row with the same ``uniq_key`` exists.
            StorageError: a row with the same id exists.
        """
        refusals.refuse_twins(jobs)
        owner_id = self._own_id if held else None
        self._refuse_held_keys(jobs)
        if not self._are_new(jobs):
            raise refusals.not_added(jobs)
        for job in jobs:
            self._contents.rows.add(job, owner_id)
        await cancel_shielded_checkpoint()

    async def lease_due(
        self, until_ms: int, limits: Mapping[str, int], *, besides: Collection[int] = ()
    ) -> Sequence[Lease]:
        """Take free rows due at or before ``until_ms``, per channel at most its limit.

        Order within a channel: rows already due by priority, then due time; after them the others by due time.
        """
        owner_id, left_out = self._own_id, frozenset(besides)
        found = [
            self._lease(job_id, owner_id)
            for channel, limit in limits.items()
            for job_id in self._next(channel, limit, until_ms, left_out)
        ]
        await cancel_shielded_checkpoint()
        return found

    async def next_due_ms(self, channels: Collection[str]) -> int | None:
        """Return the earliest due time of a free row of these channels, None without one."""
        due = [each for name in channels if (each := self._contents.rows.next_due_ms(name)) is not None]
        return min(due, default=None)

    async def mark_running(self, job: Job) -> None:
        """Note that the run begins.

        Raises:
            LeaseLost: the row is not held by this process any more, or gone.
        """
        row = self._row_of(job)
        if row.owner_id != self._own_id:
            raise refusals.not_held(job)
        row.running = True
        await cancel_shielded_checkpoint()

    async def settle(self, settlement: Settlement) -> None:
        """Write a settlement: row deleted or moved, result and new jobs inserted, all or nothing.

        A recurring row that moves to its next run starts with no deliveries counted.

        Raises:
            LeaseLost: the row is held under another fencing number, or gone; nothing was written.
            DuplicateKey: a new job's ``uniq_key`` is taken; nothing was written.
            StorageError: the id of the result or of a new job is taken; nothing was written.
        """
        job, rows = settlement.job, self._contents.rows
        row = self._row_of(job) if job.stored else None
        leaving = row if settlement.next_due_ms is None else None
        self._check_settlement(settlement, leaving)
        if leaving is not None:
            rows.remove(leaving)
        elif row is not None:
            self._move(row, settlement)
        if settlement.result is not None:
            self._contents.results.add(settlement.result)
        for each in settlement.over:
            self._contents.notes.forget([each.run])
            if each.left is not None:
                self._contents.notes.change(each.run, [each.left], ())
        for new in settlement.new_jobs:
            rows.add(new, None)
        await cancel_shielded_checkpoint()

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give rows back unchanged. Rows that are no longer ours are skipped."""
        for job in jobs:
            row = self._contents.rows.get(job.id)
            if row is not None and row.job.fence == job.fence and row.owner_id == self._own_id:
                row.running = False
                self._contents.rows.hand(row, None)
        await cancel_shielded_checkpoint()

    async def retime(self, moves: Sequence[tuple[Job, int]]) -> None:
        """Move rows that wait for their time to another. One that is held, or has moved since, stays as it is."""
        for job, due_ms in moves:
            row = self._contents.rows.get(job.id)
            if row is None or row.owner_id is not None:
                continue
            if (row.job.fence, row.job.run_after_ms) == (job.fence, job.run_after_ms):
                self._contents.rows.move(row, replace(row.job, run_after_ms=due_ms), None)
        await cancel_shielded_checkpoint()

    async def delete(self, job_id: int) -> Job | None:
        """Remove a row that no running attempt holds and return its job; None where there is none."""
        row = self._contents.rows.get(job_id)
        if row is None or row.running:
            return None
        self._contents.rows.remove(row)
        await cancel_shielded_checkpoint()
        return row.job

    async def find(self, job_id: int) -> Job | None:
        """Return the job of a row."""
        row = self._contents.rows.get(job_id)
        return None if row is None else row.job

    async def listing(self, limit: int | None, offset: int) -> Sequence[Job]:
        """Return jobs of rows, newest (largest id) first."""
        jobs = sorted((row.job for row in self._contents.rows), key=_id, reverse=True)
        return jobs[offset:][:limit]

    async def count(self) -> int:
        """Return the number of rows."""
        return len(self._contents.rows)

    async def rows_by_channel(self) -> Mapping[str, int]:
        """Return the number of rows of each channel that has any."""
        return Counter(row.job.channel for row in self._contents.rows)

    async def of_worker(self, worker_id: int) -> Sequence[Job]:
        """Return all jobs with a row that belong to a worker, oldest first."""
        return sorted((row.job for row in self._contents.rows if row.job.worker_id == worker_id), key=_id)

    async def recoverable(self, limit: int | None, *, include_held: bool) -> Sequence[Job]:
        """Return rows whose run was meant to start at once, oldest first.

        ``include_held``: also those that this process holds.
        """
        rows = (row for row in self._contents.rows if include_held or row.owner_id is None)
        return sorted((row.job for row in rows if row.job.run_after_ms == 0), key=_id)[:limit]

    async def keys(self) -> Mapping[str, int]:
        """Return every held ``uniq_key`` with its job id."""
        return self._contents.rows.keys

    async def max_id(self) -> int:
        """Return the largest id of a job, a result or a runner that is still there; 0 without any."""
        jobs = (row.job.id for row in self._contents.rows)
        results = (result.id for result in self._contents.results)
        return max(chain(jobs, results, self._contents.runners), default=0)

    @property
    def _own_id(self) -> int:
        if self._contents.instance is None:
            raise refusals.not_registered()
        return self._contents.instance.id

    def _row_of(self, job: Job) -> Row:
        row = self._contents.rows.get(job.id)
        if row is None or row.job.fence != job.fence:
            raise refusals.not_held(job)
        return row

    def _refuse_held_keys(self, jobs: Sequence[Job], leaving: Row | None = None) -> None:
        for job in jobs:
            holder = self._contents.rows.holder(job.uniq_key)
            if job.uniq_key and holder is not None and (leaving is None or holder != leaving.job.id):
                raise DuplicateKey(job.uniq_key, holder)

    def _are_new(self, jobs: Sequence[Job], leaving: Row | None = None) -> bool:
        ids = {job.id for job in jobs}
        taken = {job_id for job_id in ids if job_id in self._contents.rows}
        return len(ids) == len(jobs) and not taken - ({leaving.job.id} if leaving is not None else set())

    def _check_settlement(self, settlement: Settlement, leaving: Row | None) -> None:
        if settlement.result is not None and settlement.result.id in self._contents.results:
            raise refusals.not_settled(settlement.job, refusals.result_exists(settlement.result.id))
        refusals.refuse_twins(settlement.new_jobs)
        self._refuse_held_keys(settlement.new_jobs, leaving)
        if not self._are_new(settlement.new_jobs, leaving):
            raise refusals.not_settled(settlement.job, refusals.not_added(settlement.new_jobs))

    def _move(self, row: Row, settlement: Settlement) -> None:
        assert settlement.next_due_ms is not None, "it is moved"
        next_run = settlement.job.recurring and settlement.next_retried == 0
        moved = replace(
            row.job,
            run_after_ms=settlement.next_due_ms,
            retried=settlement.next_retried,
            deliveries=0 if next_run else row.job.deliveries,
            channel=settlement.job.channel,
            rules=settlement.job.rules,
        )
        row.running = False
        self._contents.rows.move(row, moved, self._own_id if settlement.keep_lease else None)

    def _next(self, channel: str, limit: int, until_ms: int, besides: Collection[int]) -> list[int]:
        """Return the ids of the next rows of a channel: they are among the first of each priority."""
        now_ms = self._contents.clock.now_ms()
        found = [
            (due_ms > now_ms, 0 if due_ms > now_ms else -priority, due_ms, job_id)
            for priority in Priority
            for due_ms, job_id in self._contents.rows.first_free(channel, priority, until_ms, limit, besides)
        ]
        return [job_id for *_, job_id in sorted(found)[:limit]]

    def _lease(self, job_id: int, owner_id: int) -> Lease:
        row = self._contents.rows.get(job_id)
        assert row is not None, "found a moment ago"
        self._contents.rows.hand(row, owner_id)
        row.job = replace(row.job, fence=row.job.fence + 1)
        return Lease(row.job)


def _id(job: Job) -> int:
    return job.id
