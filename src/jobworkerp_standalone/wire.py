"""Wire bytes and the values of ``jobs/``: the only place that knows both.

Requests arrive as messages that the C protobuf runtime has parsed; replies leave as bytes. No generated Python
message class is seen on this path.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import (
    DEFAULT_CHANNEL,
    DEFAULT_TIMEOUT_MS,
    NO_METADATA,
    Job,
    JobResult,
    JobStatus,
    Misfire,
    NewJob,
    Overrides,
    Priority,
    QueueType,
    ResponseType,
    RetryPolicy,
    RetryType,
    StreamingType,
    Worker,
    channel_from_name,
)
from jobworkerp_standalone.runners.spec import RunnerSpec
from jobworkerp_standalone.schema.messages import message_class

Message = Any
"""A message of the C runtime; its fields are known at run time only."""

MAX_UINT32: Final = 2**32 - 1
_DATA: Final = "jobworkerp.data."
_SERVICE: Final = "jobworkerp.service."
_TRUNCATED: Final = b"\n[truncated]"
_ERROR_TEXT_BYTES: Final = 4096
_HEADER_BYTES: Final = 6 * 1024 - 512
"""Becomes 8 KiB at most as the base64 text that is sent, with its name and what else is there."""


@cache
def message_type(full_name: str) -> Any:
    """Return the C runtime's class of a message."""
    return message_class(full_name)


# ---------------------------------------------------------------- requests


def new_job(
    request: Message, metadata: Mapping[str, str] = NO_METADATA, streaming: StreamingType = StreamingType.NONE
) -> NewJob:
    """Read a ``JobRequest``.

    Raises:
        InvalidRequest: no worker, an empty worker name, or a negative time.
    """
    which = request.WhichOneof("worker")
    if which is None:
        raise InvalidRequest("worker is missing: set worker_id or worker_name")
    worker: int | str = request.worker_id.value if which == "worker_id" else request.worker_name
    if worker == "":
        raise InvalidRequest("worker_name is empty: set the name of a worker, or worker_id")
    if request.run_after_time < 0:
        raise InvalidRequest(
            f"run_after_time {request.run_after_time} is negative; use Unix milliseconds, or leave it out for now"
        )
    return NewJob(
        worker,
        request.args,
        (request.uniq_key or None) if request.HasField("uniq_key") else None,
        request.run_after_time,
        Priority(request.priority) if request.priority else Priority.MEDIUM,
        min(request.timeout, 2**63 - 1) if request.HasField("timeout") else DEFAULT_TIMEOUT_MS,
        (request.using or None) if request.HasField("using") else None,
        overrides(request.overrides) if request.HasField("overrides") else None,
        streaming,
        metadata,
    )


def overrides(message: Message) -> Overrides:
    """Read ``JobExecutionOverrides``."""
    has = message.HasField
    return Overrides(
        ResponseType(message.response_type) if has("response_type") else None,
        message.store_success if has("store_success") else None,
        message.store_failure if has("store_failure") else None,
        message.broadcast_results if has("broadcast_results") else None,
        retry_policy(message.retry_policy) if has("retry_policy") else None,
    )


def retry_policy(message: Message) -> RetryPolicy:
    """Read a ``RetryPolicy``."""
    return RetryPolicy(
        RetryType(message.type), message.interval, message.max_interval, message.max_retry, message.basis
    )


def worker(data: Message, worker_id: int = 0) -> Worker:
    """Read ``WorkerData``.

    Raises:
        InvalidRequest: the runner is not named.
    """
    if not data.HasField("runner_id"):
        raise InvalidRequest("runner_id is required: list the runners to find it")
    return Worker(
        id=worker_id,
        name=data.name,
        runner_id=data.runner_id.value,
        description=data.description,
        runner_settings=data.runner_settings,
        retry_policy=retry_policy(data.retry_policy) if data.HasField("retry_policy") else None,
        periodic_interval_ms=data.periodic_interval,
        channel=channel_from_name(data.channel if data.HasField("channel") else None),
        queue_type=QueueType(data.queue_type),
        response_type=ResponseType(data.response_type),
        store_success=data.store_success,
        store_failure=data.store_failure,
        use_static=data.use_static,
        broadcast_results=data.broadcast_results,
        next_workers=tuple(each.value for each in data.next_workers),
        cron=data.cron,
        cron_timezone=data.cron_timezone,
        cron_misfire=Misfire(data.cron_misfire),
        allow_overlap=data.allow_overlap,
        periodic_from_end=data.periodic_from_end,
    )


# ---------------------------------------------------------------- replies


def worker_message(value: Worker) -> Message:
    """Return a ``Worker`` message."""
    message = message_type(_DATA + "Worker")()
    message.id.value = value.id
    data = message.data
    data.name = value.name
    data.description = value.description
    data.runner_id.value = value.runner_id
    data.runner_settings = value.runner_settings
    _put_policy(data.retry_policy, value.retry_policy or RetryPolicy())
    data.periodic_interval = value.periodic_interval_ms
    if value.channel != DEFAULT_CHANNEL:
        data.channel = value.channel
    data.queue_type = value.queue_type
    data.response_type = value.response_type
    data.store_success = value.store_success
    data.store_failure = value.store_failure
    data.use_static = value.use_static
    data.broadcast_results = value.broadcast_results
    for worker_id in value.next_workers:
        data.next_workers.add().value = worker_id
    data.cron = value.cron
    data.cron_timezone = value.cron_timezone
    data.cron_misfire = value.cron_misfire
    data.allow_overlap = value.allow_overlap
    data.periodic_from_end = value.periodic_from_end
    return message


def runner_message(spec: RunnerSpec) -> Message:
    """Return a ``Runner`` message, filled for clients of both protocol generations."""
    message = message_type(_DATA + "Runner")()
    message.id.value = spec.id
    data = message.data
    data.name = spec.name
    data.description = spec.description
    data.runner_type = spec.type
    data.runner_settings_proto = spec.settings_proto
    data.definition = spec.definition
    data.output_type = spec.output_type
    default = spec.methods.get(spec.default_method)
    if default is not None:
        data.job_args_proto = default.args_proto
        data.result_output_proto = default.result_proto
    for name, method in spec.methods.items():
        schema = data.method_proto_map.schemas[name]
        schema.args_proto = method.args_proto
        schema.result_proto = method.result_proto
        schema.output_type = method.output_type
        schema.require_client_stream = method.require_client_stream
        if method.description:
            schema.description = method.description
        if method.client_stream_data_proto:
            schema.client_stream_data_proto = method.client_stream_data_proto
    return message


def job_message(job: Job) -> Message:
    """Return a ``Job`` message."""
    message = message_type(_DATA + "Job")()
    message.id.value = job.id
    data = message.data
    _put_job(data, job)
    if job.overrides is not None:
        _put_overrides(data.overrides, job.overrides)
    message.metadata.update(job.metadata)
    return message


def result_message(result: JobResult) -> Message:
    """Return a ``JobResult`` message."""
    message = message_type(_DATA + "JobResult")()
    fill_result(message, result)
    return message


def fill_result(message: Message, result: JobResult) -> None:
    """Write a result into a ``JobResult`` message, or into a field of that type."""
    job, rules = result.job, result.job.rules
    message.id.value = result.id
    data = message.data
    _put_job(data, job)
    data.job_id.value = job.id
    data.worker_name = result.worker_name
    data.status = result.status
    if result.output is not None:
        data.output.items = result.output
    data.max_retry = min(job.max_retry, MAX_UINT32)
    data.start_time = result.start_time_ms
    data.end_time = result.end_time_ms
    data.response_type = rules.response_type
    data.store_success = rules.store_success
    data.store_failure = rules.store_failure
    data.broadcast_results = rules.broadcast_results
    if rules.retry_policy is not None:
        _put_policy(data.resolved_retry_policy, rules.retry_policy)
    if result.metadata:
        message.metadata.update(result.metadata)


def created_job(job_id: int, result: JobResult | None) -> bytes:
    """Return a ``CreateJobResponse``."""
    message = message_type(_SERVICE + "CreateJobResponse")()
    message.id.value = job_id
    if result is not None:
        fill_result(message.result, result)
    return message.SerializeToString()


def job_id_bytes(job_id: int) -> bytes:
    """Return a ``JobId``."""
    message = message_type(_DATA + "JobId")()
    message.value = job_id
    return message.SerializeToString()


def stream_item(data: bytes) -> bytes:
    """Return a ``ResultOutputItem`` with data."""
    message = message_type(_DATA + "ResultOutputItem")()
    message.data = data
    return message.SerializeToString()


def stream_end(trailer: Mapping[str, str]) -> bytes:
    """Return the ``ResultOutputItem`` that ends a stream."""
    message = message_type(_DATA + "ResultOutputItem")()
    message.end.metadata.update(trailer)
    message.end.SetInParent()
    return message.SerializeToString()


def failed_result_trailer(result: JobResult) -> bytes:
    """Return the reduced ``JobResult`` that travels with the error of a stream: status and text, cut to 4 KiB."""
    message = message_type(_DATA + "JobResult")()
    message.id.value = 0
    message.id.SetInParent()
    message.data.status = result.status
    message.data.output.items = _cut(result.output or b"")
    return message.SerializeToString()


def result_header(result: JobResult) -> bytes:
    """Return a ``JobResult`` for a header or trailer: without args, its output and metadata only if they fit."""
    message = result_message(result)
    message.data.ClearField("args")
    for leave_out in (None, "output", "metadata", "uniq_key"):
        if leave_out == "metadata":
            message.ClearField("metadata")
        elif leave_out is not None:
            message.data.ClearField(leave_out)
        data = message.SerializeToString()
        if len(data) <= _HEADER_BYTES:
            break
    return data


def job_status_number(status: JobStatus, *, seed: bool) -> int:
    """Return a status as the newest or the seed generation numbers it (there a job being cancelled is RUNNING)."""
    if not seed:
        return status
    return {JobStatus.PENDING: 0, JobStatus.RUNNING: 1, JobStatus.CANCELLING: 1, JobStatus.WAIT_RESULT: 2}.get(
        status, 0
    )


def _put_job(data: Message, job: Job) -> None:
    """Write what ``JobData`` and ``JobResultData`` both tell of a job."""
    data.worker_id.value = job.worker_id
    data.args = job.args
    if job.uniq_key is not None:
        data.uniq_key = job.uniq_key
    data.enqueue_time = job.enqueue_time_ms
    data.run_after_time = job.run_after_ms
    data.retried = min(job.retried, MAX_UINT32)
    data.priority = job.priority
    data.timeout = job.timeout_ms
    data.streaming_type = job.streaming
    data.request_streaming = job.streaming is StreamingType.RESPONSE
    if job.using is not None:
        data.using = job.using


def _put_policy(message: Message, policy: RetryPolicy) -> None:
    message.type = policy.type
    message.interval = policy.interval_ms
    message.max_interval = policy.max_interval_ms
    message.max_retry = policy.max_retry
    message.basis = policy.basis


def _put_overrides(message: Message, value: Overrides) -> None:
    message.SetInParent()
    for name in ("response_type", "store_success", "store_failure", "broadcast_results"):
        chosen = getattr(value, name)
        if chosen is not None:
            setattr(message, name, chosen)
    if value.retry_policy is not None:
        _put_policy(message.retry_policy, value.retry_policy)


def _cut(text: bytes) -> bytes:
    """Cut a failure text at a character border, marked, to what fits into response headers."""
    text = text.decode("utf-8", "replace").encode()
    if len(text) <= _ERROR_TEXT_BYTES:
        return text
    kept = text[: _ERROR_TEXT_BYTES - len(_TRUNCATED)].decode("utf-8", "ignore").encode()
    return kept + _TRUNCATED
