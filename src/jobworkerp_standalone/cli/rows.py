"""What is shown of each thing: its fields under the names that scripts know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from jobworkerp_standalone.cli.show import Format, Long, Moment, Row, duration, value_of

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls.schedule import Scheduled
    from jobworkerp_standalone.pb.jobworkerp.data import (
        Job,
        JobResult,
        MethodSchema,
        Runner,
        Worker,
        WorkerData,
        WorkerInstance,
    )
    from jobworkerp_standalone.pb.jobworkerp.service import InstanceChannelInfo, JobProcessingStatusDetailResponse
    from jobworkerp_standalone.pb.jobworkerp.standalone import WaitingRun

_DEFAULT_CHANNELS: Final = ("", "__default_job_channel__")
DEFAULT_CHANNEL: Final = "[default]"


def word(value: IntEnum) -> str:
    """Return the name of an enum's value, or its number where this program does not know it."""
    return value.name or str(int(value))


def channel_name(name: str | None) -> str:
    """Return the name of a channel as people write it."""
    return DEFAULT_CHANNEL if not name or name in _DEFAULT_CHANNELS else name


def runner_row(runner: Runner, form: Format) -> Row:
    """Return a runner; JSON has its schemas, a table only what fits into a line."""
    data = runner.data
    row: dict[str, Any] = {"id": runner.id.value if runner.id else None}
    if data is None:
        return row
    methods = dict(sorted(data.method_proto_map.schemas.items())) if data.method_proto_map else {}
    row |= {"name": data.name, "description": data.description, "runner_type": word(data.runner_type)}
    if form == "table":
        return row | {"method_count": len(methods)}
    row |= {"definition": Long(data.definition), "runner_settings_proto": Long(data.runner_settings_proto)}
    if form == "json":
        schemas = {name: _schema(method) for name, method in methods.items()}
        return row | {"methods": list(methods), "method_schemas": schemas}
    if len(methods) == 1:
        name, method = next(iter(methods.items()))
        return row | {"method": name, "output_type": word(method.output_type), "args_proto": Long(method.args_proto)}
    return row | {
        "method_count": len(methods),
        "methods": {name: word(method.output_type) for name, method in methods.items()},
    }


def _schema(method: MethodSchema) -> Row:
    return {
        "args_proto": method.args_proto,
        "result_proto": method.result_proto,
        "description": method.description,
        "output_type": word(method.output_type),
    }


def worker_row(worker: Worker, settings: Any, form: Format) -> Row:
    """Return a worker; its settings as JSON or text. The retry policy does not fit into a table."""
    row: dict[str, Any] = {"id": worker.id.value if worker.id else None}
    data = worker.data
    if data is None:
        return row
    row |= {
        "name": data.name,
        "description": data.description,
        "runner_id": data.runner_id.value if data.runner_id else None,
        "periodic_interval": data.periodic_interval,
        **_schedule_of(data, form),
        "channel": channel_name(data.channel),
        "queue_type": word(data.queue_type),
        "response_type": word(data.response_type),
        "store_success": data.store_success,
        "store_failure": data.store_failure,
        "use_static": data.use_static,
        "broadcast_results": data.broadcast_results,
        "runner_settings": settings,
    }
    policy = data.retry_policy
    if policy is not None and form != "table":
        row["retry_policy"] = {
            "type": word(policy.type),
            "interval": policy.interval,
            "max_interval": policy.max_interval,
            "max_retry": policy.max_retry,
            "basis": policy.basis,
        }
    return row


def _schedule_of(data: WorkerData, form: Format) -> Row:
    """Return cron and chain where there are any, so that most tables stay narrow; JSON always has them."""
    row: Row = {
        "cron": data.cron,
        "cron_timezone": data.cron_timezone,
        "cron_misfire": word(data.cron_misfire),
        "allow_overlap": data.allow_overlap,
        "next_workers": [each.value for each in data.next_workers],
    }
    if form == "json":
        return row
    shown = ("cron", "cron_timezone", "cron_misfire", "allow_overlap") if data.cron else ()
    return {key: value for key, value in row.items() if key in shown or (key == "next_workers" and value)}


def schedule_row(entry: Scheduled, form: Format) -> Row:
    """Return a job that waits for its time, with its next times."""
    times = [_iso(each) for each in entry.times_ms]
    return {
        "id": entry.job_id,
        "worker": entry.worker,
        "schedule": entry.schedule,
        "next": times[0],
        "then": times[1:] if form != "table" else ", ".join(times[1:3]),
    }


def job_row(job: Job, arguments: Any, status: IntEnum | None = None) -> Row:
    """Return a job that has not ended; its arguments as JSON or text."""
    data = job.data
    row: dict[str, Any] = {"id": job.id.value if job.id else None}
    if data is None:
        return row
    row |= {
        "worker_id": data.worker_id.value if data.worker_id else None,
        "run_after": _iso(data.run_after_time),
        "timeout_seconds": data.timeout // 1000 if data.timeout % 1000 == 0 else data.timeout / 1000,
        "unique_key": data.uniq_key,
        "priority": word(data.priority),
    }
    if status is not None:
        row["status"] = word(status)
    if arguments is not None:
        row["arguments"] = arguments
    return row


def result_row(result: JobResult, output: Any) -> Row:
    """Return a result; its output as JSON or text."""
    data = result.data
    row: dict[str, Any] = {"result_id": result.id.value if result.id else None}
    if data is None:
        return row
    return row | {
        "job_id": data.job_id.value if data.job_id else None,
        "worker_name": data.worker_name,
        "status": word(data.status),
        "start_time": Moment(data.start_time),
        "end_time": Moment(data.end_time),
        "duration": duration(data.start_time, data.end_time),
        "output": output,
    }


def status_row(detail: JobProcessingStatusDetailResponse) -> Row:
    """Return what a job is doing."""
    return dict(_status_pairs(detail))


def _status_pairs(detail: JobProcessingStatusDetailResponse) -> Iterator[tuple[str, Any]]:
    yield "id", detail.id.value if detail.id else None
    yield "status", word(detail.status)
    yield "worker_id", detail.worker_id
    yield "channel", channel_name(detail.channel)
    yield "priority", detail.priority
    yield "enqueue_time", Moment(detail.enqueue_time)
    yield "updated_at", Moment(detail.updated_at)
    if detail.start_time is not None:
        yield "start_time", Moment(detail.start_time)
    if detail.pending_time is not None:
        yield "pending_time", Moment(detail.pending_time)
    if detail.is_streamable is not None:
        yield "is_streamable", detail.is_streamable
    if detail.broadcast_results is not None:
        yield "broadcast_results", detail.broadcast_results


def instance_row(instance: WorkerInstance) -> Row:
    """Return a process that executes jobs."""
    data = instance.data
    row: dict[str, Any] = {"id": instance.id.value if instance.id else None}
    if data is None:
        return row
    return row | {
        "ip_address": data.ip_address,
        "hostname": data.hostname,
        "channels": [{"name": channel_name(each.name), "concurrency": each.concurrency} for each in data.channels],
        "registered_at": Moment(data.registered_at),
        "last_heartbeat": Moment(data.last_heartbeat),
    }


def waiting_row(run: WaitingRun, form: Format) -> Row:
    """Return a run of a workflow that waits; for JSON under the names that ``run`` has, its output as a value."""
    job_id = str(run.job_id.value) if run.job_id else None
    if form == "json":
        told: dict[str, Any] = {"jobId": job_id, "workflow": f"{run.namespace}/{run.name}:{run.version}"}
        told |= {"sinceMs": run.since_ms, "resumesAt": run.resumes_at, "output": value_of(run.output), "id": run.id}
        return told
    return {
        "job_id": job_id,
        "workflow": f"{run.namespace}/{run.name}:{run.version}",
        "since": Moment(run.since_ms),
        "resumes_at": run.resumes_at,
        "output": run.output,
        "id": run.id,
    }


def channel_row(channel: InstanceChannelInfo) -> Row:
    """Return a channel."""
    return {
        "name": channel_name(channel.name),
        "total_concurrency": channel.total_concurrency,
        "active_instances": channel.active_instances,
        "worker_count": channel.worker_count,
    }


def _iso(time_ms: int) -> str:
    if time_ms <= 0:
        return ""
    try:
        text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(time_ms)
    return text.replace("+00:00", "Z")
