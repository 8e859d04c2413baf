"""The state table of a live job, and what follows when an attempt ends. Pure: nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from jobworkerp_standalone.jobs import periods, retry
from jobworkerp_standalone.jobs.model import Job, JobStatus, ResultStatus, Worker


class Event(Enum):
    """What can happen to a live job."""

    START = "a slot took it"
    HANDOFF = "the run is over, its result is being written"
    CANCEL = "a client deleted it"
    RETRY = "the attempt failed and another one follows"
    REPEAT = "the run is over and the schedule goes on"


TRANSITIONS: Final[dict[tuple[JobStatus, Event], JobStatus]] = {
    (JobStatus.PENDING, Event.START): JobStatus.RUNNING,
    (JobStatus.PENDING, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.RUNNING, Event.HANDOFF): JobStatus.WAIT_RESULT,
    (JobStatus.RUNNING, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.RUNNING, Event.RETRY): JobStatus.PENDING,
    (JobStatus.RUNNING, Event.REPEAT): JobStatus.PENDING,
    (JobStatus.WAIT_RESULT, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.WAIT_RESULT, Event.RETRY): JobStatus.PENDING,
    (JobStatus.WAIT_RESULT, Event.REPEAT): JobStatus.PENDING,
    (JobStatus.CANCELLING, Event.CANCEL): JobStatus.CANCELLING,
}
"""Every allowed step; a pair that is not here does not happen. A job that ended has no status at all."""


def step(status: JobStatus, event: Event) -> JobStatus | None:
    """Return the status after ``event``, or None where the table does not allow it."""
    return TRANSITIONS.get((status, event))


@dataclass(frozen=True, slots=True)
class Finish:
    """The job ends with this status."""

    status: ResultStatus


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The attempt failed; the next one is due at ``run_after_ms``."""

    run_after_ms: int
    status: ResultStatus = ResultStatus.ERROR_AND_RETRY


@dataclass(frozen=True, slots=True)
class RepeatAt:
    """The run ends with ``status``; the schedule's next run is due at ``run_after_ms``."""

    status: ResultStatus
    run_after_ms: int


Step = Finish | RetryAt | RepeatAt


def after_attempt(
    job: Job, status: ResultStatus, end_time_ms: int, worker: Worker | None, *, retriable: bool = True
) -> Step:
    """Say what follows when an attempt of ``job`` ended with ``status``.

    Args:
        job: the job as it was run.
        status: how the attempt ended, before the retry policy was asked.
        end_time_ms: when it ended.
        worker: its definition now; None if it was deleted or the schedule was ended by a client.
        retriable: nothing was delivered and nobody deleted the job, so it may run again.
    """
    policy = job.rules.retry_policy
    if status is ResultStatus.ERROR_AND_RETRY:
        if retriable and policy is not None and retry.allows(policy, job.retried):
            return RetryAt(min(end_time_ms + retry.delay_ms(policy, job.retried), retry.MAX_DELAY_MS))
        status = ResultStatus.MAX_RETRY
    if job.recurring and worker is not None:
        due = periods.next_run_ms(worker, job.run_after_ms or end_time_ms, end_time_ms)
        if due is not None:
            return RepeatAt(status, due)
    return Finish(status)
