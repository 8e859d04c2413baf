"""JobResultService: stored results, and waiting for those to come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.catalog import Entry
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.streams import StreamReader
from jobworkerp_standalone.engine.waiting import Look
from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import JobResult, OutputType, Priority, ResultStatus
from jobworkerp_standalone.ports import ResultFilter
from jobworkerp_standalone.rpc.job_service import stream_error
from jobworkerp_standalone.rpc.limits import MAX_ENUMS, MAX_IDS, few, limit_of, offset_of, time_range
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_DEFAULT_LIMIT: Final = 100
_RESULTS_OF_JOB: Final = 1000
_YOUNG_MS: Final = 24 * 3600 * 1000
SKIPPED_KEY: Final = "x-stream-items-skipped"
"""Header of a stream that begins late: how many items came before those that are still kept."""
_SORT_FIELDS: Final = {1: "id", 2: "start_time", 3: "end_time", 4: "status"}


class JobResultRpc(WireService):
    """Results, stored and live."""

    full_name = "jobworkerp.service.JobResultService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def delete(self, request: Message, stream: ServerStream) -> Reply:
        """Remove one stored result."""
        reply = wire.message_type("jobworkerp.service.SuccessResponse")()
        reply.is_success = await self._engine.store.delete_result(request.value)
        return reply

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return one stored result; nothing where there is none."""
        reply = wire.message_type("jobworkerp.service.OptionalJobResultResponse")()
        result = await self._engine.store.find_result(request.value)
        if result is not None:
            wire.fill_result(reply.data, result)
        return reply

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield stored results by job, newest job first."""
        limit = max(0, request.limit) if request.HasField("limit") else None
        offset = max(0, request.offset) if limit is not None else 0
        for result in await self._engine.store.find_results(
            ResultFilter(), sort_by="job_id", ascending=False, limit=limit, offset=offset
        ):
            yield wire.result_message(result)

    async def find_list_by_job_id(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield the stored results of one job, newest first."""
        if not request.HasField("job_id"):
            raise InvalidRequest("job_id is missing: set the id of a job")
        for result in await self._engine.store.results_of_job(request.job_id.value, _RESULTS_OF_JOB):
            yield wire.result_message(result)

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many results are stored."""
        return await self._count(ResultFilter())

    async def find_list_by(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield stored results that match, by default those that ended last first."""
        limit, offset = limit_of(request, _DEFAULT_LIMIT), offset_of(request)
        wanted = _filter(request)
        sort_by = _SORT_FIELDS.get(request.sort_by, "end_time")
        for result in await self._engine.store.find_results(
            wanted, sort_by=sort_by, ascending=request.ascending, limit=limit, offset=offset
        ):
            yield wire.result_message(result)

    async def count_by(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many stored results match."""
        return await self._count(_filter(request))

    async def delete_bulk(self, request: Message, stream: ServerStream) -> Reply:
        """Remove stored results that match and ended at least 24 hours ago."""
        if not (request.HasField("end_time_before") or request.statuses or request.worker_ids):
            raise InvalidRequest("give at least one of end_time_before, statuses and worker_ids")
        few("statuses", request.statuses, MAX_ENUMS)
        few("worker_ids", request.worker_ids, MAX_IDS)
        newest = self._engine.clock.now_ms() - _YOUNG_MS
        before = request.end_time_before if request.HasField("end_time_before") else newest
        if before > newest:
            raise InvalidRequest(
                f"end_time_before {before} is less than 24 hours ago; results of the last 24 hours are kept"
            )
        wanted = ResultFilter(
            worker_ids=tuple(each.value for each in request.worker_ids),
            statuses=tuple(ResultStatus(each) for each in request.statuses),
            end_time_to=before - 1,
        )
        reply = wire.message_type("jobworkerp.service.DeleteJobResultBulkResponse")()
        reply.deleted_count = await self._engine.store.delete_results(wanted)
        return reply

    async def listen(self, request: Message, stream: ServerStream) -> Reply:
        """Wait for the result of a job; at once where it is already there."""
        job_id = self._checked_job(request, streaming=False)
        return wire.result_message(await self._wait_for(job_id, request.timeout))

    async def listen_stream(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Pass the items of a streaming job on, from the first one that is still kept."""
        job_id = self._checked_job(request, streaming=True)
        source = await self._stream_or_result(job_id, request.timeout)
        if isinstance(source, JobResult):
            await self._send_header(stream, source)
            yield wire.message_type("jobworkerp.data.ResultOutputItem")()
            self._raise_failure(source)
            return
        try:
            await self._send_header(stream, await source.start(), source.position)
            async for item in source.items():
                yield wire.stream_item(item)
            result = source.result
            if result is not None:
                self._raise_failure(result)
            yield wire.stream_end(source.trailer)
            if result is not None:
                await self._send_trailer(stream, result)
        finally:
            source.close()

    async def listen_by_worker(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield every final result of a worker from now on."""
        worker = self._entry(request).worker
        with self._engine.waiting.listen_by_worker(worker.id) as feed:
            await stream.send_initial_metadata()
            async for result in feed.results():
                yield wire.result_message(result)

    async def _count(self, wanted: ResultFilter) -> Reply:
        reply = wire.message_type("jobworkerp.service.CountResponse")()
        reply.total = await self._engine.store.count_results(wanted)
        return reply

    def _entry(self, request: Message) -> Entry:
        which = request.WhichOneof("worker")
        if which is None:
            raise InvalidRequest("worker is missing: set worker_id or worker_name")
        catalog = self._engine.catalog
        if which == "worker_id":
            entry, shown = catalog.find(request.worker_id.value), f"worker_id {request.worker_id.value}"
        else:
            entry, shown = catalog.find_by_name(request.worker_name), f"worker_name {request.worker_name!r}"
        if entry is None:
            raise InvalidRequest(f"{shown} does not exist; list the workers to find the right one")
        return entry

    def _checked_job(self, request: Message, *, streaming: bool) -> int:
        if not request.HasField("job_id"):
            raise InvalidRequest("job_id is missing: set the id that Enqueue answered")
        try:
            entry = self._entry(request)
        except InvalidRequest:
            if not self._broadcasts(request.job_id.value):
                raise
            return request.job_id.value  # its worker existed for it alone, or is no concern of the caller
        if not entry.worker.broadcast_results:
            raise InvalidRequest(
                f"worker {entry.worker.name!r} does not broadcast its results; set broadcast_results on the worker"
            )
        method = entry.spec.method(request.using or None) if entry.spec else None
        wrong = OutputType.NON_STREAMING if streaming else OutputType.STREAMING
        if method is not None and method.output_type is wrong:
            other = "Listen" if streaming else "ListenStream"
            raise InvalidRequest(f"method {method.name!r} of worker {entry.worker.name!r} needs {other}")
        return request.job_id.value

    def _broadcasts(self, job_id: int) -> bool:
        """Whether a job is known, and its result is meant for everybody."""
        live = self._engine.live.get(job_id)
        return live.job.rules.broadcast_results if live is not None else self._engine.waiting.keeps(job_id)

    async def _wait_for(self, job_id: int, timeout_ms: int) -> JobResult:
        return await self._engine.waiting.listen(job_id, timeout_ms, self._look(job_id))

    async def _stream_or_result(self, job_id: int, timeout_ms: int) -> StreamReader | JobResult:
        return await self._engine.waiting.listen_stream(job_id, timeout_ms, self._look(job_id))

    def _look(self, job_id: int) -> Look:
        async def look() -> JobResult | None:
            stored = await self._engine.store.results_of_job(job_id, 1)
            return stored[0] if stored and stored[0].final else None

        return look

    @staticmethod
    async def _send_header(stream: ServerStream, result: JobResult, skipped: int = 0) -> None:
        header: dict[str, str | bytes] = {"x-job-result-bin": wire.result_header(result)}
        if skipped:
            header[SKIPPED_KEY] = str(skipped)
        await stream.send_initial_metadata(metadata=header)

    @staticmethod
    async def _send_trailer(stream: ServerStream, result: JobResult) -> None:
        trailer = wire.result_header(result)
        await stream.send_trailing_metadata(metadata={"x-job-result-bin": trailer})

    @staticmethod
    def _raise_failure(result: JobResult) -> None:
        if result.status is not ResultStatus.SUCCESS:
            raise stream_error(result)


def _filter(request: Message) -> ResultFilter:
    few("worker_ids", request.worker_ids, MAX_IDS)
    few("statuses", request.statuses, MAX_ENUMS)
    few("priorities", request.priorities, MAX_ENUMS)
    start_from, start_to = time_range(request, "start_time")
    end_from, end_to = time_range(request, "end_time")
    return ResultFilter(
        worker_ids=tuple(each.value for each in request.worker_ids),
        statuses=tuple(ResultStatus(each) for each in request.statuses),
        start_time_from=start_from,
        start_time_to=start_to,
        end_time_from=end_from,
        end_time_to=end_to,
        priorities=tuple(Priority(each) for each in request.priorities),
        uniq_key=request.uniq_key if request.HasField("uniq_key") else None,
    )
