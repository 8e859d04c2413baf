"""The items of a job as they come, with what the server says before and after them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from jobworkerp_standalone.client.channel import Call, CallChannel
from jobworkerp_standalone.client.errors import CallFailed, Metadata
from jobworkerp_standalone.pb.jobworkerp.data import JobId, JobResult, ResultOutputItem

JOB_ID_KEY = "x-job-id-bin"
RESULT_KEY = "x-job-result-bin"
SKIPPED_KEY = "x-stream-items-skipped"


class ItemStream:
    """An open stream of a job's items; iterate over it once.

    The headers are there from the start. The trailers are there when the items are over, also when they ended with an
    error.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def headers(self) -> Metadata:
        """Return what came before the items."""
        return self._call.headers()

    @property
    def trailers(self) -> Metadata:
        """Return what came after the items; empty until then."""
        return self._call.trailers()

    @property
    def job_id(self) -> int | None:
        """Return the id of the job, where the server says it in the headers."""
        data = self.headers.get(JOB_ID_KEY)
        if isinstance(data, bytes):
            return JobId.FromString(data).value
        result = self.result
        return result.data.job_id.value if result and result.data and result.data.job_id else None

    @property
    def result(self) -> JobResult | None:
        """Return the job's result as the server last told it: in the trailers, else in the headers."""
        return self.final_result or result_in(self.headers)

    @property
    def final_result(self) -> JobResult | None:
        """Return the job's result from the trailers; None before the end, or where the server does not tell it."""
        return result_in(self.trailers)

    async def __aiter__(self) -> AsyncIterator[ResultOutputItem]:
        """Yield the items.

        Raises:
            CallFailed: the stream ended with an error, for example because the job failed.
        """
        try:
            async for item in self._call:
                yield item
            await self._call.recv_trailing_metadata()
        except GRPCError as error:
            raise self._call.failure(error) from error


def result_in(metadata: Metadata) -> JobResult | None:
    """Return the job's result that headers or trailers carry."""
    data = metadata.get(RESULT_KEY)
    return JobResult.FromString(data) if isinstance(data, bytes) else None


def job_result_of(error: CallFailed) -> JobResult | None:
    """Return the result of the job that ended a stream with this error; None where the call itself failed."""
    return result_in(error.trailers)


@asynccontextmanager
async def open_stream(channel: CallChannel, path: str, request: Any, metadata: Metadata) -> AsyncIterator[ItemStream]:
    """Call a method that answers with ``ResultOutputItem``; entered when the headers are there.

    Raises:
        CallFailed: the server refused the call.
        Unreachable: the connection broke.
    """
    call = channel.request(path, Cardinality.UNARY_STREAM, type(request), ResultOutputItem, metadata=metadata)
    async with call:
        await call.send_message(request, end=True)
        await call.recv_initial_metadata()
        yield ItemStream(call)
