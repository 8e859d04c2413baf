"""What runs after a job: the workers that its own worker names, each with the result as its arguments.

A runner kind may make its arguments of the result (``RunnerSpec.follow``), as a workflow does that takes it as input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from jobworkerp_standalone.engine.catalog import Catalog, Entry
from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.jobs.errors import BadInput, JobError
from jobworkerp_standalone.jobs.model import (
    DEFAULT_TIMEOUT_MS,
    Job,
    OutputType,
    QueueType,
    ResponseType,
    StreamingType,
)
from jobworkerp_standalone.ports import JobQueue

_log = logging.getLogger(__name__)

OWN_PREFIX: Final = "jobworkerp-"
"""Begins the keys that this program adds to a job's metadata; clients cannot send them."""
PARENT_KEY: Final = f"{OWN_PREFIX}parent-job-id"
"""Metadata of a job that another one started: the id of that one."""
GENERATION_KEY: Final = f"{OWN_PREFIX}generation"
"""Metadata of a job that a running one started: how many there are above it."""

GOES_ON_KEY: Final = f"{OWN_PREFIX}goes-on-with"
"""Metadata of a job that was made to go on with another: the id of that one."""
BEGINS_WITH_KEY: Final = f"{OWN_PREFIX}begins-with"
"""Metadata of a job that another one waits for: the nearest durable one above it. Its row is held by the process in
which that one runs. Whoever finds the row free knows that this is over: the one above begins anew, and starts all
that it waits for once more."""


def explained(error: JobError, job: Job) -> JobError:
    """Add where its args came from to what is wrong with them, for a job that followed another."""
    parent = job.metadata.get(PARENT_KEY)
    follows = parent is not None and GENERATION_KEY not in job.metadata
    if not follows or job.rules.direct or not isinstance(error, BadInput):
        return error
    return BadInput(
        f"{error} (this job follows job {parent} by next_workers, so its args are the bytes of that job's result: "
        "the result message of the one runner must be an args message of the other; "
        "a workflow, whose input it is, can turn one into the other)"
    )


@dataclass(frozen=True, slots=True)
class FollowUps:
    """Jobs that begin when another has succeeded."""

    rows: tuple[Job, ...] = ()
    """Written together with the end of the job before them."""
    queued: tuple[Job, ...] = ()
    """In memory only, like the job before them; their room is reserved."""


NONE: Final = FollowUps()


@dataclass(frozen=True, slots=True)
class Chain:
    """Makes and starts follow-ups."""

    catalog: Catalog
    live: LiveJobs
    queue: JobQueue
    poller: Poller
    new_id: Callable[[], int]

    async def after(self, job: Job, output: bytes | None, now_ms: int) -> FollowUps:
        """Return what follows the success of ``job``. A durable job is followed by durable ones."""
        entry = self.catalog.find(job.worker_id)
        if entry is None or not entry.worker.next_workers:
            return NONE
        method = entry.spec.method(job.using) if entry.spec else None
        schema = method.result_proto if method is not None else ""
        following = [each for next_id in entry.worker.next_workers if (each := self._startable(job, next_id))]
        jobs = [self._follow_up(job, each, await _args(each, schema, output or b""), now_ms) for each in following]
        queued = [each for each in jobs if not each.stored and self.queue.reserve_now(each)]
        rows = [replace(each, stored=True) for each in jobs if each not in queued]
        return FollowUps(tuple(rows), tuple(queued))

    def start(self, follow_ups: FollowUps, now_ms: int) -> None:
        """Let them run: the job before them has ended."""
        for job in follow_ups.queued:
            self.live.add(job, now_ms)
            self.queue.put(job)
        if follow_ups.rows:
            self.poller.nudge(0)

    def forget(self, follow_ups: FollowUps) -> None:
        """Give up their room: the job before them was not ours to end."""
        for job in follow_ups.queued:
            self.queue.unreserve(job)

    def _startable(self, job: Job, worker_id: int) -> Entry | None:
        entry = self.catalog.find(worker_id)
        if entry is None or not self._can_run(entry):
            _log.error("job %d cannot be followed by worker %d: it is gone, or its runner is", job.id, worker_id)
            return None
        if entry.worker.channel not in self.catalog.channels:
            _log.error("job %d cannot be followed by worker %d: its channel is not served", job.id, worker_id)
            return None
        return entry

    def _can_run(self, entry: Entry) -> bool:
        """Whether a job of this worker runs, or at least says later why it did not."""
        if entry.spec is None:
            return self.catalog.kinds.is_away(entry.worker.runner_id)
        return entry.spec.make is not None

    def _follow_up(self, job: Job, entry: Entry, args: bytes, now_ms: int) -> Job:
        worker = entry.worker
        method = entry.spec.method(None) if entry.spec else None
        streams = method is not None and method.output_type is OutputType.STREAMING
        return Job(
            self.new_id(),
            worker.id,
            args,
            replace(entry.rules, response_type=ResponseType.NO_RESULT),
            now_ms,
            worker.channel,
            worker.queue_type,
            job.priority,
            DEFAULT_TIMEOUT_MS,
            streaming=StreamingType.RESPONSE if streams else StreamingType.NONE,
            metadata={**sent_by_client(job), PARENT_KEY: str(job.id)},
            stored=job.stored or worker.queue_type is not QueueType.NORMAL,
        )


async def _args(entry: Entry, schema: str, result: bytes) -> bytes:
    if entry.spec is None or entry.spec.follow is None:
        return result
    return await entry.spec.follow(entry.worker, schema, result)


def sent_by_client(job: Job) -> dict[str, str]:
    """Return a job's metadata without what this program added."""
    return {key: value for key, value in job.metadata.items() if not key.startswith(OWN_PREFIX)}
