"""Who waits for a result: the enqueuing call, listeners of a job, listeners of a worker.

Listeners subscribe, look, then wait, in that order, so that nothing falls between. A result that was broadcast
stays for late listeners until its time or the memory for it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from jobworkerp_standalone.engine.streams import JobStream, StreamReader
from jobworkerp_standalone.jobs.errors import Exhausted, RequestError, Unavailable, WaitTimedOut
from jobworkerp_standalone.jobs.model import JobResult
from jobworkerp_standalone.ports import Clock

STOPPING: Final = "the server is stopping; call again when it is back"
_RESULT_OVERHEAD: Final = 1024
_WORKER_BACKLOG: Final = 10_000
_WORKER_BACKLOG_BYTES: Final = 64 * 1024 * 1024

Look = Callable[[], Awaitable[JobResult | None]]
"""Reads what is already there: the store, after memory."""


@dataclass(slots=True)
class _Kept:
    result: JobResult
    stream: JobStream | None
    until: float
    size: int


class Waiting:
    """Reply slots, listeners, streams and the results kept for late listeners.

    Args:
        clock: tells when a kept result is over.
        keep_seconds: how long results are kept.
        keep_bytes: how much memory they may take.
        stream_bytes: how much of one stream is kept.
    """

    def __init__(self, clock: Clock, keep_seconds: float, keep_bytes: int, stream_bytes: int) -> None:
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._keep_bytes = keep_bytes
        self._stream_bytes = stream_bytes
        self._replies: dict[int, asyncio.Future[JobResult]] = {}
        self._listeners: dict[int, set[asyncio.Future[JobResult]]] = {}
        self._by_worker: dict[int, set[WorkerFeed]] = {}
        self._streams: dict[int, JobStream] = {}
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._kept_size = 0
        self._stopped = False

    def open_reply(self, job_id: int) -> asyncio.Future[JobResult]:
        """Open the slot of a DIRECT call, before its job can be seen by anybody."""
        reply: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
        self._replies[job_id] = reply
        return reply

    def close_reply(self, job_id: int) -> None:
        """Forget a slot whose caller went away; the job goes on."""
        self._replies.pop(job_id, None)

    def refuse(self, job_id: int, reason: Unavailable) -> None:
        """Answer a DIRECT call and its stream with an error instead of a result."""
        reply = self._replies.pop(job_id, None)
        if reply is not None and not reply.done():
            reply.set_exception(reason)
        stream = self._streams.pop(job_id, None)
        if stream is not None:
            stream.abort(reason)

    def stream_of(self, job_id: int) -> JobStream:
        """Return the stream of a live job; whoever comes first opens it."""
        stream = self._streams.get(job_id)
        if stream is None:
            stream = self._streams[job_id] = JobStream(self._stream_bytes)
        return stream

    def find_stream(self, job_id: int) -> JobStream | None:
        """Return the stream of a live job, or of one that ended and is still kept."""
        stream = self._streams.get(job_id)
        if stream is None and job_id in self._kept:
            stream = self._kept[job_id].stream
        return stream

    def forget_stream(self, job_id: int) -> None:
        """Drop a stream that nobody can read any more: a schedule's next run gets its own."""
        self._streams.pop(job_id, None)

    def answer(self, result: JobResult) -> None:
        """Hand a result to the caller that waits for it, and to nobody else."""
        reply = self._replies.pop(result.job.id, None)
        if reply is not None and not reply.done():
            reply.set_result(result)

    def publish(self, result: JobResult) -> None:
        """Hand a job's result to everybody who waits for it, and keep it for those who come late."""
        job = result.job
        self.answer(result)
        stream = self._streams.pop(job.id, None)
        if job.rules.broadcast_results or job.rules.direct:
            for listener in self._listeners.pop(job.id, ()):
                if not listener.done():
                    listener.set_result(result)
        if job.rules.broadcast_results:
            self._keep(result, stream)
        for feed in self._by_worker.get(job.worker_id, ()):
            feed.offer(result)

    def keeps(self, job_id: int) -> bool:
        """Whether the result of a job that ended is kept for who comes late."""
        return self._find_kept(job_id) is not None

    async def listen(self, job_id: int, timeout_ms: int, look: Look) -> JobResult:
        """Return the result of a job, waiting for it.

        Args:
            job_id: the job, whether it exists or not.
            timeout_ms: limit of this wait, 0 is none.
            look: reads a stored result.

        Raises:
            WaitTimedOut: the limit is over.
            Unavailable: the process stops.
        """
        if self._stopped:
            raise Unavailable(STOPPING)
        listener: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
        self._listeners.setdefault(job_id, set()).add(listener)
        try:
            kept = self._find_kept(job_id) or await look()
            if kept is not None:
                return kept
            async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                return await listener
        except TimeoutError:
            raise WaitTimedOut(
                f"no result of job {job_id} within timeout {timeout_ms} ms; the job goes on, listen again"
            ) from None
        finally:
            self._forget_listener(job_id, listener)

    async def listen_stream(self, job_id: int, timeout_ms: int, look: Look) -> StreamReader | JobResult:
        """Return a reader of a job's stream once it started; its result where it ended without one.

        Where the stream has not begun yet the reader has its place from now on, so that nothing is lost before the
        first read; one that comes late begins with what is kept. Whoever gets it closes it.

        Raises:
            WaitTimedOut: neither came within ``timeout_ms`` (0: no limit).
            Unavailable: the process stops.
        """
        kept = self._kept.get(job_id)
        stream = kept.stream if kept is not None and kept.stream is not None else self.stream_of(job_id)
        reader, late = stream.reader(caller=False), stream.started is not None
        outcome: JobResult | RequestError | None = None

        async def until_it_starts(scope: anyio.CancelScope) -> None:
            with contextlib.suppress(Unavailable):
                await reader.start()
                scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(until_it_starts, tasks.cancel_scope)
                try:
                    outcome = await self.listen(job_id, timeout_ms, look)
                except RequestError as error:
                    outcome = error
                tasks.cancel_scope.cancel()
        except BaseException:
            self._give_up(job_id, stream, reader)
            raise
        if stream.started is not None:
            if late:
                reader.restart()
            return reader
        self._give_up(job_id, stream, reader)
        if isinstance(outcome, JobResult):
            return outcome
        raise outcome or Unavailable(STOPPING)

    def _give_up(self, job_id: int, stream: JobStream, reader: StreamReader) -> None:
        reader.close()
        if stream.idle and self._streams.get(job_id) is stream:
            del self._streams[job_id]

    @contextmanager
    def listen_by_worker(self, worker_id: int) -> Iterator[WorkerFeed]:
        """Subscribe to all final results of a worker from now on."""
        feed = WorkerFeed()
        if self._stopped:
            feed.stop()
        feeds = self._by_worker.setdefault(worker_id, set())
        feeds.add(feed)
        try:
            yield feed
        finally:
            feeds.discard(feed)
            if not feeds:
                self._by_worker.pop(worker_id, None)

    def expire(self) -> None:
        """Drop kept results whose time is over. Called now and then."""
        now = self._clock.monotonic()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop_oldest()

    def stop(self) -> None:
        """End every wait: the process stops."""
        self._stopped = True
        reason = Unavailable(STOPPING)
        for job_id in [*self._replies, *self._streams]:
            self.refuse(job_id, reason)
        for listeners in self._listeners.values():
            for listener in listeners:
                if not listener.done():
                    listener.set_exception(reason)
        for feeds in self._by_worker.values():
            for feed in feeds:
                feed.stop()

    def _find_kept(self, job_id: int) -> JobResult | None:
        kept = self._kept.get(job_id)
        return kept.result if kept is not None and kept.until > self._clock.monotonic() else None

    def _forget_listener(self, job_id: int, listener: asyncio.Future[JobResult]) -> None:
        listeners = self._listeners.get(job_id)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[job_id]
        if listener.done() and not listener.cancelled():
            listener.exception()

    def _keep(self, result: JobResult, stream: JobStream | None) -> None:
        job_id = result.job.id
        if job_id in self._kept:
            self._kept_size -= self._kept.pop(job_id).size
        size = _size(result) + (stream.size if stream else 0)
        if size > self._keep_bytes:
            return
        self._kept[job_id] = _Kept(result, stream, self._clock.monotonic() + self._keep_seconds, size)
        self._kept_size += size
        while self._kept_size > self._keep_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._kept_size -= self._kept.popitem(last=False)[1].size


class WorkerFeed:
    """Results of one worker for one listener, in order. A listener too slow gets an error, never a gap."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[JobResult | None] = asyncio.Queue()
        self._bytes = 0
        self._overrun = False

    def offer(self, result: JobResult) -> None:
        """Add a result."""
        size = _size(result)
        if self._queue.qsize() >= _WORKER_BACKLOG or self._bytes + size > _WORKER_BACKLOG_BYTES:
            self._overrun = True
        elif not self._overrun:
            self._bytes += size
            self._queue.put_nowait(result)

    def stop(self) -> None:
        """End the feed after what is already in it."""
        self._queue.put_nowait(None)

    async def results(self) -> AsyncIterator[JobResult]:
        """Yield results as they come, until the process stops.

        Raises:
            Exhausted: the listener is more than 10,000 results, or 64 MiB of them, behind.
        """
        while True:
            if self._overrun and self._queue.empty():
                raise Exhausted(
                    f"this listener is more than {_WORKER_BACKLOG} results or {_WORKER_BACKLOG_BYTES} bytes behind; "
                    "read faster"
                )
            result = await self._queue.get()
            if result is None:
                return
            self._bytes -= _size(result)
            yield result


def _size(result: JobResult) -> int:
    return _RESULT_OVERHEAD + len(result.job.args) + len(result.output or b"")
