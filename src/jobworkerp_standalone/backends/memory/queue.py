"""The in-memory job queue: two lanes per channel, immediate jobs and due rows, which take turns."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final

from jobworkerp_standalone.jobs.model import Job, Priority

_ORDER: Final = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)
_HOLES: Final = 64


class MemoryQueue:
    """Waiting jobs by channel.

    Args:
        capacity: immediate jobs that may wait per channel and priority.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._channels: dict[str, _Channel] = {}
        self._closed = False
        self.arrivals: dict[int, Callable[[], None]] = {}
        """Called, by job id, right after that job was added: somebody holds a slot for it and takes it out."""

    def reserve_now(self, job: Job) -> bool:
        """Hold room for ``job`` without waiting; False where there is none, and when closed."""
        load = self._channel(job.channel).load
        if self._closed or load[job.priority] >= self._capacity:
            return False
        load[job.priority] += 1
        return True

    async def reserve(self, job: Job) -> None:
        """Wait for room for ``job`` and hold it; ``put`` uses it up, ``unreserve`` gives it back."""
        channel = self._channel(job.channel)
        while not (self._closed or self.reserve_now(job)):
            await channel.room(job.priority)

    def unreserve(self, job: Job) -> None:
        """Give back the room of a job that was not put after all."""
        self._channel(job.channel).leave(job)

    def put(self, job: Job) -> None:
        """Add a job for which room was reserved."""
        self._channel(job.channel).add_immediate(job)
        self._announce(job)

    def put_due(self, job: Job) -> None:
        """Add a job whose time has come. Needs no reservation: the one who leases rows bounds their number."""
        self._channel(job.channel).add_due(job)
        self._announce(job)

    def rest_due(self, channel: str) -> None:
        """Hand out no due jobs of a channel until ``resume_due``."""
        self._channel(channel).due_rests = True

    def resume_due(self, channel: str) -> None:
        """Hand them out again."""
        self._channel(channel).resume_due()

    async def take(self, channel: str) -> Job | None:
        """Remove and return the next job, waiting for one; None once the queue is closed.

        A cancelled take never loses a job.
        """
        lanes = self._channel(channel)
        while not self._closed:
            job = lanes.pop()
            if job is not None:
                return job
            await lanes.wait()
        return None

    def remove(self, job: Job) -> bool:
        """Take a waiting job out. False where it is no longer there."""
        lanes = self._channels.get(job.channel)
        return lanes is not None and lanes.discard(job)

    def listing(self, channel: str) -> list[Job]:
        """Return the waiting jobs: due rows first, then HIGH, MEDIUM, LOW."""
        lanes = self._channels.get(channel)
        return list(lanes.waiting()) if lanes is not None else []

    def close(self) -> list[Job]:
        """Stop handing out and return everything that was waiting."""
        self._closed = True
        left: list[Job] = []
        for lanes in self._channels.values():
            left.extend(lanes.waiting())
            lanes.clear()
            lanes.wake_all()
        return left

    def _announce(self, job: Job) -> None:
        arrived = self.arrivals.get(job.id)
        if arrived is not None:
            arrived()

    def _channel(self, name: str) -> _Channel:
        lanes = self._channels.get(name)
        if lanes is None:
            lanes = self._channels[name] = _Channel()
        return lanes


class _Channel:
    """The lanes of one channel."""

    def __init__(self) -> None:
        self.load: dict[Priority, int] = dict.fromkeys(_ORDER, 0)
        """Jobs waiting or reserved, by priority."""
        self._room_waiters: dict[Priority, deque[asyncio.Future[None]]] = {priority: deque() for priority in _ORDER}
        self._immediate: dict[Priority, OrderedDict[int, Job]] = {priority: OrderedDict() for priority in _ORDER}
        self._due: dict[int, Job] = {}
        self._due_order: list[tuple[int, int, int]] = []
        """Heap of what is, or was, in the due lane: negative priority, due time, id."""
        self._due_next = False
        self.due_rests = False
        self._takers: deque[asyncio.Future[None]] = deque()

    def add_immediate(self, job: Job) -> None:
        self._immediate[job.priority][job.id] = job
        _wake_first(self._takers)

    def add_due(self, job: Job) -> None:
        self._due[job.id] = job
        heapq.heappush(self._due_order, _rank(job))
        _wake_first(self._takers)

    def pop(self) -> Job | None:
        first, second = (self._pop_due, self._pop_immediate) if self._due_next else (self._pop_immediate, self._pop_due)
        if self.due_rests:
            return self._pop_immediate()
        self._due_next = not self._due_next
        return first() or second()

    def resume_due(self) -> None:
        if self.due_rests:
            self.due_rests = False
            for _ in range(min(len(self._due), len(self._takers))):
                _wake_first(self._takers)

    async def wait(self) -> None:
        """Wait until a job may have arrived."""
        taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        try:
            await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():
                _wake_first(self._takers)
            raise

    def discard(self, job: Job) -> bool:
        if self._due.get(job.id) is job:
            del self._due[job.id]
            self._tidy_due()
            return True
        lane = self._immediate[job.priority]
        if lane.get(job.id) is not job:
            return False
        del lane[job.id]
        self.leave(job)
        return True

    def waiting(self) -> Iterator[Job]:
        yield from sorted(self._due.values(), key=_rank)
        for lane in self._immediate.values():
            yield from lane.values()

    def clear(self) -> None:
        self._due.clear()
        self._due_order.clear()
        for priority, lane in self._immediate.items():
            lane.clear()
            self.load[priority] = 0

    async def room(self, priority: Priority) -> None:
        """Wait until there may be room."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room_waiters[priority].append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                _wake_first(self._room_waiters[priority])
            raise

    def leave(self, job: Job) -> None:
        """Make the room of ``job`` available again."""
        self.load[job.priority] -= 1
        _wake_first(self._room_waiters[job.priority])

    def wake_all(self) -> None:
        for waiters in (self._takers, *self._room_waiters.values()):
            while waiters:
                _wake_first(waiters)

    def _pop_immediate(self) -> Job | None:
        for lane in self._immediate.values():
            if lane:
                _, job = lane.popitem(last=False)
                self.leave(job)
                return job
        return None

    def _pop_due(self) -> Job | None:
        while self._due_order:
            rank = heapq.heappop(self._due_order)
            job = self._due.get(rank[2])
            if job is not None and _rank(job) == rank:
                del self._due[job.id]
                return job
        return None

    def _tidy_due(self) -> None:
        """Rebuild the heap once most of what it names is gone."""
        if len(self._due_order) > _HOLES + 2 * len(self._due):
            self._due_order = [_rank(job) for job in self._due.values()]
            heapq.heapify(self._due_order)


def _rank(job: Job) -> tuple[int, int, int]:
    return (-job.priority, job.run_after_ms, job.id)


def _wake_first(waiters: deque[asyncio.Future[None]]) -> None:
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return
