"""Calls of the command group ``job``."""

from __future__ import annotations

from typing import Any, NamedTuple

from jobworkerp_standalone.cli.calls.following import Sink, follow
from jobworkerp_standalone.client import Client, DoesNotFit
from jobworkerp_standalone.client.coding import decode_args, decode_output, encode_args
from jobworkerp_standalone.pb.jobworkerp.data import (
    Job,
    JobId,
    JobProcessingStatus,
    JobResult,
    Priority,
    ResultStatus,
    Runner,
)
from jobworkerp_standalone.pb.jobworkerp.service import (
    CountCondition,
    FindListRequest,
    FindListWithProcessingStatusRequest,
    JobRequest,
)


class Order(NamedTuple):
    """What a command line says about a job."""

    worker: int | str
    args: str
    unique_key: str | None = None
    run_after_time: int | None = None
    priority: str | None = None
    timeout_ms: int = 0
    using: str | None = None


class Enqueued(NamedTuple):
    """A job that was accepted, and its result where the call waited for it."""

    job_id: int
    result: JobResult | None
    output: Any = None


async def enqueue(client: Client, order: Order) -> Enqueued:
    """Enqueue a job; with a DIRECT worker wait for its result."""
    request, runner = await _request(client, order)
    reply = await client.job.enqueue(request)
    job_id = reply.id.value if reply.id else 0
    if reply.result is None:
        return Enqueued(job_id, None)
    return Enqueued(job_id, reply.result, output_of(reply.result, runner))


async def enqueue_for_stream(client: Client, order: Order, sink: Sink) -> None:
    """Enqueue a job and hand its items to ``sink`` as they come."""
    request, runner = await _request(client, order)
    async with client.enqueue_for_stream(request) as stream:
        await follow(stream, runner, order.using, sink)


async def find(client: Client, job_id: int) -> tuple[Job, Any] | None:
    """Return a job that has not ended, with its arguments decoded."""
    job = (await client.job.find(JobId(value=job_id))).data
    return None if job is None else (job, await _arguments(client, job))


async def listing(client: Client, offset: int | None, limit: int | None) -> list[tuple[Job, Any]]:
    """Return the jobs that are in the database, with their arguments decoded."""
    jobs = [job async for job in client.job.find_list(FindListRequest(limit=limit, offset=offset))]
    return [(job, await _arguments(client, job)) for job in jobs]


async def listing_with_status(
    client: Client, status: str, limit: int | None
) -> list[tuple[Job, Any, JobProcessingStatus | None]]:
    """Return the jobs in one state, with their arguments decoded."""
    wanted = JobProcessingStatus[status.upper().replace("-", "_")]
    request = FindListWithProcessingStatusRequest(status=wanted, limit=limit)
    found = [each async for each in client.job.find_list_with_processing_status(request)]
    return [(each.job, await _arguments(client, each.job), each.status) for each in found if each.job is not None]


async def delete(client: Client, job_id: int) -> bool:
    """End a job, waiting or running; whether it was there."""
    return (await client.job.delete(JobId(value=job_id))).is_success


async def count(client: Client) -> int:
    """Return how many jobs are in the database."""
    return (await client.job.count(CountCondition())).total


def output_of(result: JobResult, runner: Runner | None) -> Any:
    """Return what a job left behind: by its method's schema, or the text that says why it failed."""
    data = result.data
    if data is None or data.output is None:
        return None
    if data.status is not ResultStatus.SUCCESS:
        return data.output.items.decode("utf-8", "replace")
    return decode_output(runner, data.using, data.output.items)


async def _request(client: Client, order: Order) -> tuple[JobRequest, Runner]:
    worker = await client.schemas.worker(order.worker)
    runner = await client.schemas.runner_of(worker)
    if runner is None:
        raise DoesNotFit(
            f"the runner of worker {order.worker!r} does not exist any longer; give the worker another one"
        )
    request = JobRequest(
        worker_id=worker.id,
        args=encode_args(runner, order.using, order.args),
        uniq_key=order.unique_key,
        run_after_time=order.run_after_time,
        priority=priority_of(order.priority),
        timeout=order.timeout_ms or None,
        using=order.using,
    )
    return request, runner


def priority_of(word: str | None) -> Priority | None:
    """Return the priority that a word of the command line names."""
    return None if word is None else Priority.MEDIUM if word == "middle" else Priority[word.upper()]


async def _arguments(client: Client, job: Job) -> Any:
    data = job.data
    if data is None or data.worker_id is None:
        return None
    runner = await client.schemas.runner_of(await client.schemas.find_worker(data.worker_id.value))
    return decode_args(runner, data.using, data.args)
