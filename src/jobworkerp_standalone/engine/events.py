"""What jobs tell while they run: kept for a while, in bounded memory, for those who watch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from jobworkerp_standalone.jobs.errors import Unavailable
from jobworkerp_standalone.ports import Clock

_JOB_BYTES: Final = 256 * 1024
_ALL_BYTES: Final = 32 * 1024 * 1024
_OVERHEAD: Final = 64
Event = tuple[int, bytes]
"""Its number within the job, from 1, and its bytes."""


class _Log:
    """The events of one job."""

    def __init__(self) -> None:
        self.kept: deque[Event] = deque()
        self.size = 0
        self.last = 0
        self.ended = False
        self.watchers: set[asyncio.Future[None]] = set()

    def add(self, event: bytes) -> int:
        """Add an event, drop the oldest beyond the limit; return by how much the size grew."""
        before = self.size
        self.last += 1
        self.kept.append((self.last, event))
        self.size += len(event) + _OVERHEAD
        while self.size > _JOB_BYTES and len(self.kept) > 1:
            self.size -= len(self.kept.popleft()[1]) + _OVERHEAD
        self.wake()
        return self.size - before

    def wake(self) -> None:
        watchers, self.watchers = self.watchers, set()
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)


class EventLogs:
    """The events of all jobs that told any.

    Args:
        clock: tells when kept events are over.
        keep_seconds: how long they are kept after the end of their job.
    """

    def __init__(self, clock: Clock, keep_seconds: float) -> None:
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._logs: dict[int, _Log] = {}
        self._ended: deque[tuple[float, int]] = deque()
        """When jobs ended whose events are kept, in that order."""
        self._size = 0
        self._stopped = False

    def add(self, job_id: int, event: bytes) -> None:
        """Add an event of a job. Where memory is short, what jobs told that ended goes, the oldest first."""
        log = self._logs.get(job_id)
        if log is None or log.ended:  # a schedule's next run begins anew
            self._size -= log.size if log is not None else 0
            log = self._logs[job_id] = _Log()
        self._size += log.add(event)
        while self._size > _ALL_BYTES and self._ended:
            self._drop_oldest()

    def end(self, job_id: int) -> None:
        """The job has left this process: what it told is all there is."""
        log = self._logs.get(job_id)
        if log is not None and not log.ended:
            log.ended = True
            self._ended.append((self._clock.monotonic(), job_id))
            log.wake()

    def expire(self) -> None:
        """Drop what is kept for too long. Called now and then."""
        until = self._clock.monotonic() - self._keep_seconds
        while self._ended and self._ended[0][0] <= until:
            self._drop_oldest()

    def knows(self, job_id: int) -> bool:
        """Whether anything is kept of a job."""
        return job_id in self._logs

    async def watch(self, job_id: int) -> AsyncIterator[Event]:
        """Yield the events of a job, kept ones first, until it has ended. Those that are too old by then are left out.

        Raises:
            Unavailable: the process stops.
        """
        seen = 0
        while True:
            log = self._logs.get(job_id)
            if log is None:
                return
            for number, event in [each for each in log.kept if each[0] > seen]:
                yield number, event
                seen = number
            if log.last > seen:
                continue
            if log.ended:
                return
            if self._stopped:
                raise Unavailable("the server is stopping; call again when it is back")
            watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            log.watchers.add(watcher)
            try:
                await watcher
            finally:
                log.watchers.discard(watcher)

    def stop(self) -> None:
        """End every watch: the process stops."""
        self._stopped = True
        for log in self._logs.values():
            log.wake()

    def open(self, job_id: int) -> None:
        """Keep a place for a job that has told nothing yet."""
        self._logs.setdefault(job_id, _Log())

    def _drop_oldest(self) -> None:
        job_id = self._ended.popleft()[1]
        log = self._logs.get(job_id)
        if log is not None and log.ended:  # else the job, a schedule, runs again
            del self._logs[job_id]
            self._size -= log.size
