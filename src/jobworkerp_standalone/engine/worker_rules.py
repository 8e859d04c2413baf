"""What a worker definition must fulfil before it is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from jobworkerp_standalone.jobs.cron import BadCron, cron_schedule
from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import (
    DEFAULT_CHANNEL,
    DEFAULT_CHANNEL_LABEL,
    QueueType,
    ResponseType,
    RetryPolicy,
    RetryType,
    Worker,
)
from jobworkerp_standalone.runners.spec import RunnerSpec

MAX_NAME_BYTES: Final = 255
_LARGEST: Final = 2**32 - 1
"""What the messages of workers carry: as milliseconds 49 days."""


def check_name(field: str, name: str) -> None:
    """Check a name that a client chose.

    Raises:
        InvalidRequest: it is empty or longer than 255 bytes.
    """
    if not name:
        raise InvalidRequest(f"{field} is empty; give it 1 to {MAX_NAME_BYTES} bytes")
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > MAX_NAME_BYTES:
        raise InvalidRequest(f"{field} is {size} bytes long; at most {MAX_NAME_BYTES} are allowed")


def check_worker(worker: Worker, spec: RunnerSpec | None, channels: Mapping[str, int]) -> None:
    """Check a whole definition.

    Raises:
        InvalidRequest: names the field, its value and the remedy.
    """
    check_name("name", worker.name)
    if spec is None:
        raise InvalidRequest(f"runner_id {worker.runner_id} does not exist; list the runners to find the right id")
    _check_cron(worker)
    _check_answer(worker)
    check_retry_policy("retry_policy", worker.retry_policy)
    check_channel(worker.channel, channels)


def check_periodic_interval(interval_ms: int, fetch_interval_ms: int) -> None:
    """Check that a period is longer than the interval at which rows are fetched, and no longer than 49 days.

    Raises:
        InvalidRequest: it is not.
    """
    if interval_ms > _LARGEST:
        raise InvalidRequest(f"periodic_interval {interval_ms} ms is above {_LARGEST} ms (49 days); use cron")
    if 0 < interval_ms <= fetch_interval_ms:
        raise InvalidRequest(
            f"periodic_interval {interval_ms} ms must be 0 or above the fetch interval of {fetch_interval_ms} ms "
            "(JOB_QUEUE_FETCH_INTERVAL)"
        )


def check_retry_policy(field: str, policy: RetryPolicy | None) -> None:
    """Check a retry policy of a worker or of a request's overrides.

    Raises:
        InvalidRequest: an exponential basis below 1, or one that is not a number; a number that is too large.
    """
    if policy is None:
        return
    numbers = {"interval": policy.interval_ms, "max_interval": policy.max_interval_ms, "max_retry": policy.max_retry}
    for name, number in numbers.items():
        if number > _LARGEST:
            raise InvalidRequest(f"{field}.{name} {number} is above {_LARGEST}")
    if math.isnan(policy.basis) or math.isinf(policy.basis):
        raise InvalidRequest(f"{field}.basis {policy.basis} is not a finite number")
    if policy.type is RetryType.EXPONENTIAL and policy.basis < 1.0:
        raise InvalidRequest(f"{field}.basis {policy.basis:g} must be 1.0 or more for EXPONENTIAL, for example 2.0")


def check_channel(channel: str, channels: Mapping[str, int]) -> None:
    """Check that this process serves a channel: nothing may wait where nobody looks.

    Raises:
        InvalidRequest: it does not; names those that it does.
    """
    if channel == "":
        raise InvalidRequest("channel is empty; leave it out for the default channel")
    if channel != DEFAULT_CHANNEL:
        check_name("channel", channel)
    if channel not in channels:
        shown = DEFAULT_CHANNEL_LABEL if channel == DEFAULT_CHANNEL else repr(channel)
        names = ", ".join(DEFAULT_CHANNEL_LABEL if name == DEFAULT_CHANNEL else name for name in channels)
        raise InvalidRequest(
            f"channel {shown} is not served by this process; use one of: {names}, "
            "or open it with WORKER_CHANNELS and WORKER_CHANNEL_CONCURRENCIES"
        )


def check_next_workers(
    worker: Worker, find: Callable[[int], Worker | None], spec_of: Callable[[int], RunnerSpec | None]
) -> None:
    """Check the workers that are to run after ``worker``.

    Raises:
        InvalidRequest: one does not exist, runs on a schedule or needs more than args, or the chain comes back to where
            it began.
    """
    for next_id in worker.next_workers:
        following = find(next_id)
        if following is None:
            raise InvalidRequest(f"next_workers names {next_id}, which does not exist; list the workers")
        if following.recurring:
            raise InvalidRequest(
                f"next_workers names {next_id} ({following.name!r}), which runs on a schedule; "
                "name workers without periodic_interval and cron"
            )
        _check_follow_up(following, spec_of(following.runner_id))
    pending = list(worker.next_workers)
    seen: set[int] = set()
    while pending:
        next_id = pending.pop()
        if next_id == worker.id:
            raise InvalidRequest(f"next_workers of {worker.name!r} leads back to it; a chain must end")
        if next_id not in seen and (following := find(next_id)) is not None:
            seen.add(next_id)
            pending.extend(following.next_workers)


def _check_follow_up(worker: Worker, spec: RunnerSpec | None) -> None:
    """Check that the result of another job is all that a worker needs to begin. A runner that is away is not known."""
    if spec is None:
        return
    method = spec.method(None)
    if method is None:
        raise InvalidRequest(
            f"next_workers names {worker.id} ({worker.name!r}), whose runner {spec.name} wants to be told a method "
            f"({', '.join(spec.methods)}); only a runner with a method of its own choice can follow"
        )
    if method.require_client_stream:
        raise InvalidRequest(
            f"next_workers names {worker.id} ({worker.name!r}), whose runner {spec.name} needs a client stream; "
            "nobody streams to a job that follows another"
        )


def _check_cron(worker: Worker) -> None:
    if not worker.cron:
        if worker.cron_timezone:
            raise InvalidRequest(f"cron_timezone {worker.cron_timezone!r} needs cron; set cron too, or leave both out")
        return
    if worker.periodic_interval_ms:
        raise InvalidRequest(
            f"cron {worker.cron!r} cannot be combined with periodic_interval {worker.periodic_interval_ms}: "
            "set one of the two"
        )
    try:
        cron_schedule(worker.cron, worker.cron_timezone)
    except BadCron as error:
        raise InvalidRequest(str(error)) from error


def _check_answer(worker: Worker) -> None:
    if worker.response_type is not ResponseType.DIRECT:
        return
    if worker.cron:
        raise InvalidRequest(
            f"cron {worker.cron!r} cannot be combined with response_type DIRECT: "
            "use NO_RESULT and listen for the results"
        )
    if worker.periodic_interval_ms:
        raise InvalidRequest(
            f"periodic_interval {worker.periodic_interval_ms} cannot be combined with response_type DIRECT: "
            "use NO_RESULT and listen for the results"
        )
    if worker.queue_type is QueueType.DB_ONLY:
        raise InvalidRequest(
            "queue_type DB_ONLY cannot be combined with response_type DIRECT: use NO_RESULT, "
            "or queue_type NORMAL or WITH_BACKUP"
        )
