"""Slots of jobs that wait for children, and the children that wait for a slot.

A job that waits for a child still holds its slot. So that nothing which is waited for starves, such a slot takes in
children, one at a time: those of its own family first, then those of others, in the order in which they came to wait;
never a job that nobody waits for. Whatever waits in a circle through several channels so finds a slot: the job on top
of each slot works, or waits and takes in. A job whose child has ended goes on at once, whatever runs on its slot
meanwhile; the slot comes free for other jobs when both have ended.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.jobs.model import Job, JobStatus, QueueType
from jobworkerp_standalone.ports import JobQueue


@dataclass(eq=False, slots=True)
class HeldSlot:
    """The slot of one running job."""

    channel: str
    awaited: int = 0
    """Children for which its job waits now."""
    busy: bool = False
    """A child runs on it."""
    own: OrderedDict[int, Child] = field(default_factory=OrderedDict["int", "Child"])
    """Children that wait and look here first: of its job, or of jobs below it."""
    returned: asyncio.Event | None = None
    """Set when nothing runs on it any more, for a job that has ended before."""

    async def back(self) -> None:
        """Wait until nothing runs on it. Its job has ended, so nothing more begins."""
        if self.busy:
            self.returned = asyncio.Event()
            await self.returned.wait()


@dataclass(eq=False, slots=True)
class Child:
    """A job that another one waits for."""

    job_id: int
    channel: str
    holder: HeldSlot | None
    """The nearest slot of its channel that a job above it holds."""
    parked: bool
    """It is in no queue, and waits for a held slot alone."""


class HeldSlots:
    """All of a process.

    Args:
        live: tells which children wait.
        queue: where they wait beside other jobs.
        execute: runs one job to its end, and does not fail.
        tasks: the group in which they run.
    """

    def __init__(
        self, live: LiveJobs, queue: JobQueue, execute: Callable[[Job], Awaitable[None]], tasks: TaskGroup
    ) -> None:
        self._live = live
        self._queue = queue
        self._execute = execute
        self._tasks = tasks
        self._children: dict[int, Child] = {}
        self._waiting: defaultdict[str, OrderedDict[int, Child]] = defaultdict(OrderedDict)
        """Children that may wait for a slot of a channel, in the order in which they came."""
        self._free: defaultdict[str, OrderedDict[HeldSlot, None]] = defaultdict(OrderedDict)
        """Slots of a channel whose jobs wait and on which nothing runs."""

    @contextmanager
    def waits_for(self, job: Job, own: HeldSlot, holder: HeldSlot | None) -> Iterator[None]:
        """Let a child run on a held slot while the job with the slot ``own`` waits for it.

        ``holder`` is the slot that the child looks at first; the child is in no queue yet where there is one.
        """
        parked = holder is not None and job.queue_type is not QueueType.DB_ONLY
        child = self._children[job.id] = Child(job.id, job.channel, holder, parked)
        self._queue.arrivals[job.id] = partial(self._arrived, child)
        own.awaited += 1
        try:
            self._enter(child)
            self._take_in(own)
            self._arrived(child)
            if child.parked and self._queue.reserve_now(job):
                child.parked = False
                self._queue.put(job)
            yield
        finally:
            del self._children[job.id], self._queue.arrivals[job.id]
            self._waiting[child.channel].pop(job.id, None)
            if holder is not None:
                holder.own.pop(job.id, None)
            own.awaited -= 1
            if not own.awaited:
                self._free[own.channel].pop(own, None)

    def park(self, job: Job) -> bool:
        """Keep a child that was in the queue for the slot that is held above it; False where none is."""
        child = self._children.get(job.id)
        if child is None or child.holder is None:
            return False
        child.parked = True
        return True

    def _enter(self, child: Child) -> None:
        self._waiting[child.channel][child.job_id] = child
        if child.holder is not None:
            child.holder.own[child.job_id] = child

    def _arrived(self, child: Child) -> None:
        """A child waits, maybe once more: let it run if there is a slot for it."""
        self._enter(child)
        free = self._free[child.channel]
        slot = child.holder if child.holder in free else next(iter(free), None)
        if slot is not None:
            self._take_in(slot)

    def _take_in(self, slot: HeldSlot) -> None:
        """Let the child run on a slot that comes first, if there is one and nothing else runs there."""
        if slot.busy or not slot.awaited:
            return
        job = self._first(slot.own) or self._first(self._waiting[slot.channel])
        if job is None:
            self._free[slot.channel][slot] = None
            return
        self._free[slot.channel].pop(slot, None)
        slot.busy = True
        self._tasks.start_soon(self._run, slot, job)

    def _first(self, children: OrderedDict[int, Child]) -> Job | None:
        """Take out the first that still waits. One that does not is entered again when it comes back to the queue."""
        while children:
            job = self._taken(children.popitem(last=False)[1])
            if job is not None:
                return job
        return None

    def _taken(self, child: Child) -> Job | None:
        live = self._live.get(child.job_id)
        if live is None or live.status is not JobStatus.PENDING:
            return None
        if not (child.parked or self._queue.remove(live.job)):
            return None
        child.parked = False
        return live.job

    async def _run(self, slot: HeldSlot, job: Job) -> None:
        try:
            await self._execute(job)
        finally:
            slot.busy = False
            self._take_in(slot)
            if slot.returned is not None and not slot.busy:
                slot.returned.set()
