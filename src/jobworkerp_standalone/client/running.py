"""Jobs that somebody waits for: when the waiting is cancelled, the job is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

from grpclib.const import Status as GrpcStatus

from jobworkerp_standalone.client.client import Client
from jobworkerp_standalone.client.errors import CallFailed, ClientError, JobFailed
from jobworkerp_standalone.client.steady import to_the_end
from jobworkerp_standalone.client.stream import job_result_of
from jobworkerp_standalone.pb.jobworkerp.data import (
    JobExecutionOverrides,
    JobId,
    JobResult,
    ResponseType,
    ResultStatus,
    WorkerId,
)
from jobworkerp_standalone.pb.jobworkerp.service import CreateJobResponse, JobRequest, ListenRequest

_LOOK_MS: Final = 2000
"""How long one call waits for a result, before it is asked whether the job is still there."""
OnItem = Callable[[bytes], Awaitable[None]]


class Ended(NamedTuple):
    """How a job ended."""

    job_id: int
    status: ResultStatus
    output: bytes

    def checked(self) -> bytes:
        """Return the output of a job that succeeded.

        Raises:
            JobFailed: it did not.
        """
        if self.status is not ResultStatus.SUCCESS:
            raise JobFailed(self.status.name, self.text, self.job_id)
        return self.output

    @property
    def text(self) -> str:
        """Return the output of a job that failed."""
        return self.output.decode("utf-8", "replace")


async def enqueue(client: Client, request: JobRequest) -> int:
    """Enqueue a job that answers NO_RESULT, and return its id. Cancelled in the middle, no job is left behind.

    Raises:
        CallFailed: it was not accepted.
    """
    call = asyncio.ensure_future(client.job.enqueue(request))
    try:
        reply = await asyncio.shield(call)
    except asyncio.CancelledError:
        await to_the_end(_take_back(client, call))
        raise
    return _id_of(reply.id)


async def run_job(client: Client, request: JobRequest) -> Ended:
    """Run a job of a worker that answers NO_RESULT and broadcasts; a job that fails is a result as well.

    Raises:
        CallFailed: it was not accepted.
    """
    job_id = await enqueue(client, request)
    assert request.worker_id is not None, "by id"
    return await ended(client, request.worker_id, job_id)


async def ended(client: Client, worker_id: WorkerId | None, job_id: int) -> Ended:
    """Wait for the end of a job; cancelled, end the job and wait for that. Arguments are those of ``listen``."""
    try:
        return await listen(client, worker_id, job_id)
    except asyncio.CancelledError:
        await to_the_end(end_job(client, worker_id, job_id))
        raise


async def listen(client: Client, worker_id: WorkerId | None, job_id: int) -> Ended:
    """Wait for the end of a job and leave it alone when cancelled.

    Args:
        client: of the server.
        worker_id: a worker that broadcasts; None where that of the job is not known.
        job_id: a job that broadcasts.

    Raises:
        ClientError: it has ended, and the server does not keep how.
    """
    request = ListenRequest(job_id=JobId(value=job_id), worker_id=worker_id, timeout=_LOOK_MS)
    over = False
    while True:
        try:
            return _ended(await client.result.listen(request), job_id)
        except CallFailed as error:
            refused = error.status is GrpcStatus.INVALID_ARGUMENT  # also where its worker went with it
            if not refused and error.status is not GrpcStatus.DEADLINE_EXCEEDED:
                raise
            if over:
                raise ClientError(
                    f"job {job_id} has ended, but its result is not kept: raise RESULT_RETENTION_MAX_BYTES"
                ) from error
            over = (await client.job.find(JobId(value=job_id))).data is None
            if refused and not over:
                raise


async def end_job(client: Client, worker_id: WorkerId | None, job_id: int) -> Ended | None:
    """End a job and wait until it has ended, as far as the server still answers."""
    try:
        await client.job.delete(JobId(value=job_id))
        return await listen(client, worker_id, job_id)
    except ClientError:
        return None


async def stream_job(client: Client, request: JobRequest, on_item: OnItem) -> None:
    """Run a job and hand over its items as they come; the job waits for a slow reader.

    Raises:
        JobFailed: it ended without success.
        CallFailed: it was not accepted.
    """
    request.overrides = JobExecutionOverrides(response_type=ResponseType.DIRECT, broadcast_results=True)
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    reading = asyncio.ensure_future(_read(client, request, accepted, on_item))
    try:
        await asyncio.shield(reading)
    except BaseException:
        await to_the_end(_stop_reading(client, request, accepted, reading))
        raise


async def _read(client: Client, request: JobRequest, accepted: asyncio.Future[int], on_item: OnItem) -> None:
    try:
        async with client.enqueue_for_stream(request) as stream:
            accepted.set_result(stream.job_id or 0)
            async for item in stream:
                if item.data is not None:
                    await on_item(item.data)
    except CallFailed as error:
        result = job_result_of(error)
        if result is None:
            raise
        _ended(result, accepted.result() if accepted.done() else 0).checked()
        raise
    finally:
        accepted.cancel()  # nothing where it has a result


async def _stop_reading(
    client: Client, request: JobRequest, accepted: asyncio.Future[int], reading: asyncio.Future[None]
) -> None:
    await asyncio.wait([accepted])
    over = reading.done() and not reading.cancelled() and isinstance(reading.exception(), JobFailed)
    reading.cancel()
    await asyncio.wait([reading])
    if not accepted.cancelled() and not over and request.worker_id is not None:
        await end_job(client, request.worker_id, accepted.result())


async def _take_back(client: Client, call: asyncio.Future[CreateJobResponse]) -> None:
    with suppress(ClientError):
        await client.job.delete(JobId(value=_id_of((await call).id)))


def _id_of(job_id: JobId | None) -> int:
    if job_id is None:
        raise ClientError("the server accepted a job without saying its id")
    return job_id.value


def _ended(result: JobResult, job_id: int) -> Ended:
    data = result.data
    if data is None:
        raise ClientError(f"the server answered with an empty result of job {job_id}")
    return Ended(data.job_id.value if data.job_id else job_id, data.status, data.output.items if data.output else b"")
