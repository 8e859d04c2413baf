"""Jobs of tasks: JSON to messages and back, one child job for each piece of work."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, cast

import anyio
from google.protobuf.message import Message

from jobworkerp_standalone.jobs.errors import Exhausted, JobError, RequestError, Unavailable
from jobworkerp_standalone.jobs.model import (
    DEFAULT_CHANNEL,
    JobResult,
    OutputType,
    QueueType,
    ResultStatus,
    RetryPolicy,
    RetryType,
    Worker,
    channel_from_name,
)
from jobworkerp_standalone.runners.children import ChildOrder, Secret
from jobworkerp_standalone.runners.description import Method, RunnerDescription
from jobworkerp_standalone.schema.convert import bytes_to_json, json_to_bytes
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.large_json import AT_ONCE, beside, is_large, text_of
from jobworkerp_standalone.workflow.model.run_forms import RunOptions
from jobworkerp_standalone.workflow.model.tasks import CallTask, RunTask
from jobworkerp_standalone.workflow.model.values import Backoff
from jobworkerp_standalone.workflow.state import Outcome, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

UNAVAILABLE: Final = 503
"""Of whatever a job could not do, as in the reference; the type says whose fault it is."""
_PASSING: Final = (Exhausted, Unavailable)
_CUT: Final = "jobworkerp-stream-cut"
_MISCONFIGURED: Final = "jobworkerp-misconfigured"
_LONGEST: Final = 8_192
"""Characters of what a job says about its failure that an error has."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a task wants to have run."""

    worker: Worker | str
    spec: RunnerDescription
    method: Method
    args: bytes
    secret: Secret | None = None
    """Where ``args`` hide something: what the runner gets."""


async def on_runner(
    run: WorkflowRun, name: str, using: str | None, *, settings: bytes | JSON = None, options: RunOptions | None = None
) -> tuple[Worker, RunnerDescription, Method]:
    """Return a worker definition for one task, its runner kind, and the method that is called.

    Raises:
        WorkflowError: there is no such runner or method, or the settings do not fit.
    """
    spec = _spec(run, name)
    if not isinstance(settings, bytes):
        settings = await encoded(settings, spec.settings_proto, "settings") if settings is not None else b""
    worker = _worker(spec.id, settings, options or RunOptions(), run.tools.default_retries)
    return worker, spec, _method(spec, using)


async def result_of(run: WorkflowRun, state: TaskState, work: Work) -> JobResult | None:
    """Have the work done and return how it ended; None where the task does not wait for it.

    Raises:
        WorkflowError: the job was not accepted, or did not succeed.
    """
    task = cast("RunTask | CallTask", state.task)
    worker = replace(work.worker, name=task.name) if isinstance(work.worker, Worker) else work.worker
    order = ChildOrder(
        worker,
        work.args,
        using=work.method.name,
        secret=work.secret,
        timeout_ms=_limit_ms(state),
        metadata={key: value for key, value in task.metadata.items() if isinstance(value, str)},
    )
    try:
        if isinstance(task, RunTask) and not task.await_:
            await run.tools.children.start(order)
            return None
        result = await _awaited(run, task, work, order)
    except (RequestError, JobError) as error:
        kind = Standard.COMMUNICATION if isinstance(error, _PASSING) else Standard.CONFIGURATION
        raise kind.error("A job was not accepted", str(error), status=UNAVAILABLE) from error
    if result.status is not ResultStatus.SUCCESS:
        raise _failure(work.spec, result)
    return result


async def done(run: WorkflowRun, state: TaskState, work: Work) -> Outcome:
    """Have the work done; the output is its result as JSON, or the task's input where nobody waits for it."""
    result = await result_of(run, state, work)
    if result is None:
        return Outcome(state.input)
    return Outcome(await decoded(result.output or b"", work.method.result_proto))


async def encoded(value: JSON, schema: str, what: str) -> bytes:
    """Return the bytes of a runner's message for a JSON value; a runner without a schema gets the JSON text.

    Raises:
        WorkflowError: it does not fit.
    """
    if not schema:
        return value.encode("utf-8", "replace") if isinstance(value, str) else (await text_of(value)).encode()
    if not isinstance(value, dict):
        raise Standard.VALIDATION.error(f"The {what} are no object", f"they are {json_text(value)[:200]}")
    kind = await message_of(schema)
    encode = partial(json_to_bytes, cast("dict[str, Any]", value), kind, ignore_unknown=True, oneof_groups=True)
    try:
        return await beside(encode, large=is_large(value))
    except ValueError as error:
        raise Standard.VALIDATION.error(f"The {what} do not fit", str(error)) from error


async def decoded(data: bytes, schema: str) -> JSON:
    """Return a runner's result as JSON; text where it has no schema."""
    if not schema:
        return data.decode("utf-8", "replace")
    try:
        decode = partial(bytes_to_json, data, await message_of(schema))
        return cast("JSON", await beside(decode, large=len(data) > AT_ONCE))
    except ValueError as error:
        raise Standard.RUNTIME.error("A result cannot be read", str(error)) from error


async def message_of(schema: str) -> type[Message]:
    """Return the message that a schema text declares; compiled in a thread at first."""
    known = _known.get(schema)
    if known is None:
        known = await anyio.to_thread.run_sync(_compiled(), schema)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[schema] = known
    return known


async def worker_named(run: WorkflowRun, name: str, using: str | None) -> tuple[RunnerDescription, Method]:
    """Return runner and method of a stored worker.

    Raises:
        WorkflowError: there is no such worker, runner or method.
    """
    worker = await run.tools.children.worker(name)
    if worker is None:
        raise Standard.CONFIGURATION.error(
            "There is no such worker", f"worker {name!r} does not exist", status=UNAVAILABLE
        )
    spec = run.tools.children.runner_of(worker)
    if spec is None:
        raise Standard.CONFIGURATION.error(
            "A runner is missing", f"the runner of worker {name!r} is not there", status=UNAVAILABLE
        )
    return spec, _method(spec, using)


async def _awaited(run: WorkflowRun, task: RunTask | CallTask, work: Work, order: ChildOrder) -> JobResult:
    streaming = isinstance(task, RunTask) and task.streaming
    if streaming and work.method.output_type is OutputType.NON_STREAMING:
        raise Standard.CONFIGURATION.error(
            "The runner cannot stream",
            f"method {work.method.name!r} of {work.spec.name} gives no stream; leave useStreaming out",
        )
    named = order.worker if isinstance(order.worker, str) else None
    started: list[int] = []

    def accepted(job_id: int) -> None:
        started.append(job_id)
        run.notices.job_started(task, job_id, work.spec.name, named, streaming=streaming)

    try:
        if not streaming:
            return await run.tools.children.run(order, accepted)
        schema = work.method.result_proto
        tell = _telling(run, started, await message_of(schema) if schema else None)
        result = await run.tools.children.stream(order, tell, accepted)
    finally:
        if started:
            run.notices.job_ended(task, started[0], streaming=streaming)
    if _CUT in result.metadata:
        raise Standard.RUNTIME.error(
            "The stream is too long", "its folded output is larger than STREAM_STORE_MAX_BYTES; raise that"
        )
    return result


def _telling(run: WorkflowRun, started: list[int], kind: type[Message] | None) -> Callable[[bytes], Any]:
    async def tell(item: bytes) -> None:
        run.notices.job_data(started[0], item, kind)

    return tell


def _limit_ms(state: TaskState) -> int:
    """Return the limit of the job: that of the task in whole seconds, so that the task's own comes first."""
    assert state.limit_ms is not None, "tasks that run jobs have one"
    return max(1, math.ceil(state.limit_ms / 1000)) * 1000


def _failure(spec: RunnerDescription, result: JobResult) -> WorkflowError:
    """Return the error of a job that failed: that of a workflow, without its place, which means nothing here."""
    text = (result.output or b"").decode("utf-8", "replace")
    if spec.name == "WORKFLOW":
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            error = WorkflowError.from_json(json.loads(text))
            return WorkflowError(error.type, error.status, error.title, _short(error.detail) if error.detail else None)
    told = _short(text) or result.status.name
    if _MISCONFIGURED in result.metadata and result.status is ResultStatus.OTHER_ERROR:
        return Standard.CONFIGURATION.error("A job failed", told)
    cannot_run = result.status is ResultStatus.FATAL_ERROR or _MISCONFIGURED in result.metadata
    kind = Standard.CONFIGURATION if cannot_run else Standard.COMMUNICATION
    return kind.error("A job failed", told, status=UNAVAILABLE)


def _short(text: str) -> str:
    """Return a text without its middle where it is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def _spec(run: WorkflowRun, name: str) -> RunnerDescription:
    spec = run.tools.children.runner(name)
    if spec is None:
        raise Standard.CONFIGURATION.error(
            "There is no such runner", f"runner {name!r} does not exist; list the runners", status=UNAVAILABLE
        )
    return spec


def _method(spec: RunnerDescription, using: str | None) -> Method:
    method = spec.method(using)
    if method is None:
        known = ", ".join(sorted(spec.methods))
        raise Standard.CONFIGURATION.error(
            "There is no such method", f"runner {spec.name} has no method {using!r}; it has {known}"
        )
    return method


def _worker(runner_id: int, settings: bytes, options: RunOptions, default_retries: int) -> Worker:
    return Worker(
        0,
        "",
        runner_id,
        runner_settings=settings,
        retry_policy=_retry_policy(options, default_retries),
        channel=channel_from_name(options.channel) or DEFAULT_CHANNEL,
        queue_type=QueueType[options.queue_type],
        store_success=options.store_success,
        store_failure=options.store_failure,
        use_static=options.use_static,
        broadcast_results=options.broadcast_results,
    )


def _retry_policy(options: RunOptions, default_retries: int) -> RetryPolicy | None:
    given = options.retry
    if given is None:
        return None
    delay_ms, most_ms = given.delay, given.attempt_duration or 0
    assert isinstance(delay_ms, int), "no expressions are allowed there"
    assert isinstance(most_ms, int), "no expressions are allowed there"
    most = default_retries if given.attempts is None else given.attempts
    return RetryPolicy(_RETRY_TYPES[given.backoff], delay_ms, most_ms, most)


@lru_cache(1)
def _compiled() -> Callable[[str], type[Message]]:
    from jobworkerp_standalone.schema.text import root_message  # noqa: PLC0415 - the compiler, where it is needed

    return root_message


_RETRY_TYPES: Final = {
    Backoff.CONSTANT: RetryType.CONSTANT,
    Backoff.LINEAR: RetryType.LINEAR,
    Backoff.EXPONENTIAL: RetryType.EXPONENTIAL,
}
_MOST_KNOWN: Final = 1_000
_known: dict[str, type[Message]] = {}
