"""What stores refuse, in the same words whatever they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobworkerp_standalone.jobs.errors import AlreadyExists, DuplicateKey, LeaseLost, StorageError
from jobworkerp_standalone.jobs.model import Job


def refuse_twins(jobs: Iterable[Job]) -> None:
    """Raise DuplicateKey where two of ``jobs`` want the same key."""
    holders: dict[str, int] = {}
    for job in jobs:
        if job.uniq_key and holders.setdefault(job.uniq_key, job.id) != job.id:
            raise DuplicateKey(job.uniq_key, holders[job.uniq_key])


def not_added(jobs: Sequence[Job]) -> StorageError:
    """Return why jobs were not added."""
    return StorageError(f"jobs {[job.id for job in jobs]} could not be added: a row with such an id or key exists")


def not_settled(job: Job, reason: object) -> StorageError:
    """Return why a settlement was not written."""
    return StorageError(f"the end of job {job.id} could not be stored: {reason}")


def not_held(job: Job) -> LeaseLost:
    """Return what is wrong with a row that moved on."""
    return LeaseLost(f"job {job.id} is not held by this process any more")


def no_row_to_note(job_id: int) -> LeaseLost:
    """Return why nothing was noted for a job."""
    return LeaseLost(f"job {job_id} has ended, or another process holds it")


def not_registered() -> StorageError:
    """Return what is wrong with an owner that has no name yet."""
    return StorageError("this process holds no rows before it registered itself as an instance")


def result_exists(result_id: int) -> StorageError:
    """Return why a result was not stored."""
    return StorageError(f"a result with id {result_id} is already stored")


def name_taken(name: str) -> AlreadyExists:
    """Return why a worker was not written."""
    return AlreadyExists(f"worker name {name!r} is taken; choose another name, or update that worker")


def runner_id_taken(runner_id: int) -> AlreadyExists:
    """Return why a runner is not remembered."""
    return AlreadyExists(f"runner id {runner_id} is taken by a runner of another name")
