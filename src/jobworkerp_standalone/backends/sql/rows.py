"""Rows to values and back. Every number is a plain int, as the driver binds those fastest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Row

from jobworkerp_standalone.backends.sql import cells
from jobworkerp_standalone.backends.sql.damage import Column, Kind, read_row
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
    return _job(row, row.id, cells.number(row.fence), cells.number(row.deliveries), stored=True)


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
        _job(row, cells.number(row.job_id), 0, 0, stored=False),
        cells.text(row.worker_name),
        ResultStatus(row.status),
        cells.bytes_or_none(row.output),
        cells.number(row.start_time_ms),
        cells.number(row.end_time_ms),
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
        name=cells.text(row.name),
        runner_id=cells.number(row.runner_id),
        description=cells.text(row.description),
        runner_settings=cells.as_bytes(row.runner_settings),
        retry_policy=_policy_from(row.retry_policy),
        periodic_interval_ms=cells.count(row.periodic_interval_ms),
        channel=cells.text(row.channel),
        queue_type=QueueType(row.queue_type),
        response_type=ResponseType(row.response_type),
        store_success=bool(row.store_success),
        store_failure=bool(row.store_failure),
        use_static=bool(row.use_static),
        broadcast_results=bool(row.broadcast_results),
        next_workers=_ids_from(row.next_workers),
        cron=cells.cron(row.cron),
        cron_timezone=cells.zone(row.cron_timezone),
        cron_misfire=Misfire(row.cron_misfire),
        allow_overlap=bool(row.allow_overlap),
        periodic_from_end=bool(row.periodic_from_end),
        created_at_ms=cells.number(row.created_at_ms),
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
        cells.text(row.ip_address),
        cells.text(row.hostname),
        _channels_from(row.channels),
        cells.number(row.registered_at_ms),
        cells.number(row.last_heartbeat_ms),
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
        worker_id=cells.number(row.worker_id),
        args=cells.as_bytes(row.args),
        rules=Rules(
            ResponseType(row.response_type),
            bool(row.store_success),
            bool(row.store_failure),
            bool(row.broadcast_results),
            _policy_from(row.retry_policy),
        ),
        enqueue_time_ms=cells.number(row.enqueue_time_ms),
        channel=cells.text(row.channel),
        queue_type=QueueType(row.queue_type),
        priority=Priority(row.priority),
        timeout_ms=cells.from_zero(row.timeout_ms),
        run_after_ms=cells.number(row.run_after_ms),
        using=cells.text_or_none(row.using),
        streaming=StreamingType(row.streaming),
        uniq_key=cells.text_or_none(row.uniq_key),
        overrides=_overrides_from(row.overrides),
        metadata=_metadata_from(row.metadata),
        retried=cells.count(row.retried),
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


_RUNS: Final = {
    "worker_id": cells.NUMBER,
    "channel": cells.TEXT,
    "queue_type": Column(QueueType, QueueType.NORMAL),
    "priority": Column(Priority, Priority.MEDIUM),
    "run_after_ms": cells.NUMBER,
    "enqueue_time_ms": cells.NUMBER,
    "timeout_ms": Column(cells.from_zero, 0),
    "retried": cells.COUNT,
    "streaming": Column(StreamingType, StreamingType.NONE),
    "using": cells.OPTIONAL,
    "uniq_key": cells.OPTIONAL,
    "args": Column(cells.as_bytes, b""),
    "metadata": Column(_metadata_from, None),
    "response_type": Column(ResponseType, ResponseType.NO_RESULT),
    "retry_policy": Column(_policy_from, None),
    "overrides": Column(_overrides_from, None),
}
_JOBS: Final = Kind("job", {**_RUNS, "fence": cells.NUMBER, "deliveries": cells.NUMBER}, "enqueue the job again")
_RESULTS: Final = Kind(
    "job_result",
    {
        **_RUNS,
        "job_id": cells.NUMBER,
        "worker_name": cells.TEXT,
        "status": Column(ResultStatus, ResultStatus.OTHER_ERROR),
        "output": Column(cells.bytes_or_none, None),
        "start_time_ms": cells.NUMBER,
        "end_time_ms": cells.NUMBER,
        "result_metadata": Column(_metadata_from, None),
    },
    "it is shown as far as it can be read; delete the result",
)
_WORKERS: Final = Kind(
    "worker",
    {
        "name": Column(cells.text, "?"),
        "description": cells.TEXT,
        "channel": cells.TEXT,
        "cron": Column(cells.cron, ""),
        "cron_timezone": Column(cells.zone, ""),
        "runner_id": cells.NUMBER,
        "runner_settings": Column(cells.as_bytes, b""),
        "retry_policy": Column(_policy_from, None),
        "periodic_interval_ms": cells.COUNT,
        "queue_type": Column(QueueType, QueueType.NORMAL),
        "response_type": Column(ResponseType, ResponseType.NO_RESULT),
        "next_workers": Column(_ids_from, "[]"),
        "cron_misfire": Column(Misfire, Misfire.RUN_ONCE_NOW),
        "created_at_ms": cells.NUMBER,
    },
    "it counts without what is damaged; update the worker, so that all of it is written anew",
)
_INSTANCES: Final = Kind(
    "worker_instance",
    {
        "ip_address": cells.TEXT,
        "hostname": cells.TEXT,
        "channels": Column(_channels_from, "[]"),
        "registered_at_ms": cells.NUMBER,
        "last_heartbeat_ms": cells.NUMBER,
    },
    "its process writes it anew",
)
