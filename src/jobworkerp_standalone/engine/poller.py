"""Fires jobs at their time: leases due rows ahead of time, holds them in a timer heap, queues each when due.

A slot is taken at the moment of firing and never while waiting. Enqueuing or changing a near job wakes the
poller at once; the fetch interval only bounds how late it notices what other processes wrote.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import anyio

from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.ports import Clock, JobQueue, JobStore

_log = logging.getLogger(__name__)
_LEAST_AHEAD: Final = 64
_SLOTS_AHEAD: Final = 4


def _nothing_waits(job: Job) -> None:
    """It is fired at its time, or nobody waits for it."""


class Poller:
    """One per process, for all its channels.

    Args:
        store: the rows.
        queue: where due jobs go.
        live: jobs that this process holds.
        channels: open channels with their slots.
        clock: injected time.
        interval_ms: how far ahead rows are leased, and how often the store is asked at least.
    """

    def __init__(
        self,
        store: JobStore,
        queue: JobQueue,
        live: LiveJobs,
        channels: dict[str, int],
        clock: Clock,
        interval_ms: int,
    ) -> None:
        self._store = store
        self._queue = queue
        self._live = live
        self._channels = channels
        self._clock = clock
        self._interval_ms = interval_ms
        self._heap: list[tuple[int, int, int]] = []
        """Due time, negative priority and id of what waits, or waited, for its time."""
        self._waiting: dict[int, Job] = {}
        self._ahead: dict[int, str] = {}
        """Channel of every row held ahead: in the heap, or queued and not started."""
        self._count: Counter[str] = Counter()
        self._more: set[str] = set()
        """Channels with further due rows that there was no room for."""
        self._next_fetch_ms = 0
        self._wake = asyncio.Event()
        self.on_leased: Callable[[], Awaitable[None]] = _nothing
        """Called before rows that were leased are fired: whoever wrote them may have changed their worker before."""
        self._too_late: Callable[[Job], None] = _nothing_waits
        self.leasing = anyio.Lock()
        """Held while rows change hands, so that a delete never meets a row half leased."""

    def limit(self, channel: str) -> int:
        """How many rows of a channel this process may hold ahead of their start."""
        return max(_LEAST_AHEAD, _SLOTS_AHEAD * self._channels.get(channel, 0))

    def has_room(self, channel: str) -> bool:
        """Whether one more row of a channel may be held ahead."""
        return self._count[channel] < self.limit(channel)

    def adopt(self, job: Job) -> None:
        """Fire a job that this process holds at its ``run_after_ms``.

        One that another job waits for here takes no room, as no other process may have it.
        """
        self._waiting[job.id] = job
        live = self._live.get(job.id)
        if job.stored and job.id not in self._ahead and not (live is not None and live.awaited):
            self._ahead[job.id] = job.channel
            self._count[job.channel] += 1
        heapq.heappush(self._heap, (job.run_after_ms, -job.priority, job.id))
        if self._heap[0][2] == job.id:
            self._wake.set()
        self._too_late(job)

    def drop(self, job: Job) -> bool:
        """Forget a job that waits for its time here; whether it did."""
        self.started(job)
        return self._waiting.pop(job.id, None) is not None

    def started(self, job: Job) -> None:
        """A slot took the job, so there is room for another row."""
        channel = self._ahead.pop(job.id, None)
        if channel is None:
            return
        self._count[channel] -= 1
        if channel in self._more and self._count[channel] <= self.limit(channel) // 2:
            self._next_fetch_ms = 0
            self._wake.set()

    def nudge(self, due_ms: int) -> None:
        """A free row was written that is due at ``due_ms``."""
        fetch_ms = max(due_ms - self._interval_ms, 0)
        if fetch_ms < self._next_fetch_ms:
            self._next_fetch_ms = fetch_ms
            self._wake.set()

    def close(self, too_late: Callable[[Job], None] = _nothing_waits) -> list[Job]:
        """Return the jobs that still wait for their time, and fire nothing any more.

        ``too_late`` is called with each job that is to wait for its time here from now on.
        """
        self._too_late = too_late
        left = list(self._waiting.values())
        self._waiting.clear()
        self._heap.clear()
        return left

    async def run(self) -> None:
        """Fire and fetch until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.now_ms()
            if now >= self._next_fetch_ms or self._next_fetch_ms > now + self._interval_ms:
                await self._fetch(now)
                now = self._clock.now_ms()
            self._fire(now)
            await self._sleep_until(self._next_stop_ms())

    def _fire(self, now_ms: int) -> None:
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, _, job_id = heapq.heappop(self._heap)
            job = self._waiting.get(job_id)
            if job is not None and job.run_after_ms == due_ms:
                del self._waiting[job_id]
                self._queue.put_due(job)

    async def _fetch(self, now_ms: int) -> None:
        self._next_fetch_ms = horizon = now_ms + self._interval_ms
        limits = {name: room for name in self._channels if (room := self.limit(name) - self._count[name]) > 0}
        more_is_due = not self._more.isdisjoint(limits)
        self._more = self._channels.keys() - limits.keys()
        try:
            if not (more_is_due or await self._is_any_due(limits, horizon)):
                return
            async with self.leasing:
                leases = await self._store.lease_due(horizon, limits, besides=self._live.begun_rows())
                for lease in leases:
                    live = self._live.add(lease.job, now_ms)
                    live.damage = lease.damage
                    self.adopt(lease.job)
            if leases:
                await self.on_leased()
        except StorageError as error:
            _log.warning("fetching due jobs failed, trying again in %d ms: %s", self._interval_ms, error)
            return
        taken = Counter(lease.job.channel for lease in leases)
        self._more.update(name for name, count in taken.items() if count >= limits[name])

    async def _is_any_due(self, channels: Collection[str], horizon_ms: int) -> bool:
        due_ms = await self._store.next_due_ms(channels)
        return due_ms is not None and due_ms <= horizon_ms

    def _next_stop_ms(self) -> int:
        return min(self._heap[0][0], self._next_fetch_ms) if self._heap else self._next_fetch_ms

    async def _sleep_until(self, stop_ms: int) -> None:
        pause_ms = min(stop_ms - self._clock.now_ms(), self._interval_ms)
        if pause_ms <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(pause_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            return


async def _nothing() -> None:
    """Nobody needs to know."""
