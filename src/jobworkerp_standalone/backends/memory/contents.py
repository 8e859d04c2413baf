"""What a store in memory holds, and what its parts share."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from operator import attrgetter

from jobworkerp_standalone.jobs.model import Job, JobResult, Priority, Worker
from jobworkerp_standalone.ports import Clock, Instance, KnownRunner
from jobworkerp_standalone.ports.notes import Note


@dataclass(slots=True, eq=False)
class Row:
    """A job that is kept, and who holds it."""

    job: Job
    due_ms: int
    """When it is due: ``run_after_ms``, or the enqueue time of a job to run at once."""
    owner_id: int | None = None
    """The instance that holds it; None: it is free."""
    running: bool = False
    """An attempt has begun."""


class Rows:
    """Rows of jobs, by id, by key and, the free ones, by time."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._keys: dict[str, int] = {}
        self._free: dict[tuple[str, Priority], list[tuple[int, int]]] = {}
        """Due times and ids in their order."""

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._rows

    def get(self, job_id: int) -> Row | None:
        """Return the row of a job."""
        return self._rows.get(job_id)

    def holder(self, uniq_key: str | None) -> int | None:
        """Return the job that holds a key."""
        return self._keys.get(uniq_key) if uniq_key else None

    @property
    def keys(self) -> dict[str, int]:
        """Every held key with its job."""
        return dict(self._keys)

    def add(self, job: Job, owner_id: int | None) -> None:
        """Add a row. Neither its id nor its key is there."""
        row = Row(
            replace(job, stored=True, uniq_key=job.uniq_key or None), job.run_after_ms or job.enqueue_time_ms, owner_id
        )
        self._rows[job.id] = row
        if row.job.uniq_key is not None:
            self._keys[row.job.uniq_key] = job.id
        self._enter(row)

    def remove(self, row: Row) -> None:
        """Remove a row, and give its key back."""
        self._leave(row)
        del self._rows[row.job.id]
        if row.job.uniq_key is not None:
            del self._keys[row.job.uniq_key]

    def hand(self, row: Row, owner_id: int | None) -> None:
        """Give a row to an owner, or to nobody."""
        self._leave(row)
        row.owner_id = owner_id
        self._enter(row)

    def move(self, row: Row, job: Job, owner_id: int | None) -> None:
        """Move a row to the time of ``job``, and whatever else that says."""
        self._leave(row)
        row.job, row.due_ms, row.owner_id = job, job.run_after_ms, owner_id
        self._enter(row)

    def first_free(
        self, channel: str, priority: Priority, until_ms: int, limit: int, besides: Collection[int]
    ) -> list[tuple[int, int]]:
        """Return due times and ids of the first free rows that are due by a time."""
        free = self._free.get((channel, priority), ())
        due = takewhile(lambda each: each[0] <= until_ms, free)
        return list(islice((each for each in due if each[1] not in besides), limit))

    def next_due_ms(self, channel: str) -> int | None:
        """Return when the first free row of a channel is due."""
        firsts = [free[0][0] for priority in Priority if (free := self._free.get((channel, priority)))]
        return min(firsts, default=None)

    def _enter(self, row: Row) -> None:
        if row.owner_id is None:
            insort(self._free.setdefault((row.job.channel, row.job.priority), []), (row.due_ms, row.job.id))

    def _leave(self, row: Row) -> None:
        if row.owner_id is not None:
            return
        place = row.job.channel, row.job.priority
        free = self._free[place]
        del free[bisect_left(free, (row.due_ms, row.job.id))]
        if not free:
            del self._free[place]


class Results:
    """Stored results, by id and by job."""

    def __init__(self) -> None:
        self._results: dict[int, JobResult] = {}
        self._of_jobs: dict[int, set[int]] = {}

    def __iter__(self) -> Iterator[JobResult]:
        return iter(self._results.values())

    def __contains__(self, result_id: int) -> bool:
        return result_id in self._results

    def get(self, result_id: int) -> JobResult | None:
        """Return a result by its id."""
        return self._results.get(result_id)

    def of_job(self, job_id: int) -> list[JobResult]:
        """Return the results of one job, in no order."""
        return [self._results[each] for each in self._of_jobs.get(job_id, ())]

    def add(self, result: JobResult) -> None:
        """Add a result whose id is not there; its job as it was run, without the state of the row that it had then."""
        self._results[result.id] = replace(result, job=replace(result.job, stored=False, fence=0, deliveries=0))
        self._of_jobs.setdefault(result.job.id, set()).add(result.id)

    def remove(self, result_id: int) -> bool:
        """Remove a result; whether it was there."""
        result = self._results.pop(result_id, None)
        if result is None:
            return False
        of_job = self._of_jobs[result.job.id]
        of_job.remove(result_id)
        if not of_job:
            del self._of_jobs[result.job.id]
        return True


class Notes:
    """Notes of runs, by the names of these."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[int, Note]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[tuple[str, Note]]:
        return ((run, note) for run, notes in self._notes.items() for note in notes.values())

    def of(self, run: str) -> list[Note]:
        """Return those of a run, oldest first."""
        return sorted(self._notes.get(run, {}).values(), key=attrgetter("id"))

    def change(self, run: str, added: Iterable[Note], removed: Iterable[int]) -> None:
        """Add and remove notes of a run."""
        notes = self._notes.setdefault(run, {})
        before = len(notes)
        for note_id in removed:
            notes.pop(note_id, None)
        notes.update({note.id: note for note in added})
        self._count += len(notes) - before
        if not notes:
            del self._notes[run]

    def forget(self, runs: Iterable[str]) -> None:
        """Remove all notes of some runs."""
        for run in runs:
            self._count -= len(self._notes.pop(run, ()))

    def expire(self, before_id: int, besides: Collection[str]) -> None:
        """Remove notes with an id below this one, but those of some runs."""
        for run in [run for run in self._notes if run not in besides]:
            self.change(run, (), [note_id for note_id in self._notes[run] if note_id < before_id])


@dataclass(slots=True, eq=False)
class Contents:
    """Everything that is kept."""

    clock: Clock
    rows: Rows = field(default_factory=Rows)
    results: Results = field(default_factory=Results)
    workers: dict[int, Worker] = field(default_factory=dict[int, Worker])
    runners: dict[int, KnownRunner] = field(default_factory=dict[int, KnownRunner])
    notes: Notes = field(default_factory=Notes)
    instance: Instance | None = None
    """This process, once it registered."""
    channels: set[str] = field(default_factory=set[str])
    """That were opened at run time."""


class Part:
    """Base of the parts of the store."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
