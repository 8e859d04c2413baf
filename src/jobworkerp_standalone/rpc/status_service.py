"""JobProcessingStatusService, and its older name JobStatusService: what live jobs are doing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.live import LiveJob
from jobworkerp_standalone.jobs.errors import FailedPrecondition, InvalidRequest, NotBuilt
from jobworkerp_standalone.jobs.model import Job, JobStatus, StreamingType, channel_from_name
from jobworkerp_standalone.rpc.limits import limit_of, offset_of, text_of
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_DEFAULT_LIMIT: Final = 100
_MAX_STALE_HOURS: Final = 8760
_HOUR_MS: Final = 3_600_000
_PAGE: Final = 1000
_OFF: Final = "status searches are switched off (JOB_STATUS_RDB_INDEXING=false)"


@dataclass(frozen=True, slots=True)
class _Row:
    """One live job as a status row."""

    job: Job
    status: JobStatus
    start_time_ms: int | None
    pending_time_ms: int | None
    updated_at_ms: int


class JobProcessingStatusRpc(WireService):
    """States of jobs that have not ended, waiting rows included."""

    full_name = "jobworkerp.service.JobProcessingStatusService"
    seed_numbers = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return a live job's state; nothing once it ended."""
        reply = wire.message_type("jobworkerp.service.OptionalJobProcessingStatusResponse")()
        live = self._engine.live.get(request.value)
        if live is not None:
            reply.status = wire.job_status_number(live.status, seed=self.seed_numbers)
        elif await self._engine.store.find(request.value) is not None:
            reply.status = wire.job_status_number(JobStatus.PENDING, seed=self.seed_numbers)
        return reply

    async def find_all(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield the state of every live job."""
        async for row in self._rows():
            message = wire.message_type("jobworkerp.service.JobProcessingStatusResponse")()
            message.id.value = row.job.id
            message.status = wire.job_status_number(row.status, seed=self.seed_numbers)
            yield message

    async def find_by_condition(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield live jobs that match, by start time; waiting ones by the time since which they wait."""
        self._need_index(NotBuilt)
        limit, offset = limit_of(request, _DEFAULT_LIMIT, least=1) or _DEFAULT_LIMIT, offset_of(request)
        rows = sorted(
            await self._matching(request),
            key=lambda row: (row.start_time_ms or row.pending_time_ms or 0, row.job.id),
            reverse=request.descending,
        )
        for row in rows[offset : offset + limit]:
            yield _detail(row)

    async def count_by_condition(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many live jobs match, in all or by state."""
        self._need_index(NotBuilt)
        counts = Counter(row.status for row in await self._matching(request))
        reply = wire.message_type("jobworkerp.service.CountJobProcessingStatusResponse")()
        reply.mode = request.mode
        reply.total = counts.total()
        if request.mode:
            for status, count in sorted(counts.items()):
                reply.counts.add(status=status, count=count)
        return reply

    async def cleanup(self, request: Message, stream: ServerStream) -> Reply:
        """Do what is left of cleaning up: ended jobs leave no rows behind here, so nothing is ever found."""
        self._need_index(FailedPrecondition)
        hours = (
            request.retention_hours_override
            if request.HasField("retention_hours_override")
            else self._engine.settings.job_status_retention_hours
        )
        reply = wire.message_type("jobworkerp.service.CleanupResponse")()
        reply.cutoff_time = max(0, self._engine.clock.now_ms() - min(hours, 10**9) * _HOUR_MS)
        reply.message = "nothing to clean up: the state of a job is forgotten when it ends"
        return reply

    async def purge_stale_jobs(self, request: Message, stream: ServerStream) -> Reply:
        """Forget states whose job is gone: there are none here, so nothing is ever marked."""
        self._need_index(FailedPrecondition)
        hours = request.stale_threshold_hours
        if not request.orphaned_only and not 1 <= hours <= _MAX_STALE_HOURS:
            raise InvalidRequest(f"stale_threshold_hours {hours} is outside 1 to {_MAX_STALE_HOURS}")
        reply = wire.message_type("jobworkerp.service.PurgeStaleJobsResponse")()
        reply.cutoff_time = max(0, self._engine.clock.now_ms() - min(hours, 10**9) * _HOUR_MS)
        reply.message = "nothing to purge: a state lives exactly as long as its job"
        return reply

    def _need_index(self, error: type[NotBuilt | FailedPrecondition]) -> None:
        if not self._engine.settings.job_status_indexing:
            raise error(_OFF)

    async def _rows(self) -> AsyncIterator[_Row]:
        live_jobs = [live for live in self._engine.live.all() if not live.job.load_only]
        seen = {live.job.id for live in live_jobs}
        for live in live_jobs:
            yield _live_row(live)
        offset = 0
        while page := await self._engine.store.listing(_PAGE, offset):
            for job in page:
                if job.id not in seen:
                    yield _Row(job, JobStatus.PENDING, None, job.enqueue_time_ms, job.enqueue_time_ms)
            offset += _PAGE

    async def _matching(self, request: Message) -> list[_Row]:
        status = JobStatus(request.status) if request.HasField("status") else None
        worker_id = request.worker_id if request.HasField("worker_id") else None
        channel = channel_from_name(text_of(request, "channel")) if request.HasField("channel") else None
        started_before = None
        if request.HasField("min_elapsed_time_ms"):
            if request.min_elapsed_time_ms < 0:
                raise InvalidRequest(f"min_elapsed_time_ms {request.min_elapsed_time_ms} is negative; use 0 or more")
            started_before = self._engine.clock.now_ms() - request.min_elapsed_time_ms
        return [
            row
            async for row in self._rows()
            if (not status or row.status is status)
            and worker_id in (None, row.job.worker_id)
            and channel in (None, row.job.channel)
            and (started_before is None or (row.start_time_ms is not None and row.start_time_ms <= started_before))
        ]


class JobStatusRpc(JobProcessingStatusRpc):
    """The same under its older name, with the older numbers of the states."""

    full_name = "jobworkerp.service.JobStatusService"
    seed_numbers = True


def _live_row(live: LiveJob) -> _Row:
    return _Row(live.job, live.status, live.start_time_ms, live.pending_time_ms, live.updated_at_ms)


def _detail(row: _Row) -> Message:
    message = wire.message_type("jobworkerp.service.JobProcessingStatusDetailResponse")()
    job = row.job
    message.id.value = job.id
    message.status = row.status
    message.worker_id = job.worker_id
    message.channel = job.channel
    message.priority = job.priority
    message.enqueue_time = job.enqueue_time_ms
    message.updated_at = row.updated_at_ms
    message.is_streamable = job.streaming is not StreamingType.NONE
    message.broadcast_results = job.rules.broadcast_results
    if row.start_time_ms is not None:
        message.start_time = row.start_time_ms
    if row.pending_time_ms is not None:
        message.pending_time = row.pending_time_ms
    return message
