"""JobService: enqueue, stream, delete and look up jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import anyio

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.feeds import Feed
from jobworkerp_standalone.engine.intake import Accepted
from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, definition_text
from jobworkerp_standalone.jobs.errors import DuplicateKey, InvalidRequest, JobNotSuccessful, RequestError
from jobworkerp_standalone.jobs.model import (
    Job,
    JobResult,
    JobStatus,
    NewJob,
    ResultStatus,
    StreamingType,
    channel_from_name,
)
from jobworkerp_standalone.rpc.limits import limit_of, text_of
from jobworkerp_standalone.rpc.metadata import job_metadata
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_JOB_ID: Final = "x-job-id-bin"
_DEFAULT_STATUS_LIMIT: Final = 100
_MESSAGE_CHARACTERS: Final = 500
_OUTCOMES: Final = {
    ResultStatus.ERROR_AND_RETRY: "failed (retryable)",
    ResultStatus.FATAL_ERROR: "fatal error",
    ResultStatus.ABORT: "aborted",
    ResultStatus.MAX_RETRY: "failed, and no retry is left",
    ResultStatus.OTHER_ERROR: "execution error",
    ResultStatus.CANCELLED: "cancelled",
}


class JobRpc(WireService):
    """Jobs on their way. Finished ones are found in JobResultService."""

    full_name = "jobworkerp.service.JobService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def enqueue(self, request: Message, stream: ServerStream) -> Reply:
        """Accept a job; DIRECT waits for the final result, which may be a failure."""
        accepted = await self._submit(wire.new_job(request, job_metadata(stream.metadata)))
        if accepted.reply is None:
            return wire.created_job(accepted.job.id, None)
        try:
            result = await accepted.reply
        finally:
            self._engine.waiting.close_reply(accepted.job.id)
        return wire.created_job(accepted.job.id, result)

    async def enqueue_for_stream(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Accept a job and pass its items on as they come."""
        new = wire.new_job(request, job_metadata(stream.metadata), StreamingType.RESPONSE)
        async with aclosing(self._answer(await self._submit(new), stream)) as items:
            async for item in items:
                yield item

    async def enqueue_with_client_stream(self, stream: ServerStream) -> None:
        """Accept a job whose first message names it and whose further messages are its input."""
        first = await stream.recv_message()
        if first is None or first.WhichOneof("request") != "job_request":
            raise InvalidRequest("the first message must carry job_request; send feed_data after it")
        new = wire.new_job(first.job_request, job_metadata(stream.metadata), StreamingType.RESPONSE)
        accepted = await self._submit(new, feeding=True)
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_forward, stream, accepted.feed)
            try:
                async with aclosing(self._answer(accepted, stream)) as items:
                    async for item in items:
                        await stream.send_message(item)
            except RequestError as failure:
                error = failure
            if accepted.reply is not None:
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    async def delete(self, request: Message, stream: ServerStream) -> Reply:
        """End a job, waiting or running; whether it was there."""
        reply = wire.message_type("jobworkerp.service.SuccessResponse")()
        reply.is_success = await self._engine.intake.cancel(request.value)
        return reply

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return a live job; nothing once it ended."""
        reply = wire.message_type("jobworkerp.service.OptionalJobResponse")()
        live = self._engine.live.get(request.value)
        job = live.job if live else await self._engine.store.find(request.value)
        if job is not None:
            reply.data.CopyFrom(wire.job_message(job))
        return reply

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield the jobs that have a row, newest first."""
        limit = request.limit if request.HasField("limit") else None
        offset = max(0, request.offset) if limit is not None else 0
        for job in await self._engine.store.listing(None if limit is None else max(0, limit), offset):
            yield wire.job_message(job)

    async def find_queue_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield the jobs that wait for a slot of one channel, in order."""
        limit = limit_of(request, None, least=1)
        channel = channel_from_name(text_of(request, "channel"))
        waiting = [job for job in self._engine.queue.listing(channel) if not job.load_only]
        for job in waiting[:limit]:
            yield self._job_and_status(job)

    async def find_list_with_processing_status(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield live jobs in one state."""
        if request.status == JobStatus.UNKNOWN:
            raise InvalidRequest("status UNKNOWN matches no job; use PENDING, RUNNING, WAIT_RESULT or CANCELLING")
        limit = limit_of(request, _DEFAULT_STATUS_LIMIT, least=1) or _DEFAULT_STATUS_LIMIT
        wanted = JobStatus(request.status)
        async for job in self._jobs_with(wanted, limit):
            yield self._job_and_status(job, wanted)

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many jobs have a row."""
        reply = wire.message_type("jobworkerp.service.CountResponse")()
        reply.total = await self._engine.store.count()
        return reply

    async def _submit(self, new: NewJob, *, feeding: bool = False) -> Accepted:
        lent = self._engine.catalog.lent(new.worker)
        if lent is not None:  # the job may outlive the process, which knows the worker
            new = replace(new, metadata={**new.metadata, DEFINITION_KEY: definition_text(lent)})
        try:
            return await self._engine.intake.submit(new, feeding=feeding)
        except DuplicateKey as error:
            error.trailers[_JOB_ID] = wire.job_id_bytes(error.holder)
            raise

    async def _answer(self, accepted: Accepted, stream: ServerStream) -> AsyncGenerator[Reply, None]:
        """Send the job id at once, then its items, then how it ended."""
        job_id = accepted.job.id
        header = {_JOB_ID: wire.job_id_bytes(job_id)}
        if accepted.reply is None or accepted.stream is None:
            await stream.send_initial_metadata(metadata=header)
            return
        try:
            await stream.send_initial_metadata(metadata=header)
            async for item in accepted.stream.items():
                yield wire.stream_item(item)
            result = await accepted.reply
            if result.status is not ResultStatus.SUCCESS:
                raise stream_error(result)
            yield wire.stream_end(accepted.stream.trailer)
        finally:
            accepted.stream.close()
            self._engine.waiting.close_reply(job_id)

    async def _jobs_with(self, status: JobStatus, limit: int) -> AsyncIterator[Job]:
        found = 0
        for live in self._engine.live.all():
            if live.status is status and not live.job.load_only and found < limit:
                found += 1
                yield live.job
        if status is JobStatus.PENDING and found < limit:
            for job in await self._engine.store.listing(limit + len(self._engine.live), 0):
                if self._engine.live.get(job.id) is None and found < limit:
                    found += 1
                    yield job

    def _job_and_status(self, job: Job, status: JobStatus | None = None) -> Message:
        live = self._engine.live.get(job.id)
        message = wire.message_type("jobworkerp.service.JobAndStatus")()
        message.job.CopyFrom(wire.job_message(job))
        message.status = status if status is not None else (live.status if live else JobStatus.PENDING)
        return message


async def _forward(stream: ServerStream, feed: Feed | None) -> None:
    """Hand on what the client sends, up to its final message or its end; the job is told either way."""
    if feed is None:
        return
    try:
        while (message := await stream.recv_message()) is not None and message.HasField("feed_data"):
            if message.feed_data.data:
                await feed.put(message.feed_data.data)
            if message.feed_data.is_final:
                return
    finally:
        feed.end()


def stream_error(result: JobResult) -> JobNotSuccessful:
    """Return the error that ends the stream of a job which did not succeed."""
    text = (result.output or b"").decode("utf-8", "replace")
    first_line = text.partition("\n")[0][:_MESSAGE_CHARACTERS]
    return JobNotSuccessful(
        result.status,
        f"job_id={result.job.id}, {_OUTCOMES[result.status]}: {first_line}",
        trailers={
            _JOB_ID: wire.job_id_bytes(result.job.id),
            "x-job-result-bin": wire.failed_result_trailer(result),
        },
    )
