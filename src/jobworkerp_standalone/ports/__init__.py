"""The promises between the engine and the technologies below it.

Each docstring says what is atomic, what may repeat and what it raises. A backend that cannot reach its
technology raises ``StorageError``; nothing else leaks out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobworkerp_standalone.jobs.model import Job, JobResult, Priority, ResultStatus, Worker
from jobworkerp_standalone.ports.notes import NoteStore, RunOver


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds. May step back or forward."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; ends early only by cancellation."""
        ...


class JobQueue(Protocol):
    """Jobs waiting for a slot, by channel: HIGH, MEDIUM, LOW, each first in, first out.

    Jobs whose time has come wait in a lane of their own, by priority and then due time; the two lanes take
    turns, so neither starves.
    """

    def reserve_now(self, job: Job) -> bool:
        """Hold room without waiting; False where there is none, and once closed. Comes before anything is written."""
        ...

    async def reserve(self, job: Job) -> None:
        """Wait for room and hold it. Returns without it once the queue is closed."""
        ...

    def unreserve(self, job: Job) -> None:
        """Give back the room of a job that was not put after all."""
        ...

    def put(self, job: Job) -> None:
        """Add a job for which room was reserved."""
        ...

    def put_due(self, job: Job) -> None:
        """Add a job whose time has come; bounded by whoever leases rows."""
        ...

    def rest_due(self, channel: str) -> None:
        """Hand out no due jobs of a channel until ``resume_due``."""
        ...

    def resume_due(self, channel: str) -> None:
        """Hand out due jobs again; does nothing where they do not rest."""
        ...

    async def take(self, channel: str) -> Job | None:
        """Remove and return the next job, waiting for one; None once closed. A cancelled take loses nothing."""
        ...

    def remove(self, job: Job) -> bool:
        """Take a waiting job out. False where it is no longer there."""
        ...

    @property
    def arrivals(self) -> dict[int, Callable[[], None]]:
        """Called, by job id, right after that job was added: somebody holds a slot for it and takes it out."""
        ...

    def listing(self, channel: str) -> list[Job]:
        """Return the waiting jobs in order."""
        ...

    def close(self) -> list[Job]:
        """Stop handing out and return everything that was waiting."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A row held by this process: the job as it stands in the row, with its fencing number."""

    job: Job
    damage: str = ""
    """What is wrong with the row, which must not run then: parts of the job are not what they were."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything that becomes true when an attempt ended; written in one transaction or not at all.

    The row of ``job`` is deleted, or moved if ``next_due_ms`` is given (then ``next_retried`` is its new count,
    and the row is free to be leased again). Jobs without a row (``job.stored`` false) only write the rest; a
    retry that outlives the moment is put into ``new_jobs``.
    """

    job: Job
    result: JobResult | None = None
    """To be stored; None where the rules say that this result is not kept."""
    next_due_ms: int | None = None
    next_retried: int = 0
    keep_lease: bool = False
    """The moved row stays with this process, which runs it again from memory."""
    new_jobs: tuple[Job, ...] = ()
    over: tuple[RunOver, ...] = ()


class JobStore(Protocol):
    """Rows of jobs. Writes return when they are on disk.

    A row is free, or held by an owner (a process) under a fencing number which grows with every lease. All
    leases of an owner live as long as the owner does: it renews itself in one write.
    """

    async def add(self, jobs: Sequence[Job], *, held: bool) -> None:
        """Insert rows, all or none. ``held``: this process keeps them and will run them from memory.

        Raises:
            DuplicateKey: a row with the same ``uniq_key`` exists.
        """
        ...

    async def lease_due(
        self, until_ms: int, limits: Mapping[str, int], *, besides: Collection[int] = ()
    ) -> Sequence[Lease]:
        """Take free rows due at or before ``until_ms``, per channel at most its limit.

        Order within a channel: rows already due by priority, then all by due time. Rows of dead owners count as free,
        with ``deliveries`` raised by one if they were running. A row is given to one caller only.
        """
        ...

    async def next_due_ms(self, channels: Collection[str]) -> int | None:
        """Return the earliest due time of a free row of these channels, None without one."""
        ...

    async def mark_running(self, job: Job) -> None:
        """Note that the run begins, so that a death from now on counts as a delivery. May be lost in a crash.

        Raises:
            LeaseLost: the row is not ours any more, or gone: it must not run here.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Write a settlement.

        Raises:
            LeaseLost: the row is held under another fencing number; nothing was written.
        """
        ...

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give rows back unchanged: no attempt counted. Rows that are no longer ours are skipped."""
        ...

    async def retime(self, moves: Sequence[tuple[Job, int]]) -> None:
        """Move rows that wait for their time to another. One that is held, or has moved since, stays as it is."""
        ...

    async def delete(self, job_id: int) -> Job | None:
        """Remove a row that no running attempt holds and return its job; None where there is none."""
        ...

    async def find(self, job_id: int) -> Job | None:
        """Return the job of a row."""
        ...

    async def listing(self, limit: int | None, offset: int) -> Sequence[Job]:
        """Return jobs of rows, newest (largest id) first."""
        ...

    async def count(self) -> int:
        """Return the number of rows."""
        ...

    async def rows_by_channel(self) -> Mapping[str, int]:
        """Return the number of rows of each channel that has any."""
        ...

    async def of_worker(self, worker_id: int) -> Sequence[Job]:
        """Return all jobs with a row that belong to a worker."""
        ...

    async def recoverable(self, limit: int | None, *, include_held: bool) -> Sequence[Job]:
        """Return rows whose run was meant to start at once and that no living process holds."""
        ...

    async def keys(self) -> Mapping[str, int]:
        """Return every held ``uniq_key`` with its job id."""
        ...

    async def max_id(self) -> int:
        """Return the largest id of a job, a result or a runner ever stored that is still there; 0 without any."""
        ...


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which results are meant. Sets are alternatives, fields are all required, times are inclusive."""

    worker_ids: tuple[int, ...] = ()
    statuses: tuple[ResultStatus, ...] = ()
    start_time_from: int | None = None
    start_time_to: int | None = None
    end_time_from: int | None = None
    end_time_to: int | None = None
    priorities: tuple[Priority, ...] = ()
    uniq_key: str | None = None


class ResultStore(Protocol):
    """Stored results."""

    async def add_result(self, result: JobResult) -> None:
        """Store one result of a job that has no row."""
        ...

    async def find_result(self, result_id: int) -> JobResult | None:
        """Return a result by its id."""
        ...

    async def results_of_job(self, job_id: int, limit: int) -> Sequence[JobResult]:
        """Return the results of one job, newest end time (then id) first."""
        ...

    async def find_results(
        self, wanted: ResultFilter, *, sort_by: str, ascending: bool, limit: int | None, offset: int
    ) -> Sequence[JobResult]:
        """Return results; ``sort_by`` is id, job_id, start_time, end_time or status; ties by id."""
        ...

    async def count_results(self, wanted: ResultFilter) -> int:
        """Return how many results match."""
        ...

    async def delete_result(self, result_id: int) -> bool:
        """Remove one result; whether it was there."""
        ...

    async def delete_results(self, wanted: ResultFilter) -> int:
        """Remove all that match; how many."""
        ...


class WorkerStore(Protocol):
    """Worker definitions."""

    async def all_workers(self) -> Sequence[Worker]:
        """Return every definition."""
        ...

    async def worker_changes(self) -> int:
        """Return a number that grows whenever any process writes a definition."""
        ...

    async def add_worker(self, worker: Worker) -> Worker:
        """Insert; the returned value carries the new id (small, growing).

        Raises:
            AlreadyExists: the name is taken.
        """
        ...

    async def replace_worker(self, worker: Worker) -> bool:
        """Write every field of an existing definition but its creation time; whether it was there.

        Raises:
            AlreadyExists: the name is taken by another worker.
        """
        ...

    async def remove_worker(self, worker_id: int) -> bool:
        """Delete; whether it was there."""
        ...


@dataclass(frozen=True, slots=True)
class Instance:
    """A process that executes jobs, as it registered itself."""

    id: int
    ip_address: str
    hostname: str
    channels: tuple[tuple[str, int], ...]
    registered_at_ms: int
    last_heartbeat_ms: int = field(default=0)


class InstanceStore(Protocol):
    """Processes that execute jobs. An instance is also the owner of the rows that it holds."""

    async def register(self, instance: Instance) -> None:
        """Announce this process."""
        ...

    async def heartbeat(self, instance_id: int, now_ms: int, lease_ms: int) -> bool:
        """Renew this owner and all its leases; False where others have already declared it dead."""
        ...

    async def unregister(self, instance_id: int) -> None:
        """Take this process off the list; its rows become free."""
        ...

    async def reclaim_dead_owners(self) -> int:
        """Free the rows of owners that are gone; how many. A row that was running counts one delivery more."""
        ...

    async def note_channel(self, name: str) -> None:
        """Remember a channel that was opened at run time."""
        ...

    async def noted_channels(self) -> Collection[str]:
        """Return the channels that any process ever opened at run time."""
        ...

    async def instances(self) -> Sequence[Instance]:
        """Return the registered processes."""
        ...


@dataclass(frozen=True, slots=True)
class KnownRunner:
    """A runner kind that was not built in, as it is remembered over restarts."""

    id: int
    name: str
    type: int
    """Number of ``RunnerType``."""
    created_at_ms: int
    created: bool = False
    """Asked for by RunnerService.Create; others come from directories and configuration files."""
    description: str = ""
    definition: str = ""
    """As it was given to Create, secrets included; empty for others."""


class RunnerStore(Protocol):
    """What is remembered of runner kinds that came at run time, so that they keep their ids."""

    async def all_runners(self) -> Sequence[KnownRunner]:
        """Return every remembered runner."""
        ...

    async def put_runner(self, runner: KnownRunner) -> None:
        """Remember a runner; one with the same name is replaced.

        Raises:
            AlreadyExists: the id is taken by a runner of another name.
        """
        ...

    async def remove_runner(self, runner_id: int) -> bool:
        """Forget a runner; whether it was there."""
        ...


class Store(JobStore, ResultStore, WorkerStore, RunnerStore, NoteStore, InstanceStore, Protocol):
    """All of the above in one database, so that a settlement is one transaction."""

    @property
    def node(self) -> int:
        """A number below 1024 that no other living process on this database has."""
        ...
