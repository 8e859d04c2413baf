"""Calls of the command group ``job-result``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from jobworkerp_standalone.cli.calls.following import Sink, follow
from jobworkerp_standalone.cli.calls.job import output_of
from jobworkerp_standalone.client import Client
from jobworkerp_standalone.pb.jobworkerp.data import JobId, JobResult, JobResultId
from jobworkerp_standalone.pb.jobworkerp.service import (
    CountJobResultRequest,
    FindJobResultListRequest,
    FindListByJobIdRequest,
    ListenByWorkerRequest,
    ListenRequest,
)

_RUNNER_KEY: Final = "jobworkerp-runner-id"
"""Metadata of a result whose worker went with the job."""


class Decoded(NamedTuple):
    """A result and what it holds."""

    result: JobResult
    output: Any


async def find(client: Client, result_id: int) -> Decoded | None:
    """Return a stored result."""
    result = (await client.result.find(JobResultId(value=result_id))).data
    return None if result is None else await _decoded(client, result)


async def listen(client: Client, job_id: int, worker: int | str, timeout_ms: int, using: str | None) -> Decoded:
    """Wait for the result of a job."""
    request = await _listen_request(client, job_id, worker, timeout_ms, using)
    return await _decoded(client, await client.result.listen(request))


async def listen_stream(
    client: Client, job_id: int, worker: int | str, timeout_ms: int, using: str | None, sink: Sink
) -> None:
    """Hand the items of a job to ``sink`` as they come."""
    request = await _listen_request(client, job_id, worker, timeout_ms, using)
    runner = await client.schemas.runner_of(await client.schemas.worker(worker))
    async with client.listen_stream(request) as stream:
        await follow(stream, runner, using, sink)


async def listen_by_worker(client: Client, worker: int | str, show: Callable[[Decoded], None]) -> None:
    """Show every result of a worker from now on."""
    found = await client.schemas.worker(worker)
    async for result in client.result.listen_by_worker(ListenByWorkerRequest(worker_id=found.id)):
        show(await _decoded(client, result))


async def listing(client: Client, offset: int | None, limit: int | None) -> list[Decoded]:
    """Return stored results."""
    request = FindJobResultListRequest(limit=limit, offset=offset)
    results = [result async for result in client.result.find_list_by(request)]
    return [await _decoded(client, result) for result in results]


async def listing_by_job_id(client: Client, job_id: int) -> list[Decoded]:
    """Return the stored results of one job."""
    request = FindListByJobIdRequest(job_id=JobId(value=job_id))
    results = [result async for result in client.result.find_list_by_job_id(request)]
    return [await _decoded(client, result) for result in results]


async def delete(client: Client, result_id: int) -> bool:
    """Remove a stored result; whether it was there."""
    return (await client.result.delete(JobResultId(value=result_id))).is_success


async def count(client: Client) -> int:
    """Return how many results are stored."""
    return (await client.result.count_by(CountJobResultRequest())).total


async def _listen_request(
    client: Client, job_id: int, worker: int | str, timeout_ms: int, using: str | None
) -> ListenRequest:
    found = await client.schemas.worker(worker)
    return ListenRequest(job_id=JobId(value=job_id), worker_id=found.id, timeout=timeout_ms or None, using=using)


async def _decoded(client: Client, result: JobResult) -> Decoded:
    data = result.data
    worker = None
    if data is not None and data.worker_id is not None:
        worker = await client.schemas.find_worker(data.worker_id.value)
    runner = await client.schemas.runner_of(worker)
    if runner is None and (kept := result.metadata.get(_RUNNER_KEY, "")).isdecimal():
        runner = await client.schemas.find_runner(int(kept))
    return Decoded(result, output_of(result, runner))
