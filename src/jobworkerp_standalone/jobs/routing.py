"""Where an accepted job goes. One pure function: queue type x time x response type."""

from __future__ import annotations

from enum import Enum

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import QueueType, Rules, Worker


class Route(Enum):
    """The way a job takes to its slot."""

    QUEUE = "queue"
    """The in-memory queue alone."""
    ROW_AND_QUEUE = "row and queue"
    """A row first, then the in-memory queue: survives a crash."""
    ROW = "row"
    """A row that the poller fires at its time."""


def route(worker: Worker, rules: Rules, run_after_ms: int, now_ms: int) -> Route:
    """Choose the way of a job that is to run at ``run_after_ms`` (0: at once).

    Raises:
        InvalidRequest: the combination cannot be served.
    """
    if rules.direct:
        _check_direct(worker, run_after_ms)
        return Route.QUEUE
    if worker.recurring or run_after_ms > now_ms or worker.queue_type is QueueType.DB_ONLY:
        return Route.ROW
    if worker.queue_type is QueueType.WITH_BACKUP:
        return Route.ROW_AND_QUEUE
    return Route.QUEUE


def _check_direct(worker: Worker, run_after_ms: int) -> None:
    if run_after_ms > 0:
        raise InvalidRequest(
            f"run_after_time {run_after_ms} cannot be combined with response_type DIRECT: "
            "leave it out, or use response_type NO_RESULT and listen for the result"
        )
    if worker.queue_type is QueueType.DB_ONLY:
        raise InvalidRequest(
            f"worker {worker.name!r} has queue_type DB_ONLY, which cannot answer with response_type DIRECT: "
            "use NO_RESULT, or queue_type NORMAL or WITH_BACKUP"
        )
    if worker.recurring:
        raise InvalidRequest(
            f"worker {worker.name!r} runs on a schedule, which cannot answer with response_type DIRECT: use NO_RESULT"
        )
