"""The jobs that this process holds right now, what each is doing, and which keys they occupy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio

from jobworkerp_standalone.jobs.errors import DuplicateKey
from jobworkerp_standalone.jobs.lifecycle import Event, step
from jobworkerp_standalone.jobs.model import Job, JobStatus
from jobworkerp_standalone.ports.notes import RunOver
from jobworkerp_standalone.runners.children import Secret


@dataclass(slots=True)
class LiveJob:
    """One accepted job that has not ended."""

    job: Job
    status: JobStatus
    pending_time_ms: int
    updated_at_ms: int
    start_time_ms: int | None = None
    scope: anyio.CancelScope | None = None
    """Scope of the attempt that is running."""
    deleted: bool = False
    """A client asked for its end: neither a retry nor a next run follows."""
    stopping: bool = False
    """The process stops: a durable job goes back to its row."""
    awaited: bool = False
    """Another job waits for this one here, and ends it when it ends itself: its row is not given free before."""
    damage: str = ""
    """Why it must not run: its row is not what it was."""
    ended_by: str = "a client"
    """Who deleted it."""
    superseded: bool = False
    """It was ended for the sake of the job that had started it: nobody goes on with it."""
    over: tuple[RunOver, ...] = ()
    """Runs that nobody goes on with after this attempt: what they wrote down goes with its settlement."""
    secret: Secret | None = None
    """What only its runner sees."""

    @property
    def args(self) -> bytes:
        """Return what the runner gets."""
        return self.job.args if self.secret is None else self.secret.args

    def advance(self, event: Event, now_ms: int) -> bool:
        """Apply ``event``; False (and no change) where the state table does not allow it."""
        following = step(self.status, event)
        if following is None:
            return False
        self.status = following
        self.updated_at_ms = now_ms
        if following is JobStatus.RUNNING:
            self.start_time_ms = now_ms
        elif following is JobStatus.PENDING:
            self.pending_time_ms = now_ms
            self.start_time_ms = None
        return True


class LiveJobs:
    """All live jobs by id, and the holders of unique keys, rows included."""

    def __init__(self) -> None:
        self._jobs: dict[int, LiveJob] = {}
        self._keys: dict[str, int] = {}
        self._admitting: set[int] = set()
        """Holders of keys that are neither live yet nor in the store."""
        self.on_left: Callable[[Job, bool, tuple[RunOver, ...]], None] = _nobody_to_tell
        """Called when a job is not held here any more, with whether it is over, and the runs that are over with it."""

    def add(self, job: Job, now_ms: int, *, awaited: bool = False) -> LiveJob:
        """Enter an accepted job as PENDING."""
        self._admitting.discard(job.id)
        live = self._jobs[job.id] = LiveJob(job, JobStatus.PENDING, now_ms, now_ms, awaited=awaited)
        return live

    def begun_rows(self) -> frozenset[int]:
        """Return the jobs with a row that have a slot here."""
        return frozenset(
            live.job.id for live in self._jobs.values() if live.job.stored and live.status is not JobStatus.PENDING
        )

    def get(self, job_id: int) -> LiveJob | None:
        """Return a live job."""
        return self._jobs.get(job_id)

    def remove(self, job: Job, *, free_key: bool = True) -> None:
        """Forget a job. ``free_key`` is false where its row goes on holding the key."""
        live = self._jobs.get(job.id)
        if live is None or live.job.fence == job.fence:  # else its row was leased anew meanwhile
            self._jobs.pop(job.id, None)
            self.on_left(job, free_key, live.over if live is not None else ())
        if free_key:
            self.free_key(job)

    def all(self) -> Iterator[LiveJob]:
        """Iterate over a copy, so that jobs may come and go meanwhile."""
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def claim_key(self, job: Job) -> None:
        """Occupy the job's key until it ends.

        Raises:
            DuplicateKey: another job holds it.
        """
        if job.uniq_key is None:
            return
        holder = self._keys.setdefault(job.uniq_key, job.id)
        if holder != job.id:
            raise DuplicateKey(job.uniq_key, holder)
        self._admitting.add(job.id)

    def admitted(self, job: Job) -> None:
        """Take note that the job is in the store, or that it was not accepted after all."""
        self._admitting.discard(job.id)

    def free_key(self, job: Job) -> None:
        """Give the job's key free."""
        if job.uniq_key is not None and self._keys.get(job.uniq_key) == job.id:
            del self._keys[job.uniq_key]

    def restore_keys(self, keys: dict[str, int]) -> None:
        """Enter the keys that rows hold, at start."""
        self._keys.update(keys)

    def is_row(self, holder: int) -> bool:
        """Whether the holder of a key is a row that this process does not hold."""
        return holder not in self._jobs and holder not in self._admitting

    def forget_key(self, key: str, holder: int) -> None:
        """Free a key whose row is gone: another process on the same store has ended it."""
        if self._keys.get(key) == holder:
            del self._keys[key]


def _nobody_to_tell(job: Job, over: bool, runs: tuple[RunOver, ...]) -> None:
    """Nothing is kept for a job beside it."""
