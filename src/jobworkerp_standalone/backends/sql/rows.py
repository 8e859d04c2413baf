"""Rows to values and back. Every number is a plain int, as the driver binds those fastest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Row

from jobworkerp_standalone.backends.sql.damage import Column, Kind, read_row
from jobworkerp_standalone.jobs.cron import cron_schedule
from jobworkerp_standalone.jobs.model import (
    NO_METADATA,
    Job,
    JobResult,
    Misfire,
    Overrides,
    Priority,
    QueueType,
    ResponseType,
    ResultStatus,
    RetryPolicy,
    RetryType,
    Rules,
    StreamingType,
    Worker,
)
from jobworkerp_standalone.ports import Instance, Lease

Params = dict[str, Any]
"""Values of one row by column name."""
_POLICIES_KEPT: Final = 1024


def job_params(job: Job, owner_id: int | None) -> Params:
    """Return the row of a job that ``owner_id`` holds (None: free)."""
    params = _run_params(job)
    params["id"] = job.id
    params["due_ms"] = job.run_after_ms or job.enqueue_time_ms
    params["fence"] = job.fence
    params["owner_id"] = owner_id
    params["running"] = 0
    params["deliveries"] = job.deliveries
    return params


def job_from(row: Row[Any]) -> Job:
    """Return the job of a row, as far as it can be read."""
    return read_row(row, _JOBS, _stored_job)[0]


def lease_from(row: Row[Any]) -> Lease:
    """Return the job of a row that is leased now, under its next fencing number."""
    job, damage = read_row(row, _JOBS, _stored_job)
    return Lease(replace(job, fence=job.fence + 1), damage=damage)


def _stored_job(row: Any) -> Job:
    return _job(row, row.id, _number(row.fence), _number(row.deliveries), stored=True)


def result_params(result: JobResult) -> Params:
    """Return the row of a result."""
    job = result.job
    params = _run_params(job)
    same = result.metadata is job.metadata
    params["id"] = result.id
    params["job_id"] = job.id
    params["worker_name"] = result.worker_name
    params["status"] = int(result.status)
    params["output"] = result.output
    params["start_time_ms"] = result.start_time_ms
    params["end_time_ms"] = result.end_time_ms
    params["result_metadata"] = params["metadata"] if same else _metadata_text(result.metadata)
    return params


def result_from(row: Row[Any]) -> JobResult:
    """Return the result of a row, as far as it can be read.

    Its job is the job as it was run, without the state of the row it had then.
    """
    return read_row(row, _RESULTS, _result)[0]


def _result(row: Any) -> JobResult:
    return JobResult(
        row.id,
        _job(row, _number(row.job_id), 0, 0, stored=False),
        _text(row.worker_name),
        ResultStatus(row.status),
        _bytes_or_none(row.output),
        _number(row.start_time_ms),
        _number(row.end_time_ms),
        _metadata_from(row.result_metadata),
    )


def worker_params(worker: Worker) -> Params:
    """Return the row of a worker, without its id."""
    return {
        "name": worker.name,
        "runner_id": worker.runner_id,
        "description": worker.description,
        "runner_settings": worker.runner_settings,
        "retry_policy": _policy_text(worker.retry_policy),
        "periodic_interval_ms": worker.periodic_interval_ms,
        "channel": worker.channel,
        "queue_type": int(worker.queue_type),
        "response_type": int(worker.response_type),
        "store_success": int(worker.store_success),
        "store_failure": int(worker.store_failure),
        "use_static": int(worker.use_static),
        "broadcast_results": int(worker.broadcast_results),
        "next_workers": json.dumps(worker.next_workers),
        "cron": worker.cron,
        "cron_timezone": worker.cron_timezone,
        "cron_misfire": int(worker.cron_misfire),
        "allow_overlap": int(worker.allow_overlap),
        "periodic_from_end": int(worker.periodic_from_end),
        "created_at_ms": worker.created_at_ms,
    }


def worker_from(row: Row[Any]) -> Worker:
    """Return the worker of a row, as far as it can be read."""
    return read_row(row, _WORKERS, _worker)[0]


def _worker(row: Any) -> Worker:
    return Worker(
        id=row.id,
        name=_text(row.name),
        runner_id=_number(row.runner_id),
        description=_text(row.description),
        runner_settings=_bytes(row.runner_settings),
        retry_policy=_policy_from(row.retry_policy),
        periodic_interval_ms=_count(row.periodic_interval_ms),
        channel=_text(row.channel),
        queue_type=QueueType(row.queue_type),
        response_type=ResponseType(row.response_type),
        store_success=bool(row.store_success),
        store_failure=bool(row.store_failure),
        use_static=bool(row.use_static),
        broadcast_results=bool(row.broadcast_results),
        next_workers=_ids_from(row.next_workers),
        cron=_cron(row.cron),
        cron_timezone=_zone(row.cron_timezone),
        cron_misfire=Misfire(row.cron_misfire),
        allow_overlap=bool(row.allow_overlap),
        periodic_from_end=bool(row.periodic_from_end),
        created_at_ms=_number(row.created_at_ms),
    )


def instance_params(instance: Instance, slot: int, lease_until_ms: int) -> Params:
    """Return the row of a process."""
    return {
        "id": instance.id,
        "slot": slot,
        "ip_address": instance.ip_address,
        "hostname": instance.hostname,
        "channels": json.dumps(instance.channels, ensure_ascii=False),
        "registered_at_ms": instance.registered_at_ms,
        "last_heartbeat_ms": instance.last_heartbeat_ms,
        "lease_until_ms": lease_until_ms,
    }


def instance_from(row: Row[Any]) -> Instance:
    """Return the process of a row, as far as it can be read."""
    return read_row(row, _INSTANCES, _instance)[0]


def _instance(row: Any) -> Instance:
    return Instance(
        row.id,
        _text(row.ip_address),
        _text(row.hostname),
        _channels_from(row.channels),
        _number(row.registered_at_ms),
        _number(row.last_heartbeat_ms),
    )


def _run_params(job: Job) -> Params:
    rules = job.rules
    return {
        "worker_id": job.worker_id,
        "channel": job.channel,
        "queue_type": int(job.queue_type),
        "priority": int(job.priority),
        "run_after_ms": job.run_after_ms,
        "enqueue_time_ms": job.enqueue_time_ms,
        "timeout_ms": job.timeout_ms,
        "retried": job.retried,
        "recurring": int(job.recurring),
        "streaming": int(job.streaming),
        "using": job.using,
        "uniq_key": job.uniq_key or None,
        "args": job.args,
        "metadata": _metadata_text(job.metadata),
        "response_type": int(rules.response_type),
        "store_success": int(rules.store_success),
        "store_failure": int(rules.store_failure),
        "broadcast_results": int(rules.broadcast_results),
        "retry_policy": _policy_text(rules.retry_policy),
        "overrides": _overrides_text(job.overrides),
    }


def _job(row: Any, job_id: int, fence: int, deliveries: int, *, stored: bool) -> Job:
    return Job(
        id=job_id,
        worker_id=_number(row.worker_id),
        args=_bytes(row.args),
        rules=Rules(
            ResponseType(row.response_type),
            bool(row.store_success),
            bool(row.store_failure),
            bool(row.broadcast_results),
            _policy_from(row.retry_policy),
        ),
        enqueue_time_ms=_number(row.enqueue_time_ms),
        channel=_text(row.channel),
        queue_type=QueueType(row.queue_type),
        priority=Priority(row.priority),
        timeout_ms=_from_zero(row.timeout_ms),
        run_after_ms=_number(row.run_after_ms),
        using=_text_or_none(row.using),
        streaming=StreamingType(row.streaming),
        uniq_key=_text_or_none(row.uniq_key),
        overrides=_overrides_from(row.overrides),
        metadata=_metadata_from(row.metadata),
        retried=_count(row.retried),
        recurring=bool(row.recurring),
        stored=stored,
        fence=fence,
        deliveries=deliveries,
    )


def _metadata_text(metadata: Mapping[str, str]) -> str | None:
    return json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":")) if metadata else None


def _metadata_from(text: str | None) -> Mapping[str, str]:
    if text is None:
        return NO_METADATA
    metadata: dict[str, str] = json.loads(text)
    if type(metadata) is not dict or not all(type(each) is str for each in metadata.values()):
        raise ValueError("it is no object of texts")
    return metadata


@lru_cache(_POLICIES_KEPT)
def _policy_text(policy: RetryPolicy | None) -> str | None:
    return None if policy is None else json.dumps(asdict(policy))


@lru_cache(_POLICIES_KEPT)
def _policy_from(text: str | None) -> RetryPolicy | None:
    return None if text is None else _policy_of(json.loads(text))


def _policy_of(values: Params) -> RetryPolicy:
    return RetryPolicy(**{**values, "type": RetryType(values["type"])})


def _overrides_text(overrides: Overrides | None) -> str | None:
    if overrides is None:
        return None
    chosen = {each.name: getattr(overrides, each.name) for each in fields(overrides)}
    if overrides.retry_policy is not None:
        chosen["retry_policy"] = asdict(overrides.retry_policy)
    return json.dumps({name: value for name, value in chosen.items() if value is not None})


def _overrides_from(text: str | None) -> Overrides | None:
    if text is None:
        return None
    values = json.loads(text)
    if "response_type" in values:
        values["response_type"] = ResponseType(values["response_type"])
    if "retry_policy" in values:
        values["retry_policy"] = _policy_of(values["retry_policy"])
    return Overrides(**values)


def _ids_from(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in json.loads(text))


def _channels_from(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((str(name), int(slots)) for name, slots in json.loads(text))


def _number(value: Any) -> int:
    """Return a whole number of 64 bits, also where somebody wrote it as text by hand."""
    if type(value) is int:
        return value
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError(f"{value!r:.100} is no whole number of 64 bits")


def _from_zero(value: Any) -> int:
    if (number := _number(value)) >= 0:
        return number
    raise ValueError(f"{number} is below zero")


def _count(value: Any) -> int:
    if (number := _from_zero(value)) <= _LARGEST_COUNT:
        return number
    raise ValueError(f"{number} is more than {_LARGEST_COUNT}")


def _cron(value: Any) -> str:
    if text := _text(value):
        cron_schedule(text, "")
    return text


def _zone(value: Any) -> str:
    if text := _text(value):
        cron_schedule(_EVERY_MINUTE, text)
    return text


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise TypeError(f"{value!r:.100} is no text")


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _bytes(value: Any) -> bytes:
    """Return bytes, also where somebody wrote them as text by hand."""
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode()
    raise TypeError(f"{value!r:.100} is neither bytes nor text")


def _bytes_or_none(value: Any) -> bytes | None:
    return None if value is None else _bytes(value)


_WHOLE: Final = re.compile("-?[0-9]{1,18}")
_LARGEST_COUNT: Final = 2**32 - 1
"""As far as messages count."""
_EVERY_MINUTE: Final = "* * * * *"
_NUMBER: Final = Column(_number, 0)
_COUNT: Final = Column(_count, 0)
_TEXT: Final = Column(_text, "")
_OPTIONAL: Final = Column(_text_or_none, None)
_RUNS: Final = {
    "worker_id": _NUMBER,
    "channel": _TEXT,
    "queue_type": Column(QueueType, QueueType.NORMAL),
    "priority": Column(Priority, Priority.MEDIUM),
    "run_after_ms": _NUMBER,
    "enqueue_time_ms": _NUMBER,
    "timeout_ms": Column(_from_zero, 0),
    "retried": _COUNT,
    "streaming": Column(StreamingType, StreamingType.NONE),
    "using": _OPTIONAL,
    "uniq_key": _OPTIONAL,
    "args": Column(_bytes, b""),
    "metadata": Column(_metadata_from, None),
    "response_type": Column(ResponseType, ResponseType.NO_RESULT),
    "retry_policy": Column(_policy_from, None),
    "overrides": Column(_overrides_from, None),
}
_JOBS: Final = Kind("job", {**_RUNS, "fence": _NUMBER, "deliveries": _NUMBER}, "enqueue the job again")
_RESULTS: Final = Kind(
    "job_result",
    {
        **_RUNS,
        "job_id": _NUMBER,
        "worker_name": _TEXT,
        "status": Column(ResultStatus, ResultStatus.OTHER_ERROR),
        "output": Column(_bytes_or_none, None),
        "start_time_ms": _NUMBER,
        "end_time_ms": _NUMBER,
        "result_metadata": Column(_metadata_from, None),
    },
    "it is shown as far as it can be read; delete the result",
)
_WORKERS: Final = Kind(
    "worker",
    {
        "name": Column(_text, "?"),
        "description": _TEXT,
        "channel": _TEXT,
        "cron": Column(_cron, ""),
        "cron_timezone": Column(_zone, ""),
        "runner_id": _NUMBER,
        "runner_settings": Column(_bytes, b""),
        "retry_policy": Column(_policy_from, None),
        "periodic_interval_ms": _COUNT,
        "queue_type": Column(QueueType, QueueType.NORMAL),
        "response_type": Column(ResponseType, ResponseType.NO_RESULT),
        "next_workers": Column(_ids_from, "[]"),
        "cron_misfire": Column(Misfire, Misfire.RUN_ONCE_NOW),
        "created_at_ms": _NUMBER,
    },
    "it counts without what is damaged; update the worker, so that all of it is written anew",
)
_INSTANCES: Final = Kind(
    "worker_instance",
    {
        "ip_address": _TEXT,
        "hostname": _TEXT,
        "channels": Column(_channels_from, "[]"),
        "registered_at_ms": _NUMBER,
        "last_heartbeat_ms": _NUMBER,
    },
    "its process writes it anew",
)
