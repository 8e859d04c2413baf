"""Calls of the command group ``job-status``."""

from __future__ import annotations

from typing import NamedTuple

from jobworkerp_standalone.client import Client
from jobworkerp_standalone.pb.jobworkerp.data import Empty, JobId, JobProcessingStatus
from jobworkerp_standalone.pb.jobworkerp.service import (
    CleanupRequest,
    CleanupResponse,
    FindJobProcessingStatusRequest,
    JobProcessingStatusDetailResponse,
)


class Search(NamedTuple):
    """What a command line says about the jobs that are looked for."""

    status: str | None = None
    worker_id: int | None = None
    channel: str | None = None
    min_elapsed_time_ms: int | None = None
    limit: int | None = None
    offset: int | None = None
    descending: bool | None = None


async def find(client: Client, job_id: int) -> JobProcessingStatus | None:
    """Return what a job is doing; None once it ended."""
    return (await client.status.find(JobId(value=job_id))).status


async def listing(client: Client) -> list[tuple[int, JobProcessingStatus]]:
    """Return what every job is doing."""
    found = [each async for each in client.status.find_all(Empty())]
    return [(each.id.value if each.id else 0, each.status) for each in found]


async def search(client: Client, wanted: Search) -> list[JobProcessingStatusDetailResponse]:
    """Return the jobs that match."""
    status = None if wanted.status is None else JobProcessingStatus[wanted.status.upper().replace("-", "_")]
    request = FindJobProcessingStatusRequest(
        status=status,
        worker_id=wanted.worker_id,
        channel=wanted.channel,
        min_elapsed_time_ms=wanted.min_elapsed_time_ms,
        limit=wanted.limit,
        offset=wanted.offset,
        descending=wanted.descending,
    )
    return [each async for each in client.status.find_by_condition(request)]


async def cleanup(client: Client, retention_hours: int | None) -> CleanupResponse:
    """Forget states of jobs that ended long ago."""
    return await client.status.cleanup(CleanupRequest(retention_hours_override=retention_hours))
