"""Jobs that running jobs start, and the slots on which they run.

A job that waits for its child still holds its slot. So that parents never starve their children, the child runs on
that very slot: one at a time, the others of parallel branches on free slots or, in turn, on the parent's. A child of a
child looks for the nearest of its ancestors that holds a slot of its channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
from jobworkerp_standalone.engine.intake import Accepted, Intake, Manner
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, definition_text, named_for_one_job
from jobworkerp_standalone.engine.waiting import Waiting
from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, RequestError, Unavailable
from jobworkerp_standalone.jobs.model import (
    Job,
    JobResult,
    JobStatus,
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

_log = logging.getLogger(__name__)
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
        self._parents: dict[int, Parent] = {}
        """By the id of a child that is waited for."""

    def of(self, live: LiveJob) -> Parent:
        """Return what the attempt that now begins may do with children."""
        return Parent(self._parts, live, self._parents)

    def park(self, waiting: Sequence[Job]) -> list[Job]:
        """Return those jobs, taken out of the queue at the end, that no slot is held for; the others keep waiting."""
        return [job for job in waiting if not self._parked(job)]

    def _parked(self, job: Job) -> bool:
        parent = self._parents.get(job.id)
        holder = parent.slot_for(job.channel) if parent is not None else None
        return holder is not None and holder.park(job)


class Parent:
    """A running job with its slot and its children. See ``runners.children.Children``."""

    def __init__(self, parts: ParentParts, live: LiveJob, parents: dict[int, Parent]) -> None:
        self._parts = parts
        self._live = live
        self._parents = parents
        self._parent = parents.get(live.job.id)
        self._generation = int(live.job.metadata.get(GENERATION_KEY, 0)) + 1
        """Of the children."""
        self._busy = False
        """A child runs on the slot of this job."""
        self._claims: dict[int, _Claim] = {}
        """Children that may run on this slot, in the order in which they came."""
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
        entry = self._parts.catalog.find_by_name(name) or await self._parts.catalog.look_up(name)
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

    def slot_for(self, channel: str) -> Parent | None:
        """Return the nearest of this job and its ancestors that holds a slot of a channel."""
        holder: Parent | None = self
        while holder is not None and holder._live.job.channel != channel:
            holder = holder._parent
        return holder

    def park(self, job: Job) -> bool:
        """Keep a child that was in the queue for the held slot; False where none is held for it."""
        claim = self._claims.get(job.id)
        if claim is not None:
            claim.parked = True
        return claim is not None

    def next_child(self) -> None:
        """The slot may be free: let the child run on it that waits longest."""
        if not self._busy:
            for claim in self._claims.values():
                if self._take(claim):
                    return

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
        holder = self.slot_for(entry.worker.channel)
        answer = ResponseType.DIRECT if entry.worker.queue_type is QueueType.NORMAL else ResponseType.NO_RESULT
        new = self._request(order, entry, streaming, answer, waits=True)
        manner = _AWAITED if holder is None else _ON_SLOT
        if order.secret is not None:
            manner = replace(manner, secret=order.secret)
        accepted = await self._submit(entry, new, manner)
        job = accepted.job
        try:
            self._parents[job.id] = self
            if started is not None:
                started(job.id)
            with holder.claim(job) if holder is not None else contextlib.nullcontext():
                yield accepted
        finally:
            if accepted.reply is not None and not accepted.reply.done():
                await self._end_and_wait(accepted)
            self._parts.waiting.close_reply(job.id)
            self._parents.pop(job.id, None)

    @contextlib.contextmanager
    def claim(self, job: Job) -> Iterator[None]:
        """Let a child of this job, or of one below it, run on the held slot while the caller waits for it."""
        queue = self._parts.queue
        claim = self._claims[job.id] = _Claim(job.id, parked=job.queue_type is not QueueType.DB_ONLY)
        queue.arrivals[job.id] = self.next_child
        try:
            self.next_child()
            if claim.parked and not self._parts.intake.closed and queue.reserve_now(job):
                claim.parked = False
                queue.put(job)
            yield
        finally:
            del self._claims[job.id], queue.arrivals[job.id]

    def _take(self, claim: _Claim) -> bool:
        """Start a child on the held slot; False where it does not wait for one just now."""
        live = self._parts.live.get(claim.job_id)
        if live is None or live.status is not JobStatus.PENDING:
            return False
        if not (claim.parked or self._parts.queue.remove(live.job)):
            return False
        claim.parked = False
        self._busy = True
        self._parts.tasks.start_soon(self._run_on_slot, live.job)
        return True

    async def _run_on_slot(self, job: Job) -> None:
        try:
            await self._parts.execute(job)
        except Exception:
            _log.exception("job %d could not be settled; the slot of its parent goes on", job.id)
        finally:
            self._busy = False
            self.next_child()

    async def _end_and_wait(self, accepted: Accepted) -> None:
        with anyio.CancelScope(shield=True):
            await self._end(accepted.job.id)
            if accepted.reply is not None:
                with contextlib.suppress(RequestError):
                    await accepted.reply

    async def _end(self, job_id: int) -> None:
        child = self._parts.live.get(job_id)
        if child is not None:
            child.ended_by = f"its parent, job {self._live.job.id}"
        await self._parts.intake.cancel(job_id)

    # ------------------------------------------------------------ accepting one

    async def _entry(self, order: ChildOrder) -> Entry:
        worker, catalog = order.worker, self._parts.catalog
        if self._generation > MAX_GENERATIONS:
            raise InvalidRequest(
                f"there are {MAX_GENERATIONS} jobs above this one already, and no more may be; "
                "look for a workflow that runs itself without end"
            )
        if isinstance(worker, str):
            entry = catalog.find_by_name(worker) or await catalog.look_up(worker)
            if entry is None:
                raise InvalidRequest(f"worker {worker!r} does not exist; create it first, or list the workers")
            return entry
        await self._open(worker.channel)
        if worker.use_static:
            return await self._static(worker)
        return catalog.lend(named_for_one_job(worker, self._parts.new_id()))

    async def _open(self, channel: str) -> None:
        if channel not in self._parts.catalog.channels:
            await self._parts.open_channel(channel)

    async def _static(self, worker: Worker) -> Entry:
        """Return the stored worker of that name, made or brought to this runner and settings."""
        catalog = self._parts.catalog
        known = catalog.find_by_name(worker.name) or await catalog.look_up(worker.name)
        if known is None:
            with contextlib.suppress(AlreadyExists):  # a sibling was faster
                await catalog.create(worker)
            known = catalog.find_by_name(worker.name)
        assert known is not None, "it was just made"
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
        try:
            return await asyncio.shield(accepted.reply)
        except Unavailable:
            if self._parts.intake.closed:  # the stop put down what had not begun: no error that the caller could heal
                await self._stop_here()
            raise

    async def _stop_here(self) -> None:
        """The process stops and the job cannot go on in it: end the whole family as the stop does with the slow."""
        head = self
        while head._parent is not None:
            head = head._parent
        head._live.stopping = True
        if head._live.scope is not None:
            head._live.scope.cancel()
        await anyio.sleep_forever()


@dataclass(slots=True)
class _Claim:
    """A child that may run on a slot that is held for it."""

    job_id: int
    parked: bool
    """It is in no queue."""
