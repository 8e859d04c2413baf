"""The only doors in: submit a job, cancel a job, load a runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import anyio

from jobworkerp_standalone.engine.catalog import Catalog, Entry
from jobworkerp_standalone.engine.completer import SCHEDULE_KEY, Completer
from jobworkerp_standalone.engine.feeds import Feed, Feeds
from jobworkerp_standalone.engine.kinds import not_built
from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.requests import check_method
from jobworkerp_standalone.engine.streams import StreamReader
from jobworkerp_standalone.engine.waiting import STOPPING, Waiting
from jobworkerp_standalone.engine.worker_rules import check_channel, check_retry_policy
from jobworkerp_standalone.jobs.errors import (
    DuplicateKey,
    Exhausted,
    InvalidRequest,
    LoadFailed,
    Unavailable,
    WaitTimedOut,
)
from jobworkerp_standalone.jobs.lifecycle import Event
from jobworkerp_standalone.jobs.model import (
    Job,
    JobResult,
    JobStatus,
    NewJob,
    ResponseType,
    ResultStatus,
    Rules,
    StreamingType,
)
from jobworkerp_standalone.jobs.periods import first_run_ms
from jobworkerp_standalone.jobs.routing import Route, route
from jobworkerp_standalone.ports import Clock, JobQueue, JobStore
from jobworkerp_standalone.runners.children import Secret
from jobworkerp_standalone.runners.spec import RunnerSpec

_LOAD_RULES: Final = Rules(response_type=ResponseType.DIRECT)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that is in. Whoever waits does it here; the job does not depend on it."""

    job: Job
    reply: asyncio.Future[JobResult] | None = None
    """The final result, for a DIRECT job."""
    stream: StreamReader | None = None
    """The items, for a streaming DIRECT job."""
    feed: Feed | None = None
    """Takes the client's stream, for methods that want one."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a job comes in, beside what it is."""

    feeding: bool = False
    """The client is going to stream input to it."""
    awaited: bool = False
    """A job waits for it: reply and stream are opened also for a job that is not DIRECT."""
    on_slot: bool = False
    """It does not enter the queue: a slot is held for it already."""
    secret: Secret | None = None
    """What only its runner sees."""


_AS_USUAL: Final = Manner()


@dataclass(frozen=True, slots=True)
class IntakeParts:
    """What the intake works with."""

    catalog: Catalog
    live: LiveJobs
    waiting: Waiting
    feeds: Feeds
    queue: JobQueue
    store: JobStore
    poller: Poller
    completer: Completer
    clock: Clock
    owned: OwnedTasks


class Intake:
    """Accepts and cancels jobs.

    Args:
        parts: its neighbours.
        new_id: makes job ids.
        full_wait_ms: how long a submit waits for room in a full queue.
        fetch_interval_ms: rows due within it are held by this process from the start.
    """

    def __init__(
        self, parts: IntakeParts, new_id: Callable[[], int], full_wait_ms: int, fetch_interval_ms: int
    ) -> None:
        self._parts = parts
        self._new_id = new_id
        self._full_wait_ms = full_wait_ms
        self._fetch_interval_ms = fetch_interval_ms
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def close(self) -> None:
        """Take nothing more, but what runs on a slot that is held for it."""
        self._closed = True

    async def submit(self, new: NewJob, *, feeding: bool = False) -> Accepted:
        """Accept a job: once this returns it is in its queue, and on disk if its queue type says so.

        Args:
            new: what the client wants.
            feeding: the client is going to stream input to it.

        Raises:
            InvalidRequest: it can never run like this.
            NotBuilt: its runner is not part of this version.
            DuplicateKey: its ``uniq_key`` is held by another job.
            Exhausted: the queue stayed full.
            Unavailable: the process stops, or the runner is away for the moment.
        """
        self._check_open()
        entry = await self._entry(new.worker)
        check_method(self._spec(entry), new, feeding=feeding)
        if new.overrides is not None:
            check_retry_policy("overrides.retry_policy", new.overrides.retry_policy)
        now = self._parts.clock.now_ms()
        job, way = self._fold(entry, new, now)
        await self._claim_key(job)
        manner = Manner(feeding=True) if feeding else _AS_USUAL
        if way is Route.QUEUE:
            return await self._admit_or_withdraw(job, way, manner)
        return await self._parts.owned.run(self._admit_or_withdraw, job, way, manner)

    async def submit_child(self, entry: Entry, new: NewJob, manner: Manner, *, job_id: int | None = None) -> Accepted:
        """Accept a job that a running job starts, for a worker that need not be in the catalog.

        Once its admission has begun to write, a cancellation comes through only after it. ``job_id`` is its id, where
        that was chosen before.

        Raises:
            RequestError: as ``submit``.
        """
        check_method(self._spec(entry), new, feeding=False)
        check_channel(entry.worker.channel, self._parts.catalog.channels)
        job, way = self._fold(entry, new, self._parts.clock.now_ms(), job_id)
        if way is Route.ROW or not manner.on_slot:
            self._check_open()
        if way is Route.QUEUE:
            return await self._admit_or_withdraw(job, way, manner)
        with anyio.CancelScope(shield=True):
            return await self._admit_or_withdraw(job, way, manner)
        raise AssertionError("nothing cancels this scope")

    async def load(self, worker: int | str, timeout_ms: int) -> None:
        """Load a worker's runner in one of its channel's slots.

        Raises:
            LoadFailed: it could not be loaded; the text says why.
            WaitTimedOut: it took longer than ``timeout_ms``.
        """
        self._check_open()
        entry = await self._entry(worker)
        self._spec(entry)
        parts = self._parts
        job = Job(
            self._new_id(),
            entry.worker.id,
            b"",
            _LOAD_RULES,
            parts.clock.now_ms(),
            channel=entry.worker.channel,
            timeout_ms=timeout_ms,
            load_only=True,
        )
        accepted = await self._admit(job, Route.QUEUE, _AS_USUAL)
        assert accepted.reply is not None, "load rules are DIRECT"
        try:
            async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                result = await accepted.reply
        except TimeoutError:
            raise WaitTimedOut(
                f"worker {entry.worker.name!r} was not loaded within timeout_ms {timeout_ms}; "
                "its channel may be busy, or loading takes longer"
            ) from None
        finally:
            parts.waiting.close_reply(job.id)
        if result.status is not ResultStatus.SUCCESS:
            raise LoadFailed((result.output or b"").decode("utf-8", "replace"))

    async def cancel(self, job_id: int) -> bool:
        """End a job, whatever it is doing; whether it was there. A running one ends when its runner let go.

        A schedule takes the runs that overlap with it along.
        """
        return await self._parts.owned.run(self._cancel_with_runs, job_id)

    async def _cancel_with_runs(self, job_id: int) -> bool:
        ended = await self._cancel(job_id)
        if ended is not None and ended.recurring:
            rows = await self._parts.store.of_worker(ended.worker_id)
            for run in [*rows, *(live.job for live in self._parts.live.all())]:
                if run.metadata.get(SCHEDULE_KEY) == str(job_id):
                    await self._cancel(run.id)
        return ended is not None

    async def _cancel(self, job_id: int) -> Job | None:
        """End one job and return it; None where there is nothing to end."""
        parts = self._parts
        live = parts.live.get(job_id)
        if live is None:
            async with parts.poller.leasing:
                row = await parts.store.delete(job_id)
            if row is None:
                live = parts.live.get(job_id)
            else:
                await parts.completer.cancel_waiting(replace(row, stored=False))
                return row
        if live is None:
            return None
        waiting = live.status is JobStatus.PENDING
        if not live.advance(Event.CANCEL, parts.clock.now_ms()):
            return None
        live.deleted = True
        if waiting:
            parts.queue.remove(live.job)
            parts.poller.drop(live.job)
            await parts.completer.cancel_waiting(live.job, live.ended_by)
        elif live.scope is not None:
            live.scope.cancel()
        return live.job

    async def end_orphans(self, worker_id: int) -> None:
        """End all waiting jobs of a deleted worker with a result that says so."""
        parts = self._parts
        for live in parts.live.all():
            if live.job.worker_id == worker_id and live.status is JobStatus.PENDING:
                live.advance(Event.CANCEL, parts.clock.now_ms())
                parts.queue.remove(live.job)
                parts.poller.drop(live.job)
                await parts.completer.fail_orphan(live.job)
        for job in await parts.store.of_worker(worker_id):
            if parts.live.get(job.id) is None:
                async with parts.poller.leasing:
                    row = await parts.store.delete(job.id)
                if row is not None:
                    await parts.completer.fail_orphan(replace(row, stored=False))

    async def _claim_key(self, job: Job) -> None:
        live = self._parts.live
        try:
            live.claim_key(job)
        except DuplicateKey as error:
            if not live.is_row(error.holder) or await self._parts.store.find(error.holder) is not None:
                raise
            live.forget_key(error.uniq_key, error.holder)
            live.claim_key(job)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(STOPPING)

    async def _entry(self, worker: int | str) -> Entry:
        catalog = self._parts.catalog
        if isinstance(worker, int):
            entry, field, shown = catalog.find(worker), "worker_id", str(worker)
        else:
            entry, field, shown = catalog.find_by_name(worker), "worker_name", repr(worker)
        entry = entry or await catalog.look_up(worker)
        if entry is None:
            raise InvalidRequest(f"{field} {shown} does not exist; create the worker first, or list the workers")
        check_channel(entry.worker.channel, catalog.channels)
        return entry

    def _spec(self, entry: Entry) -> RunnerSpec:
        spec = entry.spec
        if spec is None:
            raise self._parts.catalog.kinds.why_not(entry.worker)
        if spec.make is None:
            raise not_built(spec)
        return spec

    def _fold(self, entry: Entry, new: NewJob, now_ms: int, job_id: int | None = None) -> tuple[Job, Route]:
        """Fold worker and request into one frozen job; no later stage looks a setting up again."""
        worker = entry.worker
        rules = entry.rules if new.overrides is None else worker.rules(new.overrides)
        way = route(worker, rules, new.run_after_ms, now_ms)
        in_row = way is not Route.QUEUE
        run_after = new.run_after_ms
        if way is Route.ROW:
            run_after = first_run_ms(worker, new.run_after_ms, now_ms)
        job = Job(
            self._new_id() if job_id is None else job_id,
            worker.id,
            new.args,
            rules,
            now_ms,
            worker.channel,
            worker.queue_type,
            new.priority,
            new.timeout_ms,
            run_after,
            new.using,
            new.streaming,
            new.uniq_key,
            new.overrides,
            new.metadata,
            recurring=worker.recurring,
            stored=in_row,
        )
        return job, way

    async def _admit_or_withdraw(self, job: Job, way: Route, manner: Manner) -> Accepted:
        try:
            return await self._admit(job, way, manner)
        except BaseException:
            self._withdraw(job)
            raise

    async def _admit(self, job: Job, way: Route, manner: Manner) -> Accepted:
        """Open whatever waits for the job, then make it visible."""
        parts, queued = self._parts, not manner.on_slot
        if way is Route.ROW:
            return await self._admit_row(job, manner)
        if queued and not parts.queue.reserve_now(job):
            await self._reserve(job)
        if way is Route.ROW_AND_QUEUE:
            try:
                await parts.store.add([job], held=True)
            except BaseException:
                if queued:
                    parts.queue.unreserve(job)
                raise
        if self._closed and queued and not job.stored:
            parts.queue.unreserve(job)
            raise Unavailable(STOPPING)
        accepted = self._open(job, manner)
        live = parts.live.add(job, job.enqueue_time_ms, awaited=manner.awaited)
        live.secret = manner.secret
        if queued:
            parts.queue.put(job)
        return accepted

    async def _admit_row(self, job: Job, manner: Manner) -> Accepted:
        parts = self._parts
        near = job.run_after_ms <= job.enqueue_time_ms + self._fetch_interval_ms and parts.poller.has_room(job.channel)
        held = near or manner.awaited
        accepted = self._open(job, manner)
        await parts.store.add([job], held=held)
        if held:
            parts.live.add(job, job.enqueue_time_ms, awaited=manner.awaited)
            parts.poller.adopt(job)
        else:
            parts.live.admitted(job)
            parts.poller.nudge(job.run_after_ms)
        return accepted

    async def _reserve(self, job: Job) -> None:
        with anyio.move_on_after(self._full_wait_ms / 1000):
            await self._parts.queue.reserve(job)
            self._check_open()
            return
        raise Exhausted(
            f"channel {job.channel!r} has no room for another {job.priority.name} job (JOB_QUEUE_CHANNEL_CAPACITY), "
            f"also after waiting {self._full_wait_ms} ms (JOB_QUEUE_FULL_WAIT_MS); nothing was stored, try again later"
        )

    def _open(self, job: Job, manner: Manner) -> Accepted:
        waiting = self._parts.waiting
        reply = waiting.open_reply(job.id) if job.rules.direct or manner.awaited else None
        stream = None
        if job.streaming is not StreamingType.NONE and reply is not None:
            stream = waiting.stream_of(job.id).reader(caller=True)
        feed = self._parts.feeds.open(job.id) if manner.feeding else None
        return Accepted(job, reply, stream, feed)

    def _withdraw(self, job: Job) -> None:
        parts = self._parts
        parts.waiting.close_reply(job.id)
        parts.waiting.forget_stream(job.id)
        parts.feeds.close(job.id)
        parts.live.admitted(job)
        parts.live.remove(job)
