"""Rows to values and back. Pure; every number is a plain int, as the driver binds those fastest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Row

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
from jobworkerp_standalone.ports import Instance

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
    params["rescued"] = 0
    params["deliveries"] = job.deliveries
    return params


def job_from(row: Row[Any], *, fence: int | None = None) -> Job:
    """Return the job of a row, under ``fence`` if that is given."""
    return _job(row, row.id, row.fence if fence is None else fence, row.deliveries, stored=True)


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
    """Return the result of a row. Its job is the job as it was run, without the state of the row it had then."""
    return JobResult(
        row.id,
        _job(row, row.job_id, 0, 0, stored=False),
        row.worker_name,
        ResultStatus(row.status),
        row.output,
        row.start_time_ms,
        row.end_time_ms,
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
    """Return the worker of a row."""
    return Worker(
        id=row.id,
        name=row.name,
        runner_id=row.runner_id,
        description=row.description,
        runner_settings=row.runner_settings,
        retry_policy=_policy_from(row.retry_policy),
        periodic_interval_ms=row.periodic_interval_ms,
        channel=row.channel,
        queue_type=QueueType(row.queue_type),
        response_type=ResponseType(row.response_type),
        store_success=bool(row.store_success),
        store_failure=bool(row.store_failure),
        use_static=bool(row.use_static),
        broadcast_results=bool(row.broadcast_results),
        next_workers=tuple(json.loads(row.next_workers)),
        cron=row.cron,
        cron_timezone=row.cron_timezone,
        cron_misfire=Misfire(row.cron_misfire),
        allow_overlap=bool(row.allow_overlap),
        periodic_from_end=bool(row.periodic_from_end),
        created_at_ms=row.created_at_ms,
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
    """Return the process of a row."""
    channels: Sequence[tuple[str, int]] = json.loads(row.channels)
    return Instance(
        row.id,
        row.ip_address,
        row.hostname,
        tuple((name, slots) for name, slots in channels),
        row.registered_at_ms,
        row.last_heartbeat_ms,
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


def _job(row: Row[Any], job_id: int, fence: int, deliveries: int, *, stored: bool) -> Job:
    return Job(
        id=job_id,
        worker_id=row.worker_id,
        args=row.args,
        rules=Rules(
            ResponseType(row.response_type),
            bool(row.store_success),
            bool(row.store_failure),
            bool(row.broadcast_results),
            _policy_from(row.retry_policy),
        ),
        enqueue_time_ms=row.enqueue_time_ms,
        channel=row.channel,
        queue_type=QueueType(row.queue_type),
        priority=Priority(row.priority),
        timeout_ms=row.timeout_ms,
        run_after_ms=row.run_after_ms,
        using=row.using,
        streaming=StreamingType(row.streaming),
        uniq_key=row.uniq_key,
        overrides=_overrides_from(row.overrides),
        metadata=_metadata_from(row.metadata),
        retried=row.retried,
        recurring=bool(row.recurring),
        stored=stored,
        fence=fence,
        deliveries=deliveries,
    )


def _metadata_text(metadata: Mapping[str, str]) -> str | None:
    return json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":")) if metadata else None


def _metadata_from(text: str | None) -> Mapping[str, str]:
    return NO_METADATA if text is None else json.loads(text)


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
