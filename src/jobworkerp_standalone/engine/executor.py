"""Runs one job: bind its runner, run or stream under its deadline and its own scope, settle."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import anyio

from jobworkerp_standalone.engine.attempt import Attempt
from jobworkerp_standalone.engine.catalog import Catalog, Entry
from jobworkerp_standalone.engine.chain import BEGINS_WITH_KEY, explained
from jobworkerp_standalone.engine.completer import Completer
from jobworkerp_standalone.engine.feeds import Feeds
from jobworkerp_standalone.engine.journals import Journals
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.owned import is_being_cancelled, tidy_task
from jobworkerp_standalone.engine.pace import Pace
from jobworkerp_standalone.engine.parents import Parent, Parents
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.temporary import worker_of
from jobworkerp_standalone.engine.waiting import Waiting
from jobworkerp_standalone.jobs.errors import (
    BadInput,
    Cancelled,
    Fatal,
    JobError,
    LeaseLost,
    Retryable,
    StorageError,
    Unavailable,
)
from jobworkerp_standalone.jobs.lifecycle import Event
from jobworkerp_standalone.jobs.model import Job, JobStatus, ResultStatus, StreamingType
from jobworkerp_standalone.jobs.periods import is_missed
from jobworkerp_standalone.ports import Clock, JobQueue, JobStore
from jobworkerp_standalone.runners.base import Call, Collector, Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.pool import RunnerPool
from jobworkerp_standalone.runners.spec import RunnerSpec

_log = logging.getLogger(__name__)
_MAY_GO_ON: Final = (ResultStatus.SUCCESS, ResultStatus.CANCELLED)
"""Ends after which somebody goes on with the run of a job by itself: it waits, or has been put down by a stop."""


@dataclass(frozen=True, slots=True)
class ExecutorParts:
    """What the executor works with."""

    catalog: Catalog
    live: LiveJobs
    waiting: Waiting
    feeds: Feeds
    pool: RunnerPool
    queue: JobQueue
    poller: Poller
    pace: Pace
    store: JobStore
    clock: Clock


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """Numbers from the settings."""

    stream_store_bytes: int
    """How much of a stream is folded into its result."""
    max_deliveries: int
    """Runs of a job that may end with the death of the process."""
    tolerance_ms: int
    """A run that nobody picked up within this of its time was missed."""


class Executor:
    """Carries an attempt through its steps. Every way out ends in the completer."""

    def __init__(self, parts: ExecutorParts, completer: Completer, limits: ExecutorLimits) -> None:
        self._parts = parts
        self._completer = completer
        self._limits = limits
        self.parents: Parents
        self.journals: Journals
        """Both given after it was made, as children come in through the intake and run here."""
        self._suspect_runs = False
        self._parked: deque[Job] = deque()
        """Jobs that may not be running at one more death of their process run one at a time, so that only the guilty
        one is there if it comes."""

    async def execute(self, job: Job) -> None:
        """Run ``job`` in the slot of the calling task. Raises nothing but a cancellation."""
        parts = self._parts
        parts.poller.started(job)
        live = parts.live.get(job.id)
        now = parts.clock.now_ms()
        if live is None or live.job.fence != job.fence or live.status is not JobStatus.PENDING or self._is_parked(job):
            return
        try:
            live.advance(Event.START, now)
            with tidy_task():
                await self._attempt(live, now)
        except Exception:  # a defect: neither the slot nor the task group of all slots ends with one job
            _log.exception("job %d could not be settled; the slot on which it ran goes on", job.id)
        finally:
            self._unpark(job)

    async def _attempt(self, live: LiveJob, now: int) -> None:
        job = live.job
        live.over = ()
        if job.recurring and not (job.retried or live.damage):
            if await self._starts_no_run(live):
                return
            job = self._fold_anew(live)
        if not live.awaited and (begins_with := job.metadata.get(BEGINS_WITH_KEY)) is not None:
            live.deleted, live.superseded = True, True
            live.ended_by = f"job {begins_with}, which begins anew and starts it once more"
        attempt, children = Attempt(job, live, self._completer.new_id(), now), self.parents.of(live)
        try:
            await self._under_limits(attempt, children)
        except LeaseLost:
            _log.warning("job %d was ended or taken over by another process before it ran here", job.id)
            self._completer.let_go(job)
            return
        except Exception as error:
            _log.exception("job %d of worker %r failed unexpectedly", job.id, attempt.worker_name)
            attempt.fail(BadInput(f"{type(error).__name__}: {error}"))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            attempt.fail(BadInput("something that the runner waited for was cancelled"))
        live.scope = None
        if live.superseded or (_is_started_once_more(job) and attempt.status not in _MAY_GO_ON):
            self.journals.of(live).ended()
        try:
            await self._completer.settle(attempt)
        except Exception:
            _log.exception("the end of job %d of worker %r could not be settled", job.id, attempt.worker_name)
            self._completer.abandon(attempt)
        await children.slot_back()

    def _is_parked(self, job: Job) -> bool:
        """Put a suspect aside while another one runs, without holding a slot."""
        if not self._is_suspect(job):
            return False
        if self._suspect_runs:
            self._parked.append(job)
            return True
        self._suspect_runs = True
        return False

    def _unpark(self, job: Job) -> None:
        if self._is_suspect(job):
            self._suspect_runs = False
            while self._parked:  # all but one come back here; those that were deleted meanwhile do not
                self._parts.queue.put_due(self._parked.popleft())

    def _is_suspect(self, job: Job) -> bool:
        return job.deliveries >= max(1, self._limits.max_deliveries - 1)

    async def _note_start(self, job: Job) -> None:
        try:
            with self._parts.pace.paperwork(job):
                await self._parts.store.mark_running(job)
        except StorageError as error:
            _log.warning("the start of job %d could not be noted, it runs all the same: %s", job.id, error)

    async def _starts_no_run(self, live: LiveJob) -> bool:
        """Whether a schedule that is due only moves on: its run was missed, or runs beside it."""
        entry = self._parts.catalog.find(live.job.worker_id)
        if entry is None or not entry.worker.recurring:
            return False
        worker, due_ms = entry.worker, live.job.run_after_ms
        missed = is_missed(worker, due_ms, live.pending_time_ms, self._limits.tolerance_ms)
        if missed:
            _log.info("the run of job %d that was due at %d is left out (cron_misfire SKIP)", live.job.id, due_ms)
        if missed or worker.allow_overlap:
            await self._completer.start_no_run(live, worker, overlapping=not missed)
        return missed or worker.allow_overlap

    def _fold_anew(self, live: LiveJob) -> Job:
        """Each run of a schedule follows its worker as it is then; retries of the run keep what the run had."""
        entry = self._parts.catalog.find(live.job.worker_id)
        if entry is not None:
            live.job = replace(live.job, rules=entry.worker.rules(live.job.overrides))
        return live.job

    async def _under_limits(self, attempt: Attempt, children: Parent) -> None:
        """Run under the job's deadline and its own scope, and say which of the two ended it."""
        job, live = attempt.job, attempt.live
        call = Call(job.id, live.args, metadata=job.metadata, children=children, journal=self.journals.of(live))
        scope = anyio.CancelScope()
        try:
            with scope:
                live.scope = scope
                if live.deleted or live.stopping:
                    scope.cancel()
                if job.stored:
                    await self._note_start(job)
                if job.timeout_ms:
                    scope.deadline = anyio.current_time() + job.timeout_ms / 1000
                try:
                    await self._bind_and_run(attempt, call)
                except JobError as error:
                    attempt.fail(explained(error, job))
            interrupted = scope.cancelled_caught
        except asyncio.CancelledError:  # of the scope too, where the runner left a request to cancel on this task
            interrupted = scope.cancel_called and not is_being_cancelled()
            if not interrupted:
                raise
        if interrupted:
            attempt.fail(self._interruption(attempt, call))
            if not live.stopping:
                await children.end_loose()

    def _interruption(self, attempt: Attempt, call: Call) -> JobError:
        detail = f"\n{call.last_words}" if call.last_words else ""
        if attempt.live.deleted:
            return Cancelled(f"the job was cancelled by {attempt.live.ended_by}{detail}")
        if attempt.live.stopping:
            return Cancelled(f"the job was cancelled because the server stopped{detail}")
        limit = attempt.job.timeout_ms
        if attempt.stream is not None:
            return Retryable(f"timeout: no stream item within {limit} ms{detail}")
        return Retryable(f"timeout: the job took longer than {limit} ms{detail}")

    async def _bind_and_run(self, attempt: Attempt, call: Call) -> None:
        job = attempt.job
        if job.deliveries >= self._limits.max_deliveries:
            raise Fatal(
                f"set aside: {job.deliveries} runs of this job ended with the death of the process "
                f"(JOB_MAX_DELIVERIES is {self._limits.max_deliveries})"
            )
        if attempt.live.damage:
            raise Fatal(f"set aside: {attempt.live.damage}")
        entry = await self._bind(attempt)
        spec = await self._spec(entry)
        method = _method(spec, job)
        call.method = method.name
        async with self._parts.pool.lend(entry.worker, spec) as runner:
            if job.load_only:
                await runner.warm_up()
                return
            if method.require_client_stream:
                call.feed = self._parts.feeds.reader(job.id)
            if job.streaming is StreamingType.NONE:
                attempt.output = await runner.run(call)
            else:
                await self._stream(attempt, runner, call)

    async def _bind(self, attempt: Attempt) -> Entry:
        catalog, worker_id = self._parts.catalog, attempt.job.worker_id
        entry = catalog.find(worker_id) or self._made_for(attempt.job) or await catalog.look_up(worker_id)
        if entry is None:
            raise Fatal(f"worker {attempt.job.worker_id} was deleted while this job was waiting")
        attempt.worker_name = entry.worker.name
        lent = catalog.lent(worker_id)
        attempt.lent_runner_id = lent.runner_id if lent is not None else None
        return entry

    async def _spec(self, entry: Entry) -> RunnerSpec:
        kinds = self._parts.catalog.kinds
        spec = entry.spec or await kinds.when_there(entry.worker.runner_id)
        if spec is not None:
            return spec
        why = kinds.why_not(entry.worker)
        raise Retryable(str(why)) if isinstance(why, Unavailable) else Fatal(str(why))

    def _made_for(self, job: Job) -> Entry | None:
        """Return the worker that was made for this job alone, which an earlier process has taken with it."""
        worker = worker_of(job)
        return self._parts.catalog.lend(worker) if worker is not None else None

    async def _stream(self, attempt: Attempt, runner: Runner, call: Call) -> None:
        job, scope = attempt.job, attempt.live.scope
        stream = attempt.stream = self._parts.waiting.stream_of(job.id)
        stream.start(self._completer.provisional(attempt))
        keep = self._is_kept(job)
        folder = _Folder(runner.collector(call.method), self._limits.stream_store_bytes) if keep else None

        async def send(item: bytes) -> None:
            if scope is not None:
                scope.deadline = math.inf
            if folder is not None:
                folder.add(item)
            await stream.send(item)
            if scope is not None and job.timeout_ms:
                scope.deadline = anyio.current_time() + job.timeout_ms / 1000

        try:
            await runner.stream(call, send)
        finally:
            attempt.trailer = call.trailer
            if folder is not None:
                attempt.output, attempt.cut = folder.result(), folder.cut

    def _is_kept(self, job: Job) -> bool:
        """Whether somebody wants the folded output of the stream."""
        if job.rules.store_success or job.rules.store_failure or job.streaming is StreamingType.INTERNAL:
            return True
        entry = self._parts.catalog.find(job.worker_id)
        return entry is not None and bool(entry.worker.next_workers)


def _is_started_once_more(job: Job) -> bool:
    """Whether a durable job waits for this one: whoever goes on with that has it done by another."""
    return BEGINS_WITH_KEY in job.metadata


def _method(spec: RunnerSpec, job: Job) -> Method:
    method = spec.method(job.using)
    if method is None:
        raise BadInput(f"runner {spec.name} has no method {job.using!r}; use one of: {', '.join(spec.methods)}")
    return method


class _Folder:
    """Folds a stream up to a size limit."""

    def __init__(self, collector: Collector, limit: int) -> None:
        self._collector = collector
        self._left = limit
        self.cut = False

    def add(self, item: bytes) -> None:
        if self.cut or len(item) > self._left:
            self.cut = True
            return
        self._left -= len(item)
        self._collector.add(item)

    def result(self) -> bytes:
        return self._collector.result()
