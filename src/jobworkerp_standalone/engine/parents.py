"""Jobs that running jobs start. Those that are waited for run on slots that waiting jobs hold, or on free ones.

A child looks first at the slot of the nearest job above it that holds one of its channel.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio
from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.catalog import Catalog, Entry
from jobworkerp_standalone.engine.chain import (
    BEGINS_WITH_KEY,
    GENERATION_KEY,
    OWN_PREFIX,
    PARENT_KEY,
    sent_by_client,
)
from jobworkerp_standalone.engine.held_slots import HeldSlot, HeldSlots
from jobworkerp_standalone.engine.intake import Accepted, Intake, Manner
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, definition_text, named_for_one_job
from jobworkerp_standalone.engine.waiting import Waiting
from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, RequestError, Unavailable
from jobworkerp_standalone.jobs.model import (
    Job,
    JobResult,
    NewJob,
    Overrides,
    QueueType,
    ResponseType,
    StreamingType,
    Worker,
)
from jobworkerp_standalone.ports import JobQueue
from jobworkerp_standalone.runners.children import ChildOrder, Started
from jobworkerp_standalone.runners.spec import RunnerSpec

MAX_GENERATIONS: Final = 32
"""Jobs that may be above a job: one that starts itself would fill the memory."""
_ON_SLOT: Final = Manner(awaited=True, on_slot=True)
_AWAITED: Final = Manner(awaited=True)
_LOOSE: Final = Manner()


@dataclass(frozen=True, slots=True)
class ParentParts:
    """What children are started with."""

    catalog: Catalog
    live: LiveJobs
    waiting: Waiting
    queue: JobQueue
    intake: Intake
    execute: Callable[[Job], Awaitable[None]]
    tasks: TaskGroup
    new_id: Callable[[], int]
    open_channel: Callable[[str], Awaitable[None]]


class Parents:
    """All parents that have children now."""

    def __init__(self, parts: ParentParts) -> None:
        self._parts = parts
        self._slots = HeldSlots(parts.live, parts.queue, parts.execute, parts.tasks)
        self._parents: dict[int, Parent] = {}
        """By the id of a child that is waited for."""

    def of(self, live: LiveJob) -> Parent:
        """Return what the attempt that now begins may do with children."""
        return Parent(self._parts, live, self._parents, self._slots)

    def put_down(self, queued: Sequence[Job], timed: Sequence[Job]) -> list[Job]:
        """Return those jobs, taken out of queue and poller at the end, that nobody waits for.

        A child that was in the queue goes on waiting for a slot that is held above it. A family whose child has none
        cannot go on in this process: it ends as the stop ends those that are slow.
        """
        parked = {job.id for job in queued if self._slots.park(job)}
        taken_out = {job.id for job in (*queued, *timed)}
        for child_id, parent in list(self._parents.items()):
            if child_id in taken_out and child_id not in parked:
                parent.stop_family()
        return [job for job in (*queued, *timed) if job.id not in self._parents]

    def too_late(self, job: Job) -> None:
        """A job is to wait for its time although nothing begins by itself any more: who waits for it ends."""
        parent = self._parents.get(job.id)
        if parent is not None:
            parent.stop_family()


class Parent:
    """A running job with its slot and its children. See ``runners.children.Children``."""

    def __init__(self, parts: ParentParts, live: LiveJob, parents: dict[int, Parent], slots: HeldSlots) -> None:
        self._parts = parts
        self._live = live
        self._parents = parents
        self._slots = slots
        self._parent = parents.get(live.job.id)
        self._slot = HeldSlot(live.job.channel)
        self._loose: list[int] = []

    # ------------------------------------------------------------ what runners see

    def runner(self, name: str) -> RunnerSpec | None:
        """Return a runner kind by name."""
        return self._parts.catalog.kinds.by_name(name)

    def runner_of(self, worker: Worker) -> RunnerSpec | None:
        """Return the runner kind of a worker, if it is there."""
        return self._parts.catalog.kinds.get(worker.runner_id)

    def workers(self) -> Iterator[Worker]:
        """Iterate over the stored workers."""
        return self._parts.catalog.workers()

    async def worker(self, name: str) -> Worker | None:
        """Return a stored worker by name."""
        entry = await self._named(name)
        return entry.worker if entry else None

    async def keep(self, worker: Worker) -> Worker:
        """Store a new worker and return it with its id."""
        await self._open(worker.channel)
        return await self._parts.catalog.create(worker)

    async def discard(self, worker: Worker) -> None:
        """Remove a stored worker."""
        await self._parts.catalog.remove(worker.id)

    async def run(self, order: ChildOrder, started: Started | None = None) -> JobResult:
        """Start a child and return how it ended, whatever that is."""
        async with self._child(order, StreamingType.NONE, started) as accepted:
            return await self._result(accepted)

    async def stream(
        self, order: ChildOrder, send: Callable[[bytes], Awaitable[None]], started: Started | None = None
    ) -> JobResult:
        """Start a streaming child, hand each item up, and return how it ended, with the folded output."""
        async with self._child(order, StreamingType.INTERNAL, started) as accepted:
            assert accepted.stream is not None, "a streaming job that is waited for has a stream"
            try:
                async for item in accepted.stream.items():
                    await send(item)
            finally:
                accepted.stream.close()
            return await self._result(accepted)

    async def start(self, order: ChildOrder) -> int:
        """Start a child that nobody waits for and return its id."""
        entry = await self._entry(order)
        new = self._request(order, entry, StreamingType.NONE, ResponseType.NO_RESULT)
        accepted = await self._submit(entry, new, _LOOSE)
        self._loose = [each for each in self._loose if self._parts.live.get(each)]
        self._loose.append(accepted.job.id)
        return accepted.job.id

    # ------------------------------------------------------------ what the engine sees

    async def end_loose(self) -> None:
        """End the children that nobody waits for: their parent was cancelled, or its time is over."""
        with anyio.CancelScope(shield=True):
            for job_id in self._loose:
                await self._end(job_id)

    def stop_family(self) -> None:
        """The process stops and this job cannot go on in it: end all above it too, as the stop does with the slow."""
        head = self
        while head._parent is not None:
            head = head._parent
        head._live.stopping = True
        if head._live.scope is not None:
            head._live.scope.cancel()

    async def slot_back(self) -> None:
        """Wait until nothing of others runs on the slot of this job, which has ended."""
        await self._slot.back()

    # ------------------------------------------------------------ one child

    @contextlib.asynccontextmanager
    async def _child(
        self, order: ChildOrder, streaming: StreamingType, started: Started | None
    ) -> AsyncIterator[Accepted]:
        """Start a child that is waited for inside; its end is waited for in any case."""
        entry = await self._entry(order)
        if entry.worker.recurring:
            raise InvalidRequest(
                f"worker {entry.worker.name!r} runs on a schedule, which nothing can wait for; use another worker"
            )
        holder = self._slot_for(entry.worker.channel)
        answer = ResponseType.DIRECT if entry.worker.queue_type is QueueType.NORMAL else ResponseType.NO_RESULT
        new = self._request(order, entry, streaming, answer, waits=True)
        manner = _AWAITED if holder is None else _ON_SLOT
        if order.secret is not None:
            manner = replace(manner, secret=order.secret)
        accepted = await self._submit(entry, new, manner)
        job = accepted.job
        self._parents[job.id] = self
        with self._slots.waits_for(job, self._slot, holder):
            try:
                if started is not None:
                    started(job.id)
                yield accepted
            finally:
                if accepted.reply is not None and not accepted.reply.done():
                    await self._end_and_wait(accepted)
                self._parts.waiting.close_reply(job.id)
                self._parents.pop(job.id, None)

    def _slot_for(self, channel: str) -> HeldSlot | None:
        """Return the slot of the nearest of this job and those above it that holds one of a channel."""
        holder: Parent | None = self
        while holder is not None and holder._slot.channel != channel:
            holder = holder._parent
        return None if holder is None else holder._slot

    async def _end_and_wait(self, accepted: Accepted) -> None:
        with anyio.CancelScope(shield=True):
            await self._end(accepted.job.id)
            if accepted.reply is not None:
                with contextlib.suppress(RequestError):
                    await accepted.reply

    async def _end(self, job_id: int) -> None:
        child = self._parts.live.get(job_id)
        if child is not None:
            child.ended_by, child.superseded = f"its parent, job {self._live.job.id}", True
        await self._parts.intake.cancel(job_id)

    # ------------------------------------------------------------ accepting one

    @property
    def _generation(self) -> int:
        """Of the children."""
        return int(self._live.job.metadata.get(GENERATION_KEY, 0)) + 1

    async def _entry(self, order: ChildOrder) -> Entry:
        worker, catalog = order.worker, self._parts.catalog
        if self._generation > MAX_GENERATIONS:
            raise InvalidRequest(
                f"there are {MAX_GENERATIONS} jobs above this one already, and no more may be; "
                "look for a workflow that runs itself without end"
            )
        if isinstance(worker, str):
            entry = await self._named(worker)
            if entry is None:
                raise InvalidRequest(f"worker {worker!r} does not exist; create it first, or list the workers")
            return entry
        await self._open(worker.channel)
        if worker.use_static:
            return await self._static(worker)
        return catalog.lend(named_for_one_job(worker, self._parts.new_id()))

    async def _named(self, name: str) -> Entry | None:
        return self._parts.catalog.find_by_name(name) or await self._parts.catalog.look_up(name)

    async def _open(self, channel: str) -> None:
        if channel not in self._parts.catalog.channels:
            await self._parts.open_channel(channel)

    async def _static(self, worker: Worker) -> Entry:
        """Return the stored worker of that name, made or brought to this runner and settings."""
        catalog = self._parts.catalog
        known = await self._named(worker.name)
        if known is None:
            with contextlib.suppress(AlreadyExists):  # a sibling, or another process, was faster
                await catalog.create(worker)
            known = await self._named(worker.name)
        if known is None:
            raise InvalidRequest(f"worker {worker.name!r} was deleted while a job was started on it; start that again")
        wanted = replace(
            known.worker, runner_id=worker.runner_id, runner_settings=worker.runner_settings, use_static=True
        )
        if wanted == known.worker:
            return known
        await catalog.update(wanted)
        return catalog.find_by_name(worker.name) or known

    def _request(
        self, order: ChildOrder, entry: Entry, streaming: StreamingType, answer: ResponseType, *, waits: bool = False
    ) -> NewJob:
        metadata = self._metadata(order)
        if waits and (durable := self._durable_one()) is not None:
            metadata[BEGINS_WITH_KEY] = durable
        may_outlive = answer is ResponseType.NO_RESULT
        if may_outlive and not isinstance(order.worker, str) and not order.worker.use_static:
            metadata[DEFINITION_KEY] = definition_text(entry.worker)
        return NewJob(
            entry.worker.id,
            order.args,
            timeout_ms=order.timeout_ms,
            using=order.using,
            overrides=Overrides(response_type=answer),
            streaming=streaming,
            metadata=metadata,
        )

    def _metadata(self, order: ChildOrder) -> dict[str, str]:
        parent = self._live.job
        given = {key: value for key, value in order.metadata.items() if not key.startswith(OWN_PREFIX)}
        ours = {PARENT_KEY: str(parent.id), GENERATION_KEY: str(self._generation)}
        return {**given, **sent_by_client(parent), **ours}

    def _durable_one(self) -> str | None:
        """Return the id of the job that begins anew after a crash, with this one or as this one; None without one."""
        job = self._live.job
        return str(job.id) if job.stored else job.metadata.get(BEGINS_WITH_KEY)

    async def _submit(self, entry: Entry, new: NewJob, manner: Manner) -> Accepted:
        try:
            return await self._parts.intake.submit_child(entry, new, manner)
        except BaseException as error:
            self._parts.catalog.take_back(entry.worker.id)
            if isinstance(error, Unavailable) and self._parts.intake.closed:
                await self._stop_here()
            raise

    async def _result(self, accepted: Accepted) -> JobResult:
        assert accepted.reply is not None, "a job that is waited for has a reply"
        return await asyncio.shield(accepted.reply)

    async def _stop_here(self) -> None:
        self.stop_family()
        await anyio.sleep_forever()
