"""What happens when an attempt ended: ask the lifecycle, write once, publish once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import anyio

from jobworkerp_standalone.engine.attempt import Attempt
from jobworkerp_standalone.engine.catalog import Catalog
from jobworkerp_standalone.engine.chain import NONE, OWN_PREFIX, Chain, FollowUps
from jobworkerp_standalone.engine.feeds import Feeds
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.pace import Pace
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.streams import StreamEnd
from jobworkerp_standalone.engine.waiting import STOPPING, Waiting
from jobworkerp_standalone.jobs.errors import DuplicateKey, Fatal, LeaseLost, StorageError, Unavailable
from jobworkerp_standalone.jobs.lifecycle import Event, Finish, RepeatAt, RetryAt, after_attempt
from jobworkerp_standalone.jobs.model import Job, JobResult, JobStatus, ResultStatus, StreamingType, Worker
from jobworkerp_standalone.jobs.periods import next_run_ms
from jobworkerp_standalone.ports import Clock, JobQueue, Settlement, Store

_log = logging.getLogger(__name__)
_WRITE_TRIES: Final = 6
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
SCHEDULE_KEY: Final = f"{OWN_PREFIX}schedule-job-id"
"""Metadata of a run that may overlap with others of its schedule: the id of that schedule."""
RUNNER_KEY: Final = f"{OWN_PREFIX}runner-id"
"""Key in a result's metadata: its runner, where the worker went with the job and cannot be asked any longer."""
CUT_KEY: Final = "jobworkerp-stream-cut"
"""Key in a stored result's metadata: the folded output holds only the beginning of the stream."""
MISCONFIGURED_KEY: Final = "jobworkerp-misconfigured"
"""Key in the metadata of a result: the job failed because it cannot run as it is set up."""


@dataclass(frozen=True, slots=True)
class CompleterParts:
    """What the completer works with."""

    catalog: Catalog
    live: LiveJobs
    chain: Chain
    waiting: Waiting
    feeds: Feeds
    store: Store
    queue: JobQueue
    poller: Poller
    pace: Pace
    clock: Clock


class Completer:
    """Ends attempts.

    Args:
        parts: its neighbours.
        new_id: makes result ids.
        row_delay_ms: a retry of a job without a row that is further away than this gets a row.
    """

    def __init__(self, parts: CompleterParts, new_id: Callable[[], int], row_delay_ms: int) -> None:
        self._parts = parts
        self.new_id = new_id
        self._row_delay_ms = row_delay_ms
        self.closing = False
        """The process ends: what cannot be written now is not tried for longer; its row runs again."""

    def provisional(self, attempt: Attempt) -> JobResult:
        """Return the result as known when a stream starts: ids and times, no args, no output."""
        job = replace(attempt.job, args=b"")
        return JobResult(
            attempt.result_id, job, attempt.worker_name, ResultStatus.SUCCESS, None, attempt.start_time_ms, 0
        )

    async def settle(self, attempt: Attempt) -> None:
        """End an attempt. Shielded: once a job ran, its result is not lost to a cancellation."""
        attempt.live.advance(Event.HANDOFF, self._parts.clock.now_ms())
        with anyio.CancelScope(shield=True):
            if attempt.job.load_only:
                self._end(attempt.job)
                self._parts.waiting.answer(self._result(attempt, attempt.status, 0))
            elif self._was_interrupted(attempt):
                await self._give_back(attempt.job)
            else:
                await self._write_and_publish(attempt)

    @staticmethod
    def _was_interrupted(attempt: Attempt) -> bool:
        """Whether the end of the process cut a durable job short that nobody else had ended."""
        live = attempt.live
        return live.stopping and not live.deleted and attempt.job.stored and attempt.status is ResultStatus.CANCELLED

    async def cancel_waiting(self, job: Job, ended_by: str = "a client") -> None:
        """End a job that was deleted before it ran."""
        await self._end_unrun(job, ResultStatus.CANCELLED, f"the job was cancelled by {ended_by} before it ran")

    async def fail_orphan(self, job: Job) -> None:
        """End a waiting job whose worker was deleted."""
        text = f"worker {job.worker_id} was deleted while this job was waiting"
        await self._end_unrun(job, ResultStatus.FATAL_ERROR, text)

    async def _end_unrun(self, job: Job, status: ResultStatus, text: str) -> None:
        now = self._parts.clock.now_ms()
        entry = self._parts.catalog.find(job.worker_id)
        name = entry.worker.name if entry else ""
        result = JobResult(self.new_id(), job, name, status, text.encode(), now, now)
        with anyio.CancelScope(shield=True):
            if await self._write(Settlement(job, result if job.rules.store_failure else None)):
                self._end(job)
                self._publish(result, {})
            else:
                self.let_go(job)

    async def _write_and_publish(self, attempt: Attempt) -> None:
        job, now = attempt.job, self._parts.clock.now_ms()
        end_ms = max(now, attempt.start_time_ms)
        delivered = attempt.stream is not None and attempt.stream.sent > 0
        step = after_attempt(
            job,
            attempt.status,
            end_ms,
            None if attempt.live.deleted else self._worker(job),
            retriable=not (delivered or attempt.live.deleted),
        )
        result = self._result(attempt, step.status, end_ms)
        if isinstance(step, RetryAt):
            await self._retry(attempt, result, step)
        elif isinstance(step, RepeatAt):
            await self._repeat(attempt, result, step)
        else:
            await self._finish(attempt, result, step)

    async def _finish(self, attempt: Attempt, result: JobResult, step: Finish) -> None:
        kept = result if attempt.job.rules.stores(step.status) else None
        follow_ups = await self._follow_ups(attempt, step.status)
        written = await self._write(Settlement(attempt.job, kept, new_jobs=follow_ups.rows))
        if written:
            self._end(attempt.job)
            self._publish(result, attempt.trailer)
        else:
            self.let_go(attempt.job)
        self._start_or_forget(follow_ups, start=written)

    async def _follow_ups(self, attempt: Attempt, status: ResultStatus) -> FollowUps:
        worker = self._worker(attempt.job)
        if status is not ResultStatus.SUCCESS or worker is None or not worker.next_workers:
            return NONE
        if attempt.cut:
            _log.error("job %d is followed by nothing: its output is larger than what is kept", attempt.job.id)
            return NONE
        return await self._parts.chain.after(attempt.job, attempt.output, self._parts.clock.now_ms())

    def _start_or_forget(self, follow_ups: FollowUps, *, start: bool) -> None:
        if start:
            self._parts.chain.start(follow_ups, self._parts.clock.now_ms())
        else:
            self._parts.chain.forget(follow_ups)

    async def _retry(self, attempt: Attempt, result: JobResult, step: RetryAt) -> None:
        job, parts = attempt.job, self._parts
        again = replace(job, run_after_ms=step.run_after_ms, retried=job.retried + 1)
        kept = result if job.rules.stores(step.status) else None
        far = step.run_after_ms - result.end_time_ms > self._row_delay_ms and not attempt.live.awaited
        if job.stored:
            settlement = Settlement(
                job, kept, next_due_ms=step.run_after_ms, next_retried=again.retried, keep_lease=not far
            )
        elif far and not job.rules.direct:
            again = replace(again, stored=True)
            settlement = Settlement(job, kept, new_jobs=(again,))
        else:
            settlement, far = Settlement(job, kept), False
        try:
            written = await self._write(settlement)
        except DuplicateKey as error:
            _log.warning("job %d cannot wait for its retry in a row: %s", job.id, error)
            await self._finish(attempt, replace(result, status=ResultStatus.MAX_RETRY), Finish(ResultStatus.MAX_RETRY))
            return
        if not written:
            self.let_go(job)
        elif far and attempt.live.deleted:
            await self._withdraw_row(job)
            await self.cancel_waiting(replace(again, stored=False))
        elif far:
            parts.live.remove(job, free_key=False)
            parts.poller.nudge(step.run_after_ms)
        else:
            live = parts.live.get(job.id)
            if live is not None and live.advance(Event.RETRY, parts.clock.now_ms()):
                live.job = again
                parts.poller.adopt(again)
            else:
                await self.cancel_waiting(again)

    async def _repeat(self, attempt: Attempt, result: JobResult, step: RepeatAt) -> None:
        job = attempt.job
        kept = result if job.rules.stores(step.status) else None
        follow_ups = await self._follow_ups(attempt, step.status)
        settlement = Settlement(job, kept, next_due_ms=step.run_after_ms, new_jobs=follow_ups.rows)
        moved = await self._move_on(attempt.live, settlement)
        if moved:
            self._publish(result, attempt.trailer)
        self._start_or_forget(follow_ups, start=moved)

    async def start_no_run(self, live: LiveJob, worker: Worker, *, overlapping: bool) -> None:
        """Move a schedule that is due to its next time without running it here.

        ``overlapping``: the run becomes a job of its own, so that the next one does not wait for it.
        """
        job, now = live.job, self._parts.clock.now_ms()
        due_ms = next_run_ms(worker, job.run_after_ms, now)
        run = replace(
            job,
            id=self.new_id(),
            rules=worker.rules(job.overrides),
            recurring=False,
            uniq_key=None,
            fence=0,
            deliveries=0,
            metadata={**job.metadata, SCHEDULE_KEY: str(job.id)},
        )
        settlement = Settlement(job, next_due_ms=due_ms, new_jobs=(run,) if overlapping else ())
        with anyio.CancelScope(shield=True):
            moved = await self._move_on(live, settlement)
            if moved and overlapping and live.deleted:
                if not self._cancel_begun(run, live.ended_by):
                    await self._withdraw_row(run)
                    await self.cancel_waiting(replace(run, stored=False), live.ended_by)
            elif moved and overlapping:
                self._parts.poller.nudge(0)

    def _cancel_begun(self, run: Job, ended_by: str) -> bool:
        """Cancel a run that began as soon as it was written down; False where it still waits."""
        begun = self._parts.live.get(run.id)
        if begun is None or begun.status is JobStatus.PENDING:
            return False
        if begun.advance(Event.CANCEL, self._parts.clock.now_ms()):
            begun.deleted, begun.ended_by = True, ended_by
            if begun.scope is not None:
                begun.scope.cancel()
        return True

    async def _move_on(self, live: LiveJob, settlement: Settlement) -> bool:
        """Move a schedule's row to its next time; False where it is not ours any more."""
        job, parts = live.job, self._parts
        worker = self._worker(job)
        moved = replace(job, channel=worker.channel) if worker else job
        if not await self._write(replace(settlement, job=moved)):
            self.let_go(job)
            return False
        parts.feeds.close(job.id)
        if live.deleted:
            await self._withdraw_row(job)
            self._end(job)
        else:
            parts.live.remove(job, free_key=False)
            parts.poller.nudge(settlement.next_due_ms or 0)
        return True

    async def _withdraw_row(self, job: Job) -> None:
        """A client deleted the job while its row was being moved: the row is free, or leased again already."""
        parts = self._parts
        async with parts.poller.leasing:
            row = await parts.store.delete(job.id)
        leased = parts.live.get(job.id)
        if row is None and leased is not None:
            parts.poller.drop(leased.job)
            parts.queue.remove(leased.job)
            await self._write(Settlement(leased.job))

    async def _give_back(self, job: Job) -> None:
        """The process stops before the job was through: its row is free again, no attempt counted."""
        try:
            await self._parts.store.release([job])
        except StorageError as error:
            _log.warning("job %d could not be given back (%s); its lease runs out by itself", job.id, error)
        self._parts.live.remove(job)
        self._parts.waiting.refuse(job.id, Unavailable(STOPPING))

    async def _write(self, settlement: Settlement) -> bool:
        """Write a settlement, patiently; False where the job is not ours to end, now or any more.

        What a row says must become true, however long that takes. A result alone is given up after some tries.
        """
        job = settlement.job
        if (live := self._parts.live.get(job.id)) is not None:
            settlement = replace(settlement, over=live.over)
        durable = job.stored or bool(settlement.new_jobs)
        whole = durable or any(each.left is not None for each in settlement.over)
        if not whole and settlement.result is None:
            return True
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            try:
                await self._write_once(settlement, whole=whole)
            except LeaseLost:
                _log.warning("job %d was taken over by another process; this run's result is dropped", job.id)
                return False
            except StorageError as error:
                tries += 1
                if self.closing or (not durable and tries >= _WRITE_TRIES):
                    _log.error("the end of job %d could not be stored: %s", job.id, error)
                    return not durable
                _log.warning("storing the end of job %d failed, trying again: %s", job.id, error)
                await self._parts.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                return True

    async def _write_once(self, settlement: Settlement, *, whole: bool) -> None:
        if whole:
            with self._parts.pace.paperwork(settlement.job):
                await self._parts.store.settle(settlement)
        elif settlement.result is not None:
            await self._parts.store.add_result(settlement.result)

    def _publish(self, result: JobResult, trailer: dict[str, str]) -> None:
        stream = self._parts.waiting.find_stream(result.job.id)
        if stream is not None and result.job.streaming is not StreamingType.NONE:
            stream.close(StreamEnd(result, trailer))
        self._parts.waiting.publish(result)

    def abandon(self, attempt: Attempt) -> None:
        """End a job whose end could not be settled because of a defect: nobody waits for ever."""
        attempt.fail(Fatal("the end of this job could not be settled; the server's log says more"))
        result = self._result(attempt, attempt.status, self._parts.clock.now_ms())
        self._end(attempt.job)
        self._publish(result, attempt.trailer)

    def let_go(self, job: Job) -> None:
        """Another process has the job, or will have it: who waits for it here asks again."""
        self._parts.live.remove(job, free_key=False)
        self._parts.feeds.close(job.id)
        self._parts.waiting.refuse(job.id, Unavailable("another process took this job over; listen again"))

    def _end(self, job: Job) -> None:
        self._parts.live.remove(job)
        self._parts.feeds.close(job.id)

    def _worker(self, job: Job) -> Worker | None:
        entry = self._parts.catalog.find(job.worker_id)
        return entry.worker if entry else None

    @staticmethod
    def _result(attempt: Attempt, status: ResultStatus, end_ms: int) -> JobResult:
        job = attempt.job
        true = {CUT_KEY: attempt.cut, MISCONFIGURED_KEY: attempt.misconfigured}
        notes = {key: "true" for key, holds in true.items() if holds}
        if attempt.lent_runner_id is not None:
            notes[RUNNER_KEY] = str(attempt.lent_runner_id)
        metadata = {**job.metadata, **notes} if notes else job.metadata
        return JobResult(
            attempt.result_id,
            job,
            attempt.worker_name,
            status,
            attempt.output,
            attempt.start_time_ms,
            end_ms,
            metadata,
        )
